"""Hand-crafted features of the years between LeNet-5 and AlexNet, as layers without gradient-trained parameters.

hog -> linear SVM:                          Dalal & Triggs: Histograms of oriented gradients for human detection, CVPR
                                            2005.
sift -> codebook -> pyramid -> linear SVM:  Lowe: Distinctive image features from scale-invariant keypoints, IJCV 2004,
                                            section 6; Csurka et al.: Visual categorization with bags of keypoints,
                                            2004; Lazebnik, Schmid & Ponce: Beyond bags of features, CVPR 2006.

convnets/training/closed_form.py fits the codebook by k-means and the classifier as an SVM. The layers expect pixels in [0, 1].
Import them from `convnets.layers`.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from convnets.layers.cpu_convolution import plain_conv

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # grey from red, green and blue (ITU-R BT.601)
PATCH, CELLS, DIRECTIONS = 16, 4, 8  # SIFT: patch of 16 x 16 pixels, 4 x 4 cells, 8 directions: 128 values
BINS = 9  # HOG: orientations
CLIP = 0.2  # HOG and SIFT: clips normalized entries, so that no single gradient dominates


def gradients(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns (down, right), the central differences [-1, 0, 1] of an [n, h, w, c] array; 0 at the edges."""
    down = jnp.pad(x[:, 2:] - x[:, :-2], ((0, 0), (1, 1), (0, 0), (0, 0)))
    right = jnp.pad(x[:, :, 2:] - x[:, :, :-2], ((0, 0), (0, 0), (1, 1), (0, 0)))
    return down, right


def unit_length(x: jax.Array, small: float) -> jax.Array:
    """Scales the last axis to length 1 if it is much longer than `small`; zeros stay zero."""
    return x * lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + small**2)


def clipped(x: jax.Array, small: float) -> jax.Array:
    """Normalizes, clips and normalizes again (Lowe 2004, section 6.1; L2-Hys in Dalal & Triggs 2005, section 6.4)."""
    return unit_length(jnp.minimum(unit_length(x, small), CLIP), small)


class HOG(nn.Module):
    """Histograms of oriented gradients: [n, h, w, c] to [n, blocks down, blocks right, 4 x 9].

    A cell is `cell` x `cell` pixels. In its cell, each pixel votes for one of 9 orientations from 0 to 180
    degrees. A pixel uses the channel with the longest gradient, and the vote's weight is that length. Blocks of 2 x 2
    cells overlap by one cell and are normalized separately (`clipped`). The result matches `skimage.feature.hog`, which
    does not interpolate the votes either.
    """

    cell: int = 4

    padding = 1  # the gradients need one more pixel on every side

    @property
    def size(self) -> int:
        """Side of a block's receptive field in pixels."""
        return 2 * self.cell + 2

    @property
    def stride(self) -> int:
        """Pixels between two blocks."""
        return self.cell

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        down, right = gradients(x)
        length = jnp.hypot(down, right)
        longest = jnp.argmax(length, axis=-1, keepdims=True)
        down, right, length = (jnp.take_along_axis(v, longest, axis=-1)[..., 0] for v in (down, right, length))
        angle = jnp.mod(jnp.arctan2(down, right), math.pi)
        orientation = jnp.minimum(jnp.floor(angle * (BINS / math.pi)).astype(jnp.int32), BINS - 1)
        votes = length[..., None] * jax.nn.one_hot(orientation, BINS, dtype=x.dtype)
        n, h, w = x.shape[0], x.shape[1] // self.cell, x.shape[2] // self.cell
        votes = votes[:, : h * self.cell, : w * self.cell].reshape(n, h, self.cell, w, self.cell, BINS)
        cells = jnp.mean(votes, axis=(2, 4))
        corners = [cells[:, i : h - 1 + i, j : w - 1 + j] for i in (0, 1) for j in (0, 1)]
        return clipped(jnp.concatenate(corners, axis=-1), 1e-5)


