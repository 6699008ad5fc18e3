"""The tables of all experiments: the measured values of each row and the verdict on each claim, from recorded runs."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from convnets.report import results
from convnets.report.verdicts import LEVEL, Verdict, judge_rows
from convnets.sweep import metrics
from convnets.sweep.experiment import SIZES, Claim, Evaluation, Experiment, Row, Scale, claim_sides, count_runs

TIMES = ("milliseconds_per_image",)  # metrics that only runs of one commit can compare


class TableRow(NamedTuple):
    """A row of an experiment, or one of its tests, with its recorded runs and its values of a metric by seed.

    Attributes:
        metric: the experiment's, or top5_error in the line that a row or test with `top5` has besides.
    """

    row: Row
    test: str
    paper: float | None
    where: str
    x: float | None
    runs: Sequence[Mapping[str, Any]]
    values: Mapping[int, float]
    metric: str = ""
    main: bool = True  # whether the metric is the experiment's

    @property
    def label(self) -> str:
        """The label of the row with the name of its test."""
        name = f"{self.row.label}, {self.test}" if self.test else self.row.label
        return name if self.main else f"{name}, top-5"

    @property
    def mean(self) -> float:
        """Mean of the runs."""
        return statistics.mean(self.values.values())


class Table(NamedTuple):
    """One size of an experiment with its measured rows and verdicts."""

    name: str
    size: str
    experiment: Experiment
    lines: Sequence[TableRow]
    verdicts: Sequence[Verdict]

    @property
    def scale(self) -> Scale:
        """The rows, claims and seeds of this size."""
        return getattr(self.experiment, self.size)

    @property
    def command(self) -> str:
        """The command that runs every row."""
        return self._sweep(self.size)

    @property
    def pilot_command(self) -> str:
        """The command that runs the pilot, which chose the rates."""
        return self._sweep("pilot")

    def _sweep(self, size: str) -> str:
        return (f"python run.py --mode=sweep --experiment=experiments/{self.name}.py --size={size}"
                f" --workdir=runs/{self.name}-{size}")  # fmt: skip


def tables(experiments: Mapping[str, Experiment], recorded: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Returns the table of each size of every experiment."""
    found = []
    for name, experiment in experiments.items():
        for size, chosen in ((s, getattr(experiment, s)) for s in SIZES if getattr(experiment, s)):
            rows = {
                row.label: (row, results.select_runs(row, recorded, chosen.first_seed, chosen.seeds))
                for row in chosen.rows
            }
            lines = []
            for row, runs in rows.values():
                lines += _row_lines(row, runs, experiment.metric)
            verdicts = [
                _judge_rows(claim, claim.metric or experiment.metric, rows, chosen.seeds) for claim in chosen.claims
            ]
            found.append(Table(name, size, experiment, lines, verdicts))
    return correct_for_many(found)


def _row_lines(row: Row, runs: Sequence[Mapping[str, Any]], metric: str) -> list[TableRow]:
    """Returns the lines of a row: one for the row and for each of its tests, and one for each top-5 error of the paper."""
    found = []
    entries: list[tuple[str, Row | Evaluation]] = [("", row), *row.tests.items()]
    for test, given in entries:
        own = metrics.of_test(metric) if test else metric
        value = results.measure_by_seed(row, test, own, runs)
        found.append(TableRow(row, test, given.paper, given.where, given.x, runs, value, own))
        if given.top5 is not None:
            value = results.measure_by_seed(row, test, "top5_error", runs)
            found.append(TableRow(row, test, given.top5, given.where, None, runs, value, "top5_error", main=False))
    return found


def correct_for_many(made: Sequence[Table]) -> list[Table]:
    """Returns the tables with `Verdict.holds` set by Holm's method over the p-values of all resolved and open verdicts."""
    ordered = sorted((v.p, i, j) for i, t in enumerate(made) for j, v in enumerate(t.verdicts) if v.p is not None)
    held: set[tuple[int, int]] = set()
    for rank, (p, i, j) in enumerate(ordered):
        if p > (1 - LEVEL) / (len(ordered) - rank):
            break
        held.add((i, j))
    return [t._replace(verdicts=[v._replace(holds=(i, j) in held) for j, v in enumerate(t.verdicts)])
            for i, t in enumerate(made)]  # fmt: skip


def _judge_rows(
    claim: Claim, metric: str, rows: Mapping[str, tuple[Row, Sequence[Mapping[str, Any]]]], seeds: int
) -> Verdict:
    """Returns the verdict on a claim from the recorded runs of its rows, of which `seeds` are planned."""
    values = lambda label, test: results.measure_by_seed(rows[label][0], test, metric, rows[label][1])  # noqa: E731
    named = dict.fromkeys(label for _, label, _ in claim_sides(claim))
    found = {label: runs for label, (_, runs) in rows.items()}
    verdict = judge_rows(claim, values, metric, [row for row, _ in rows.values()], found)
    lacks = max(count_runs(rows[label][0], seeds) - len(rows[label][1]) for label in named)
    verdict = verdict._replace(planned=verdict.n + max(lacks, 0))  # a run may be there without a value of the metric
    commits = len({run["commit"] for label in named for run in rows[label][1]})
    if metric in TIMES and commits > 1:
        return Verdict("not resolved", n=verdict.n, commits=commits, planned=verdict.planned)
    return verdict._replace(commits=max(commits, 1))
