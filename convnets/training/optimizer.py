"""Optimizers as the papers define them: momentum, weight decay, per-parameter multipliers, and parameter averages."""

import fnmatch
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from convnets import op_string
from convnets.errors import UsageError
from convnets.training import schedules
from convnets.training.curvature import scale_by_curvature
from convnets.training.schedules import Errors, parse_feedback, parse_schedule


def parameter_multipliers(text: str) -> Callable[[Any], Any]:
    """Parses `conv*/kernel, fc10/kernel=250, */bias=0` into a function from parameters to a tree of factors.

    Each item is a pattern for 'layer/parameter' with a factor (default 1); `*` matches anything. The last matching item
    applies; a parameter that matches no item gets the factor 0.

    Raises:
        UsageError: there is no item, or a factor is negative or not finite. The returned function raises it if a pattern matches no parameter.
    """
    rules = []
    for item in filter(None, (i.strip() for i in text.split(","))):
        pattern, _, number = item.partition("=")
        try:
            rules.append((pattern.strip(), float(number or 1)))
        except ValueError:
            raise UsageError(f"'{item}': write pattern=number, for example fc10/kernel=250") from None
        if not 0 <= rules[-1][1] < math.inf:
            raise UsageError(f"'{item}': the factor must be finite, and 0 or more")
    if not rules:  # all factors would be 0
        raise UsageError(f"'{text}' names no parameter; write '*' for all")

    def tree(params: Any) -> Any:
        unused = {pattern for pattern, _ in rules}

        def of(path: Any, _: Any) -> float:
            name = "/".join(p.key for p in path)
            fits = [(pattern, factor) for pattern, factor in rules if fnmatch.fnmatchcase(name, pattern)]
            unused.difference_update(pattern for pattern, _ in fits)
            return fits[-1][1] if fits else 0.0

        found = jax.tree_util.tree_map_with_path(of, params)
        if unused:  # otherwise a typo would silently switch decay off
            raise UsageError(f"'{text}': '{min(unused)}' fits no parameter; the layers are {', '.join(sorted(params))}")
        return found

    return tree


def scale_by_multipliers(text: str) -> optax.GradientTransformation:
    """Multiplies the updates by their parameter multipliers."""
    tree = parameter_multipliers(text)
    return optax.stateless(lambda updates, params: jax.tree.map(lambda u, m: u * m, updates, tree(updates)))


def add_decay(rate: float, text: str) -> optax.GradientTransformation:
    """Adds rate x multiplier x parameter to the gradients."""
    tree = parameter_multipliers(text)

    def update(updates, params):
        return jax.tree.map(lambda u, p, m: u + rate * m * p, updates, params, tree(params))

    return optax.stateless(update)


