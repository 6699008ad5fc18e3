"""Published weights in and out: one table of names per source, strict both ways.

Read are .safetensors and PyTorch's files (zip, and the format before 1.6), the latter without PyTorch and through an
unpickler that can build tensors and nothing else. Written is .safetensors.

Sources, by their structure and names (`LAYERS`):
    torchvision     alexnet, vgg11 ... vgg19 and _bn, resnet18 ... resnet152. Its bottlenecks halve the map in the
                    3x3, so they are our `_v1_5`. Images: RGB / 255, minus (.485, .456, .406), over (.229, .224, .225).
    CIFAR ResNets   the common PyTorch layout (akamaster's pytorch_resnet_cifar10).
    our own         'params/conv1/kernel', 'batch_stats/bn_conv1/mean': every model.

Shapes do not tell where a stride or an epsilon stands, so a file we write notes the model's options, and one without
such a note is taken to hold the network as it stands in MODELS; a model of other options is refused (`function`).

Batch norm: PyTorch's epsilon is 1e-5, its running variance the unbiased one, as ours; its momentum 0.1 is our 0.9.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from convnets import models
from convnets.errors import CheckpointError, UsageError
from convnets.models import googlenet
from convnets.models.pretrained import torch_file
from convnets.models.pretrained.names import (
    IGNORED,
    LEAVES,
    PUBLISHED_LAYERS,
    from_published,
    published_names,
    published_shape,
    to_published,
)
from convnets.op_string import suggest

SHOWN = 5  # differences listed in an error
OURS = ("params/", "batch_stats/")


# What a network computes --------------------------------------------------------------------------------------------

# Options that leave it as it is: how it begins, what only training does, what follows from shapes or is checked by name.
INDIFFERENT = {
    "parent", "name", "dtype", "num_classes", "init_root", "init_weights", "zero_init", "dropout", "momentum", "aux"
}  # fmt: skip


def function(model: nn.Module) -> dict[str, Any]:
    """The options of a model that decide what its parameters compute, as JSON has them."""
    fields = [f.name for f in dataclasses.fields(model) if f.init and f.name not in INDIFFERENT]
    return json.loads(json.dumps({name: getattr(model, name) for name in fields}))


def unpublished(model_name: str, model: nn.Module) -> str:
    """Why a model's weights cannot stand under published names; '' where they can."""
    if model_name not in PUBLISHED_LAYERS:
        return f"no source publishes '{model_name}'"
    other = _other(_as_named(model_name), function(model))
    return f"those of '{model_name}' have {other}" if other else ""


def without_heads(variables: Any) -> Any:
    """Variables without the auxiliary heads that only training has."""
    return {k: {layer: v for layer, v in tree.items() if layer not in HEADS} for k, tree in variables.items()}


HEADS = tuple(googlenet.HEADS.values())


def _as_named(model_name: str) -> dict[str, Any]:
    return function(models.create(model_name, 10, "float32"))


