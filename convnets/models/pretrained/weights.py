"""Imports and exports published weights: one name table per source, checked strictly in both directions.

Reads .safetensors and PyTorch's files (zip, and the format before 1.6). PyTorch's files are read without PyTorch, by an
unpickler that can build tensors and nothing else. Writes .safetensors.

Sources of structure and names (`PUBLISHED_LAYERS`):
    torchvision     alexnet, vgg11 ... vgg19 and _bn, resnet18 ... resnet152. Its bottlenecks halve the map in the 3x3,
                    so they are our `_v1_5`. Images: RGB / 255, minus (.485, .456, .406), over (.229, .224, .225).
    CIFAR ResNets   the common PyTorch layout (akamaster's pytorch_resnet_cifar10).
    our own         'params/conv1/kernel', 'batch_stats/bn_conv1/mean': every model.

Array shapes do not show the position of a stride or the value of an epsilon. So our files store the model's options. A
file without them is assumed to hold the network with its defaults in MODELS. A model with other options is rejected
(`function`).

Batch norm: PyTorch's epsilon is 1e-5 and its running variance is unbiased, as ours; its momentum 0.1 is our 0.9.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from convnets import models
from convnets.errors import CheckpointError, first_line
from convnets.models.pretrained import identify, torch_file
from convnets.models.pretrained.names import (
    IGNORED,
    LEAVES,
    PUBLISHED_LAYERS,
    from_published,
    published_names,
    published_shape,
    to_published,
    unwrapped,
)
from convnets.models.pretrained.selection import HEADS, layer_of, select_layers, without_missing_heads
from convnets.runtime import files
from convnets.runtime.arrays import list_differences, name_leaves, show_differences

OURS = ("params/", "batch_stats/")


# Function of a network ----------------------------------------------------------------------------------------------

# Options that do not change the function: initialization, training-only options, what shapes or names already check.
INDIFFERENT = {
    "parent", "name", "dtype", "num_classes", "init_root", "init_weights", "zero_init", "dropout", "ghost_batch", "momentum", "aux"
}  # fmt: skip


def function_options(model: nn.Module) -> dict[str, Any]:
    """Returns the options, as JSON values, that determine which function the model's parameters compute."""
    fields = [f.name for f in dataclasses.fields(model) if f.init and f.name not in INDIFFERENT]
    return json.loads(json.dumps({name: getattr(model, name) for name in fields}))


def unpublished(model_name: str, model: nn.Module) -> str:
    """Returns why a model's weights cannot be saved under published names; '' if they can."""
    if model_name not in PUBLISHED_LAYERS:
        return f"no source publishes '{model_name}'"
    other = _other(_as_named(model_name), function_options(model))
    return f"those of '{model_name}' have {other}" if other else ""


def without_heads(variables: Any) -> Any:
    """Removes the auxiliary heads, which only training uses, from the variables."""
    return {k: {layer: v for layer, v in tree.items() if layer not in HEADS} for k, tree in variables.items()}


def _as_named(model_name: str) -> dict[str, Any]:
    return function_options(models.create(model_name, 10, "float32"))


