"""Selects the layers of a network that are loaded from a file."""

import fnmatch
from typing import Any

import numpy as np

from convnets.errors import UsageError
from convnets.models import googlenet
from convnets.op_string import suggest

HEADS = tuple(googlenet.HEADS.values())


def layer_of(name: str) -> str:
    """Returns 'conv1' for 'params/conv1/kernel', 'inception_3a' for 'params/inception_3a/1x1/kernel'."""
    return name.split("/")[1] if "/" in name else ""


def select_layers(patterns: list[str], names: list[str], model_name: str) -> list[str]:
    """Returns the names whose layer, or a layer around it, fits a pattern and no exclusion."""

    def fits(name: str, pattern: str) -> bool:
        parts = name.split("/")[1:-1]
        return any(fnmatch.fnmatchcase("/".join(parts[:n]), pattern) for n in range(1, len(parts) + 1))

    for pattern in (p.removeprefix("!").strip() for p in patterns):
        if not any(fits(name, pattern) for name in names):
            known = list(dict.fromkeys(layer_of(k) for k in names))
            raise UsageError(f"model.init_layers: '{pattern}' is no layer of '{model_name}'{suggest(pattern, known)}")
    out = [p.removeprefix("!").strip() for p in patterns if p.startswith("!")]
    taken = [p for p in patterns if not p.startswith("!")] or ["*"]
    chosen = [k for k in names if any(fits(k, p) for p in taken) and not any(fits(k, p) for p in out)]
    if not chosen:
        raise UsageError(f"model.init_layers: '{','.join(patterns)}' leaves no layer of '{model_name}'")
    return chosen


def without_missing_heads(named: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Leaves out the auxiliary heads, if the file has none of them."""
    if any(layer_of(k) in HEADS for k in arrays):
        return named
    return {k: v for k, v in named.items() if layer_of(k) not in HEADS}
