"""Learning-rate schedules: functions of the epoch, and feedback schedules, functions of the errors so far.

A schedule string is a product of factors of the base rate. `SCHEDULES` are functions of the epoch and part of the
compiled step; `FEEDBACK` are functions of the errors so far and evaluated on the host.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from convnets import op_string
from convnets.errors import UsageError

# Schedules: functions of the epoch (a real number) that return a factor of the base learning rate. A schedule string
# multiplies the factors of all its parts: 'warmup(5)|steps(0.1, 30, 60)'.


def constant(epoch: jax.Array) -> jax.Array:
    """Keeps the learning rate."""
    return jnp.ones_like(epoch)


def steps(epoch: jax.Array, factor: float, *epochs: float) -> jax.Array:
    """Multiplies the rate by `factor` at each of `epochs`: 'steps(0.1, 82, 123)'."""
    _check_positive("steps", zero=True, factor=factor)
    _check_rising("steps", epochs)
    return jnp.power(factor, _count_reached(epoch, epochs).astype(jnp.float32))


def table(epoch: jax.Array, *rows: tuple[float, float]) -> jax.Array:
    """Returns the factor of the last (epoch, factor) row reached; 1 before the first: 'table((2, 0.4), (5, 0.2))'."""
    for row in rows:
        _check_positive("table", zero=True, factor=row[1])
    _check_rising("table", [r[0] for r in rows])
    factors = jnp.array([1, *(r[1] for r in rows)], jnp.float32)
    return factors[_count_reached(epoch, [r[0] for r in rows])]


_LARGEST = float(jnp.finfo(jnp.float32).max)
# An epoch is a step divided by the steps of an epoch, in float32. Where a change is due exactly at a step, that step's epoch
# may lie some units in the last place before it, and the change would come a step late. So a change may come up to 5e-7 of the
# step number early: less than a step below two million steps.
_ROUNDING = 2.0**-21


def _count_reached(epoch: jax.Array, changes: Sequence[float]) -> jax.Array:
    """Returns how many of the epochs `changes` lie at or before `epoch`, up to rounding."""
    return jnp.sum(epoch[..., None] * (1 + _ROUNDING) >= jnp.array(changes, jnp.float32), axis=-1)


def _check_rising(name: str, epochs: Sequence[float]) -> None:
    for epoch in epochs:
        _check_positive(name, zero=True, epoch=epoch)
    if list(epochs) != sorted(set(epochs)):
        raise UsageError(f"{name}: the epochs {', '.join(f'{e:g}' for e in epochs)} must rise")


def _check_positive(name: str, zero: bool = False, **values: float) -> None:
    for key, value in values.items():
        if value > _LARGEST:
            raise UsageError(f"{name}: {key} is {value:g}, it must be at most {_LARGEST:.2g}, the largest float32")
        if not value >= 0 or (value == 0 and not zero):
            raise UsageError(f"{name}: {key} is {value:g}, it must be {'0 or more' if zero else 'above 0'}")


def exponential(epoch: jax.Array, factor: float, every: float) -> jax.Array:
    """Multiplies the rate by `factor` after every `every` epochs, in jumps: GoogLeNet's 'exponential(0.96, 8)'."""
    _check_positive("exponential", factor=factor, every=every)
    return jnp.power(factor, jnp.floor(epoch / every * (1 + _ROUNDING)))


def linear(epoch: jax.Array, end: float) -> jax.Array:
    """Falls linearly from 1 to 0 at epoch `end`."""
    _check_positive("linear", end=end)
    return jnp.clip(1 - epoch / end, 0, 1)


def poly(epoch: jax.Array, end: float, power: float) -> jax.Array:
    """Returns (1 - epoch / end) ** power; 'poly(60, 0.5)' is Caffe's quick GoogLeNet."""
    _check_positive("poly", end=end)
    _check_positive("poly", zero=True, power=power)
    return jnp.power(jnp.clip(1 - epoch / end, 0, 1), power)


def cosine(epoch: jax.Array, end: float) -> jax.Array:
    """Falls along half a cosine from 1 to 0 at epoch `end`."""
    _check_positive("cosine", end=end)
    return 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(epoch / end, 0, 1)))


def warmup(epoch: jax.Array, end: float) -> jax.Array:
    """Rises linearly from 0 to 1 at epoch `end`; returns 1 afterwards."""
    _check_positive("warmup", end=end)
    return jnp.clip(epoch / end, 0, 1)


SCHEDULES: dict[str, Callable[..., jax.Array]] = {
    f.__name__: f for f in (constant, steps, table, exponential, linear, poly, cosine, warmup)
}


# Feedback schedules: functions of the run's errors so far. They are evaluated at each event (each test, checkpoint
# and `train.log_every_steps`, but not where a run is preempted), and their factor holds from the next step on. Their only
# state is the errors, which are in metrics.jsonl, so a resumed run continues as the uninterrupted run would have.