class SIFT(nn.Module):
    """Dense SIFT: a descriptor at every `stride`-th pixel, [n, h, w, c] to [n, h', w', 128].

    All patches lie inside the image. The descriptor is Lowe 2004, section 6.1, at one scale and upright, without
    keypoint detection. Gradients of the grey image are weighted by a Gaussian with a sigma of half the patch width.
    Each is shared linearly between the two nearest of 8 directions and the nearest of 4 x 4 cells. The layer is thus a
    convolution with fixed 16 x 16 filters. A patch without contrast gives zeros.
    """

    stride: int = 2

    size, padding = PATCH + 2, 1  # the gradients need one more pixel on every side

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        grey = x if x.shape[-1] == 1 else (x @ LUMA.astype(x.dtype))[..., None]
        down, right = (v[..., 0] for v in gradients(grey))
        position = jnp.mod(jnp.arctan2(down, right) * (DIRECTIONS / (2 * math.pi)), DIRECTIONS)
        away = jnp.abs(position[:, None] - jnp.arange(DIRECTIONS, dtype=x.dtype)[:, None, None])
        share = jax.nn.relu(1 - jnp.minimum(away, DIRECTIONS - away))  # weight of each direction; angles wrap around
        votes = (share * jnp.hypot(down, right)[:, None]).reshape(-1, *grey.shape[1:3], 1)
        cells = jnp.asarray(window(), x.dtype)[:, :, None]
        maps = plain_conv(votes, cells, (self.stride, self.stride), ((0, 0), (0, 0)))
        maps = maps.reshape(-1, DIRECTIONS, *maps.shape[1:])  # [n, directions, h', w', cells]
        maps = jnp.moveaxis(maps, 1, -1)
        return clipped(maps.reshape(*maps.shape[:3], -1), 1e-4)


def window() -> np.ndarray:
    """Returns the weight of each patch pixel for each cell, [16, 16, 16]: row, column, cell (row-major)."""
    place = np.arange(PATCH) - (PATCH - 1) / 2
    gauss = np.exp(-np.square(place) / (2 * (PATCH / 2) ** 2))
    side = PATCH / CELLS
    centres = (np.arange(CELLS) - (CELLS - 1) / 2) * side
    near = gauss[:, None] * np.maximum(1 - np.abs(place[:, None] - centres) / side, 0)  # [pixel, cell] along one axis
    return np.einsum("yi,xj->yxij", near, near).reshape(PATCH, PATCH, CELLS**2).astype(np.float32)


class Codebook(nn.Module):
    """Vector quantization: [n, h, w, c] to a one-hot code of the nearest of `words` centres, [n, h, w, words].

    The centres are `kernel` [c, words]. Their gradient is zero; k-means fits them.
    """

    words: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        centres = self.param("kernel", nn.initializers.normal(1.0), (x.shape[-1], self.words)).astype(x.dtype)
        nearness = jnp.matmul(x, centres, precision="highest") - jnp.sum(jnp.square(centres), axis=0) / 2
        return jax.nn.one_hot(jnp.argmax(nearness, axis=-1), self.words, dtype=x.dtype)


class Pyramid(nn.Module):
    """Spatial pyramid: one-hot words [n, h, w, words] to unit-length features [n, numbers].

    The features are square roots of weighted word histograms over 1, 2 x 2, 4 x 4, ... fields of the image. The level
    weights follow Lazebnik et al. 2006, section 3: 1/4, 1/4 and 1/2 for three levels. The square root replaces their
    intersection kernel: its inner product is the Hellinger kernel, so a linear SVM suffices.
    """

    levels: int = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        parts, top = [], self.levels - 1
        if 2 ** (top - 1) >= max(x.shape[1:3]):  # the level before has a field for every word
            raise ValueError(f"{self.levels} levels are too many for {x.shape[1]} x {x.shape[2]} words")
        for level in range(self.levels):
            fields = 2**level
            rows, columns = (_members(size, fields).astype(x.dtype) for size in x.shape[1:3])
            counts = jnp.einsum("nhwk,hi,wj->nijk", x, rows, columns) / (x.shape[1] * x.shape[2])
            weight = 2.0 ** -(top - max(level - 1, 0))
            parts.append(jnp.sqrt(weight * counts).reshape(x.shape[0], -1))
        return jnp.concatenate(parts, axis=-1)


def _members(size: int, fields: int) -> np.ndarray:
    """Returns a one-hot [size, fields] array: the field that contains the centre of each position."""
    return np.eye(fields, dtype=np.float32)[((np.arange(size) + 0.5) * fields / size).astype(int)]
