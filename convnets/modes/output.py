"""Terminal output of the modes."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table

from convnets.runtime import files

# Without a terminal there is no width to measure; 200 columns leave tables as wide as they need to be.
# Names are no markup. In a notebook, `convnets.summary` is text too.
CONSOLE = Console(width=None if sys.stdout.isatty() else 200, markup=False, emoji=False, force_jupyter=False)


NARROW = 120  # columns; a narrower terminal gets tables without frames


def is_narrow() -> bool:
    """Returns whether the terminal is too narrow for wide tables."""
    return CONSOLE.width < NARROW


def make_table(*columns: str, **options: Any) -> Table:
    """Returns a table that fits the terminal: what is too long is folded, never cut."""
    narrow = {"box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0), "show_edge": False} if is_narrow() else {}
    return Table(*(Column(name, overflow="fold") for name in columns), **{**narrow, **options})


def short_names(runs: Sequence[Path]) -> list[str]:
    """Returns the names of the folders of runs, or their paths if two have the same name."""
    names = [run.name for run in runs] if len({run.name for run in runs}) == len(runs) else list(map(str, runs))
    return [files.escape_unprintable(name) for name in names]


def print_results(*results: dict[str, Any]) -> None:
    """Prints a table with one row per result; the rows of an ensemble also name their run."""
    head = ["data set", "split", "images", "protocol", "top-1 error", "top-5 error", "parameters", "steps", "time"]
    table = make_table(*["run"] * ("workdir" in results[0]), *head)
    for r in results:
        table.add_row(
            *([Path(r["workdir"]).name] if "workdir" in r else []), r["dataset"], r["split"],
            f"{r['num_examples']:,}", r["protocol"], f"{r['top1_error']:.2f} %", f"{r['top5_error']:.2f} %",
            f"{r['parameters']:,}",
            *((f"{r['steps']:,}", f"{r['seconds']:.0f} s") if r["seconds"] else ()),  # a weights file does not say
        )  # fmt: skip
    CONSOLE.print(table)
