"""The verdict on a claim from measured values: effects, intervals and p-values.

docs/statistics.md explains the rules.
"""

import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from scipy.special import betaincinv, stdtr, stdtrit

from convnets.report import results
from convnets.sweep.experiment import Claim, Row, claim_sides

ENOUGH = 3  # minimum number of runs per row for a verdict
LEVEL = 0.95  # of the confidence intervals
NORMAL = 1.96  # half-width of a 95 % interval in standard deviations of a normal distribution
CERTAIN = 1e12  # degrees of freedom of a normal distribution
SAYS_LESS = {-1: "reproduced", 1: "not reproduced"}  # by the sign of a side: the verdict if its metric is lower
BINARY = ("any_error",)  # metrics with the values 0 and 100 only
ROUNDING = {"steps": 1.0, "error": 0.01}  # step between neighbouring values of a metric, by a word of its name
OF_TEST_IMAGES = ("test_error", "test_error_below", "best_test_error", "top5_error")  # the step of these is one image


class Verdict(NamedTuple):
    """The verdict on a claim, with its measured effect.

    Attributes:
        word: reproduced, not reproduced, not resolved or not run.
        effect, low, high: worse - better, or worse / better, and its interval; None if there are too few runs.
        n: smallest number of runs among the rows of the claim.
        p: two-sided p-value of no effect, or the p-value of an equivalence claim; None without a verdict.
        size: where the paper's effect lies relative to our interval: inside, or ours is smaller or larger; or the paper's
            setting is another; '' if the paper states no effect.
        holds: whether the verdict remains at 5 % for all claims together (`correct_for_many`).
        commits: number of commits that the rows of the claim were run at.
        planned: planned number of runs; with fewer the verdict is an interim one.
        open: whether runs that never get there leave the direction open.
    """

    word: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    p: float | None = None
    size: str = ""
    holds: bool = False
    commits: int = 1
    planned: int = 0
    open: bool = False