def scale_by_lr_factor() -> optax.GradientTransformationExtraArgs:
    """Multiplies the updates by the `scale` argument, through which feedback schedules change the learning rate."""

    def update(updates, state, params=None, *, scale=1.0, **_):
        return jax.tree.map(lambda u: u * scale, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def limit_norm(radius: float, lr_multipliers: str = "") -> optax.GradientTransformation:
    """Limits the L2 norm of each unit's incoming weights after the update to `radius`, except of layers with the rate 0.

    Hinton et al. 2012 (arXiv 1207.0580), Srivastava et al. 2014, section 5.1. In a convolution a unit is one feature
    map; in a locally connected layer it is one feature map at one position.

    Raises:
        UsageError: the network has a connection table, whose kernel has no axis of units.
    """
    kernels, rates = parameter_multipliers("*/kernel"), parameter_multipliers(lr_multipliers or "*")

    def limited(update, param, is_kernel, rate):
        if not (is_kernel and rate):
            return update
        new = param + update
        if new.ndim == 3:
            raise UsageError(
                "max_norm: the kernel of a connection table has no axis of units; leave out optim.max_norm"
            )
        into = tuple(range(max(0, new.ndim - 4), new.ndim - 1))  # height, width and input channels of a unit
        norm = jnp.sqrt(jnp.sum(jnp.square(new), into, keepdims=True))
        return new * jnp.minimum(1, radius / jnp.maximum(norm, 1e-30)) - param

    return optax.stateless(
        lambda updates, params: jax.tree.map(limited, updates, params, kernels(params), rates(params))
    )


# Parameter averages: each function maps the number of steps taken to the newest parameters' weight in the average.
# While the weight is 1, the average equals the parameters.


def ema(step: jax.Array, steps_per_epoch: float, decay: float) -> jax.Array:
    """Returns the newest parameters' weight in an exponential average: 'ema(0.9999)'.

    The average starts as the plain mean, so that the initial weights leave no trace.

    Raises:
        UsageError: the decay is not at least 0 and less than 1.
    """
    if not 0 <= decay < 1:
        raise UsageError(f"ema: decay is {decay:g}, it must be at least 0 and less than 1")
    return jnp.maximum(1 - decay, 1 / step)


def polyak(step: jax.Array, steps_per_epoch: float, start: float) -> jax.Array:
    """Returns the newest parameters' weight in the mean over every step since epoch `start`: 'polyak(200)'.

    Polyak, Juditsky 1992.

    Raises:
        UsageError: the start is negative or not finite.
    """
    if not 0 <= start < math.inf:
        raise UsageError(f"polyak: start is {start:g}, it must be 0 or more")
    return 1 / jnp.maximum(
        step - float(math.floor(round(start * steps_per_epoch, 6))), 1
    )  # 0.3 * 333.33... is 99.99...


AVERAGES: dict[str, Callable[..., jax.Array]] = {f.__name__: f for f in (ema, polyak)}


def parse_average(text: str, steps_per_epoch: float) -> Callable[[jax.Array], jax.Array] | None:
    """Returns a function from the number of steps taken to the newest parameters' weight; None if `text` is empty.

    Raises:
        UsageError: an unknown average, wrong arguments, or more than one average.
    """
    calls = op_string.parse(text, AVERAGES, skip=2)
    if len(calls) > 1:
        raise UsageError(f"'{text}': give one of {', '.join(AVERAGES)}")
    if not calls:
        return None
    weight = lambda step: calls[0](step.astype(jnp.float32), steps_per_epoch)  # noqa: E731
    jax.eval_shape(weight, jax.ShapeDtypeStruct((), jnp.int32))  # so that wrong arguments raise here
    return weight


def list_mismatches(schedule: str, average: str, epochs: float, step: float) -> list[str]:
    """Returns a line for each factor of the rate, and for an average, that does not fit the length of the training."""
    late = [call.kwargs["start"] for call in op_string.parse(average, AVERAGES, skip=2) if call.name == "polyak"]
    found = [f"{average} of optim.average begins at epoch {start:g}, train.epochs is {epochs:g}: nothing is averaged"
             for start in late if start >= epochs]  # fmt: skip
    return schedules.list_mismatches(schedule, epochs, step) + found


class Recipe(NamedTuple):
    """Optimizer, learning-rate schedules and parameter average of a training run.

    Attributes:
        optimizer: its update takes `scale`, a factor of the learning rate, and `curvature`, see curvature.py.
        rate: maps a step to the learning rate without the feedback factor.
        feedback: maps the errors so far to the feedback factor `scale`; None if it is always 1.
        average: maps the number of steps taken to the newest parameters' weight in the average; None without average.
    """

    optimizer: optax.GradientTransformationExtraArgs
    rate: Callable[[Any], jax.Array]
    feedback: Callable[[Errors], float] | None
    average: Callable[[jax.Array], jax.Array] | None


def make_recipe(
    lr: float, lr_batch: int, schedule: str, momentum: float, nesterov: bool, weight_decay: float,
    decay_multipliers: str, lr_multipliers: str, damping: float, max_norm: float, average: str, *, steps_per_epoch: float,
    batch_size: int,
) -> Recipe:  # fmt: skip
    """Builds SGD with momentum in the papers' form, v <- m v - lr (g + d w); w <- w + v.

    The learning rate is inside the velocity (AlexNet section 5, cuda-convnet, Caffe), not outside it as in PyTorch. The
    two forms differ after each change of the rate.

    Args:
        lr: base learning rate of the schedule.
        lr_batch: batch size that `lr` is meant for; 0 = any. The rate is proportional to the batch size (Krizhevsky
            2014, Goyal et al. 2017).
        decay_multipliers: `parameter_multipliers` of weight_decay; most papers use `*/kernel` (kernels only) or `*` (everything).
        lr_multipliers: `parameter_multipliers` of the learning rate; '' = 1 for all; Caffe and cuda-convnet use `*, */bias=2`.
        damping: `scale_by_curvature` in curvature.py; 0 = off.
        max_norm: see `limit_norm`; 0 = off.
        average: a name of AVERAGES with its arguments; '' = none.

    Raises:
        UsageError: a string cannot be parsed.
    """
    base, of_epoch = lr * batch_size / (lr_batch or batch_size), parse_schedule(schedule)

    def rate(step):
        return base * of_epoch(jnp.asarray(step, jnp.float32) / steps_per_epoch)

    parts = [add_decay(weight_decay, decay_multipliers)] if weight_decay else []
    parts += [scale_by_multipliers(lr_multipliers)] if lr_multipliers else []
    parts += [scale_by_curvature(damping, steps_per_epoch, batch_size)] if damping else []
    parts += [optax.scale_by_learning_rate(rate), scale_by_lr_factor()]
    parts += [optax.trace(momentum, nesterov)] if momentum else []
    parts += [limit_norm(max_norm, lr_multipliers)] if max_norm else []
    optimizer = optax.with_extra_args_support(optax.chain(*parts))
    return Recipe(optimizer, rate, parse_feedback(schedule), parse_average(average, steps_per_epoch))
