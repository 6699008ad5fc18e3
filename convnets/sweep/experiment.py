"""Data types for the papers' tables and claims.

A file in experiments/ defines an `EXPERIMENT`:

    EXPERIMENT = Experiment(
        "ReLU against tanh", "steps_to_train_error(25)", source="Krizhevsky et al. 2012",
        cpu=Scale(
            rows=[
                Row("ReLU", "configs/ablation.py:relu", tests={"shifted": Evaluation(("--config.data.test_ops=...",))}),
                Row("tanh", "configs/ablation.py:tanh"),
            ],
            claims=[Claim("ReLU needs fewer steps", "fig. 1", better="ReLU", worse="tanh", size=6, ratio=True)],
        ),
    )

For every metric, lower is better. The independent unit of all statistics (convnets/report/verdicts.py) is one trained
run. Tests of the same run are first combined within that run; different rows are treated as independent samples.
"""

import importlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from convnets import op_string
from convnets.errors import UsageError
from convnets.runtime.provenance import ROOT
from convnets.sweep.metrics import AT_TESTS, METRICS

FOLDER = ROOT / "experiments"
SIZES = ("cpu", "full")  # of results
RUNNABLE = (*SIZES, "pilot")
FIRST_PILOT_SEED = 1000  # seeds from here on choose recipes and are never counted
Side = str | tuple[str, str]  # a row's label, or (label, name of one of the row's tests)


class Evaluation(NamedTuple):
    """An additional evaluation of a row's trained runs: run.py --mode=evaluate with these overrides.

    A part of the split 'train' counts as the row's training images: its error varies over runs only. Parts that are held out are
    the test split of a row.

    Attributes:
        overrides: '--config.KEY=VALUE' arguments, added to the row's own.
        paper: the paper's value, in the unit of the experiment's metric.
        where: the place of that value in the paper.
        x: x coordinate in the figure of the metric against x; the line is named by the row's label.
        top5: the paper's top-5 error in percent, where it prints both.
    """

    overrides: tuple[str, ...] = ()
    paper: float | None = None
    where: str = ""
    x: float | None = None
    top5: float | None = None

    @property
    def on_training_images(self) -> bool:
        """Whether the images are a part of the split 'train'."""
        return any(o.startswith("--config.data.test_split=train") for o in self.overrides)


class Row(NamedTuple):
    """One row of a paper's table and the config that reproduces it.

    Attributes:
        label: name of the row, unique within the size.
        config: FILE.py:VARIANT, relative to the repository root; '' for an ensemble.
        paper: the paper's value, in the unit of the experiment's metric; None if the paper gives none.
        where: the place of that value in the paper.
        overrides: '--config.KEY=VALUE' arguments of the row; they never include the seed.
        tests: additional evaluations by name; a name consists of letters, digits, '.', '_' and '-'.
        x, line: x coordinate in the figure of the metric against x, and the name of the line; without x, a bar.
        cost: expected cost of one run, such as '10 min, 1 x H100'; shown until the row has been run.
        top5: the paper's top-5 error in percent, where it prints both.
        members: of an ensemble, (row, number of its runs); the softmax of all these runs is averaged. A test of the
            ensemble averages the runs as the test of that name in each member row tests them.
        deterministic: whether the seed changes nothing, so that one run is enough.
        note: one sentence that says why the error differs from the paper's, where it does by 0.3 points or more.
        recipe: how the recipe differs from the paper's, in a few words; '' if it does not. It stands beside the label.
    """

    label: str
    config: str = ""
    paper: float | None = None
    where: str = ""
    overrides: tuple[str, ...] = ()
    tests: Mapping[str, Evaluation] = {}
    x: float | None = None
    line: str = ""
    cost: str = ""
    top5: float | None = None
    members: "Sequence[tuple[Row, int]]" = ()
    deterministic: bool = False
    note: str = ""
    recipe: str = ""


class Claim(NamedTuple):
    """A claim of a paper: `better` has a lower metric than `worse`.

    The effect is sum(worse) - sum(better), which is positive if the paper is right. With several rows on a side it is a
    difference of differences: "dropout gains less with BN" is worse=["plain", "BN and dropout"],
    better=["dropout", "BN"].

    Attributes:
        where: the place of the claim in the paper; 'ours' if no paper makes it.
        metric: the metric of the claim; '' for the experiment's. A claim about tests needs one of AT_TESTS.
        size: the paper's effect: worse - better, or worse / better with `ratio`.
        ratio: whether the effect is a ratio, as for numbers of steps.
        elsewhere: the setting of `size`, such as 'ImageNet', if it is not ours; the sizes are then not compared.
        within: an equivalence claim instead: the two sides differ by less than this, in either direction.
        one_sided: with `within`, only in the direction in which `worse` is worse: "`worse` costs nothing".
        note: one sentence that explains the outcome; the verdict itself is computed. A claim that is not resolved needs one.
    """

    text: str
    where: str
    better: Side | list[Side]
    worse: Side | list[Side]
    metric: str = ""
    size: float | None = None
    ratio: bool = False
    elsewhere: str = ""
    within: float | None = None
    one_sided: bool = False
    note: str = ""

    @property
    def ours(self) -> bool:
        """Whether the claim is our own."""
        return self.where.startswith("ours")

    @property
    def of_lecture(self) -> bool:
        """Whether the lecture makes the claim, and no paper."""
        return self.where.startswith("lecture")


