"""Markdown pages: the generated blocks that --mode=report fills."""

import json
import re
from collections.abc import Callable
from typing import Any

from convnets.errors import UsageError
from convnets.models.paper_costs import STATED, Stated
from convnets.report import benchmarks, markdown
from convnets.sweep.experiment import ROOT

PAGE = ROOT / "docs" / "lecture.md"
# Filled by --mode=report, besides the README.
PAGES = (PAGE, *(ROOT / "docs" / name for name in ("speed.md", "accelerators.md")))
BLOCK = re.compile(r"<!-- (results|sizes|speed) ([\w ,-]+): python run\.py --mode=report -->\n[\s\S]*?<!-- end -->")


def fill(text: str, results: Callable[[str], list[str]]) -> str:
    """Returns the page with its generated blocks replaced.

        <!-- results pool_kind-cpu: python run.py --mode=report -->    results of an experiment
        <!-- results edges: python run.py --mode=report -->            results of a demonstration
        <!-- sizes alexnet, vgg_d: python run.py --mode=report -->     parameters and multiply-adds of networks
        <!-- speed ratios: python run.py --mode=report -->             benchmark results

    Args:
        text: the page's Markdown.
        results: maps the NAME-SIZE of an experiment, or the name of a demonstration, to Markdown lines.
    """

    def block(found: re.Match[str]) -> str:
        kind, names = found[1], found[2].split(", ")
        each = benchmarks.table if kind == "speed" else results
        lines = sizes(names) if kind == "sizes" else [line for name in names for line in ("", *each(name))][1:]
        return "\n".join([found[0].splitlines()[0], "", *lines, "", "<!-- end -->"])

    return BLOCK.sub(block, text)


def shown_experiments() -> list[str]:
    """Returns the NAME-SIZE of the experiments in docs/lecture.md, in order."""
    return [name for kind, names in BLOCK.findall(PAGE.read_text()) if kind == "results" for name in names.split(", ")]


def sizes(names: list[str]) -> list[str]:
    """Returns a table of network costs: as stated in the papers, and the exact integers that the tests enforce.

    Raises:
        UsageError: a name is not a network.
    """
    golden: dict[str, Any] = json.loads(benchmarks.GOLDEN.read_text())
    rows = []
    for name in names:
        if name not in golden:
            raise UsageError(f"{PAGE.name}: '{name}' is no network of {benchmarks.GOLDEN.name}")
        paper, ours = STATED.get(name, Stated()), golden[name]
        rows.append([f"`{name}`", paper.parameters, f"{ours['parameters']:,}", paper.multiply_adds,
                     f"{ours['multiply_adds']:,}"])  # fmt: skip
    return markdown.table(["network", "parameters: the paper", "exactly", "multiply-adds: the paper", "exactly"], rows)
