"""Report of measured results beside the papers': RESULTS.md, the README's block, results.csv, and figures.

Everything is generated from experiments/*.py and experiments/results.jsonl; nothing is typed by hand.
"""

import csv
import difflib
import functools
import io
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convnets.errors import UsageError
from convnets.report import doc_blocks, markdown, results
from convnets.report.verdicts import Table, TableRow, interval, tables
from convnets.runtime import drawing
from convnets.sweep.experiment import ROOT, load_experiments

BEGIN, END = "<!-- results: python run.py --mode=report -->", "<!-- end of results -->"
FIGURES = Path("docs", "figures")  # relative to ROOT
MODE = {"cpu": "two cores", "full": "the paper's size"}


def number(metric: str, value: float, sign: str = "") -> str:
    return format(
        value, f"{sign},.0f" if metric.startswith("steps") else f"{sign}.2f" if "error" in metric else f"{sign}.4g"
    )


def unit(metric: str) -> str:
    return (
        "%"
        if metric.endswith("_error") or metric == "feature_change"
        else "steps"
        if metric.startswith("steps")
        else metric.replace("_", " ")
    )


def row_lines(table: Table, lines: Sequence[TableRow]) -> list[str]:
    """Returns a table's rows in Markdown, without the head: paper, ours, difference, time and commit."""
    out, metric = [], table.experiment.metric
    for line in lines:
        paper = (
            f"{number(metric, line.paper)}{f' ({line.where})' * bool(line.where)}" if line.paper is not None else "none"
        )
        bad = sum("diverged" in run for run in line.runs)
        note = f", {bad} of {len(line.runs)} diverged" if bad else ""
        if not line.values:
            what = f"not run{f': {line.row.cost} a run' * bool(line.row.cost)}" if not line.runs else f"no value{note}"
            out.append(f"| {_cell(line.label)} | | | {paper} | {what} | | | |")
            continue
        spread = f" ± {number(metric, statistics.stdev(line.values.values()))}" if len(line.values) > 1 else ""
        difference = number(metric, line.mean - line.paper, "+") if line.paper is not None else ""
        facts = line.runs[-1].get("tests", {}).get(line.test, {}) if line.test else {}
        facts = {**line.runs[-1], **facts}
        seconds, device = statistics.median(r["seconds"] for r in line.runs), facts["device"]
        images = f", {facts['num_examples']:,}" if "num_examples" in facts else ""
        out.append(
            f"| {_cell(line.label)} | {facts['dataset'].split(':')[0]}{images} | {facts['protocol']} | {paper}"
            f" | **{number(metric, line.mean)}**{spread} ({len(line.values)}{note}) | {difference}"
            f" | {seconds:.0f} s, {device['count']} x {device['kind']} | {facts['commit'][:7]} |"
        )
    return out


def row_head(metric: str) -> list[str]:
    return markdown.head(["network and recipe", "test set", "protocol", f"paper ({unit(metric)})",
                          f"ours ({unit(metric)}), mean ± std (n)", "difference", "time a run", "commit"])  # fmt: skip


def claim_lines(table: Table) -> list[str]:
    """Returns the claims in Markdown, without the head: claim, place, paper's effect, our effect, n and verdict."""
    out = []
    for claim, v in zip(table.claims, table.verdicts, strict=True):
        metric = claim.metric or table.experiment.metric
        show = functools.partial(_effect, metric, claim.ratio)
        what = "ratio of " if claim.ratio else ""
        says = f"within {show(claim.within)}" if claim.within is not None else ""
        paper = says or (show(claim.size) if claim.size is not None else "")
        ours = show(v.effect) if v.effect is not None else ""
        ours += f" [{show(v.low)}, {show(v.high)}]" if v.low is not None and v.high is not None else ""
        word = f"**{v.word}**" if v.n else v.word
        place = f"{table.experiment.source}, {claim.where}".strip(", ")
        out.append(f"| {_cell(claim.text)} | {_cell(place)} | {table.size} | {what}{_cell(metric)} | {paper} | {ours} | {v.n or ''}"
                   f" | {word}{': ' * bool(claim.note)}{_cell(claim.note)} |")  # fmt: skip
    return out


CLAIM_HEAD = markdown.head(["claim", "where", "size", "metric", "paper's effect", "ours [95 %]", "n", "verdict"])


WORDS = ("reproduced", "not resolved", "not reproduced")  # verdicts of claims that were run


def count_lines(made: Sequence[Table]) -> list[str]:
    """Returns a Markdown table of verdict counts per experiment, with links to the sections of RESULTS.md."""
    rows = []
    for t in made:
        words = Counter(v.word for v in t.verdicts if v.n)
        if words:
            link = f"[{_cell(t.experiment.title)}](RESULTS.md#{_anchor(_heading(t))})"
            rows.append([link, t.size, *(words[w] or "" for w in WORDS)])
    return markdown.table(["claims of", "size", *WORDS], rows) if rows else []