class Errors(NamedTuple):
    """Errors of a run so far, in percent, in chronological order.

    Attributes:
        training: error on the batch of every training step.
        test: error of every test during training.
    """

    training: Sequence[float] = ()
    test: Sequence[float] = ()


def plateau(errors: Errors, factor: float, patience: int, times: int) -> float:
    """Multiplies the rate by `factor` after `patience` tests in a row without a new lowest error.

    It does so at most `times` times. The tests run on `data.test_split`. 'plateau(0.1, 3, 3)' automates a manual rule:
    "divide the learning rate by 10 when the validation error rate stopped improving" (AlexNet section 5, VGG section
    3.1, ResNet section 3.4).
    """
    if patience < 1:
        raise UsageError(f"plateau: patience is {patience}, at least one test is needed")
    _check_positive("plateau", factor=factor)
    _check_positive("plateau", zero=True, times=times)
    best, waited, drops = math.inf, 0, 0
    for error in errors.test:
        waited = 0 if error < best else waited + 1
        best = min(error, best)
        if waited == patience:
            waited, drops = 0, drops + 1
    return factor ** min(drops, times)


def until_error(errors: Errors, factor: float, error: float, steps: int = 100) -> float:
    """Returns `factor` until the mean training error of `steps` consecutive steps falls below `error` percent, then 1.

    'until_error(0.1, 80)' is for ResNet-110 (He et al. 2015, section 4.2). The paper does not say how it measured the
    error.
    """
    if steps < 1:
        raise UsageError(f"until_error: steps is {steps}, at least one is needed")
    _check_positive("until_error", factor=factor)
    total = np.cumsum([0.0, *errors.training])
    return 1.0 if np.any(total[steps:] - total[:-steps] < error * steps) else factor


FEEDBACK: dict[str, Callable[..., float]] = {f.__name__: f for f in (plateau, until_error)}


def parse_feedback(text: str) -> Callable[[Errors], float] | None:
    """Returns the product of a schedule string's feedback factors as a function of the errors; None if it has none.

    Raises:
        UsageError: an unknown schedule or wrong arguments.
    """
    calls = [c for c in op_string.parse(text, {**SCHEDULES, **FEEDBACK}, skip=1) if c.name in FEEDBACK]
    if not calls:
        return None
    of_errors = lambda errors: math.prod(call(errors) for call in calls)  # noqa: E731
    of_errors(Errors())  # a first call, so that wrong arguments raise here
    return of_errors


def parse_schedule(text: str) -> Callable[[jax.Array], jax.Array]:
    """Returns the product of a schedule string's factors, without feedback, as a function of the epoch.

    Raises:
        UsageError: an unknown schedule or wrong arguments.
    """
    calls = [c for c in op_string.parse(text, {**SCHEDULES, **FEEDBACK}, skip=1) if c.name in SCHEDULES]
    of_epoch = lambda epoch: math.prod((call(epoch) for call in calls), start=jnp.ones_like(epoch))  # noqa: E731
    try:
        jax.eval_shape(of_epoch, jax.ShapeDtypeStruct((), jnp.float32))
    except (TypeError, IndexError, ValueError):
        raise UsageError(
            f"'{text}': wrong kind of argument; convnets/training/schedules.py has an example of each"
        ) from None
    return of_epoch


# Schedule and length of training --------------------------------------------------------------------------------------


def list_mismatches(text: str, epochs: float, step: float) -> list[str]:
    """Returns a line for each factor that reaches 0 before the training ends, or that changes after its end.

    Args:
        epochs: length of the training.
        step: length of a step in epochs; shorter differences are rounding.
    """
    found = []
    for part in filter(None, (p.strip() for p in text.split("|"))):
        (call,) = op_string.parse(part, {**SCHEDULES, **FEEDBACK}, skip=1)
        changes = _changes(call)
        last, factor = changes[-1] if changes else (0.0, 1.0)
        if last > epochs + step:
            found.append(f"{part} of optim.schedule changes the rate until epoch {last:g}, train.epochs is {epochs:g}:"
                         " the training ends before the schedule")  # fmt: skip
        elif factor == 0 and last < epochs - step:
            found.append(f"{part} of optim.schedule is 0 from epoch {last:g} on, train.epochs is {epochs:g}:"
                         " the rest of the training has a rate of 0")  # fmt: skip
    return found


def _changes(call: op_string.Call) -> list[tuple[float, float]]:
    """Returns the (epoch, factor) pairs between which a schedule changes, as far as the schedule names them."""
    values = call.kwargs
    match call.name:
        case "steps":
            return [(epoch, values["factor"]) for epoch in values.get("epochs", ())]
        case "table":
            return list(values.get("rows", ()))
        case "exponential":
            return [(values["every"], values["factor"])]
        case "linear" | "poly" | "cosine":
            return [(values["end"], 0.0)]
        case "warmup":
            return [(values["end"], 1.0)]
    return []
