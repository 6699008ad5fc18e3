"""The statistics of a claim: an effect, its 95 % confidence interval, and what that says. Nothing here is typed by hand."""

import math
import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple

from scipy.special import stdtrit

from convnets.ledger import Claim, sides

ENOUGH = 3  # runs a row for a verdict
LEVEL = 0.95


class Verdict(NamedTuple):
    """What was measured of a claim.

    Attributes:
        word: reproduced, not reproduced, not resolved or not run.
        effect, low, high: worse - better, or worse / better, and its interval; None where there are too few runs.
        n: runs of the row that has the fewest.
    """

    word: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


def judge(claim: Claim, values: Callable[[str, str], Mapping[int, float]]) -> Verdict:
    """Whether the runs bear out a claim.

    The independent unit is the trained run, so the sides of a claim that are tests of the same runs are combined within
    each run first: the interval is then that of paired differences. Different rows are independent samples (a seed gives
    them the same order of images, but not the same weights), each with its own variance: Welch's interval, with the
    degrees of freedom of Welch and Satterthwaite. Where seeds do correlate, it is too wide rather than too narrow.

    Args:
        values: the claim's metric by seed, for a row's label and the name of a test or ''.
    """
    of_row: dict[str, list[tuple[int, str]]] = {}
    for sign, label, test in sides(claim):
        of_row.setdefault(label, []).append((sign, test))
    scale: Callable[[float], float] = math.log if claim.ratio else float
    back: Callable[[float], float] = math.exp if claim.ratio else float
    samples = []
    for label, parts in of_row.items():
        measured = [(sign, values(label, test)) for sign, test in parts]
        seeds = set.intersection(*(set(v) for _, v in measured))
        samples.append([sum(sign * scale(v[seed]) for sign, v in measured) for seed in sorted(seeds)])
    n = min(map(len, samples))
    if n == 0:
        return Verdict("not run")
    effect = sum(map(statistics.mean, samples))
    if n < 2:
        return Verdict("not resolved", back(effect), n=n)
    half = _half_width(samples)
    low, high = effect - half, effect + half
    shown = (back(effect), back(low), back(high), n)
    if n < ENOUGH:
        return Verdict("not resolved", *shown)
    if claim.within is not None:
        margin = scale(claim.within)
        word = "reproduced" if -margin < low and high < margin else "not resolved"
        return Verdict("not reproduced" if low > margin or high < -margin else word, *shown)
    if low <= 0 <= high:
        return Verdict("not resolved", *shown)
    return Verdict("reproduced" if effect > 0 else "not reproduced", *shown)


def interval(values: list[float]) -> float:
    """Half the width of the 95 % confidence interval of a mean; 0 for a single value."""
    return _half_width([values]) if len(values) > 1 else 0.0


def _half_width(samples: list[list[float]]) -> float:
    """Of the interval of a sum of means of independent samples."""
    parts = [statistics.variance(s) / len(s) for s in samples]
    if sum(parts) == 0:
        return 0.0
    freedom = sum(parts) ** 2 / sum(p**2 / (len(s) - 1) for p, s in zip(parts, samples, strict=True))
    return float(stdtrit(freedom, 0.5 + LEVEL / 2) * math.sqrt(sum(parts)))
