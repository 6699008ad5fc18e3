"""Looking inside a network: what its layers give for images, what excites a unit, and where an image decides its class.

Functions of a model, its variables and images as the network takes them; what a layer gives is taken before the squashing
function that follows it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from convnets.losses import NO_PROBABILITIES
from convnets.models import summary
from convnets.models.summary import LayerSummary

WEIGHTED = ("Conv", "LocallyConnected", "SCells", "Dense")
Square = tuple[int, int, int, int]  # top, left, bottom, right, the last two exclusive


class Part(NamedTuple):
    """Of one layer and n images.

    Attributes:
        peak, place: [n, channels], the largest value of each channel, and where on the map (row * width + column).
        mean, square: [n, channels], of its values and of their squares over the map.
        low, high: [inputs], the least and the largest that came into the layer on each of its input channels.
    """

    peak: jax.Array
    place: jax.Array
    mean: jax.Array
    square: jax.Array
    low: jax.Array
    high: jax.Array


class Channels(NamedTuple):
    """Of one layer and many images.

    Attributes:
        peak, place: as in `Part`.
        mean, std: [channels], over all images and places.
        dead: the share of the layer's input channels (of a full layer, its input units) that are the same at all places
            of all images, so that nothing can be learned from them: behind a rectifier, units that never fire.
    """

    peak: np.ndarray
    place: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    dead: float


def capture(model: nn.Module, variables: Any, images: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
    """What goes into each layer and what it gives, by the paper's name with its path; float32.

    Auxiliary heads do not run, running statistics serve batch normalization: it is the network that is tested.
    """
    seen = {}

    def intercept(call, args, kwargs, context):
        y = call(*args, **kwargs)
        if summary.is_layer(context.module) and context.method_name == "__call__":
            seen["/".join(context.module.path)] = (args[0].astype(jnp.float32), y.astype(jnp.float32))
        return y

    with nn.intercept_methods(intercept):
        model.apply(variables, images, train=False)
    return seen


def _part(before: jax.Array, after: jax.Array) -> Part:
    over = tuple(range(before.ndim - 1))
    y = after.reshape(after.shape[0], -1, after.shape[-1])
    return Part(jnp.max(y, axis=1), jnp.argmax(y, axis=1), jnp.mean(y, axis=1), jnp.mean(jnp.square(y), axis=1),
                jnp.min(before, axis=over), jnp.max(before, axis=over))  # fmt: skip


def collect_statistics(
    model: nn.Module, variables: Any, batches: Iterable[tuple[np.ndarray, np.ndarray]]
) -> dict[str, Channels]:
    """Every layer over all images.

    Args:
        batches: (images [n, h, w, c], mask [n] of those that count), all of one shape.
    """

    @jax.jit
    def look(variables, images):
        return {name: _part(*both) for name, both in capture(model, variables, images).items()}

    kept: dict[str, list[Part]] = {}
    for images, mask in batches:
        real = np.flatnonzero(mask)
        images = np.asarray(images)
        if len(real) < len(images):  # filled up with one that counts, which changes no extreme
            images = np.where((np.asarray(mask) > 0)[:, None, None, None], images, images[real[0]])
        for name, part in jax.device_get(look(variables, images)).items():
            kept.setdefault(name, []).append(Part(*(v[real] for v in part[:4]), *part[4:]))
    return {name: _merge(parts) for name, parts in kept.items()}


def _merge(parts: Sequence[Part]) -> Channels:
    peak, place, mean, square = (np.concatenate([p[i] for p in parts]) for i in range(4))
    low, high = np.min([p.low for p in parts], axis=0), np.max([p.high for p in parts], axis=0)
    middle = mean.astype(np.float64).mean(axis=0)
    variance = square.astype(np.float64).mean(axis=0) - middle**2
    return Channels(peak, place, middle, np.sqrt(np.maximum(variance, 0)), float(np.mean(low == high)))


def first_filters(model: nn.Module, variables: Any, rows: Sequence[LayerSummary]) -> tuple[str, np.ndarray] | None:
    """Name and kernels [kh, kw, channels, maps] of the layer that sees the image; None where they are no pictures of it.

    Of a locally connected layer they are those at the middle of the map, of a full layer they have the image's size.
    """
    first = next((r for r in rows if r.kind in WEIGHTED), None)
    if first is None:
        return None
    leaves = variables["params"]
    for part in first.name.split("/"):
        leaves = leaves[part]
    kernel = np.asarray(leaves.get("kernel", leaves.get("a")), np.float32)
    if first.kind == "LocallyConnected":
        kernel = kernel[kernel.shape[0] // 2, kernel.shape[1] // 2]
    if first.kind == "Dense":
        if kernel.shape[0] != np.prod(model.input_shape):
            return None
        kernel = kernel.reshape(*model.input_shape, -1)
    return (first.name, kernel) if kernel.ndim == 4 else None


# Units and what they see --------------------------------------------------------------------------------------------


def levels(rows: Sequence[LayerSummary]) -> list[LayerSummary]:
    """The first, the middle and the last layer that has weights and a map; of a network without maps, full layers."""
    maps = [r for r in rows if r.kind in WEIGHTED[:-1]]
    chosen = maps or [r for r in rows if r.kind == "Dense"][:-1] or [r for r in rows if r.parameters]
    return [chosen[i] for i in dict.fromkeys((0, len(chosen) // 2, len(chosen) - 1))] if chosen else []


def patch(layer: LayerSummary, place: int) -> Square:
    """The receptive field of a unit: input pixels, which may lie beyond the image's edge, in the padding."""
    row, column = divmod(int(place), layer.output[1]) if len(layer.output) == 3 else (0, 0)
    top, left = (layer.start + layer.jump * at for at in (row, column))
    return top, left, top + layer.receptive_field, left + layer.receptive_field


