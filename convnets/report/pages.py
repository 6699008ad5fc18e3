"""Generated pages: RESULTS.md (what was measured), experiments/PLANNED.md (what was not), blocks of README and docs."""

import csv
import io
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from convnets.errors import UsageError
from convnets.report import doc_blocks, markdown, results
from convnets.report.ledger import Table, TableRow
from convnets.report.tables import (
    CLAIM_HEAD,
    WORDS,
    anchor,
    cell,
    claim_lines,
    compute_interval,
    cost,
    count_verdicts,
    heading,
    paper_cell,
    row_head,
    row_lines,
    sees_training_images,
    unit,
)
from convnets.report.verdicts import interval
from convnets.runtime import files, included
from convnets.sweep.experiment import FOLDER, count_runs

SHOWN = 8  # error rates in README at most
CHOSEN = "chosen by test error"  # in the recipe of a row that was chosen among several by its test error
NEAR = 0.3  # points; a row further from the paper says why
INSIDE = "The paper's value lies in the row's interval."
BEGIN, END = "<!-- results: python run.py --mode=report -->", "<!-- end of results -->"
FIGURES = Path("docs", "figures")  # relative to the repository root
WRITTEN = ("Written by `python run.py --mode=report` from `experiments/*.py` (what the papers say) and"
           " `experiments/results.jsonl` (what was measured); nothing here is typed by hand.")  # fmt: skip


def document(made: Sequence[Table], recorded: Sequence[Mapping[str, Any]]) -> str:
    """Returns the text of RESULTS.md."""
    used = {(run["command"], run["commit"]) for t in made for line in t.lines for run in line.runs}
    former = sum(
        r["config"].startswith("configs/") and "published" not in r and (r["command"], r["commit"]) not in used
        for r in recorded
    )
    lines = ["# Results", "", WRITTEN, "", cost(recorded)
             + f" {former} of them are in no table below: pilots, and the runs of designs that were replaced." * bool(former), ""]  # fmt: skip
    if rates := reproductions(made):
        lines += ["## Error rates of the papers", "",
                  "These rows follow the paper's test protocol and its recipe, but for the differences in brackets; the docstring of"
                  " the config lists all. The smallest differences of the errors come first. *95 %* is the interval over runs and over"
                  " test sets of this size, *n* the number of runs. Error bars in the figures are these intervals; for steps, losses and"
                  " times they are over runs only. A row of one run has none, unless it is deterministic.", "", *row_head("test_error"),
                  *(text for t, line in rates for text in row_lines(t, [line])), "", *why_different(rates), ""]  # fmt: skip
    if any(v.n for t in made for v in t.verdicts):
        lines += ["## Claims of the papers", "",
                  count_verdicts(made) + " † marks a verdict that does not hold with the correction.", "", "The effect of a claim is the metric of the worse row"
                  " minus the metric of the better row, or their ratio. If the paper is right, the effect is positive, or the ratio above 1."
                  " *Reproduced* refers to the direction only; the column *paper's effect lies* compares the sizes."
                  " [docs/statistics.md](docs/statistics.md) explains intervals and verdicts."
                  " What was not run yet, with commands and costs: [experiments/PLANNED.md](experiments/PLANNED.md).", "",
                  *count_lines(made), ""]  # fmt: skip
    for t in in_order(made):
        if rows := row_lines(t, t.lines):
            file = f"experiments/{t.name}.py"
            lines += [f"### {heading(t)}", "", *([t.experiment.source + ".", ""] if t.experiment.source else []),
                      f"[{file}]({file}) explains the rows: `{t.command}`", "", *row_head(t.experiment.metric), *rows, ""]  # fmt: skip
            if claims := claim_lines(t):
                lines += [*CLAIM_HEAD, *claims, ""]
            lines += [f"![{t.experiment.title}]({FIGURES / f'{t.name}-{t.size}.png'})", ""]
    return "\n".join(lines + published(recorded) + included_networks() + demonstrations(recorded))


def planned(made: Sequence[Table]) -> str:
    """Returns the text of experiments/PLANNED.md: rows and claims that were not run, or not as often as planned."""
    lines = ["# Planned", "", WRITTEN.replace("what was measured", "what was measured, and is not repeated here"), ""]
    for t in in_order(made):
        missing = [line for line in t.lines if len(line.runs) < count_runs(line.row, t.scale.seeds)
                   and (not line.test or line.paper is not None)]  # fmt: skip
        claims = [cell(c.text) for c, v in zip(t.scale.claims, t.verdicts, strict=True) if not v.n]
        if missing:
            metric = t.experiment.metric
            rows = [[cell(line.label) + f" ({len(line.runs)} of {count_runs(line.row, t.scale.seeds)} runs)" * bool(line.runs), paper_cell(metric, line), line.row.cost if not line.test and line.main else ""]
                    for line in missing]  # fmt: skip
            pilot = t.experiment.pilot is not None and t.size == "cpu"
            lines += [f"## {heading(t)}", "", f"    {t.command}", "", *[f"The pilot of its rates: `{t.pilot_command}`.", ""] * pilot,
                      *markdown.table(["network and recipe", f"paper ({unit(metric)})", "cost of a run"], rows), "",
                      *([f"Claims: {'; '.join(claims)}.", ""] if claims else [])]  # fmt: skip
    return "\n".join(lines)


