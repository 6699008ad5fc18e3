"""Evaluates experiments from recorded runs: measured values for each row and a verdict for each claim."""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from scipy.special import stdtrit

from convnets.report import results
from convnets.sweep import metrics
from convnets.sweep.experiment import SIZES, Claim, Experiment, Row, Scale, claim_sides

ENOUGH = 3  # minimum number of runs per row for a verdict
LEVEL = 0.95  # of the confidence intervals


class Verdict(NamedTuple):
    """The verdict on a claim, with its measured effect.

    Attributes:
        word: reproduced, not reproduced, not resolved or not run.
        effect, low, high: worse - better, or worse / better, and its interval; None if there are too few runs.
        n: smallest number of runs among the rows of the claim.
    """

    word: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


class TableRow(NamedTuple):
    """A row of an experiment, or one of its tests, with its recorded runs and its values of the metric by seed."""

    row: Row
    test: str
    paper: float | None
    where: str
    x: float | None
    runs: Sequence[Mapping[str, Any]]
    values: Mapping[int, float]

    @property
    def label(self) -> str:
        return f"{self.row.label}, {self.test}" if self.test else self.row.label

    @property
    def mean(self) -> float:
        return statistics.mean(self.values.values())


class Table(NamedTuple):
    """One size of an experiment with its measured rows and verdicts."""

    name: str
    size: str
    experiment: Experiment
    lines: Sequence[TableRow]
    verdicts: Sequence[Verdict]

    @property
    def claims(self) -> Sequence[Claim]:
        chosen: Scale = getattr(self.experiment, self.size)
        return chosen.claims

    @property
    def command(self) -> str:
        return (f"python run.py --mode=sweep --experiment=experiments/{self.name}.py --size={self.size}"
                f" --workdir=runs/{self.name}-{self.size}")  # fmt: skip


def tables(experiments: Mapping[str, Experiment], recorded: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """Yields the table of each size of every experiment."""
    for name, experiment in experiments.items():
        for size, chosen in ((s, getattr(experiment, s)) for s in SIZES if getattr(experiment, s)):
            rows = {row.label: (row, results.runs(row, recorded)) for row in chosen.rows}
            lines = []
            for row, runs in rows.values():
                value = results.values(row, "", experiment.metric, runs)
                lines.append(TableRow(row, "", row.paper, row.where, row.x, runs, value))
                for test, t in row.tests.items():
                    # A test has only the AT_TESTS metrics; experiments on training metrics show its test error instead.
                    metric = experiment.metric if experiment.metric in metrics.AT_TESTS else "test_error"
                    value = results.values(row, test, metric, runs)
                    lines.append(TableRow(row, test, t.paper, t.where, t.x, runs, value))
            verdicts = [judge(claim, _values(rows, claim.metric or experiment.metric)) for claim in chosen.claims]
            yield Table(name, size, experiment, lines, verdicts)


def judge(claim: Claim, values: Callable[[str, str], Mapping[int, float]]) -> Verdict:
    """Returns the verdict on a claim from the measured values.

    The independent unit is the trained run. Sides of a claim that are tests of the same runs are therefore first
    combined within each run, which gives an interval of paired differences. Different rows are independent samples,
    each with its own variance: a seed gives them the same image order, but not the same weights. They are compared by
    Welch's interval with Welch-Satterthwaite degrees of freedom. If seeds do correlate, the interval is too wide
    rather than too narrow.

    Args:
        values: maps a row's label and a test's name ('' for none) to the claim's metric by seed.
    """
    of_row: dict[str, list[tuple[int, str]]] = {}
    for sign, label, test in claim_sides(claim):
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
    """Returns the half-width of the 95 % confidence interval of a mean; 0 for a single value."""
    return _half_width([values]) if len(values) > 1 else 0.0


def _half_width(samples: list[list[float]]) -> float:
    """Returns the half-width of Welch's confidence interval of a sum of means of independent samples."""
    parts = [statistics.variance(s) / len(s) for s in samples]
    if sum(parts) == 0:
        return 0.0
    freedom = sum(parts) ** 2 / sum(p**2 / (len(s) - 1) for p, s in zip(parts, samples, strict=True))
    return float(stdtrit(freedom, 0.5 + LEVEL / 2) * math.sqrt(sum(parts)))


def _values(rows: Mapping[str, tuple[Row, Sequence[Mapping[str, Any]]]], metric: str):
    """Returns the `values` function of `judge`: (label, test) -> the metric by seed."""
    return lambda label, test: results.values(rows[label][0], test, metric, rows[label][1])
