"""Recipes as the papers state them: learning-rate schedules in epochs, momentum, decay, averages of the parameters.

A schedule string is a product of factors of the base rate: `SCHEDULES` are functions of the epoch and part of the compiled
step, `REACTIONS` are functions of the errors so far and decided on the host.
"""

import fnmatch
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from convnets import language
from convnets.errors import UsageError

# Schedules: functions of the epoch (a real number) that give a factor of the base learning rate. In a schedule string
# the factors of all its parts are multiplied: 'warmup(5)|steps(0.1, 30, 60)'.


def constant(epoch: jax.Array) -> jax.Array:
    return jnp.ones_like(epoch)


def steps(epoch: jax.Array, factor: float, *epochs: float) -> jax.Array:
    """Times `factor` at each of `epochs`: 'steps(0.1, 82, 123)'."""
    _rising("steps", epochs)
    return jnp.power(factor, jnp.sum(epoch[..., None] >= jnp.array(epochs, jnp.float32), axis=-1, dtype=jnp.float32))


def table(epoch: jax.Array, *rows: tuple[float, float]) -> jax.Array:
    """From each (epoch, factor) on, that factor; 1 before the first: 'table((2, 0.4), (5, 0.2))'."""
    _rising("table", [r[0] for r in rows])
    starts, factors = jnp.array([r[0] for r in rows], jnp.float32), jnp.array([1, *(r[1] for r in rows)], jnp.float32)
    return factors[jnp.sum(epoch[..., None] >= starts, axis=-1)]


def _rising(name: str, epochs: Sequence[float]) -> None:
    if list(epochs) != sorted(set(epochs)):
        raise UsageError(f"{name}: the epochs {', '.join(f'{e:g}' for e in epochs)} must rise")


def exponential(epoch: jax.Array, factor: float, every: float) -> jax.Array:
    """Times `factor` after every `every` epochs, in jumps: GoogLeNet's 'exponential(0.96, 8)'."""
    return jnp.power(factor, jnp.floor(epoch / every))


def linear(epoch: jax.Array, end: float) -> jax.Array:
    """In a straight line from 1 to 0 at epoch `end`."""
    return jnp.clip(1 - epoch / end, 0, 1)


def poly(epoch: jax.Array, end: float, power: float) -> jax.Array:
    """(1 - epoch / end) ** power: 'poly(60, 0.5)' is Caffe's quick GoogLeNet."""
    return jnp.power(jnp.clip(1 - epoch / end, 0, 1), power)


def cosine(epoch: jax.Array, end: float) -> jax.Array:
    """Half a cosine from 1 to 0 at epoch `end`."""
    return 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(epoch / end, 0, 1)))


def warmup(epoch: jax.Array, end: float) -> jax.Array:
    """In a straight line from 0 to 1 at epoch `end`, 1 from there on."""
    return jnp.clip(epoch / end, 0, 1)


SCHEDULES: dict[str, Callable[..., jax.Array]] = {
    f.__name__: f for f in (constant, steps, table, exponential, linear, poly, cosine, warmup)
}


# Reactions: functions of the errors of the run so far. They look whenever the host does (at each test, checkpoint and
# `train.log_every_steps`), and what they find holds from the next step on. They remember nothing besides the errors,
# which are in metrics.jsonl, so that a resumed run goes on as it would have.


class Errors(NamedTuple):
    """Of a run so far, in percent, in order: of every training step's batch, and of every test on the way."""

    training: Sequence[float] = ()
    test: Sequence[float] = ()


def plateau(errors: Errors, factor: float, patience: int, times: int) -> float:
    """Times `factor` whenever `patience` tests in a row had no error below the best so far, at most `times` times.

    'plateau(0.1, 3, 3)' for what was done by hand: "divide the learning rate by 10 when the validation error rate stopped
    improving" (AlexNet section 5, VGG section 3.1, ResNet section 3.4). The tests are those on `data.test_split`.
    """
    if patience < 1:
        raise UsageError(f"plateau: patience is {patience}, at least one test is needed")
    best, waited, drops = math.inf, 0, 0
    for error in errors.test:
        waited = 0 if error < best else waited + 1
        best = min(error, best)
        if waited == patience:
            waited, drops = 0, drops + 1
    return factor ** min(drops, times)


