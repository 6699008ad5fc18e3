"""The papers' tables and claims as data, and the statistics that judge them.

A file of experiments/ holds an `EXPERIMENT`:

    EXPERIMENT = Experiment(
        "ReLU against tanh", "steps_to_train_error(25)", source="Krizhevsky et al. 2012",
        cpu=Size(
            rows=[
                Row("ReLU", "configs/ablation.py:relu", tests={"shifted": Test(("--config.data.test_ops=...",))}),
                Row("tanh", "configs/ablation.py:tanh"),
            ],
            claims=[Claim("ReLU needs fewer steps", "fig. 1", better="ReLU", worse="tanh", size=6, ratio=True)],
        ),
    )

Every metric is better when it is lower. One trained run is the independent unit of all statistics: tests of the same run
are first combined within it, different rows are taken as independent.
"""

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from convnets import op_string
from convnets.errors import UsageError
from convnets.sweep.metrics import AT_TESTS, METRICS

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "experiments"
SIZES = ("cpu", "full")
Side = str | tuple[str, str]  # a row by its label, or (label, name of one of its tests)


class Test(NamedTuple):
    """A further evaluation of a row's trained runs: run.py --mode=evaluate with these overrides.

    Attributes:
        overrides: '--config.KEY=VALUE' arguments on top of the row's own.
        paper: the paper's number for it, in the unit of the experiment's metric, and `where` it stands.
        x: where it lies in the figure of the metric against x; the row's label names its line.
    """

    overrides: tuple[str, ...]
    paper: float | None = None
    where: str = ""
    x: float | None = None


class Row(NamedTuple):
    """One line of a paper's table and the config that reproduces it.

    Attributes:
        label: unique within the size.
        config: FILE.py:VARIANT, from the root of the repository.
        paper: the paper's number, in the unit of the experiment's metric; None where it gives none.
        where: the place of that number.
        overrides: '--config.KEY=VALUE' arguments that belong to the row; the seed is never among them.
        tests: further evaluations by name; a name is of letters, digits, '.', '_' and '-'.
        x, line: where it lies in the figure of the metric against x, and on which line; without x it is a bar.
        cost: what one run is expected to cost, like '10 min, 1 x H100'; shown as long as it is not run.
    """

    label: str
    config: str
    paper: float | None = None
    where: str = ""
    overrides: tuple[str, ...] = ()
    tests: Mapping[str, Test] = {}
    x: float | None = None
    line: str = ""
    cost: str = ""


class Claim(NamedTuple):
    """What a paper says: `better` has a lower metric than `worse`.

    The effect is sum(worse) - sum(better), above 0 where the paper is right. With several sides it is a difference of
    differences: "dropout gains less with BN" is worse=["plain", "BN and dropout"], better=["dropout", "BN"].

    Attributes:
        metric: the experiment's where it is ''; at a test it is one of AT_TESTS.
        size: the paper's effect, worse - better, or worse / better with `ratio`.
        ratio: the effect is a ratio, as for steps.
        within: the paper says instead that the two differ by less than this, in either direction.
        note: one sentence that explains the outcome; the verdict itself is computed.
    """

    text: str
    where: str
    better: Side | list[Side]
    worse: Side | list[Side]
    metric: str = ""
    size: float | None = None
    ratio: bool = False
    within: float | None = None
    note: str = ""


class Size(NamedTuple):
    """One size of an experiment: its rows are run with seeds 0, 1, ..., seeds - 1."""

    rows: Sequence[Row]
    claims: Sequence[Claim] = ()
    seeds: int = 5


class Experiment(NamedTuple):
    """A paper's table with its claims, small enough for two cores (`cpu`) and as the paper had it (`full`).

    Attributes:
        metric: a key of METRICS with its arguments, like 'test_error' or 'steps_to_train_error(25)'.
        source: the paper; the `where` of rows and claims is a place in it.
        x: what the rows' x means, like 'layers'.
    """

    title: str
    metric: str
    cpu: Size | None = None
    full: Size | None = None
    source: str = ""
    x: str = ""


def claim_sides(claim: Claim) -> list[tuple[int, str, str]]:
    """(sign, label, test or '') of each side of a claim; worse counts +1 and better -1."""
    found = []
    for sign, given in ((1, claim.worse), (-1, claim.better)):
        for side in given if isinstance(given, list) else [given]:
            found.append((sign, side, "") if isinstance(side, str) else (sign, *side))
    return found


def load_experiments() -> dict[str, Experiment]:
    """All experiments by the name of their file; a file without one is a demonstration, a program of its own."""
    names = sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))
    modules = {name: importlib.import_module(f"experiments.{name}") for name in names}
    return {name: module.EXPERIMENT for name, module in modules.items() if hasattr(module, "EXPERIMENT")}


def check_experiment(experiment: Experiment) -> list[str]:
    """What is wrong with the data of an experiment, a line each; its configs are not read."""
    found = []
    for name, size in ((name, getattr(experiment, name)) for name in SIZES):
        rows = {row.label: row for row in (size.rows if size else ())}
        if size and len(rows) < len(size.rows):
            found.append(f"{name}: two rows have the same label")
        for test in (t for row in rows.values() for t in row.tests):
            if not re.fullmatch(r"[\w.-]+", test):
                found.append(f"{name}: '{test}' is no name for a test: letters, digits, '.', '_' and '-' only")
        for claim in size.claims if size else ():
            metric = claim.metric or experiment.metric
            for _, label, test in claim_sides(claim):
                if label not in rows or (test and test not in rows[label].tests):
                    found.append(f"{name}: claim '{claim.text}' names {label!r} {test}, which is no row or test")
                if test and metric not in AT_TESTS:
                    found.append(f"{name}: claim '{claim.text}': a test has no {metric}, only {', '.join(AT_TESTS)}")
        for metric in {experiment.metric, *(c.metric or experiment.metric for c in (size.claims if size else ()))}:
            try:
                op_string.parse(metric, METRICS, skip=1)
            except UsageError as e:
                found.append(f"{name}: {e}")
    return found