def _other(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """Lists the options that differ; options missing from `theirs` (unknown to the writing program) are ignored."""
    return ", ".join(f"{k} {theirs[k]!r}, not {v!r}" for k, v in ours.items() if k in theirs and theirs[k] != v)


# Reading and writing ------------------------------------------------------------------------------------------------


def load(path: Path | str, model_name: str, variables_like: Any, model: nn.Module | None = None) -> Any:
    """Loads the weights in a file as variables of a model.

    Args:
        path: file with the published names in `PUBLISHED_LAYERS`, or with our own names. It may omit all auxiliary
            heads; then the result keeps the heads of `variables_like`.
        variables_like: {'params': ..., 'batch_stats': ...} of arrays or of their shapes (`jax.eval_shape`).
        model: model of this name; if given, its options are compared with the options of the file.

    Returns:
        NumPy arrays in the structure and dtypes of `variables_like`; floating types are converted.

    Raises:
        CheckpointError: the file cannot be read or holds another network, or tensors are missing, unknown or of another
            shape; the message lists up to five.
    """
    arrays, notes = read(path)
    made_for = notes.get("model", model_name)
    if made_for.removesuffix("_main") != model_name.removesuffix("_main"):
        raise CheckpointError(f"{path} holds weights of model '{made_for}', not of '{model_name}'")
    wanted = without_missing_heads(name_leaves(variables_like), arrays)
    own = any(k.startswith(OURS) for k in arrays)
    try:
        theirs = {k: k for k in wanted} if own else published_names(model_name, list(wanted))
    except CheckpointError as e:
        raise CheckpointError(_printable(f"{path}: {e}; {identify.explain_file(arrays)}".rstrip("; "))) from None
    if not own or "options" in notes:
        _check_function(path, notes, model_name, model)
    ignored = {f"{v.removesuffix('.running_var')}.{IGNORED}" for v in theirs.values() if v.endswith(".running_var")}
    arrays = {k: v for k, v in arrays.items() if k not in ignored}
    return _take(path, arrays, theirs, wanted, variables_like, whole=True)


def load_layers(
    path: Path | str, model_name: str, variables: Any, layers: list[str], model: nn.Module | None = None
) -> Any:
    """Returns `variables` with some layers loaded from a file of any network that has them in the same shape.

    Args:
        path: as in `load`. Published names are mapped by the table of the model stored in the file. Without a known
            model, the smallest table that contains all layers of the file is used.
        layers: patterns of our layer names, and exclusions: 'conv*', '!fc*'; exclusions alone select all other layers.
            'inception_3a' selects all layers inside it. Other layers of the file are ignored.
        model: as in `load`, for a file that has the model's layers, if most of them are taken.

    Raises:
        UsageError: a pattern fits no layer of the model, or nothing is selected.
        CheckpointError: as in `load`, or a tensor of these layers is missing or has another shape.
    """
    arrays, notes = read(path)
    named = without_missing_heads(name_leaves(variables), arrays)
    wanted = {k: named[k] for k in select_layers(layers, list(named), model_name)}
    theirs = {k: k for k in named}
    if not any(k.startswith(OURS) for k in arrays):
        if notes.get("model") not in PUBLISHED_LAYERS:
            notes = {**notes, "model": _network(path, arrays)}
        table, parts = PUBLISHED_LAYERS[notes["model"]](), {k: k.split("/")[-2:] for k in named}
        theirs = {k: f"{table.get(layer, layer)}.{LEAVES.get(leaf, leaf)}" for k, (layer, leaf) in parts.items()}
    known = set(theirs.values())
    missing = {layer_of(k) for k in named if theirs[k] not in arrays}
    same_layers = len(missing) <= 1 and all(k in known or k.endswith(IGNORED) for k in arrays)
    if same_layers and 2 * len(wanted) > len(named) and "model" in notes:
        _check_function(path, notes, notes["model"], model)
    theirs = {k: theirs[k] for k in wanted}
    return _take(path, {k: v for k, v in arrays.items() if k in theirs.values()}, theirs, wanted, variables)


def _check_function(path: Path | str, notes: dict[str, str], made_for: str, model: nn.Module | None) -> None:
    """Raises CheckpointError if the model's options differ from the options that the file notes."""
    if model is None or made_for not in models.MODELS:
        return
    options = json.loads(notes["options"]) if "options" in notes else _as_named(made_for)
    if other := _other(options, function_options(model)):
        raise CheckpointError(f"{path} holds weights of another function: its '{made_for}' has {other}")


def save(
    path: Path | str, model_name: str, variables: Any, own_names: bool = False, model: nn.Module | None = None,
    dataset: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Writes {'params': ..., 'batch_stats': ...} as .safetensors under published names, or under our own.

    Args:
        model: model of this name; if given, its options are stored in the file.
        dataset: facts of the training images; if given, they are stored in the file.

    Raises:
        CheckpointError: the model has no published names, or the file cannot be written.
    """
    path, arrays = Path(path), {k: np.asarray(v) for k, v in name_leaves(jax.device_get(variables)).items()}
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: weights are written as .safetensors")
    if own_names:
        arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    else:
        theirs = published_names(model_name, list(arrays))
        arrays = {theirs[k]: to_published(k, v) for k, v in arrays.items()}
    notes = {"model": model_name} | ({"options": json.dumps(function_options(model))} if model else {})
    notes |= {"dataset": json.dumps(dataset)} if dataset else {}
    with files.replacing(path) as file:
        file.write(safetensors.numpy.save(arrays, metadata=notes))  # its save_file lets nobody else read the file


def read(path: Path | str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads the tensors of a file by name, and its metadata ('model', 'options' and 'dataset' in files that we wrote).

    Of a training script's checkpoint, the entry with the tensors is read (`torch_file.ENTRIES`). What wrappers put before
    all names is removed (`names.WRAPPERS`).

    Raises:
        CheckpointError: the file cannot be read, holds anything other than tensors, or asks the unpickler for anything
            else.
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
    except Exception as e:  # a damaged file can raise any exception in any reader
        raise CheckpointError(f"{path} cannot be read, it may be damaged or no file of weights: {_line(e)}") from e
    return unwrapped(arrays), notes


def read_notes(path: Path | str) -> dict[str, str]:
    """Returns the metadata of a .safetensors file; of other files, which have none, {}."""
    if Path(path).suffix != ".safetensors":
        return {}
    with safetensors.safe_open(path, framework="np") as file:
        return file.metadata() or {}


def _network(path: Path | str, arrays: dict[str, np.ndarray]) -> str:
    if found := identify.find_network(arrays):
        return found
    raise CheckpointError(_printable(f"{path}: {identify.explain_file(arrays) or 'it holds no tensors'}"))


def _take(
    path: Path | str, arrays: dict[str, np.ndarray], theirs: dict[str, str], wanted: dict[str, Any], variables_like: Any,
    whole: bool = False,
) -> Any:  # fmt: skip
    """Returns `variables_like` with its `wanted` arrays taken from a file.

    Args:
        theirs: {our name: name in the file}.
        whole: whether `arrays` are all of the file.
    """
    own = all(k == v for k, v in theirs.items())
    _check(path, arrays, theirs, wanted, whole and not own)
    values = []
    for name, like in name_leaves(variables_like).items():
        if name in wanted:
            with np.errstate(over="ignore"):  # found below
                array = arrays[theirs[name]].astype(like.dtype)
            if not np.isfinite(array).all():
                raise CheckpointError(f"{path}: {_printable(theirs[name])} holds NaN or infinity")
            values.append(array if own else from_published(array, like.shape))
        else:
            values.append(like)
    return jax.tree.unflatten(jax.tree.structure(variables_like), values)


def _check(
    path: Path | str, arrays: dict[str, np.ndarray], theirs: dict[str, str], wanted: dict[str, Any], published: bool
) -> None:
    """Raises CheckpointError if the file has not exactly the wanted tensors, and says what would fit."""
    own = all(k == v for k, v in theirs.items())
    shapes = {theirs[k]: tuple(v.shape) if own else published_shape(k, v.shape) for k, v in wanted.items()}
    other = {k: v for k, v in shapes.items() if k in arrays and arrays[k].shape != v}

    def compare(array: np.ndarray, shape: tuple[int, ...]) -> str:
        fits = array.shape == shape and jnp.issubdtype(array.dtype, jnp.floating)
        return "" if fits else f"{array.dtype}{list(array.shape)}, {list(shape)} of a floating type wanted"

    differences = list_differences(arrays, shapes, compare)
    if not differences:
        return
    shown = _printable(show_differences(differences))
    layers, hint = sorted({layer_of(k) for k in wanted if theirs[k] in other}), ""
    if len(other) == len(differences) and len(layers) <= 1 + len(HEADS):  # another number of classes
        others = ",".join(f"!{layer}" for layer in layers)
        hint = f"all other layers fit: model.init_from with model.init_layers='{others}' begins with them"
    elif published:
        hint = _printable(identify.explain_file(arrays))
    raise CheckpointError(f"{path}{f' ({hint})' if hint else ''} does not fit this model: {shown}")


def _line(e: Exception) -> str:
    return _printable(first_line(e))[:300]


def _printable(text: str) -> str:
    """Replaces unprintable characters: names in a file may contain terminal control codes."""
    return "".join(c if c.isprintable() else "?" for c in text)
