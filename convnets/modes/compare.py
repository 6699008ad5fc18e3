"""--mode=compare: runs side by side: what differs in their configs, their errors, their costs and their curves.

The runs are only read, and may be unfinished.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convnets.config import tabulate_differences
from convnets.errors import UsageError
from convnets.modes.output import CONSOLE, make_table, short_names
from convnets.runtime import drawing, files, provenance


def compare(members: Sequence[Path], out: Path) -> None:
    """Prints the comparison, writes it to OUT/compare.json, and draws the curves into OUT/compare.png.

    Raises:
        UsageError: fewer than two runs are named.
        CheckpointError: a file of a run is damaged.
    """
    members = list(dict.fromkeys(members))
    if len(members) < 2:
        raise UsageError(f"--workdirs names {members[0]} alone; give two runs or more")
    names = short_names(members)
    differ = tabulate_differences([files.read_json(m / "config.json") for m in members])
    table = make_table("config", *names)
    for key, values in differ.items():
        table.add_row(key, *("''" if value == "" else str(value) for value in values))
    CONSOLE.print(table if differ else "the configs are equal")
    curves = [files.read_lines(m / "metrics.jsonl") for m in members]
    runs = [_describe(m, lines) for m, lines in zip(members, curves, strict=True)]
    table = make_table(
        "run", "top-1 error", "top-5 error", "protocol", "parameters", "steps", "time", "images/s", "device", "commit"
    )
    for name, run in zip(names, runs, strict=True):
        table.add_row(name, *_cells(run))
    CONSOLE.print(table)
    files.write_json(out / "compare.json", {"config": differ, "runs": runs})
    with drawing.guard(out / "compare.png"):
        from convnets.analysis import run_plots

        run_plots.plot_comparison(list(zip(names, curves, strict=True)), out / "compare.png")
        print(f"written to {out}:\n  compare.json  compare.png")


def _describe(workdir: Path, lines: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Returns the facts of a run; without its result the errors and costs are missing, and the last step stands in."""
    result, manifest = (files.read_json(workdir / name, {}) for name in ("result.json", "manifest.json"))
    keys = ("top1_error", "top5_error", "protocol", "parameters", "steps", "seconds", "images_per_second")
    tested = next((line["test_error"] for line in reversed(lines) if "test_error" in line), None)
    return {
        "workdir": str(workdir), "finished": bool(result), **{key: result.get(key) for key in keys},
        "last_step": lines[-1]["step"] if lines else 0, "last_test_error": tested,
        "device": manifest.get("device"), "commit": manifest.get("commit"),
    }  # fmt: skip


def _cells(run: dict[str, Any]) -> list[str]:
    def show(key: str, form: str) -> str:
        return "" if run[key] is None else format(run[key], form)

    device = f"{run['device']['count']} x {run['device']['kind']}" if run["device"] else ""
    cost = [show("parameters", ","), show("steps", ","), show("seconds", ",.0f") + " s" * bool(run["seconds"]),
            show("images_per_second", ",.0f"), device, provenance.shorten(run["commit"] or "")]  # fmt: skip
    if run["finished"]:
        return [show("top1_error", ".2f") + " %", show("top5_error", ".2f") + " %", run["protocol"], *cost]
    cost[1] = f"{run['last_step']:,}"
    last = "" if run["last_test_error"] is None else f"{run['last_test_error']:.2f} % so far"
    return [last or "not tested yet", "", "unfinished", *cost]
