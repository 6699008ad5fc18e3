"""Lengths in epochs as steps, in exact arithmetic: sums of floats would skip a step, repeat it, or never pass it."""

import math
from fractions import Fraction

PRECISION = 10**7  # largest denominator of a number of epochs: it restores 0.04 to 1/25, and 16 * 48 / 1437 to 256/479


def count_steps(epochs: float, num_examples: int, batch_size: int) -> int:
    """Returns the number of steps that show `epochs` times all examples; the last step may show more. At least 1."""
    return max(1, math.ceil(_steps(epochs, num_examples, batch_size)))


def count_images(epochs: float, num_examples: int) -> int:
    """Returns how many images `epochs` times all examples are; the last one may be a fraction. At least 1."""
    return max(1, math.ceil(_steps(epochs, num_examples, 1)))


def interval(epochs: float, num_examples: int, batch_size: int) -> Fraction:
    """Returns an interval of `epochs` in steps, at least one step; 0 if `epochs` is 0, which means never."""
    return max(Fraction(1), _steps(epochs, num_examples, batch_size)) if epochs else Fraction(0)


def _steps(epochs: float, num_examples: int, batch_size: int) -> Fraction:
    return Fraction(epochs).limit_denominator(PRECISION) * num_examples / batch_size


def is_due(step: int, every: int | Fraction) -> bool:
    """Returns whether a multiple of the interval `every` ends within the step, which follows step - 1."""
    return every > 0 and step // every > (step - 1) // every


def next_due(step: int, every: int | Fraction) -> int:
    """Returns the first due step after `step`. The interval is at least 1."""
    return math.ceil((step // every + 1) * every)
