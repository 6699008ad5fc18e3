"""Name tables and array layouts of published weights."""

from collections.abc import Callable
from functools import partial

import numpy as np

from convnets.errors import CheckpointError
from convnets.models import resnet, vgg

# Tables of names ----------------------------------------------------------------------------------------------------

# A published name is PUBLISHED_LAYERS[model]()[our layer] + "." + LEAVES[our leaf].
LEAVES = {"kernel": "weight", "bias": "bias", "scale": "weight", "mean": "running_mean", "var": "running_var"}
IGNORED = "num_batches_tracked"  # PyTorch's count of training steps, in every batch norm
COUNT = "n_averaged"  # the count of torch.optim.swa_utils.AveragedModel, beside the names under module.
# What wrappers put before every name: DataParallel, Lightning and other trainers, torch.compile.
WRAPPERS = ("module.", "model.", "_orig_mod.", "net.", "network.", "backbone.")


def _alexnet() -> dict[str, str]:
    features = {f"conv{i}": f"features.{at}" for i, at in enumerate((0, 3, 6, 8, 10), 1)}
    return features | {"fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}


def _vgg(config: str, batch_norm: bool = False) -> dict[str, str]:
    table, at = {}, 0
    for stage, row in enumerate(vgg.TABLE[config], 1):
        for i, _ in enumerate(row.split(), 1):
            table[f"conv{stage}_{i}"] = f"features.{at}"
            if batch_norm:
                table[f"bn{stage}_{i}"] = f"features.{at + 1}"
            at += 3 if batch_norm else 2  # convolution, batch norm if present, ReLU
        at += 1  # the pooling layer
    return table | {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}


def _resnet(row: tuple[Callable, tuple[int, ...]], way: str = "downsample", **head: str) -> dict[str, str]:
    block, lengths = row
    table = {"conv1": "conv1", "bn_conv1": "bn1"} | head
    for stage, i, name in resnet.names(lengths):
        theirs = f"layer{stage + 1}.{i}"
        for k, letter in enumerate("ab" if block is resnet.basic else "abc", 1):
            table[f"res{name}_branch2{letter}"] = f"{theirs}.conv{k}"
            table[f"bn{name}_branch2{letter}"] = f"{theirs}.bn{k}"
        table[f"res{name}_branch1"] = f"{theirs}.{way}.0"
        table[f"bn{name}_branch1"] = f"{theirs}.{way}.1"
    return table


PUBLISHED_LAYERS: dict[str, Callable[[], dict[str, str]]] = {
    "alexnet_owt": _alexnet,
    **{f"vgg_{row.lower()}{'_bn' * bn}": partial(_vgg, row, bn) for row in "ABDE" for bn in (False, True)},
    **{f"resnet{depth}": partial(_resnet, resnet.IMAGENET[depth], fc1000="fc") for depth in (18, 34)},
    **{f"resnet{depth}_v1_5": partial(_resnet, resnet.IMAGENET[depth], fc1000="fc") for depth in (50, 101, 152)},
    **{f"resnet{depth}_cifar": partial(_resnet, resnet.cifar(depth), "shortcut", fc="linear")
       for depth in (20, 32, 44, 56, 110, 1202)},
}  # fmt: skip


def unwrapped(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Removes the prefixes that all names of a file have from wrappers around the network."""
    arrays = {k.replace("_orig_mod.", ""): v for k, v in arrays.items() if k != COUNT}
    while prefix := next((p for p in WRAPPERS if arrays and all(k.startswith(p) for k in arrays)), ""):
        arrays = {k.removeprefix(prefix): v for k, v in arrays.items()}
    return arrays


def published_names(model_name: str, ours: list[str]) -> dict[str, str]:
    """Returns {our name: published name} for names like 'params/conv1/kernel'.

    Raises:
        CheckpointError: no source publishes this model or one of its layers.
    """
    if model_name not in PUBLISHED_LAYERS:
        hint = f"; '{model_name}_v1_5' has torchvision's function" if f"{model_name}_v1_5" in PUBLISHED_LAYERS else ""
        raise CheckpointError(f"no table of published names for model '{model_name}'{hint}")
    table, found = PUBLISHED_LAYERS[model_name](), {}
    for name in ours:
        layer, leaf = name.split("/")[-2:]
        if layer not in table or leaf not in LEAVES:
            raise CheckpointError(f"{name} of model '{model_name}' has no published name")
        found[name] = f"{table[layer]}.{LEAVES[leaf]}"
    return found


def published_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the published shape: OIHW of a convolution, [out, c * h * w] or [out, in] of a dense layer (fc...)."""
    if len(shape) != 4:
        return shape[::-1]
    h, w, c, out = shape
    return (out, c * h * w) if name.split("/")[-2].startswith("fc") else (out, c, h, w)


def to_published(name: str, array: np.ndarray) -> np.ndarray:
    """Converts our parameter to the published layout."""
    axes = (3, 2, 0, 1) if array.ndim == 4 else None
    return np.ascontiguousarray(array.transpose(axes)).reshape(published_shape(name, array.shape))


def from_published(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Converts a published array to our layout with our `shape`."""
    if len(shape) == 4:
        h, w, c, out = shape
        return np.ascontiguousarray(array.reshape(out, c, h, w).transpose(2, 3, 1, 0))
    return np.ascontiguousarray(array.T)
