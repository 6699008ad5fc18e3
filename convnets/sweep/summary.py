"""Summary of a sweep's rows from the files of its finished trials; a sweep's folder holds it as summary.json."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from convnets.runtime import files
from convnets.sweep import metrics, trials
from convnets.sweep.experiment import Experiment, Row
from convnets.sweep.metrics import RunRecord
from convnets.sweep.trials import Trial


class RowSummary(NamedTuple):
    """A row of a sweep, or one of its tests, with its metric by seed.

    Attributes:
        test: the name of the test; '' for the row itself.
        metric: the experiment's, or test_error for a test of an experiment on a training metric.
        values: the metric of the finished runs by seed.
        planned, diverged: numbers of runs; a diverged run counts with the error of chance (docs/statistics.md).
        seconds: mean time of a finished trial, all sessions together.
        paper, x, line: as in `Row`.
    """

    label: str
    test: str
    metric: str
    values: Mapping[int, float]
    planned: int
    diverged: int
    seconds: float | None
    paper: float | None
    x: float | None
    line: str

    @property
    def mean(self) -> float | None:
        """Mean over seeds; None if no run has finished."""
        return statistics.mean(self.values.values()) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds; None for a single run."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None


def summarize(experiment: Experiment, size: str, workdir: Path, planned: Mapping[str, Trial]) -> list[RowSummary]:
    """Returns the rows of a sweep in order, each followed by its tests."""
    found = []
    for row in getattr(experiment, size).rows:
        states = {seed: trials.status(folder) for seed, folder in _find_folders(row.label, workdir, planned).items()}
        times = [s["seconds"] for s in states.values() if s["state"] == "done" and "seconds" in s]
        counts = (sum(row.label in trial.rows for trial in planned.values()), sum(s["state"] == "diverged" for s in states.values()),
                  statistics.mean(times) if times else None)  # fmt: skip
        for name, test in {"": row, **row.tests}.items():
            metric = metrics.of_test(experiment.metric) if name else experiment.metric
            values = measure_runs(metric, row.label, name, workdir, planned)
            label, line = (f"{row.label}, {name}", row.label) if name else (row.label, row.line)
            found.append(RowSummary(label, name, metric, values, *counts, test.paper, test.x, line))
    return found


def measure_runs(metric: str, label: str, test: str, workdir: Path, planned: Mapping[str, Trial]) -> dict[int, float]:
    """Returns the metric of a row's finished and diverged runs, or of the tests of that name of finished ones, by seed."""
    folders = _find_folders(label, workdir, planned)
    states = {seed: trials.status(folder)["state"] for seed, folder in folders.items()}
    values = {
        seed: measure_trial(metric, folders[seed], test, state)
        for seed, state in states.items()
        if state in trials.FINAL
    }
    return {seed: value for seed, value in values.items() if value is not None}


def read_results(row: Row, workdir: Path, planned: Mapping[str, Trial]) -> list[Mapping[str, Any]]:
    """Returns the results of the finished and diverged runs of a row, with their tests by name."""
    found: list[Mapping[str, Any]] = []
    for seed, folder in _find_folders(row.label, workdir, planned).items():
        if trials.status(folder)["state"] == "diverged":
            found += [{"seed": seed, **counted}] if (counted := _count_diverged(folder)) else []
        elif result := trials.read_json(folder / "result.json"):
            found.append(
                result | {"tests": {name: trials.read_json(folder / files.evaluation_file(name)) for name in row.tests}}
            )
    return found


def _find_folders(label: str, workdir: Path, planned: Mapping[str, Trial]) -> dict[int, Path]:
    """Returns the folders of a row's trials that exist, by seed."""
    folders = {trial.seed: workdir / name for name, trial in planned.items() if label in trial.rows}
    return {seed: folder for seed, folder in folders.items() if folder.exists()}


def _count_diverged(folder: Path) -> dict[str, float]:
    """Returns what a diverged trial counts with (`metrics.count_diverged`); {} if its files are missing."""
    config, manifest = (trials.read_json(folder / f"{name}.json") for name in ("config", "manifest"))
    return metrics.count_diverged(config, manifest["dataset"]["num_examples"]) if config and manifest else {}


def measure_trial(metric: str, folder: Path, test: str = "", state: str = "done") -> float | None:
    """Returns the metric of a trial that has ended, or of its test of that name; None if it has none."""
    if state == "diverged":
        counted = {} if test else _count_diverged(folder)
        return metrics.measure_diverged(metric, counted) if counted else None
    result = trials.read_json(folder / (files.evaluation_file(test) if test else "result.json"))
    result = result or (trials.read_json(folder / files.evaluation_file()) if not test else {})  # of an ensemble
    if not result:
        return None
    if metric in metrics.AT_TESTS:
        return metrics.measure(metric, RunRecord(result, []))
    lines = files.read_lines(folder / "metrics.jsonl")  # of long runs, megabytes
    return metrics.measure(metric, RunRecord(result, lines)) if lines else None


def find_best(rows: Sequence[RowSummary]) -> list[str]:
    """Returns the labels of the rows with the lowest mean; several in a tie.

    Only rows count of which every planned run is finished and none diverged, and no tests.
    """
    means = {
        row.label: row.mean for row in rows if not row.test and len(row.values) == row.planned and not row.diverged
    }
    low = min((mean for mean in means.values() if mean is not None), default=None)
    return [label for label, mean in means.items() if mean is not None and mean == low]


def write_summary(path: Path, rows: Sequence[RowSummary]) -> None:
    """Writes the rows with their means and deviations as JSON; raises as `files.write_json` does."""
    content = [{**row._asdict(), "mean": row.mean, "deviation": row.deviation} for row in rows]
    files.write_json(path, {"best": find_best(rows), "rows": content})
