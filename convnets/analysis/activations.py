"""Network inspection: layer activations, the images that excite a unit most, and occlusion maps.

The functions take a model, its variables and preprocessed input images. Layer outputs are pre-activations: they are
recorded before the nonlinearity that follows the layer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from convnets.losses import NO_PROBABILITIES
from convnets.models.graph import LEARNT
from convnets.models.summary import LayerSummary, capture

Box = tuple[int, int, int, int]  # top, left, bottom, right, the last two exclusive


class BatchStatistics(NamedTuple):
    """Statistics of one layer over one batch of n images.

    Attributes:
        max_value, max_position: [n, channels], each channel's maximum and its flat index on the feature map (row * width + column).
        mean, square: [n, channels], the spatial means of each channel's values and of their squares.
        low, high: [inputs], the minimum and maximum of each input channel of the layer over the batch.
    """

    max_value: jax.Array
    max_position: jax.Array
    mean: jax.Array
    square: jax.Array
    low: jax.Array
    high: jax.Array


class LayerStatistics(NamedTuple):
    """Statistics of one layer over a whole data set.

    Attributes:
        max_value, max_position: as in `BatchStatistics`, for all images.
        mean, std: [channels], over all images and positions.
        dead: fraction of the layer's input channels (input units for a fully connected layer) that are constant over
            all images and positions. They carry no information; after a ReLU they are units that never fire.
    """

    max_value: np.ndarray
    max_position: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    dead: float


def _measure_batch(before: jax.Array, after: jax.Array) -> BatchStatistics:
    over = tuple(range(before.ndim - 1))
    y = after.reshape(after.shape[0], -1, after.shape[-1])
    return BatchStatistics(jnp.max(y, axis=1), jnp.argmax(y, axis=1), jnp.mean(y, axis=1), jnp.mean(jnp.square(y), axis=1),
                jnp.min(before, axis=over), jnp.max(before, axis=over))  # fmt: skip


def collect_statistics(
    model: nn.Module, variables: Any, batches: Iterable[tuple[np.ndarray, np.ndarray]]
) -> dict[str, LayerStatistics]:
    """Returns the statistics of every layer over all images, keyed by layer name.

    Args:
        batches: (images [n, h, w, c], mask [n]) pairs, all of one shape; mask is 0 for padding images.
    """

    @jax.jit
    def look(variables, images):
        return {name: _measure_batch(*both) for name, both in capture(model, variables, images).items()}

    kept: dict[str, list[BatchStatistics]] = {}
    for images, mask in batches:
        real = np.flatnonzero(mask)
        images = np.asarray(images)
        if len(real) < len(images):  # pad with a copy of a real image: min and max stay the same
            images = np.where((np.asarray(mask) > 0)[:, None, None, None], images, images[real[0]])
        for name, part in jax.device_get(look(variables, images)).items():
            kept.setdefault(name, []).append(BatchStatistics(*(v[real] for v in part[:4]), *part[4:]))
    return {name: _merge(parts) for name, parts in kept.items()}


def _merge(parts: Sequence[BatchStatistics]) -> LayerStatistics:
    max_value, max_position, mean, square = (np.concatenate([p[i] for p in parts]) for i in range(4))
    low, high = np.min([p.low for p in parts], axis=0), np.max([p.high for p in parts], axis=0)
    middle = mean.astype(np.float64).mean(axis=0)
    variance = square.astype(np.float64).mean(axis=0) - middle**2
    return LayerStatistics(
        max_value, max_position, middle, np.sqrt(np.maximum(variance, 0)), float(np.mean(low == high))
    )


def first_filters(model: nn.Module, variables: Any, rows: Sequence[LayerSummary]) -> tuple[str, np.ndarray] | None:
    """Returns the name and kernels [kh, kw, channels, maps] of the first layer with weights.

    Returns None where the weights cannot be shown as image patches. For a locally connected layer, the kernels at the
    centre of the map are returned; for a fully connected layer, kernels have the size of the image.
    """
    first = next((r for r in rows if r.kind in LEARNT), None)
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


# Units and their receptive fields -----------------------------------------------------------------------------------


def choose_layers(rows: Sequence[LayerSummary]) -> list[LayerSummary]:
    """Returns the first, middle and last weighted layer with feature maps below the classifier.

    In a network without feature maps, the fully connected layers are used instead.
    """
    learnt = [r for r in rows if r.kind in LEARNT]
    hidden = learnt[:-1] if learnt and learnt[-1].kind in ("Conv", "Dense") else learnt
    chosen = [r for r in hidden if r.kind != "Dense"] or hidden or [r for r in rows if r.parameters]
    return [chosen[i] for i in dict.fromkeys((0, len(chosen) // 2, len(chosen) - 1))] if chosen else []


def locate_receptive_field(layer: LayerSummary, position: int) -> Box:
    """Returns a unit's receptive field in input pixels; it may extend into the padding outside the image."""
    row, column = divmod(int(position), layer.output[1]) if len(layer.output) == 3 else (0, 0)
    top, left = (layer.start + layer.jump * at for at in (row, column))
    return top, left, top + layer.receptive_field, left + layer.receptive_field