def reproductions(made: Sequence[Table]) -> list[tuple[Table, TableRow]]:
    """Returns the rows that were run by the paper's recipe and have the paper's error; small differences come first.

    A row that several experiments share is returned once, with the most of its runs.
    """
    rows = [(t, line) for t in made if t.size == "full" and t.experiment.metric in ("test_error", "top5_error")
            for line in t.lines if line.values and line.paper is not None]  # fmt: skip
    once = dict[Any, tuple[Table, TableRow]]()
    for t, line in sorted(rows, key=lambda found: -len(found[1].runs)):
        once.setdefault((line.metric, line.test, line.paper, *results.identify_row(line.row)), (t, line))
    return sorted(once.values(), key=lambda found: difference(found[1]))


def difference(line: TableRow) -> float:
    """Returns the distance of a row's mean from the paper's value."""
    assert line.paper is not None
    return abs(line.mean - line.paper)


def is_inside(line: TableRow) -> bool:
    """Returns whether the paper's value lies in the interval of a row."""
    range_ = compute_interval(line)
    return range_ is not None and line.paper is not None and range_[0] <= line.paper <= range_[1]


def why_different(rates: Sequence[tuple[Table, TableRow]]) -> list[str]:
    """Returns the notes of the rows that lie further than NEAR from the paper, each once, as a Markdown list.

    If the paper's value lies in the interval of the row, the note says so first.
    """
    of_note: dict[str, list[str]] = {}
    for _, line in rates:
        if difference(line) >= NEAR and (note := f"{INSIDE * is_inside(line)} {line.row.note}".strip()):
            of_note.setdefault(note, []).append(cell(line.label))
    notes = [f"- {'; '.join(labels)}: {note}" for note, labels in of_note.items()]
    return [f"Why a row lies {NEAR} points or more from the paper:", "", *notes] if notes else []


def in_order(made: Sequence[Table]) -> list[Table]:
    """Returns the tables in the order in which docs/lecture.md shows them; the others follow."""
    shown = doc_blocks.shown_experiments()
    place = {name: i for i, name in enumerate(shown)}
    return sorted(made, key=lambda t: place.get(f"{t.name}-{t.size}", len(place)))


def count_lines(made: Sequence[Table]) -> list[str]:
    """Returns a Markdown table of the verdicts on the papers' claims, with links to the sections of RESULTS.md."""
    rows = []
    for t in in_order(made):
        words = Counter(v.word for claim, v in zip(t.scale.claims, t.verdicts, strict=True) if v.n and not claim.ours)
        if words:
            link = f"[{cell(t.experiment.title)}](RESULTS.md#{anchor(heading(t))})"
            rows.append([link, t.size, *(words[w] or "" for w in WORDS)])
    return markdown.table(["claims of", "size", *WORDS], rows) if rows else []


