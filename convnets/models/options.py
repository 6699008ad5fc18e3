"""Checks of options that several networks share."""

from convnets.errors import UsageError

# Pooling, normalization, the neocognitron's cells and what is made by hand have files of their own; every layer is
# found here.
from convnets.layers.descriptors import HOG, SIFT, Codebook, Pyramid  # noqa: F401  # noqa: F401
from convnets.layers.neocognitron import CCells, SCells  # noqa: F401  # noqa: F401
from convnets.layers.normalization import LRN, BatchNorm, Init, LocalContrast  # noqa: F401  # noqa: F401
from convnets.layers.pooling import Padding, Pair, Pool, pads, pair, pool, windows  # noqa: F401  # noqa: F401


def scale_width(count: int, width: float) -> int:
    """Maps or units of a network of another width, 1 at least.

    Raises:
        UsageError: the width is not above 0.
    """
    if not width > 0:
        raise UsageError(f"width is {width}: it must be a number above 0")
    return max(1, round(count * width))


def check_dropout_rate(value: float) -> float:
    """A share of units that dropout drops.

    Raises:
        UsageError: it is none.
    """
    if not 0 <= value < 1:
        raise UsageError(f"dropout is {value}: it must be at least 0 and less than 1")
    return value
