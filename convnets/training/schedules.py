"""Learning-rate schedules: functions of the epoch, and feedback schedules, functions of the errors so far.

A schedule string is a product of factors of the base rate: `SCHEDULES` are functions of the epoch and part of the compiled
step, `FEEDBACK` are functions of the errors so far and evaluated on the host.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from convnets import op_string
from convnets.errors import UsageError

# Schedules: functions of the epoch (a real number) that give a factor of the base learning rate. In a schedule string
# the factors of all its parts are multiplied: 'warmup(5)|steps(0.1, 30, 60)'.


def constant(epoch: jax.Array) -> jax.Array:
    return jnp.ones_like(epoch)


def steps(epoch: jax.Array, factor: float, *epochs: float) -> jax.Array:
    """Times `factor` at each of `epochs`: 'steps(0.1, 82, 123)'."""
    _check_rising("steps", epochs)
    return jnp.power(factor, jnp.sum(epoch[..., None] >= jnp.array(epochs, jnp.float32), axis=-1, dtype=jnp.float32))


def table(epoch: jax.Array, *rows: tuple[float, float]) -> jax.Array:
    """From each (epoch, factor) on, that factor; 1 before the first: 'table((2, 0.4), (5, 0.2))'."""
    _check_rising("table", [r[0] for r in rows])
    starts, factors = jnp.array([r[0] for r in rows], jnp.float32), jnp.array([1, *(r[1] for r in rows)], jnp.float32)
    return factors[jnp.sum(epoch[..., None] >= starts, axis=-1)]


def _check_rising(name: str, epochs: Sequence[float]) -> None:
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


FEEDBACK: dict[str, Callable[..., float]] = {f.__name__: f for f in (plateau, until_error)}


def parse_feedback(text: str) -> Callable[[Errors], float] | None:
    """What the reactions of a schedule string multiply the rate with; None where it has none. Raises as `factor` does."""
    calls = [c for c in op_string.parse(text, {**SCHEDULES, **FEEDBACK}, skip=1) if c.name in FEEDBACK]
    if not calls:
        return None
    of_errors = lambda errors: math.prod(call(errors) for call in calls)  # noqa: E731
    of_errors(Errors())  # what is wrong with the arguments shows now
    return of_errors


def parse_schedule(text: str) -> Callable[[jax.Array], jax.Array]:
    """What a schedule string multiplies the base rate with, its reactions aside, as a function of the epoch.

    Raises:
        UsageError: an unknown schedule or wrong arguments.
    """
    calls = [c for c in op_string.parse(text, {**SCHEDULES, **FEEDBACK}, skip=1) if c.name in SCHEDULES]
    of_epoch = lambda epoch: math.prod((call(epoch) for call in calls), start=jnp.ones_like(epoch))  # noqa: E731
    try:
        jax.eval_shape(of_epoch, jax.ShapeDtypeStruct((), jnp.float32))
    except (TypeError, IndexError, ValueError):
        raise UsageError(
            f"'{text}': wrong kind of argument; convnets/training/optimizer.py has an example of each"
        ) from None
    return of_epoch
