"""--mode=sweep: runs the rows of an experiment, or of a grid, with every seed; prints and draws their summary, and
judges the experiment's claims."""

import concurrent.futures
import functools
import multiprocessing
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convnets.config import overridden_key
from convnets.errors import UsageError
from convnets.modes import usage
from convnets.modes.output import CONSOLE, make_table
from convnets.runtime import drawing
from convnets.sweep import grid, launcher, summary, trials
from convnets.sweep.experiment import Experiment
from convnets.sweep.summary import RowSummary
from convnets.sweep.trials import Trial


def sweep(given: Any, source: str, workdir: Path, overrides: Sequence[str]) -> int:
    """Runs the unfinished trials of a sweep; returns 1 if a trial failed, else 0. A diverged trial is a result.

    Args:
        given: the flags of run.py, as attributes: experiment and size, or grid; seeds, launcher, jobs and slurm.
        source: FILE.py:VARIANT, for a grid.
        workdir: folder of the sweep, with one subfolder per trial.
        overrides: '--config.KEY=VALUE' arguments for every trial.

    Raises:
        UsageError: the experiment, the grid or one of the configs has problems; nothing was started.
    """
    if "train.seed" in map(overridden_key, overrides):
        raise UsageError("train.seed: every row is run with the seeds 0, 1, ...; --seeds=N says with how many")
    if given.grid:
        experiment, origin = grid.make_experiment(source, given.grid, overrides), {"config": source, "grid": given.grid}
    else:
        experiment = trials.load_experiment(given.experiment, given.size)
        origin = {"experiment": given.experiment, "size": given.size}
    # Counting devices allocates accelerator memory that the trials need, so a short-lived process does it.
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        planned = pool.submit(trials.plan_trials, experiment, given.size, given.seeds, overrides).result()
    if given.launcher != "print" and (problems := usage.check_workdir(workdir, given.mode)):
        raise UsageError("\n".join(problems))
    code = launcher.run_trials(planned, workdir, given.launcher, given.jobs, given.slurm, origin,
                               functools.partial(_describe_result, experiment.metric))  # fmt: skip
    if given.launcher != "print":
        _show(experiment, summary.summarize(experiment, given.size, workdir, planned), workdir)
        _judge(experiment, given.size, workdir, planned)
    return code


def _describe_result(metric: str, folder: Path) -> str:
    from convnets.report import tables

    value = summary.measure_trial(metric, folder)
    return "" if value is None else f"{tables.describe_metric(metric)}: {tables.number(metric, value)}"


def _show(experiment: Experiment, rows: Sequence[RowSummary], workdir: Path) -> None:
    """Prints and writes the summary, and then draws it."""
    from convnets.report import tables

    best, metric = summary.find_best(rows), experiment.metric
    paper = any(row.paper is not None for row in rows)
    name = tables.describe_metric(metric)
    table = make_table("row", *["paper"] * paper, f"{name}, mean ± deviation", "runs", "", "time a run",
                  title=f"{experiment.title}: lower is better", title_justify="left")  # fmt: skip
    for row in rows:
        mean, deviation = row.mean, row.deviation
        measured = "" if mean is None else tables.number(row.metric, mean)
        measured += "" if deviation is None else f" ± {tables.number(row.metric, deviation)}"
        table.add_row(
            row.label, *([] if not paper else [""] if row.paper is None else [tables.number(row.metric, row.paper)]),
            measured, f"{len(row.values)} of {row.planned}",
            "best" if row.label in best else f"{row.diverged} diverged" if row.diverged else "",
            "" if row.seconds is None else f"{row.seconds:.0f} s", style="bold" if row.label in best else "",
        )  # fmt: skip
    CONSOLE.print(table)
    if best and len(rows) > 1 and max(row.planned for row in rows) == 1:
        print("one run a row: a difference may come from the seed alone; --seeds=3 shows how much errors vary")
    summary.write_summary(workdir / "summary.json", rows)
    drawn = [row for row in rows if row.mean is not None and row.metric == rows[0].metric]
    if drawn:
        with drawing.guard(workdir / "summary.png"):
            _draw(experiment, drawn, name, workdir / "summary.png")
            print(f"written to {workdir}:\n  summary.json  summary.png")


def _judge(experiment: Experiment, size: str, workdir: Path, planned: Mapping[str, Trial]) -> None:
    """Prints the verdict on each claim of which every row has a finished run (docs/statistics.md)."""
    from convnets.report import tables, verdicts

    scale = getattr(experiment, size)
    table = make_table(
        "claim",
        "effect [95 % interval]",
        "runs",
        "verdict",
        title="claims: the effect is worse - better",
        title_justify="left",
    )
    runs = {row.label: summary.read_results(row, workdir, planned) for row in scale.rows}
    for claim in scale.claims:
        metric = claim.metric or experiment.metric
        values = functools.cache(functools.partial(summary.measure_runs, metric, workdir=workdir, planned=planned))
        verdict = verdicts.judge_rows(claim, values, metric, scale.rows, runs)
        if verdict.n:
            why = f": {tables.what_resolves(claim, verdict)}" * (verdict.word == "not resolved")
            effect = tables.measured_effect(metric, claim.ratio, verdict)
            table.add_row(claim.text, effect, str(verdict.n), verdict.word + why)
    if table.row_count:
        CONSOLE.print(table)


def _draw(experiment: Experiment, rows: Sequence[RowSummary], metric: str, path: Path) -> None:
    from convnets.report import figures

    bars, lines = [], defaultdict(list)
    for row in rows:
        assert row.mean is not None
        around = (row.mean - row.deviation, row.mean + row.deviation) if row.deviation else None
        measured = (row.mean, around, row.paper)
        if row.x is None:
            bars.append((row.line or row.label, row.label, *measured))
        else:
            lines[row.line].append((row.x, *measured))
    figures.plot_experiment({}, bars, lines, path, title=experiment.title, metric=f"{metric}, ± deviation", error="",
                            x=experiment.x)  # fmt: skip
