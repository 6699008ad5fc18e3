"""Checks of options shared by several networks."""

import math

import flax

from convnets.errors import UsageError

# Errors of a layer that does not fit its input: ours are ValueErrors, Flax and JAX raise the others.
MISFITS = (ValueError, TypeError, IndexError, ZeroDivisionError, flax.errors.FlaxError)


def scale_width(count: int, width: float) -> int:
    """Scales a number of feature maps or units by a width factor; returns at least 1.

    Raises:
        UsageError: the width is not positive, or not finite.
    """
    if not 0 < width < math.inf:
        raise UsageError(f"width is {width}: it must be a number above 0")
    return max(1, round(count * width))


def check_dropout_rate(value: float) -> float:
    """Returns the dropout rate unchanged if it is valid.

    Raises:
        UsageError: the rate is outside [0, 1).
    """
    if not 0 <= value < 1:
        raise UsageError(f"dropout is {value}: it must be at least 0 and less than 1")
    return value