def _other(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """The options that differ; one that the other program did not know is left aside."""
    return ", ".join(f"{k} {theirs[k]!r}, not {v!r}" for k, v in ours.items() if k in theirs and theirs[k] != v)


# In and out ---------------------------------------------------------------------------------------------------------


def load(path: Path | str, model_name: str, variables_like: Any, model: nn.Module | None = None) -> Any:
    """The weights in a file as variables of a model.

    Args:
        path: a file with the names of the model's source in `LAYERS`, or with our own. It may leave out the auxiliary
            heads, all of them; those of `variables_like` stay.
        variables_like: {'params': ..., 'batch_stats': ...} of arrays or of their shapes (`jax.eval_shape`).
        model: of that name, where its options are to be compared with those that the file was made for.

    Returns:
        The structure of `variables_like`, NumPy arrays of its types; floating types are converted.

    Raises:
        CheckpointError: the file cannot be read, is of another network, or a tensor is missing, unknown or of another
            shape; lists up to five.
    """
    arrays, notes = read(path)
    made_for = notes.get("model", model_name)
    if made_for.removesuffix("_main") != model_name.removesuffix("_main"):
        raise CheckpointError(f"{path} holds weights of model '{made_for}', not of '{model_name}'")
    wanted = _named(variables_like)
    if not any(_layer(k) in HEADS for k in arrays):
        wanted = {k: v for k, v in wanted.items() if _layer(k) not in HEADS}
    own = any(k.startswith(OURS) for k in arrays)
    theirs = {k: k for k in wanted} if own else published_names(model_name, list(wanted))
    if model is not None and ("options" in notes or not own):
        options = json.loads(notes["options"]) if "options" in notes else _as_named(model_name)
        if other := _other(options, function(model)):
            raise CheckpointError(f"{path} holds weights of another function: its '{made_for}' has {other}")
    ignored = {f"{v.removesuffix('.running_var')}.{IGNORED}" for v in theirs.values() if v.endswith(".running_var")}
    return _take(path, {k: v for k, v in arrays.items() if k not in ignored}, theirs, wanted, variables_like)


def load_layers(path: Path | str, model_name: str, variables: Any, layers: list[str]) -> Any:
    """`variables` with those of some layers from a file of any network that has them in the same shape.

    Args:
        path: as for `load`. Published names are read by the table that the file notes, or else by the smallest one that
            has all its layers.
        layers: our names; 'inception_3a' are all layers inside. Of the file's others nothing is asked.

    Raises:
        UsageError: the model has no such layer.
        CheckpointError: as `load`; a tensor of these layers is missing or of another shape.
    """
    arrays, notes = read(path)
    named = _named(variables)
    inside = lambda k, layer: f"{k.partition('/')[2]}/".startswith(f"{layer}/")  # noqa: E731
    known = list(dict.fromkeys(_layer(k) for k in named))
    for layer in layers:
        if not any(inside(k, layer) for k in named):
            raise UsageError(f"model.init_layers: '{layer}' is no layer of '{model_name}'{suggest(layer, known)}")
    wanted = {k: v for k, v in named.items() if any(inside(k, layer) for layer in layers)}
    theirs = {k: k for k in wanted}
    if not any(k.startswith(OURS) for k in arrays):
        table = PUBLISHED_LAYERS[notes["model"]]() if notes.get("model") in PUBLISHED_LAYERS else _table(path, arrays)
        parts = {k: k.split("/")[-2:] for k in wanted}
        theirs = {k: f"{table.get(layer, layer)}.{LEAVES.get(leaf, leaf)}" for k, (layer, leaf) in parts.items()}
    return _take(path, {k: v for k, v in arrays.items() if k in theirs.values()}, theirs, wanted, variables)


def save(
    path: Path | str, model_name: str, variables: Any, own_names: bool = False, model: nn.Module | None = None
) -> None:
    """Writes {'params': ..., 'batch_stats': ...} as .safetensors under the names of the model's source, or our own.

    Args:
        model: of that name, where its options are to be noted in the file.

    Raises:
        CheckpointError: the model has no source, or the file cannot be written.
    """
    path, arrays = Path(path), {k: np.asarray(v) for k, v in _named(jax.device_get(variables)).items()}
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: weights are written as .safetensors")
    if own_names:
        arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    else:
        theirs = published_names(model_name, list(arrays))
        arrays = {theirs[k]: to_published(k, v) for k, v in arrays.items()}
    notes = {"model": model_name} | ({"options": json.dumps(function(model))} if model else {})
    unfinished = path.with_name(f".{path.name}.part")
    try:
        safetensors.numpy.save_file(arrays, unfinished, metadata=notes)
        unfinished.replace(path)
    except Exception as e:  # safetensors has its own kinds
        raise CheckpointError(f"{path} could not be written: {_line(e)}") from e


def read(path: Path | str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a file by name, and its notes: 'model' and 'options' in one that we wrote.

    A dictionary under 'state_dict' is opened; a 'module.' before every name is dropped.

    Raises:
        CheckpointError: it cannot be read, holds anything but tensors, or asks the unpickler for anything else.
    """
    path, notes = Path(path), dict[str, str]()
    if not path.is_file():
        raise CheckpointError(f"{path} is no file")
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="np") as file:
                notes = file.metadata() or {}
                arrays = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        else:
            arrays = torch_file.read(path)
    except CheckpointError as e:
        raise CheckpointError(f"{path}: {_line(e)}") from None
    except Exception as e:  # a damaged file can break any of the readers in any way
        raise CheckpointError(f"{path} cannot be read, it may be damaged or no file of weights: {_line(e)}") from e
    if arrays and all(k.startswith("module.") for k in arrays):
        arrays = {k.removeprefix("module."): v for k, v in arrays.items()}
    return arrays, notes


def _named(variables: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _layer(name: str) -> str:
    """'conv1' of 'params/conv1/kernel', 'inception_3a' of 'params/inception_3a/1x1/kernel'."""
    return name.split("/")[1] if "/" in name else ""


def _table(path: Path | str, arrays: dict[str, np.ndarray]) -> dict[str, str]:
    layers = {k.rpartition(".")[0] for k in arrays}
    fitting = [table for table in (make() for make in PUBLISHED_LAYERS.values()) if layers <= set(table.values())]
    if not fitting:
        raise CheckpointError(f"{path}: its names are those of no published network that we know")
    return min(fitting, key=len)


def _take(
    path: Path | str, arrays: dict[str, np.ndarray], theirs: dict[str, str], wanted: dict[str, Any], variables_like: Any
) -> Any:
    """`variables_like` with the `wanted` of its arrays from a file, in which {our name: their name}."""
    own = all(k == v for k, v in theirs.items())
    _check(path, arrays, {theirs[k]: tuple(v.shape) if own else published_shape(k, v.shape) for k, v in wanted.items()})
    values = []
    for name, like in _named(variables_like).items():
        if name in wanted:
            array = arrays[theirs[name]].astype(like.dtype)
            values.append(array if own else from_published(array, like.shape))
        else:
            values.append(like)
    return jax.tree.unflatten(jax.tree.structure(variables_like), values)


def _check(path: Path | str, arrays: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> None:
    differences = [f"{k} is missing" for k in shapes if k not in arrays]
    differences += [f"{k} is not wanted" for k in arrays if k not in shapes]
    differences += [
        f"{k} is {arrays[k].dtype}{list(arrays[k].shape)}, {list(v)} of a floating type wanted"
        for k, v in shapes.items()
        if k in arrays and (arrays[k].shape != v or not jnp.issubdtype(arrays[k].dtype, jnp.floating))
    ]
    if differences:
        more = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        shown = _printable("; ".join(differences[:SHOWN]))
        raise CheckpointError(f"{path} does not fit this model: {shown}{more}")


def _line(e: Exception) -> str:
    return _printable(str(e).strip().split("\n")[0])[:200] or type(e).__name__


def _printable(text: str) -> str:
    """Names in a file may hold anything, also what moves a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)