def _heading(table: Table) -> str:
    return f"{table.experiment.title}: {MODE[table.size]}"


def _anchor(heading: str) -> str:
    """Returns GitHub's anchor of a heading: lower case, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _effect(metric: str, ratio: bool, value: float) -> str:
    return f"{value:.2f} x" if ratio else number(metric, value, "+")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def cost(recorded: Sequence[Mapping[str, Any]]) -> str:
    """Returns a sentence with the number of recorded runs and their hours per device.

    The time covers training; for sweep trials it also covers start-up and testing.
    """
    seconds: dict[str, float] = defaultdict(float)
    for run in recorded:
        seconds[f"{run['device']['count']} x {run['device']['kind']}"] += run.get("wall", run["seconds"])
    parts = (f"{s / 3600:.1f} h on {device}" for device, s in sorted(seconds.items()))
    return f"{len(recorded)} recorded runs took {' and '.join(parts)}." if recorded else "No run is recorded."


def document(made: Sequence[Table], recorded: Sequence[Mapping[str, Any]]) -> str:
    """Returns the text of RESULTS.md."""
    words = Counter(v.word for t in made for v in t.verdicts)
    counted = ", ".join(f"{words[w]} {w}" for w in (*WORDS, "not run") if words[w])
    lines = ["# Results", "", "Written by `python run.py --mode=report` from `experiments/*.py` (what the papers say) and"
             " `experiments/results.jsonl` (what was measured); nothing here is typed by hand.", "",
             f"{cost(recorded)} Claims: {counted or 'none'}.", "",
             "An effect is worse - better (or worse / better), positive where the paper is right, with its 95 % confidence"
             " interval: Welch's between rows, paired by seed between tests of the same runs. *Reproduced* is an interval"
             " above zero, *not reproduced* one below it, *not resolved* one that crosses it or fewer than 3 runs. A run"
             " that diverged counts with the error of chance; errors of training are those that training saw.",
             ""]  # fmt: skip
    for t in made:
        lines += [
            f"## {_heading(t)}",
            "",
            *([t.experiment.source, ""] if t.experiment.source else []),
        ]
        missing = sum(not line.runs for line in t.lines if not line.test)
        if missing:
            rows = sum(not line.test for line in t.lines)
            lines += [f"{missing} of {rows} rows not run: `{t.command}`", ""]
        lines += [*row_head(t.experiment.metric), *row_lines(t, t.lines), ""]
        if t.claims:
            lines += [*CLAIM_HEAD, *claim_lines(t), ""]
        if any(line.values for line in t.lines):
            lines += [f"![{t.experiment.title}]({FIGURES / f'{t.name}-{t.size}.png'})", ""]
    return "\n".join(lines + demonstrations(recorded))


def demonstrations(recorded: Sequence[Mapping[str, Any]], docs: str = "docs/") -> list[str]:
    """Returns the results of demonstration programs in experiments/: mean ± standard deviation (n) of each metric.

    Args:
        recorded: the entries of experiments/results.jsonl.
        docs: path prefix of the docs folder, which holds the figures.
    """
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for entry in recorded:
        if entry["config"].startswith("experiments/"):
            for metric in entry["metrics"]:
                found[entry["config"], entry["overrides"][0], metric].append(entry)
    if not found:
        return []
    rows = []
    for (program, what, metric), entries in found.items():
        entries = [e for e in entries if e["commit"] == entries[-1]["commit"]]
        values = [e["metrics"][metric] for e in entries]
        spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
        command = f"`python -m {program.removesuffix('.py').replace('/', '.')}`"
        ours = f"**{statistics.mean(values):.5g}**{spread} ({len(values)})"
        rows.append([command, what, metric.replace("_", " "), ours, entries[-1]["commit"][:7]])
    lines = markdown.table(["program", "of what", "metric", "ours, mean ± std (n)", "commit"], rows)
    names = dict.fromkeys(Path(program).stem for program, _, _ in found)
    return [
        "## Demonstrations",
        "",
        *lines,
        "",
        *(line for name in names for line in (f"![{name}]({docs}{name}.png)", "")),
    ]


def readme(text: str, made: Sequence[Table], recorded: Sequence[Mapping[str, Any]]) -> str:
    """Returns the README with its results block replaced: the full-size rows that were run, and verdict counts.

    Raises:
        UsageError: the README has no such block.
    """
    if BEGIN not in text or END not in text:
        raise UsageError(f"README.md has no block from '{BEGIN}' to '{END}'")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    rows = [line for t in made if t.size == "full" and t.experiment.metric == "test_error"
            for line in row_lines(t, [x for x in t.lines if x.values])]  # fmt: skip
    claims = count_lines(made)
    missing = sum(not line.runs for t in made for line in t.lines if not line.test)
    end = f"{cost(recorded)} Of the papers' rows, {missing} are not run yet." if missing else cost(recorded)
    body = [*row_head("test_error"), *rows, "", *claims, *[""] * bool(claims),
            f"{end} All rows, claims and intervals, with their commands and figures: [RESULTS.md](RESULTS.md)."]  # fmt: skip
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
            writer.writerow([t.name, t.size, line.row.label, line.test, t.experiment.metric, line.paper,
                             f"{line.mean:.6g}" if v else "", std, len(v), sum("diverged" in r for r in line.runs),
                             line.runs[-1]["commit"] if line.runs else ""])  # fmt: skip
    return file.getvalue()


def block(made: Sequence[Table], recorded: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """Returns the Markdown lines of one table for docs/: rows that were run, judged claims, and the figure.

    Args:
        name: NAME-SIZE of an experiment, such as 'sharing-cpu', or 'demonstrations'.

    Raises:
        UsageError: there is no such table.
    """
    if name == "demonstrations":
        return demonstrations(recorded, docs="")[2:-1] or ["Not run yet."]
    table = next((t for t in made if f"{t.name}-{t.size}" == name), None)
    if table is None:
        raise UsageError(f"no experiment has the size '{name}'")
    rows = row_lines(table, [line for line in table.lines if line.values])
    claims = [text for text, v in zip(claim_lines(table), table.verdicts, strict=True) if v.n]
    if not rows:
        return [f"Not run yet: `{table.command}`"]
    figure = ["", f"![{table.experiment.title}]({FIGURES.name}/{name}.png)"]
    return [*row_head(table.experiment.metric), *rows, *(["", *CLAIM_HEAD, *claims] if claims else []), *figure]


def files() -> dict[Path, str]:
    """Returns the expected content of every generated text file, by path."""
    recorded = results.read_results()
    made = list(tables(load_experiments(), recorded))
    fill = functools.partial(doc_blocks.fill, results=functools.partial(block, made, recorded))
    text = {path: fill(path.read_text()) for path in (ROOT / "README.md", *doc_blocks.PAGES)}
    text[ROOT / "README.md"] = readme(text[ROOT / "README.md"], made, recorded)
    return {**text, ROOT / "RESULTS.md": document(made, recorded), ROOT / "experiments" / "results.csv": sheet(made)}


def draw_figures(table: Table, path: Path) -> None:
    """Draws the figure of a table of which at least one row was run."""
    from convnets.report import figures

    column = 2 if "train" in table.experiment.metric else 1  # column of the recorded curve
    curves: dict[str, tuple[list[tuple[float, float]], float | None]] = {}
    bars, lines = [], defaultdict(list)
    for line in table.lines:
        if line.runs and not line.test:
            points = defaultdict(list)
            for epoch, *errors in (p for run in line.runs for p in run.get("curve", ())):
                if errors[column - 1] is not None:
                    points[epoch].append(errors[column - 1])
            paper = line.paper if table.experiment.metric.endswith("_error") else None
            curves[line.label] = ([(e, statistics.mean(v)) for e, v in sorted(points.items())], paper)
        if line.values:
            measured = (line.mean, interval(list(line.values.values())), line.paper)
            if line.x is None:
                bars.append((line.row.label, line.label, *measured))
            else:
                lines[line.row.label if line.test else line.row.line].append((line.x, *measured))
    figures.plot_experiment(
        {k: v for k, v in curves.items() if len(v[0]) > 1}, bars, lines, path, title=table.experiment.title,
        metric=f"{table.experiment.metric.replace('_', ' ')}" + " (%)" * (unit(table.experiment.metric) == "%"),
        error=("test" if column == 1 else "training") + " error (%)", x=table.experiment.x,
    )  # fmt: skip


def generate(folders: Sequence[Path]) -> None:
    """Records finished runs and sweeps, regenerates all files and figures, and prints what changed."""
    new = results.add_lines(folders)
    for path, text in files().items():
        before = path.read_text() if path.exists() else ""
        path.write_text(text)
        differ = difflib.ndiff(before.splitlines(), text.splitlines())
        changed = sum(line[:2] in ("+ ", "- ") for line in differ) if before != text else 0
        print(f"{path.relative_to(ROOT)}: {f'{changed} lines changed' if changed else 'unchanged'}")
    recorded = results.read_results()
    made = list(tables(load_experiments(), recorded))
    (ROOT / FIGURES).mkdir(parents=True, exist_ok=True)
    for table in made:
        if any(line.values for line in table.lines):
            path = ROOT / FIGURES / f"{table.name}-{table.size}.png"
            with drawing.guard(path):
                draw_figures(table, path)
    print(f"{new} new runs recorded in experiments/results.jsonl. {cost(recorded)}")
    print("\n".join(line for t in made for line, v in zip(claim_lines(t), t.verdicts, strict=True) if v.n))
