"""Names of the arrays in a pytree, and the strict comparison of named arrays with what a program wants."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

SHOWN = 5  # differences listed in an error


def name_leaves(tree: Any) -> dict[str, Any]:
    """Returns {'params/C1/kernel': leaf, ...}, in the order of the leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def list_differences(
    found: Mapping[str, Any], wanted: Mapping[str, Any], compare: Callable[[Any, Any], str]
) -> list[str]:
    """Returns one line for each name that is missing, not wanted, or held by another kind of array.

    Args:
        found, wanted: arrays, or what describes them, by name.
        compare: takes the found and the wanted array of a name; returns how they differ, '' if they agree.
    """
    differences = [f"{name} is missing" for name in wanted if name not in found]
    differences += [f"{name} is not wanted" for name in found if name not in wanted]
    pairs = {name: compare(found[name], wanted[name]) for name in wanted if name in found}
    return differences + [f"{name} is {difference}" for name, difference in pairs.items() if difference]


def show_differences(differences: list[str]) -> str:
    """Joins the first five differences and says how many more there are."""
    more = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
    return "; ".join(differences[:SHOWN]) + more
