"""Finds the network that a file of published weights belongs to, by the names and shapes of its tensors."""

import numpy as np

from convnets import models
from convnets.models.pretrained.names import IGNORED, PUBLISHED_LAYERS, published_names, published_shape
from convnets.models.summary import variable_shapes
from convnets.runtime.arrays import name_leaves

# Networks of torchvision that bear a paper's name and are others, by a tensor that they alone have.
OTHERS = {
    "inception3a.branch1.conv.weight": "torchvision's googlenet, which is not the paper's: it has batch normalization, and"
    " 3x3 convolutions in place of 5x5",
    "Mixed_5b.branch1x1.conv.weight": "torchvision's inception_v3, a later network than those here",
}


def find_network(arrays: dict[str, np.ndarray]) -> str:
    """Returns the smallest network whose published layers include all layers of a file; '' if there is none."""
    layers = {k.rpartition(".")[0] for k in arrays}
    fitting = {name: table for name, table in ((n, make()) for n, make in PUBLISHED_LAYERS.items())
               if layers <= set(table.values())}  # fmt: skip
    return min(fitting, key=lambda name: len(fitting[name]), default="")


def explain_file(arrays: dict[str, np.ndarray]) -> str:
    """Returns a clause on the network that a file of published weights holds; '' if nothing is known of it."""
    for name, what in OTHERS.items():
        if name in arrays:
            return f"it holds {what}"
    found = find_network(arrays)
    if not found:
        return (
            f"its names, {', '.join(list(arrays)[:4])}, ..., are those of no published network known here;"
            " the state_dict of the network alone is wanted"
        )
    classes = next((v.shape[0] for k, v in reversed(arrays.items()) if k.endswith("weight") and v.ndim == 2), 0)
    return f"it fits model.name={found} with {classes:,} classes" if classes and _fits(arrays, found, classes) else ""


def _fits(arrays: dict[str, np.ndarray], model_name: str, classes: int) -> bool:
    """Returns whether the tensors have exactly the names and shapes of a network: wide variants have only the names."""
    ours = name_leaves(variable_shapes(models.create(model_name, classes, "float32")))
    wanted = {
        theirs: published_shape(k, ours[k].shape) for k, theirs in published_names(model_name, list(ours)).items()
    }
    return wanted == {k: v.shape for k, v in arrays.items() if not k.endswith(IGNORED)}
