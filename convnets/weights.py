"""Published weights in and out: one table of names per source, strict both ways.

Read are .safetensors and PyTorch's files (zip, and the format before 1.6), the latter without PyTorch and through an
unpickler that can build tensors and nothing else. Written is .safetensors.

Sources, by their structure and names (`LAYERS`):
    torchvision     alexnet, vgg11 ... vgg19 and _bn, resnet18 ... resnet152. Its bottlenecks halve the map in the
                    3x3, so they are our `_v1_5`. Images: RGB / 255, minus (.485, .456, .406), over (.229, .224, .225).
    CIFAR ResNets   the common PyTorch layout (akamaster's pytorch_resnet_cifar10).
    our own         'params/conv1/kernel', 'batch_stats/bn_conv1/mean': every model.

Batch norm: PyTorch's epsilon is 1e-5, its running variance the unbiased one, as ours; its momentum 0.1 is our 0.9.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from convnets import torchfile
from convnets.errors import CheckpointError
from convnets.models import resnet, vgg

EPSILON = 1e-5  # of every source's batch norms
SHOWN = 5  # differences listed in an error
OURS = ("params/", "batch_stats/")

# Tables of names ----------------------------------------------------------------------------------------------------

# A published name is LAYERS[model]()[our layer] + "." + LEAVES[our leaf].
LEAVES = {"kernel": "weight", "bias": "bias", "scale": "weight", "mean": "running_mean", "var": "running_var"}
IGNORED = "num_batches_tracked"  # of every batch norm: PyTorch's count of training steps


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
            at += 3 if batch_norm else 2  # and the ReLU
        at += 1  # the pooling
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


LAYERS: dict[str, Callable[[], dict[str, str]]] = {
    "alexnet_owt": _alexnet,
    "vgg_a": partial(_vgg, "A"),
    "vgg_a_bn": partial(_vgg, "A", True),
    "vgg_b": partial(_vgg, "B"),
    "vgg_b_bn": partial(_vgg, "B", True),
    "vgg_d": partial(_vgg, "D"),
    "vgg_d_bn": partial(_vgg, "D", True),
    "vgg_e": partial(_vgg, "E"),
    "vgg_e_bn": partial(_vgg, "E", True),
    "resnet18": partial(_resnet, resnet.IMAGENET[18], fc1000="fc"),
    "resnet34": partial(_resnet, resnet.IMAGENET[34], fc1000="fc"),
    "resnet50_v1_5": partial(_resnet, resnet.IMAGENET[50], fc1000="fc"),
    "resnet101_v1_5": partial(_resnet, resnet.IMAGENET[101], fc1000="fc"),
    "resnet152_v1_5": partial(_resnet, resnet.IMAGENET[152], fc1000="fc"),
    "resnet20_cifar": partial(_resnet, resnet.cifar(20), "shortcut", fc="linear"),
    "resnet32_cifar": partial(_resnet, resnet.cifar(32), "shortcut", fc="linear"),
    "resnet44_cifar": partial(_resnet, resnet.cifar(44), "shortcut", fc="linear"),
    "resnet56_cifar": partial(_resnet, resnet.cifar(56), "shortcut", fc="linear"),
    "resnet110_cifar": partial(_resnet, resnet.cifar(110), "shortcut", fc="linear"),
    "resnet1202_cifar": partial(_resnet, resnet.cifar(1202), "shortcut", fc="linear"),
}


def names(model_name: str, ours: list[str]) -> dict[str, str]:
    """{our name: published name} for names like 'params/conv1/kernel'.

    Raises:
        CheckpointError: no source publishes this model, or this layer of it.
    """
    if model_name not in LAYERS:
        hint = f"; '{model_name}_v1_5' has torchvision's function" if f"{model_name}_v1_5" in LAYERS else ""
        raise CheckpointError(f"no table of published names for model '{model_name}'{hint}")
    table, found = LAYERS[model_name](), {}
    for name in ours:
        layer, leaf = name.split("/")[-2:]
        if layer not in table or leaf not in LEAVES:
            raise CheckpointError(f"{name} of model '{model_name}' has no published name")
        found[name] = f"{table[layer]}.{LEAVES[leaf]}"
    return found


def published_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """OIHW of a convolution, [out, c * h * w] or [out, in] of a fully connected layer (fc...)."""
    if len(shape) != 4:
        return shape[::-1]
    h, w, c, out = shape
    return (out, c * h * w) if name.split("/")[-2].startswith("fc") else (out, c, h, w)


def outward(name: str, array: np.ndarray) -> np.ndarray:
    """Our parameter in the published layout."""
    axes = (3, 2, 0, 1) if array.ndim == 4 else None
    return np.ascontiguousarray(array.transpose(axes)).reshape(published_shape(name, array.shape))


def inward(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A published array in our layout, of our `shape`."""
    if len(shape) == 4:
        h, w, c, out = shape
        return np.ascontiguousarray(array.reshape(out, c, h, w).transpose(2, 3, 1, 0))
    return np.ascontiguousarray(array.T)