def judge_rows(
    claim: Claim, values: Callable[[str, str], Mapping[int, float]], metric: str, rows: Sequence[Row],
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Verdict:  # fmt: skip
    """Returns the verdict on a claim about rows of an experiment.

    Args:
        values: as for `judge`.
        runs: the results of the runs of each row, with their tests, by its label.
    """
    named = {label for _, label, _ in claim_sides(claim)}
    of_claim = [row for row in rows if row.label in named]
    intervals = [results.test_interval(row, runs[row.label]) for row in of_claim]
    verdict = judge(
        claim, values, metric, paired={row.label for row in of_claim if results.images_follow_seed(row)},
        certain={row.label for row in of_claim if row.deterministic},
        examples=lambda label, test: results.count_images(runs[label], test),
        step=max(intervals, default=0.0) if "to_test" in metric else 0.0,
    )  # fmt: skip
    # A run that never gets there has its last step for a value, so its side may be larger than it seems.
    never = {sign for sign, label, test in claim_sides(claim) if count_never(metric, runs[label], values(label, test))}
    if (claim.within is not None and never) or verdict.word in {SAYS_LESS[sign] for sign in never}:
        return verdict._replace(word="not resolved", open=True)
    return verdict


def count_never(metric: str, runs: Sequence[Mapping[str, Any]], values: Mapping[int, float]) -> int:
    """Returns the number of runs that never reach what a metric counts the steps to; their value is their last step.

    A run that reaches it in its last step is counted too.
    """
    if "steps_to" not in metric:
        return 0
    last = {run["seed"]: run.get("steps", run.get("planned", math.inf)) for run in runs}
    return sum(values[seed] >= step for seed, step in last.items() if seed in values)


def judge(
    claim: Claim, values: Callable[[str, str], Mapping[int, float]], metric: str = "", paired: Collection[str] = (),
    certain: Collection[str] = (), examples: Callable[[str, str], int] = lambda label, test: 0, step: float = 0.0,
) -> Verdict:  # fmt: skip
    """Returns the verdict on a claim from the measured values.

    The independent unit is the trained run. Sides of a claim that are tests of the same runs are therefore first
    combined within each run, which gives an interval of paired differences; so are rows whose seed chooses their
    training images. Other rows are taken as independent samples, each with its own variance. The same seed gives them
    the same order of images, and the same initial weights where their layers are alike; where that makes their values
    alike, the interval is too wide. They are compared by Welch's interval with Welch-Satterthwaite degrees of freedom.

    Args:
        values: maps a row's label and a test's name ('' for none) to the claim's metric by seed.
        paired: labels of the rows whose seed chooses the training images; they are combined within each seed.
        certain: labels of deterministic rows, whose one run stands for all. Their errors vary with the test images only.
            A claim on such a row adds the binomial variance of each side, which on the same images is an upper bound.
        examples: maps a row's label and a test's name to the number of test images, of which an error counts whole ones;
            0 = unknown.
        step: distance of neighbouring values of the metric; 0 = that of the metric's name.
    """
    of_row: dict[str, list[tuple[int, str, str]]] = {}
    for sign, label, test in claim_sides(claim):
        of_row.setdefault("" if label in paired else label, []).append((sign, label, test))
    scale: Callable[[float], float] = math.log if claim.ratio else float
    back: Callable[[float], float] = math.exp if claim.ratio else float
    samples, rounding, of_images = [], [], 0.0
    if not all(values(label, test) for _, label, test in claim_sides(claim)):
        return Verdict("not run")
    for parts in of_row.values():
        measured = [(sign, values(label, test), label in certain) for sign, label, test in parts]
        counted = [examples(label, test) for _, label, test in parts]
        chance = [set(found) for _, found, fixed in measured if not fixed] or [set(found) for _, found, _ in measured]
        seeds = sorted(set.intersection(*chance)) if all(found for _, found, _ in measured) else []
        table = [[(sign, statistics.mean(found.values()) if fixed else found[seed]) for sign, found, fixed in measured]
                 for seed in seeds]  # fmt: skip
        if metric.partition("(")[0] in OF_TEST_IMAGES and certain:
            means = [statistics.mean(found.values()) for _, found, _ in measured]
            of_images += _image_variance(means, counted, claim.ratio)
        least = min((value for row in table for _, value in row), default=1.0)
        if claim.ratio and least <= 0:
            return Verdict("not resolved", n=len(seeds))
        samples.append([sum(sign * scale(value) for sign, value in row) for row in table])
        steps = [(step or _step(metric, n)) / (least if claim.ratio else 1) for n in counted]
        rounding.append(sum(distance**2 for distance in steps) / 12)
    n = min(map(len, samples))
    if n == 0:
        return Verdict("not run")
    effect = sum(map(statistics.mean, samples))
    enough = min((len(s) for label, s in zip(of_row, samples, strict=True) if label not in certain), default=ENOUGH)
    if not math.isfinite(effect):
        return Verdict("not resolved", n=n)
    error, freedom = _standard_error(samples, rounding, of_images)
    if enough < 2 or (error == 0 and n < ENOUGH):
        return Verdict("not resolved", back(effect), n=n)
    half = float(stdtrit(freedom, 0.5 + LEVEL / 2)) * error
    low, high = effect - half, effect + half
    shown = Verdict(
        "not resolved", back(effect), back(low), back(high), n, size=_compare_size(claim, back(low), back(high))
    )
    if enough < ENOUGH:
        return shown
    margin = None if claim.within is None else scale(claim.within)
    word, p = _decide(effect, low, high, lambda distance: _tail(distance, error, freedom), margin, claim.one_sided)
    return shown._replace(word=word, p=p)


def _decide(
    effect: float, low: float, high: float, tail: Callable[[float], float], margin: float | None, one_sided: bool
) -> tuple[str, float]:
    """Returns the word and the p-value of a verdict from an effect with its interval.

    Args:
        tail: maps a distance to the probability of a larger one in one direction.
        margin: of an equivalence claim; None for a directional one.
    """
    if margin is None:
        word = "not resolved" if low <= 0 <= high else "reproduced" if effect > 0 else "not reproduced"
        return word, min(1.0, 2 * tail(abs(effect)))
    outside = low > margin or (high < -margin and not one_sided)
    inside = high < margin and (one_sided or low > -margin)
    p = max(tail(gap) for gap in ([margin - effect] if one_sided else [margin - effect, margin + effect]))
    # The interval leaves 2.5 % on either side, so p is doubled to be compared with 5 %, as a directional claim's is.
    return ("not reproduced" if outside else "reproduced" if inside else "not resolved",
            min(1.0, 2 * (1 - p if outside else p)))  # fmt: skip


def _image_variance(errors: Sequence[float], examples: Sequence[int], ratio: bool) -> float:
    """Returns the binomial variance of a sum of errors in percent, or of their logarithms for a `ratio`."""
    known = [(error, n) for error, n in zip(errors, examples, strict=True) if error and n]
    return sum(error * (100 - error) / n / (error**2 if ratio else 1) for error, n in known)


def _step(metric: str, examples: int) -> float:
    """Returns the distance between neighbouring values of a metric; 0 if it is a real number."""
    if examples and metric.partition("(")[0] in OF_TEST_IMAGES:
        return 100 / examples
    return next((step for word, step in ROUNDING.items() if word in metric), 0.0)


def _compare_size(claim: Claim, low: float, high: float) -> str:
    if claim.size is None:
        return ""
    if claim.elsewhere:
        return f"another setting ({claim.elsewhere})"
    return "inside" if low <= claim.size <= high else "ours is smaller" if high < claim.size else "ours is larger"


def _standard_error(samples: list[list[float]], rounding: Sequence[float], known: float = 0.0) -> tuple[float, float]:
    """Returns Welch's standard error of a sum of means of independent samples, and its degrees of freedom.

    Args:
        rounding: for each sample, the least variance that its rounded values can have. A sample of one value, of a
            deterministic row, has this variance and infinitely many degrees of freedom.
        known: a variance of the sum that is not estimated from the samples.
    """
    spread = [statistics.variance(s) if len(s) > 1 else 0.0 for s in samples]
    parts = [max(found, least) / len(s) for found, least, s in zip(spread, rounding, samples, strict=True)]
    total = sum(parts) + known
    if total == 0:
        return 0.0, 1.0
    terms = sum(p**2 / (len(s) - 1) for p, s in zip(parts, samples, strict=True) if len(s) > 1)
    return math.sqrt(total), total**2 / terms if terms else CERTAIN


def _tail(distance: float, error: float, freedom: float) -> float:
    """Returns the probability that Student's t exceeds distance / error."""
    return float(stdtr(freedom, -distance / error)) if error else float(distance <= 0)


def interval(values: list[float]) -> float:
    """Returns the half-width of the 95 % confidence interval of a mean; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    error, freedom = _standard_error([values], [0.0])
    return float(stdtrit(freedom, 0.5 + LEVEL / 2)) * error


def error_interval(
    metric: str, values: Sequence[float], examples: int, certain: bool = False
) -> tuple[float, float] | None:
    """Returns the 95 % interval of an error rate in percent, over seeds and over test sets of this size.

    A binary metric has Clopper and Pearson's interval of its proportion. Other errors combine Student's interval over
    the runs with the binomial deviation of the test set. None for a single run, unless it is certain or the metric binary.

    Args:
        examples: number of test images; 0 = unknown, the test set then counts as all images there are.
        certain: whether the row is deterministic, so that only the test set varies.
    """
    n, mean = len(values), statistics.mean(values)
    if metric in BINARY:
        k = round(n * mean / 100)
        low = betaincinv(k, n - k + 1, (1 - LEVEL) / 2) if k else 0.0
        high = betaincinv(k + 1, n - k, 1 - (1 - LEVEL) / 2) if k < n else 1.0
        return 100 * float(low), 100 * float(high)
    if n < 2 and not (certain and examples):
        return None
    one = 100 / examples if examples else 0.0  # a test without an error is taken as one with one error
    rate = min(max(mean, one), 100 - one) if examples else 0.0
    half = math.hypot(interval(list(values)), NORMAL * math.sqrt(rate * (100 - rate) / max(examples, 1)))
    return max(mean - half, 0.0), min(mean + half, 100.0)
