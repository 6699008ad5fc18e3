"""Measured results beside the papers': experiments/results.jsonl holds every recorded run, the README a table of them."""

import difflib
import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convnets import ledger, validate
from convnets.errors import UsageError
from convnets.ledger import Row

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results.jsonl"
BEGIN, END = "<!-- results: python run.py --mode=report -->", "<!-- end of results -->"


def record(workdir: Path) -> dict[str, Any]:
    """What results.jsonl keeps of a finished run: its result, where it comes from, and the command that repeats it.

    Raises:
        UsageError: the run is not finished, or its code was not committed.
    """
    try:
        result = json.loads((workdir / "result.json").read_text())
        manifest = json.loads((workdir / "manifest.json").read_text())
    except FileNotFoundError as e:
        raise UsageError(f"{workdir} holds no finished run: {Path(e.filename).name} is missing") from None
    commits = {manifest["commit"], result["commit"], *(r["commit"] for r in manifest.get("resumed", []))}
    if len(commits) > 1 or not re.fullmatch("[0-9a-f]{40}", result["commit"]):
        raise UsageError(f"{workdir} was made by {', '.join(sorted(commits))}: only runs of one commit are recorded")
    found = re.search(r"--config[= ](\S+)", manifest["command"])
    source = found[1] if found else "configs/lenet.py:digits"
    # With the run's seed, so that what follows the seed, such as a subset of its own, is no override.
    seed = f"--config.train.seed={result['seed']}"
    original, _ = validate.load(source, [seed])
    if original is None:
        raise UsageError(f"{workdir}: its config {source} does not exist any more")
    # Where the data lay is the machine's matter, and a leaf younger than the run could not be overridden in it.
    differ = [c for c in validate.changes(original.to_dict(), result["config"])
              if not c.startswith("data.data_dir:") and not c.endswith(" -> absent")]  # fmt: skip
    overrides = [f"--config.{re.sub(': .* -> ', '=', c)}" for c in differ]
    kept = {k: v for k, v in result.items() if k != "config"}
    command = " ".join(["python run.py", f"--config={source}", *overrides, *([seed] if result["seed"] else [])])
    device = {k: manifest["device"][k] for k in ("kind", "count")}
    return {"config": source, "overrides": overrides, "command": command, **kept, "device": device}


def add(workdirs: Sequence[Path]) -> int:
    """Records runs that are not recorded yet; returns how many are new."""
    known = read()
    new = [r for r in map(record, workdirs) if _identity(r) not in map(_identity, known)]
    RESULTS.write_text("".join(json.dumps(r) + "\n" for r in [*known, *new]))
    return len(new)


def read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def _identity(r: dict[str, Any]) -> tuple:
    return (r["command"], r["commit"], r["protocol"])


def table(rows: Sequence[Row], results: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown lines: each row with the paper's error and ours over the seeds of the newest commit that ran it."""
    lines = ["| network and recipe | test set | protocol | paper (%) | ours (%), mean ± std (n) | difference | time a run"
             " | commit |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in rows:
        paper = f"{row.paper:.2f} ({row.where})" if row.paper is not None else "none"
        runs = [r for r in results if r["config"] == row.config and tuple(r["overrides"]) == row.overrides]
        if not runs:
            command = " ".join(["python run.py", f"--config={row.config}", *row.overrides])
            lines.append(f"| {row.label} | | | {paper} | not run: `{command}` | | | |")
            continue
        runs = [r for r in runs if r["commit"] == runs[-1]["commit"]]
        errors = [r["top1_error"] for r in runs]
        spread = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
        difference = f"{statistics.mean(errors) - row.paper:+.2f}" if row.paper is not None else ""
        seconds, device = statistics.median(r["seconds"] for r in runs), runs[-1]["device"]
        lines.append(
            f"| {row.label} | {runs[0]['dataset'].split(':')[0]}, {runs[0]['num_examples']:,} | {runs[0]['protocol']}"
            f" | {paper} | **{statistics.mean(errors):.2f}**{spread} ({len(errors)}) | {difference}"
            f" | {seconds:.0f} s, {device['count']} x {device['kind']} | {runs[0]['commit'][:7]} |"
        )
    return lines


def rows() -> list[Row]:
    """The rows of all experiments at the papers' size, file after file."""
    return [row for experiment in ledger.load().values() if experiment.full for row in experiment.full.rows]


def readme(text: str) -> str:
    """The README with its block of results made anew.

    Raises:
        UsageError: it has no such block.
    """
    if BEGIN not in text or END not in text:
        raise UsageError(f"README.md has no block from '{BEGIN}' to '{END}'")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    return "\n".join([head + BEGIN, "", *table(rows(), read()), "", END]) + tail


def report(workdirs: Sequence[Path]) -> None:
    """Records finished runs, writes the README's table and says what changed."""
    new = add(workdirs)
    path = ROOT / "README.md"
    before = path.read_text()
    after = readme(before)
    path.write_text(after)
    changed = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[:2] in ("+ ", "- ")]
    print(f"{new} new of {len(workdirs)} runs recorded in experiments/results.jsonl; README.md: "
          + (f"{len(changed)} lines changed" if changed else "unchanged"))  # fmt: skip
    print("\n".join(table(rows(), read())))