def crop_box(image: np.ndarray, box: Box) -> np.ndarray:
    """Returns the crop [bottom - top, right - left, c] of a box; pixels outside the image [h, w, c] are 0."""
    top, left, bottom, right = box
    h, w = image.shape[:2]
    out = np.zeros((bottom - top, right - left, image.shape[2]), image.dtype)
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(bottom, h), min(right, w)
    out[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return out


def find_strongest_images(statistics: LayerStatistics, channel: int, count: int) -> np.ndarray:
    """Returns the indices of the `count` images with the largest activation of a channel, in descending order."""
    return np.argsort(-statistics.max_value[:, channel], kind="stable")[:count]


# One image ----------------------------------------------------------------------------------------------------------


class Occlusion(NamedTuple):
    """Class scores of one image with a part of it occluded.

    Attributes:
        values: [rows, columns], the class score for each position of the square.
        centres: (rows, columns), the pixel coordinates of the squares' centres.
        side: side of the square in pixels.
    """

    values: np.ndarray
    centres: tuple[np.ndarray, np.ndarray]
    side: int


def occlude(
    score: Callable[[np.ndarray], np.ndarray], image: np.ndarray, side: int, stride: int, batch: int = 32
) -> Occlusion:
    """Returns the class score as a grey square slides over the image (Zeiler & Fergus 2014, section 4.2).

    The square is filled with the image's mean of each channel and is clipped at the edges.

    Args:
        score: maps images [n, h, w, c] to the class scores [n]; n is always `batch`.
        image: [h, w, c].
        side, stride: side and stride of the square, in pixels.
        batch: images per call of `score`.
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


def make_scorer(model: nn.Module, variables: Any, loss: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from images [n, h, w, c] to [n, classes].

    The values are softmax probabilities, or the raw outputs for the losses in NO_PROBABILITIES.
    """

    @jax.jit
    def scores(variables, images):
        given: Any = model.apply(variables, images, train=False)
        y = given.astype(jnp.float32)
        return y if loss in NO_PROBABILITIES else jax.nn.softmax(y, axis=1)

    return lambda images: np.asarray(scores(variables, images))


def tabulate_statistics(rows: Sequence[LayerSummary], found: Mapping[str, LayerStatistics]) -> list[dict[str, Any]]:
    """Returns one dict for each layer with weights, in order of depth.

    Its keys are 'layer', 'norm', 'dead' and the per-channel lists 'mean', 'std' and 'raw'. 'mean' and 'std' describe
    the pre-activations: the output of the batch normalization where one follows the layer. 'raw' is the standard
    deviation before it.
    """
    lines: list[dict[str, Any]] = []
    for r in rows:
        if r.name not in found:
            continue
        mean, std, dead = found[r.name][2:]
        if r.kind == "BatchNorm" and lines:
            lines[-1] |= {"norm": r.name, "mean": mean.tolist(), "std": std.tolist()}
        elif r.kind in LEARNT:
            lines.append({"layer": r.name, "norm": "", "mean": mean.tolist(), "std": std.tolist(),
                          "raw": std.tolist(), "dead": dead})  # fmt: skip
    return lines
