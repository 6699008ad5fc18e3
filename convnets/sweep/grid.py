"""Grids: the rows of a sweep from --grid=LEAF=VALUE,VALUE,... flags, in place of a file with an EXPERIMENT."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convnets.config import get_leaf, leaf_keys, load_config, overridden_key
from convnets.errors import UsageError
from convnets.sweep.experiment import ROOT, Experiment, Row, Scale

PAIRS = {"(": ")", "[": "]", "{": "}"}


def split_values(text: str) -> list[str]:
    """Splits a list of values at its commas, but not within brackets or quotes.

    Quotes around a whole value are removed, so that a value may have commas, brackets or nothing in it:
    `decode|pad(2)|value_range(-0.1, 1.2),"*, */bias=2",""` has three values.

    Raises:
        ValueError: a value is empty, or a bracket or a quote is not closed.
    """
    values, start = list[str](), 0
    waits: list[str] = []  # the closing brackets, or the closing quote, that are awaited
    for i, letter in enumerate([*text, ","]):
        if waits and letter == waits[-1]:
            waits.pop()
        elif not (waits and waits[-1] in "\"'"):  # within quotes all other letters are themselves
            begins = not text[start:i].strip()
            if letter in PAIRS:
                waits.append(PAIRS[letter])
            elif letter in "\"'" and (waits or begins):  # elsewhere it is an apostrophe
                waits.append(letter)
            elif letter == "," and not waits:
                values.append(text[start:i].strip())
                start = i + 1
    if waits:
        raise ValueError(f"'{waits[-1]}' is missing in {text[start:]}")
    if "" in values:
        raise ValueError('an empty value; write "" for an empty string')
    return [v[1:-1] if v[0] in "\"'" and v[0] == v[-1] and len(v) > 1 else v for v in values]


def make_experiment(source: str, grid: Sequence[str], extra: Sequence[str]) -> Experiment:
    """Returns the experiment with a row for each combination of values, on the config `source`.

    The last leaf changes fastest. The leaf with the most numbers is the x axis of the figure.

    Args:
        source: FILE.py:VARIANT.
        grid: 'LEAF=VALUE,VALUE,...' arguments; `split_values` says how a value may hold a comma.
        extra: '--config.KEY=VALUE' arguments for every row.

    Raises:
        UsageError: a leaf is unknown or given twice, a value is none of its type or given twice; one line each.
    """
    config, problems = load_config(source, list(extra))
    if config is None or problems:
        raise UsageError("\n".join(problems))
    leaves: dict[str, list[tuple[str, Any]]] = {}  # (text, value) of each leaf
    set_by_extra = set(map(overridden_key, extra))
    for argument in grid:
        leaf, equals, text = argument.partition("=")
        leaf = leaf.strip()
        if not equals or not text.strip():
            problems.append(f"--grid={argument}: give LEAF=VALUE,VALUE,..., such as optim.lr=0.02,0.05")
        elif leaf in leaves:
            problems.append(f"--grid: {leaf} is given twice")
        elif leaf == "train.seed":
            problems.append("--grid: every row is run with the seeds 0, 1, ...; --seeds=N says with how many")
        elif leaf == "data.data_dir":
            problems.append(
                "--grid: data.data_dir says where the data are, and changes no result; take --config.data.data_dir=DIR"
            )
        elif leaf in set_by_extra and leaf in leaf_keys(config):
            problems.append(f"--grid: {leaf} is set by --config.{leaf} too; leave out one of them")
        else:
            leaves[leaf], wrong = _read(source, leaf, text, extra)
            problems += [f"--grid: {line}" for line in wrong]
    if problems:
        raise UsageError("\n".join(problems))
    return Experiment(
        source.removeprefix(f"{ROOT}/"), "test_error", cpu=Scale(_rows(source, leaves), seeds=1), x=_axis(leaves)
    )


def _read(source: str, leaf: str, text: str, extra: Sequence[str]) -> tuple[list[tuple[str, Any]], list[str]]:
    """Returns the values of a leaf as texts and as what the config makes of them, and the problems."""
    try:
        texts = split_values(text)
    except ValueError as e:
        return [], [f"{leaf}: {e}"]
    found: list[tuple[str, Any]] = []
    for word in texts:
        config, wrong = load_config(source, [*extra, f"--config.{leaf}={word}"])
        if config is None or wrong:
            return [], wrong
        if get_leaf(config, leaf) in [value for _, value in found]:
            return [], [f"{leaf}: {word} is given twice"]
        found.append((word, get_leaf(config, leaf)))
    return found, []


def _axis(leaves: dict[str, list[tuple[str, Any]]]) -> str:
    """Returns the leaf with the most numbers as values, the first of several; '' if none has two."""
    numbers = {leaf: len(values) for leaf, values in leaves.items()
               if len(values) > 1 and all(type(value) in (int, float) for _, value in values)}  # fmt: skip
    return max(numbers, key=lambda leaf: numbers[leaf], default="")


def _rows(source: str, leaves: dict[str, list[tuple[str, Any]]]) -> list[Row]:
    path, axis, rows = str(Path(source).absolute()).removeprefix(f"{ROOT}/"), _axis(leaves), []
    for chosen in itertools.product(*leaves.values()):
        row = dict(zip(leaves, chosen, strict=True))
        names = {leaf: f"{leaf}={text}" for leaf, (text, _) in row.items()}
        line = ", ".join(name for leaf, name in names.items() if leaf != axis)
        rows.append(Row(
            ", ".join(names.values()), path, overrides=tuple(f"--config.{name}" for name in names.values()),
            x=float(row[axis][1]) if axis else None, line=line,
        ))  # fmt: skip
    return rows