def until_error(errors: Errors, factor: float, error: float, steps: int = 100) -> float:
    """`factor` until the mean training error of any `steps` steps in a row is below `error` percent, from then on 1.

    'until_error(0.1, 80)' for ResNet-110 (He et al. 2015, section 4.2), whose paper does not say how it measured.
    """
    if steps < 1:
        raise UsageError(f"until_error: steps is {steps}, at least one is needed")
    total = np.cumsum([0.0, *errors.training])
    return 1.0 if np.any(total[steps:] - total[:-steps] < error * steps) else factor


REACTIONS: dict[str, Callable[..., float]] = {f.__name__: f for f in (plateau, until_error)}


def reaction(text: str) -> Callable[[Errors], float] | None:
    """What the reactions of a schedule string multiply the rate with; None where it has none. Raises as `factor` does."""
    calls = [c for c in language.parse(text, {**SCHEDULES, **REACTIONS}, skip=1) if c.name in REACTIONS]
    if not calls:
        return None
    of_errors = lambda errors: math.prod(call(errors) for call in calls)  # noqa: E731
    of_errors(Errors())  # what is wrong with the arguments shows now
    return of_errors


def factor(text: str) -> Callable[[jax.Array], jax.Array]:
    """What a schedule string multiplies the base rate with, its reactions aside, as a function of the epoch.

    Raises:
        UsageError: an unknown schedule or wrong arguments.
    """
    calls = [c for c in language.parse(text, {**SCHEDULES, **REACTIONS}, skip=1) if c.name in SCHEDULES]
    of_epoch = lambda epoch: math.prod((call(epoch) for call in calls), start=jnp.ones_like(epoch))  # noqa: E731
    try:
        jax.eval_shape(of_epoch, jax.ShapeDtypeStruct((), jnp.float32))
    except (TypeError, IndexError, ValueError):
        raise UsageError(f"'{text}': wrong kind of argument; convnets/optim.py has an example of each") from None
    return of_epoch


def multipliers(text: str) -> Callable[[Any], Any]:
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


def scale_by(text: str) -> optax.GradientTransformation:
    """Updates times their multipliers."""
    tree = multipliers(text)
    return optax.stateless(lambda updates, params: jax.tree.map(lambda u, m: u * m, updates, tree(updates)))


def add_decay(rate: float, text: str) -> optax.GradientTransformation:
    """Gradients plus rate x multiplier x parameter."""
    tree = multipliers(text)

    def update(updates, params):
        return jax.tree.map(lambda u, p, m: u + rate * m * p, updates, params, tree(params))

    return optax.stateless(update)


def follow_scale() -> optax.GradientTransformationExtraArgs:
    """Updates times the `scale` that the step is given, which is how reactions reach it."""

    def update(updates, state, params=None, *, scale=1.0, **_):
        return jax.tree.map(lambda u: u * scale, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def limit_norm(radius: float) -> optax.GradientTransformation:
    """Updates after which the weights coming into a unit have a Euclidean norm of at most `radius`.

    Hinton et al. 2012 (arXiv 1207.0580), Srivastava et al. 2014, section 5.1. A unit of a convolution is one of its maps,
    of a locally connected layer one map at one place.
    """
    kernels = multipliers("*/kernel")

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


def averaging(text: str, steps_per_epoch: float) -> Callable[[jax.Array], jax.Array] | None:
    """The weight of the newest parameters by the number of steps taken; None where `text` is empty.

    Raises:
        UsageError: an unknown average, wrong arguments or more than one.
    """
    calls = language.parse(text, AVERAGES, skip=2)
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


def make(
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
    base, of_epoch = lr * batch_size / (lr_batch or batch_size), factor(schedule)

    def rate(step):
        return base * of_epoch(jnp.asarray(step, jnp.float32) / steps_per_epoch)

    parts = [add_decay(weight_decay, decay)] if weight_decay else []
    parts += [scale_by(rates)] if rates else []
    parts += [optax.scale_by_learning_rate(rate), follow_scale()]
    parts += [optax.trace(momentum, nesterov)] if momentum else []
    parts += [limit_norm(max_norm)] if max_norm else []
    optimizer = optax.with_extra_args_support(optax.chain(*parts))
    return Recipe(optimizer, rate, reaction(schedule), averaging(average, steps_per_epoch))
