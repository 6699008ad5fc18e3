"""Optimizers as the papers state them: momentum, weight decay, multipliers per parameter, averages of the parameters."""

import fnmatch
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from convnets import op_string
from convnets.errors import UsageError
from convnets.training.schedules import Errors, parse_feedback, parse_schedule


def parameter_multipliers(text: str) -> Callable[[Any], Any]:
    """What 'conv*/kernel, fc10/kernel=250, */bias=0' says of each parameter: a tree of factors like the parameters'.

    Each item is a pattern of 'layer/parameter' with a factor, 1 where none is given; `*` stands for anything. The last
    item that fits counts; what none fits has the factor 0.

    Raises:
        UsageError: a factor that is no number; from the function that is returned, a pattern that fits no parameter.
    """
    rules = []
    for item in filter(None, (i.strip() for i in text.split(","))):
        pattern, _, number = item.partition("=")
        try:
            rules.append((pattern.strip(), float(number or 1)))
        except ValueError:
            raise UsageError(f"'{item}': write pattern=number, for example fc10/kernel=250") from None

    def tree(params: Any) -> Any:
        unused = {pattern for pattern, _ in rules}

        def of(path: Any, _: Any) -> float:
            name = "/".join(p.key for p in path)
            fits = [(pattern, factor) for pattern, factor in rules if fnmatch.fnmatchcase(name, pattern)]
            unused.difference_update(pattern for pattern, _ in fits)
            return fits[-1][1] if fits else 0.0

        found = jax.tree_util.tree_map_with_path(of, params)
        if unused:  # a slip of the pen would switch decay off without a word
            raise UsageError(f"'{text}': '{min(unused)}' fits no parameter; the layers are {', '.join(sorted(params))}")
        return found

    return tree


def scale_by_multipliers(text: str) -> optax.GradientTransformation:
    """Updates times their multipliers."""
    tree = parameter_multipliers(text)
    return optax.stateless(lambda updates, params: jax.tree.map(lambda u, m: u * m, updates, tree(updates)))


def add_decay(rate: float, text: str) -> optax.GradientTransformation:
    """Gradients plus rate x multiplier x parameter."""
    tree = parameter_multipliers(text)

    def update(updates, params):
        return jax.tree.map(lambda u, p, m: u + rate * m * p, updates, params, tree(params))

    return optax.stateless(update)


def scale_by_lr_factor() -> optax.GradientTransformationExtraArgs:
    """Updates times the `scale` that the step is given, which is how reactions reach it."""

    def update(updates, state, params=None, *, scale=1.0, **_):
        return jax.tree.map(lambda u: u * scale, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def limit_norm(radius: float) -> optax.GradientTransformation:
    """Updates after which the weights coming into a unit have a Euclidean norm of at most `radius`.

    Hinton et al. 2012 (arXiv 1207.0580), Srivastava et al. 2014, section 5.1. A unit of a convolution is one of its maps,
    of a locally connected layer one map at one place.
    """
    kernels = parameter_multipliers("*/kernel")

    def limited(update, param, is_kernel):
        if not is_kernel:
            return update
        new = param + update
        into = tuple(range(max(0, new.ndim - 4), new.ndim - 1))  # height, width and channels of what a unit sees
        norm = jnp.sqrt(jnp.sum(jnp.square(new), into, keepdims=True))
        return new * jnp.minimum(1, radius / jnp.maximum(norm, 1e-30)) - param

    return optax.stateless(lambda updates, params: jax.tree.map(limited, updates, params, kernels(params)))


# Averages: how much the newest parameters weigh in the average, as a function of the number of steps taken. As long as
# it is 1 the average is the parameters themselves.


def ema(step: jax.Array, steps_per_epoch: float, decay: float) -> jax.Array:
    """An exponential average, 'ema(0.9999)'; at first the plain mean, so that the initial weights leave no trace."""
    return jnp.maximum(1 - decay, 1 / step)


def polyak(step: jax.Array, steps_per_epoch: float, start: float) -> jax.Array:
    """The mean of the parameters after every step since epoch `start` (Polyak, Juditsky 1992): 'polyak(200)'."""
    return 1 / jnp.maximum(step - math.floor(start * steps_per_epoch), 1)


AVERAGES: dict[str, Callable[..., jax.Array]] = {f.__name__: f for f in (ema, polyak)}


def parse_average(text: str, steps_per_epoch: float) -> Callable[[jax.Array], jax.Array] | None:
    """The weight of the newest parameters by the number of steps taken; None where `text` is empty.

    Raises:
        UsageError: an unknown average, wrong arguments or more than one.
    """
    calls = op_string.parse(text, AVERAGES, skip=2)
    if len(calls) > 1:
        raise UsageError(f"'{text}': give one of {', '.join(AVERAGES)}")
    return (lambda step: calls[0](step.astype(jnp.float32), steps_per_epoch)) if calls else None


class Recipe(NamedTuple):
    """How parameters are learned.

    Attributes:
        optimizer: its update takes `scale`, a factor of the learning rate.
        rate: the learning rate before reactions, of the step.
        reaction: that factor, of the errors so far; None where it is always 1.
        average: weight of the newest parameters in their average, of the number of steps taken; None without average.
    """

    optimizer: optax.GradientTransformationExtraArgs
    rate: Callable[[Any], jax.Array]
    reaction: Callable[[Errors], float] | None
    average: Callable[[jax.Array], jax.Array] | None


def make_recipe(
    lr: float, lr_batch: int, schedule: str, momentum: float, nesterov: bool, weight_decay: float, decay: str,
    rates: str, max_norm: float, average: str, *, steps_per_epoch: float, batch_size: int,
) -> Recipe:  # fmt: skip
    """Stochastic gradient descent with momentum in the papers' form, v <- m v - lr (g + d w); w <- w + v.

    The learning rate is inside the velocity (AlexNet section 5, cuda-convnet, Caffe), not outside it as in PyTorch; the
    two differ after each change of the rate.

    Args:
        lr: base of the schedule for batches of `lr_batch`, in proportion for other sizes (Krizhevsky 2014, Goyal et al.
            2017); where that is 0, for batches of any size.
        decay: `multipliers` of weight_decay, '*/kernel' (kernels alone) or '*' (everything) in most papers.
        rates: `multipliers` of the learning rate; '' is 1 for all, '*, */bias=2' Caffe's and cuda-convnet's.
        max_norm: see `limit_norm`; 0 is no limit.
        average: a row of AVERAGES with its arguments; '' is none.

    Raises:
        UsageError: a string that cannot be read.
    """
    base, of_epoch = lr * batch_size / (lr_batch or batch_size), parse_schedule(schedule)

    def rate(step):
        return base * of_epoch(jnp.asarray(step, jnp.float32) / steps_per_epoch)

    parts = [add_decay(weight_decay, decay)] if weight_decay else []
    parts += [scale_by_multipliers(rates)] if rates else []
    parts += [optax.scale_by_learning_rate(rate), scale_by_lr_factor()]
    parts += [optax.trace(momentum, nesterov)] if momentum else []
    parts += [limit_norm(max_norm)] if max_norm else []
    optimizer = optax.with_extra_args_support(optax.chain(*parts))
    return Recipe(optimizer, rate, parse_feedback(schedule), parse_average(average, steps_per_epoch))