def cut(image: np.ndarray, square: Square) -> np.ndarray:
    """The pixels of a square [side, side, c]; 0 where it lies beyond the image [h, w, c]."""
    top, left, bottom, right = square
    h, w = image.shape[:2]
    out = np.zeros((bottom - top, right - left, image.shape[2]), image.dtype)
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(bottom, h), min(right, w)
    out[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return out


def best(channels: Channels, channel: int, count: int) -> np.ndarray:
    """The images that excite a channel most, the first the most; indices into the survey's images."""
    return np.argsort(-channels.peak[:, channel], kind="stable")[:count]


# One image ----------------------------------------------------------------------------------------------------------


class Occlusion(NamedTuple):
    """What a class is given while a part of the image is hidden.

    Attributes:
        values: [rows, columns], of the class with the square there.
        centres: (rows, columns) of the squares, in pixels.
        side: of the square.
    """

    values: np.ndarray
    centres: tuple[np.ndarray, np.ndarray]
    side: int


def occlude(
    score: Callable[[np.ndarray], np.ndarray], image: np.ndarray, side: int, stride: int, batch: int = 32
) -> Occlusion:
    """What a class is given while a grey square slides over the image (Zeiler & Fergus 2014, section 4.2).

    The square is the mean of the image, on each channel; at the edges it hangs over.

    Args:
        score: of images [n, h, w, c] for the class, [n]; the same n each time.
        image: [h, w, c].
        side, stride: of the square, in pixels.
    """
    h, w = image.shape[:2]
    rows, columns = np.arange(0, h, stride), np.arange(0, w, stride)
    rows, columns = (v + (n - 1 - v[-1]) // 2 for v, n in ((rows, h), (columns, w)))
    grey = image.mean(axis=(0, 1))
    places = [(r, c) for r in rows for c in columns]
    found = []
    for start in range(0, len(places), batch):
        shown = np.repeat(image[None], batch, axis=0)
        for one, (r, c) in zip(shown, places[start : start + batch], strict=False):
            top, left = r - side // 2, c - side // 2
            one[max(top, 0) : top + side, max(left, 0) : left + side] = grey
        found.append(np.asarray(score(shown)))
    values = np.concatenate(found)[: len(places)].reshape(len(rows), len(columns))
    return Occlusion(values, (rows, columns), side)


def scorer(model: nn.Module, variables: Any, loss: str) -> Callable[[np.ndarray], np.ndarray]:
    """Images [n, h, w, c] to [n, classes]: probabilities, or the outputs of a network that gives none."""

    @jax.jit
    def scores(variables, images):
        given: Any = model.apply(variables, images, train=False)
        y = given.astype(jnp.float32)
        return y if loss in NO_PROBABILITIES else jax.nn.softmax(y, axis=1)

    return lambda images: np.asarray(scores(variables, images))


def statistics(rows: Sequence[LayerSummary], found: Mapping[str, Channels]) -> list[dict[str, Any]]:
    """Through depth, a line for each layer with weights: 'layer', 'norm', and per channel 'mean', 'std'; and 'dead'.

    What goes into the squashing function is measured: where batch normalization follows a layer, what that gives. 'raw'
    is the deviation before it.
    """
    lines: list[dict[str, Any]] = []
    for r in rows:
        if r.name not in found:
            continue
        mean, std, dead = found[r.name][2:]
        if r.kind == "BatchNorm" and lines:
            lines[-1] |= {"norm": r.name, "mean": mean.tolist(), "std": std.tolist()}
        elif r.kind in WEIGHTED:
            lines.append({"layer": r.name, "norm": "", "mean": mean.tolist(), "std": std.tolist(),
                          "raw": std.tolist(), "dead": dead})  # fmt: skip
    return lines