class Scale(NamedTuple):
    """One size of an experiment; each of its rows is run with `seeds` seeds, from `first_seed` on.

    A deterministic row is run with one seed. Ensemble e, from 0 on, of k runs of a row takes the k seeds from first_seed +
    k e on; there are as many ensembles as the seeds are enough for, at least one.

    Attributes:
        first_seed: above 0 if earlier seeds chose the recipe; they are not counted.
    """

    rows: Sequence[Row]
    claims: Sequence[Claim] = ()
    seeds: int = 5
    first_seed: int = 0


class Experiment(NamedTuple):
    """A paper's table with its claims.

    Attributes:
        metric: a key of METRICS with its arguments, such as 'test_error' or 'steps_to_train_error(25)'.
        cpu: the experiment scaled down to two CPU cores.
        full: the experiment at the paper's size.
        pilot: the runs that chose the recipe, such as the learning rate of each row: seeds from FIRST_PILOT_SEED on, tested
            on held-out training images. It has no results; the sweep's summary shows the best row.
        source: the paper; the `where` of rows and claims refers to it.
        x: the quantity on the x axis of the rows' `x`, such as 'layers'.
    """

    title: str
    metric: str
    cpu: Scale | None = None
    full: Scale | None = None
    pilot: Scale | None = None
    source: str = ""
    x: str = ""


def count_runs(row: Row, seeds: int) -> int:
    """Returns the number of a row's runs or ensembles, when its size is run with so many seeds."""
    if row.members:
        return max(1, seeds // max(count for _, count in row.members))
    return 1 if row.deterministic else seeds


def claim_sides(claim: Claim) -> list[tuple[int, str, str]]:
    """Returns (sign, label, test or '') for each side of a claim; the sign is +1 for worse and -1 for better."""
    found = []
    for sign, given in ((1, claim.worse), (-1, claim.better)):
        for side in given if isinstance(given, list) else [given]:
            found.append((sign, side, "") if isinstance(side, str) else (sign, *side))
    return found


def load_experiments() -> dict[str, Experiment]:
    """Returns all experiments by file name. Files without an EXPERIMENT are demonstration programs and are skipped."""
    names = sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))
    modules = {name: importlib.import_module(f"experiments.{name}") for name in names}
    return {name: module.EXPERIMENT for name, module in modules.items() if hasattr(module, "EXPERIMENT")}


def check_experiment(experiment: Experiment) -> list[str]:
    """Returns the problems of an experiment's data, one line each; its configs are not loaded."""
    found = []
    for name, size in ((name, getattr(experiment, name)) for name in RUNNABLE):
        rows = {row.label: row for row in (size.rows if size else ())}
        if size and len(rows) < len(size.rows):
            found.append(f"{name}: two rows have the same label")
        for test in (t for row in rows.values() for t in row.tests):
            if not re.fullmatch(r"[\w.-]+", test):
                found.append(f"{name}: '{test}' is no name for a test: letters, digits, '.', '_' and '-' only")
        for row in rows.values():
            if bool(row.config) == bool(row.members) or (row.members and row.overrides):
                found.append(f"{name}: '{row.label}' needs a config, or members alone")
            lacks = [(other.label, test) for other, _ in row.members for test in row.tests if test not in other.tests]
            found += [f"{name}: '{row.label}': its member '{label}' has no test '{test}'" for label, test in lacks]
        for claim in size.claims if size else ():
            metric = claim.metric or experiment.metric
            for _, label, test in claim_sides(claim):
                if label not in rows or (test and test not in rows[label].tests):
                    found.append(
                        f"{name}: claim '{claim.text}' names {label!r}{' ' * bool(test)}{test}, which is no row or test"
                    )
                if test and metric not in AT_TESTS:
                    found.append(f"{name}: claim '{claim.text}': a test has no {metric}, only {', '.join(AT_TESTS)}")
        for metric in {experiment.metric, *(c.metric or experiment.metric for c in (size.claims if size else ()))}:
            try:
                op_string.parse(metric, METRICS, skip=1)
            except UsageError as e:
                found.append(f"{name}: {e}")
    if experiment.pilot and experiment.pilot.first_seed < FIRST_PILOT_SEED:
        found.append(
            f"pilot: first_seed is {experiment.pilot.first_seed}; the seeds of pilots begin at {FIRST_PILOT_SEED}"
        )
    return found