# In and out ---------------------------------------------------------------------------------------------------------


def load(path: Path | str, model_name: str, variables_like: Any, epsilon: float = EPSILON) -> Any:
    """The weights in a file as variables of a model.

    Args:
        path: a file with the names of the model's source in `LAYERS`, or with our own.
        variables_like: {'params': ..., 'batch_stats': ...} of arrays or of their shapes (`jax.eval_shape`).
        epsilon: of the model's batch norms.

    Returns:
        The structure of `variables_like`, NumPy arrays of its types; floating types are converted.

    Raises:
        CheckpointError: the file cannot be read, or a tensor is missing, unknown or of another shape; lists up to five.
    """
    arrays, made_for = read(path)
    if made_for not in (None, model_name):
        raise CheckpointError(f"{path} holds weights of model '{made_for}', not of '{model_name}'")
    wanted = _named(variables_like)
    own = any(k.startswith(OURS) for k in arrays)
    theirs = {k: k for k in wanted} if own else names(model_name, list(wanted))
    shapes = {theirs[k]: tuple(v.shape) if own else published_shape(k, v.shape) for k, v in wanted.items()}
    norms = [v for k, v in theirs.items() if k.endswith("/var")]
    if norms and not own and epsilon != EPSILON:
        raise CheckpointError(f"{path}: the batch norms of these weights add {EPSILON:g}, this model's {epsilon:g}")
    ignored = {f"{v.removesuffix('.running_var')}.{IGNORED}" for v in norms}
    _check(path, {k: v for k, v in arrays.items() if k not in ignored}, shapes)
    values = []
    for name, like in wanted.items():
        array = arrays[theirs[name]].astype(like.dtype)
        values.append(array if own else inward(array, like.shape))
    return jax.tree.unflatten(jax.tree.structure(variables_like), values)


def save(path: Path | str, model_name: str, variables: Any, own_names: bool = False) -> None:
    """Writes {'params': ..., 'batch_stats': ...} as .safetensors under the names of the model's source, or our own.

    Raises:
        CheckpointError: the model has no source, or the file cannot be written.
    """
    path, arrays = Path(path), {k: np.asarray(v) for k, v in _named(jax.device_get(variables)).items()}
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: weights are written as .safetensors")
    if own_names:
        arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    else:
        theirs = names(model_name, list(arrays))
        arrays = {theirs[k]: outward(k, v) for k, v in arrays.items()}
    unfinished = path.with_name(f".{path.name}.part")
    try:
        safetensors.numpy.save_file(arrays, unfinished, metadata={"model": model_name})
        unfinished.replace(path)
    except Exception as e:  # safetensors has its own kinds
        raise CheckpointError(f"{path} could not be written: {_line(e)}") from e


def read(path: Path | str) -> tuple[dict[str, np.ndarray], str | None]:
    """The tensors of a file by name, and the model it was written for if it says so.

    A dictionary under 'state_dict' is opened; a 'module.' before every name is dropped.

    Raises:
        CheckpointError: it cannot be read, holds anything but tensors, or asks the unpickler for anything else.
    """
    path, model = Path(path), None
    if not path.is_file():
        raise CheckpointError(f"{path} is no file")
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="np") as file:
                model = (file.metadata() or {}).get("model")
                arrays = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        else:
            arrays = torchfile.read(path)
    except CheckpointError as e:
        raise CheckpointError(f"{path}: {_line(e)}") from None
    except Exception as e:  # a damaged file can break any of the readers in any way
        raise CheckpointError(f"{path} cannot be read, it may be damaged or no file of weights: {_line(e)}") from e
    if arrays and all(k.startswith("module.") for k in arrays):
        arrays = {k.removeprefix("module."): v for k, v in arrays.items()}
    return arrays, model


def _named(variables: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


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
