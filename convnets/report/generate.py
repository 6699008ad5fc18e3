"""--mode=report: records runs and regenerates RESULTS.md, PLANNED.md, results.csv, blocks of the docs, and figures.

Everything is generated from experiments/*.py and experiments/results.jsonl; nothing is typed by hand.
"""

import difflib
import functools
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convnets.report import doc_blocks, pages, results
from convnets.report.ledger import Table, TableRow, tables
from convnets.report.pages import FIGURES
from convnets.report.tables import claim_lines, compute_interval, cost, describe_metric, heading
from convnets.report.verdicts import count_never, interval
from convnets.runtime import drawing
from convnets.sweep.experiment import ROOT, load_experiments


def files(made: Sequence[Table], recorded: Sequence[Mapping[str, Any]]) -> dict[Path, str]:
    """Returns the expected content of every generated text file, by path.

    Args:
        made: the tables of all experiments.
        recorded: the lines of results.jsonl.
    """
    fill = functools.partial(doc_blocks.fill, results=functools.partial(pages.block, made, recorded))
    text = {path: fill(path.read_text()) for path in (ROOT / "README.md", *doc_blocks.PAGES)}
    text[ROOT / "README.md"] = pages.readme(text[ROOT / "README.md"], made, recorded)
    return {
        **text,
        ROOT / "RESULTS.md": pages.document(made, recorded),
        ROOT / "experiments" / "PLANNED.md": pages.planned(made),
        ROOT / "experiments" / "results.csv": pages.sheet(made),
    }


def draw_figures(table: Table, path: Path) -> None:
    """Draws the figure of a table of which at least one row was run; the error bars are the table's intervals."""
    from convnets.report import figures

    column = 2 if "train" in table.experiment.metric else 1  # column of the recorded curve
    curves: dict[str, tuple[list[tuple[float, float]], float | None, list[tuple[float, float]]]] = {}
    bars, lines = [], defaultdict(list)
    for line in (line for line in table.lines if line.main):
        if line.runs and not line.test:
            paper = line.paper if table.experiment.metric in ("test_error", "best_test_error", "train_error") else None
            curves[_label(line)] = (_mean_curve(line, column), paper, _mean_curve(line, 2) if column == 1 else [])
        if line.values:
            half = interval(list(line.values.values()))
            around = compute_interval(line) or ((line.mean - half, line.mean + half) if half else None)
            measured = (line.mean, around, line.paper)
            if line.x is None:
                bars.append((_label(line._replace(test="")), _label(line), *measured))
            else:
                lines[line.row.label if line.test else line.row.line].append((line.x, *measured))
    figures.plot_experiment(
        {k: v for k, v in curves.items() if len(v[0]) > 1}, bars, lines, path, title=heading(table),
        metric=describe_metric(table.experiment.metric),
        error=("test" if column == 1 else "training") + " error (%)", x=table.experiment.x,
    )  # fmt: skip


def _label(line: TableRow) -> str:
    """Returns the label of a row in a figure; it says if the row has one run, or runs that never reach the target."""
    runs = [run for run in line.runs if "diverged" not in run]
    if never := count_never(line.metric, runs, line.values):
        return f"{line.label} ({never} of {len(line.values)} never)"
    return line.label + " (1 run)" * (len(line.runs) == 1 and not line.row.deterministic)


def _mean_curve(line: TableRow, column: int) -> list[tuple[float, float]]:
    """Returns (epoch, mean over the runs) of a column of the recorded curves: 1 is the test error, 2 the training error."""
    points = defaultdict(list)
    for point in (point for run in line.runs for point in run.get("curve", ())):
        if point[column] is not None:
            points[point[0]].append(point[column])
    return [(epoch, statistics.mean(values)) for epoch, values in sorted(points.items())]


def generate(folders: Sequence[Path]) -> None:
    """Records finished runs and sweeps, regenerates all files and figures, and prints what changed."""
    new = results.add_lines(folders)
    recorded = results.read_results()
    made = tables(load_experiments(), recorded)
    for path, text in files(made, recorded).items():
        before = path.read_text() if path.exists() else ""
        path.write_text(text)
        differ = difflib.ndiff(before.splitlines(), text.splitlines())
        changed = sum(line[:2] in ("+ ", "- ") for line in differ) if before != text else 0
        print(f"{path.relative_to(ROOT)}: {f'{changed} lines changed' if changed else 'unchanged'}")
    (ROOT / FIGURES).mkdir(parents=True, exist_ok=True)
    for table in made:
        if any(line.values for line in table.lines):
            path = ROOT / FIGURES / f"{table.name}-{table.size}.png"
            with drawing.guard(path):
                draw_figures(table, path)
    print(f"{new} new runs recorded in experiments/results.jsonl. {cost(recorded)}")
    print("\n".join(line for t in made for line in claim_lines(t)))