def published(recorded: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the errors of published weights in this program beside the published errors (experiments/published.py)."""
    newest = {entry["command"]: entry for entry in recorded if "published" in entry}
    if not newest:
        return []
    rows = [[f"`{e['overrides'][0]}`", e["published"]["file"], f"{e['dataset'].split(':')[0]}, {e['num_examples']:,}",
             f"{e['published']['error']:.2f}", f"**{e['top1_error']:.2f}**",
             f"{e['top1_error'] - e['published']['error']:+.2f}", e["commit"][:7]] for e in newest.values()]  # fmt: skip
    return ["## Published weights, our program", "",
            "The test errors of weights that others have trained and published, computed by this program from their files:"
            " `python -m experiments.published`.", "",
            *markdown.table(["network", "file", "test set", "published (%)", "ours (%)", "difference", "commit"], rows), ""]  # fmt: skip


def included_networks() -> list[str]:
    """Returns a table of the included networks from their cards."""
    rows = []
    for name in included.names():
        card = files.read_json(included.FOLDER / name / "manifest.json")
        size = (included.FOLDER / name / included.WEIGHTS).stat().st_size
        rows.append([f"`{name}`", f"`{card['command']}`", f"{card['dataset']['name']}, {card['num_examples']:,}",
                     f"**{card['top1_error']:.2f}**", f"{card['parameters']:,}", f"{size / 1e6:.2f} MB", card["commit"][:7]])  # fmt: skip
    if not rows:
        return []
    return ["## Included networks", "",
            "In `experiments/weights/`, for `--weights=NAME` of `evaluate`, `predict` and `visualize`, and for"
            " `convnets.open_run`. `make test-published` tests that each has its error.", "",
            *markdown.table(["name", "trained by", "test set", "error (%)", "parameters", "size", "commit"], rows), ""]  # fmt: skip


def demonstrations(recorded: Sequence[Mapping[str, Any]], docs: str = "docs/", only: str = "*") -> list[str]:
    """Returns the results of demonstration programs in experiments/: mean ± standard deviation (n) and interval of the mean.

    Args:
        recorded: the entries of experiments/results.jsonl.
        docs: path prefix of the docs folder, which holds the figures.
        only: the name of one program, or a pattern of names.
    """
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for entry in recorded:
        if fnmatch(entry["config"], f"experiments/{only}.py") and "published" not in entry:
            for metric in entry["metrics"]:
                found[entry["config"], entry["overrides"][0], metric].append(entry)
    if not found:
        return []
    rows = []
    for (program, what, metric), entries in found.items():
        entries = [e for e in entries if e["commit"] == entries[-1]["commit"]]
        values = [e["metrics"][metric] for e in entries]
        mean, half = statistics.mean(values), interval(values)
        low, high = (max(mean - half, 0.0), min(mean + half, 100.0)) if "(%)" in metric else (mean - half, mean + half)
        spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
        command = f"`python -m {program.removesuffix('.py').replace('/', '.')}`"
        ours = f"**{mean:.5g}**{spread} ({len(values)})"
        range_ = f"{low:.5g} to {high:.5g}" if half else ""
        rows.append([command, what, metric.replace("_", " "), ours, range_, entries[-1]["commit"][:7]])
    lines = markdown.table(["program", "of what", "metric", "ours, mean ± std (n)", "95 %", "commit"], rows)
    names = dict.fromkeys(Path(program).stem for program, _, _ in found)
    return [
        "## Demonstrations",
        "",
        *lines,
        "",
        *(line for name in names for line in (f"![{name}]({docs}{name}.png)", "")),
    ]


def readme(text: str, made: Sequence[Table], recorded: Sequence[Mapping[str, Any]]) -> str:
    """Returns the README with its results block replaced: the papers' error rates beside ours, and the count of verdicts.

    Raises:
        UsageError: the README has no such block.
    """
    if BEGIN not in text or END not in text:
        raise UsageError(f"README.md has no block from '{BEGIN}' to '{END}'")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    rates = reproductions(made)
    near = sum(difference(line) < NEAR for _, line in rates)
    shown = [(t, line) for t, line in rates if CHOSEN not in line.row.recipe and not sees_training_images(line)][:SHOWN]
    more = (f"These are the {SHOWN} rows of {len(rates)} that are nearest to their papers, without training errors and without settings chosen by their"
            " test error."
            f" {near} of all rows lie within {NEAR} points; the largest difference is {difference(rates[-1][1]):.2f} points"
            f" ({rates[-1][1].label}). " if len(rates) > SHOWN else "")  # fmt: skip
    body = [*row_head("test_error"), *(text for t, line in shown for text in row_lines(t, [line])), "",
            f"{more}{count_verdicts(made)} {cost(recorded)} All tables, intervals and figures: [RESULTS.md](RESULTS.md); what is not"
            " run yet: [experiments/PLANNED.md](experiments/PLANNED.md)."]  # fmt: skip
    return "\n".join([head + BEGIN, "", *body, "", END]) + tail


def sheet(made: Sequence[Table]) -> str:
    """Returns experiments/results.csv: one line for each row and test of each experiment."""
    file = io.StringIO()
    names = ("experiment", "size", "row", "test", "metric", "paper", "mean", "std", "n", "diverged", "commit")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for t in made:
        for line in t.lines:
            v = list(line.values.values())
            std = f"{statistics.stdev(v):.6g}" if len(v) > 1 else ""
            writer.writerow([t.name, t.size, line.row.label, line.test, line.metric, line.paper,
                             f"{line.mean:.6g}" if v else "", std, len(v), sum("diverged" in r for r in line.runs),
                             line.runs[-1]["commit"] if line.runs else ""])  # fmt: skip
    return file.getvalue()


def block(made: Sequence[Table], recorded: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """Returns the Markdown lines of one table for docs/: rows that were run, judged claims, and the figure.

    Args:
        name: NAME-SIZE of an experiment, such as 'sharing-cpu', or the name of a demonstration, such as 'edges'.

    Raises:
        UsageError: there is no such table.
    """
    if (FOLDER / f"{name}.py").exists():
        return demonstrations(recorded, docs="", only=name)[2:-1] or [f"Not run yet: `python -m experiments.{name}`"]
    table = next((t for t in made if f"{t.name}-{t.size}" == name), None)
    if table is None:
        raise UsageError(f"no experiment has the size '{name}'")
    rows, claims = row_lines(table, table.lines), claim_lines(table)
    if not rows:
        return [f"Not run yet: `{table.command}`"]
    figure = ["", f"![{table.experiment.title}]({FIGURES.name}/{name}.png)"]
    return [*row_head(table.experiment.metric), *rows, *(["", *CLAIM_HEAD, *claims] if claims else []), *figure]
