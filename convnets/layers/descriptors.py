"""The hand-made features of the years between LeNet-5 and AlexNet, as layers: nothing in them learns by a gradient.

hog -> linear SVM:                                  Dalal & Triggs: Histograms of oriented gradients for human detection,
                                                    CVPR 2005.
sift -> codebook -> pyramid -> linear SVM:          Lowe: Distinctive image features from scale-invariant keypoints, IJCV
                                                    2004, section 6; Csurka et al.: Visual categorization with bags of
                                                    keypoints, 2004; Lazebnik, Schmid & Ponce: Beyond bags of features,
                                                    CVPR 2006.

The codebook is fitted by k-means and the classifier by an SVM: convnets/training/svm.py. The layers take pixels from 0 to 1. All
of them are found in `convnets.layers` too.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # grey of red, green and blue (ITU-R BT.601)
PATCH, CELLS, DIRECTIONS = 16, 4, 8  # of a SIFT descriptor: 16 x 16 pixels, 4 x 4 cells, 8 directions: 128 numbers
CLIP = 0.2  # of both descriptors: no gradient alone may make up more of it


def gradients(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(down, right), central differences [-1, 0, 1] of an [n, h, w, c] array; 0 at the edges."""
    down = jnp.pad(x[:, 2:] - x[:, :-2], ((0, 0), (1, 1), (0, 0), (0, 0)))
    right = jnp.pad(x[:, :, 2:] - x[:, :, :-2], ((0, 0), (0, 0), (1, 1), (0, 0)))
    return down, right


def unit_length(x: jax.Array, small: float) -> jax.Array:
    """The last axis at length 1, where it is much longer than `small`; what is zero stays zero."""
    return x * lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + small**2)


def clipped(x: jax.Array, small: float) -> jax.Array:
    """Normalized, clipped, normalized again (Lowe 2004, section 6.1; L2-Hys in Dalal & Triggs 2005, section 6.4)."""
    return unit_length(jnp.minimum(unit_length(x, small), CLIP), small)


class HOG(nn.Module):
    """[n, h, w, c] to histograms of oriented gradients, [n, blocks down, blocks right, 4 x bins].

    Each pixel votes, with the length of its gradient in the channel where that is longest, for one of `bins` orientations
    from 0 to 180 degrees in its cell of `cell` x `cell` pixels. Blocks of 2 x 2 cells overlap by one cell, and each is
    normalized by itself (`clipped`). That is `skimage.feature.hog`, which like this one does not interpolate the votes.
    """

    cell: int = 4
    bins: int = 9

    padding = 1  # the gradients see one pixel more on every side

    @property
    def size(self) -> int:
        """Pixels that a block sees."""
        return 2 * self.cell + 2

    @property
    def stride(self) -> int:
        return self.cell

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        down, right = gradients(x)
        length = jnp.hypot(down, right)
        longest = jnp.argmax(length, axis=-1, keepdims=True)
        down, right, length = (jnp.take_along_axis(v, longest, axis=-1)[..., 0] for v in (down, right, length))
        angle = jnp.mod(jnp.arctan2(down, right), math.pi)
        orientation = jnp.minimum(jnp.floor(angle * (self.bins / math.pi)).astype(jnp.int32), self.bins - 1)
        votes = length[..., None] * jax.nn.one_hot(orientation, self.bins, dtype=x.dtype)
        n, h, w = x.shape[0], x.shape[1] // self.cell, x.shape[2] // self.cell
        votes = votes[:, : h * self.cell, : w * self.cell].reshape(n, h, self.cell, w, self.cell, self.bins)
        cells = jnp.mean(votes, axis=(2, 4))
        corners = [cells[:, i : h - 1 + i, j : w - 1 + j] for i in (0, 1) for j in (0, 1)]
        return clipped(jnp.concatenate(corners, axis=-1), 1e-5)


class SIFT(nn.Module):
    """[n, h, w, c] to a SIFT descriptor at every `stride`-th pixel, [n, h', w', 128], of patches that lie in the image.

    The descriptor of Lowe 2004, section 6.1, at one scale and upright, without its keypoints: gradients of the grey image,
    weighted by a Gaussian of half the patch's width, are shared linearly between the two nearest directions of 8 and the
    nearest cells of 4 x 4. So it is a convolution, whose 16 x 16 filters are made by hand. A patch without contrast is zero.
    """

    stride: int = 2

    size, padding = PATCH + 2, 1  # the gradients see one pixel more on every side

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        grey = x if x.shape[-1] == 1 else (x @ LUMA.astype(x.dtype))[..., None]
        down, right = (v[..., 0] for v in gradients(grey))
        position = jnp.mod(jnp.arctan2(down, right) * (DIRECTIONS / (2 * math.pi)), DIRECTIONS)
        away = jnp.abs(position[:, None] - jnp.arange(DIRECTIONS, dtype=x.dtype)[:, None, None])
        share = jax.nn.relu(1 - jnp.minimum(away, DIRECTIONS - away))  # of a direction, around the circle
        votes = (share * jnp.hypot(down, right)[:, None]).reshape(-1, *grey.shape[1:3], 1)
        maps = lax.conv_general_dilated(votes, jnp.asarray(window(), x.dtype)[:, :, None], (self.stride, self.stride), "VALID",
                                        dimension_numbers=("NHWC", "HWIO", "NHWC"))  # fmt: skip
        maps = maps.reshape(-1, DIRECTIONS, *maps.shape[1:])  # [n, directions, h', w', cells]
        maps = jnp.moveaxis(maps, 1, -1)
        return clipped(maps.reshape(*maps.shape[:3], -1), 1e-4)


def window() -> np.ndarray:
    """How much each pixel of a patch counts for each cell, row after row: [16, 16, 16]."""
    place = np.arange(PATCH) - (PATCH - 1) / 2
    gauss = np.exp(-np.square(place) / (2 * (PATCH / 2) ** 2))
    side = PATCH / CELLS
    centres = (np.arange(CELLS) - (CELLS - 1) / 2) * side
    near = gauss[:, None] * np.maximum(1 - np.abs(place[:, None] - centres) / side, 0)  # [pixel, cell] along one axis
    return np.einsum("yi,xj->yxij", near, near).reshape(PATCH, PATCH, CELLS**2).astype(np.float32)


class Codebook(nn.Module):
    """[n, h, w, c] to the nearest of `words` centres at every place, [n, h, w, words]: a one among zeros.

    The centres, `kernel` [c, words], are no matter of gradients, which are zero; k-means finds them.
    """

    words: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        centres = self.param("kernel", nn.initializers.normal(1.0), (x.shape[-1], self.words)).astype(x.dtype)
        nearness = x @ centres - jnp.sum(jnp.square(centres), axis=0) / 2
        return jax.nn.one_hot(jnp.argmax(nearness, axis=-1), self.words, dtype=x.dtype)


class Pyramid(nn.Module):
    """Words at places, [n, h, w, words], to roots of their histograms in 1, 2 x 2, 4 x 4, ... fields of the image.

    The weights are those of Lazebnik et al. 2006, section 3: of three levels 1/4, 1/4 and 1/2. In place of their kernel, the
    intersection, stands the root, whose inner product is Hellinger's kernel and needs no kernel machine. [n, numbers], at
    length 1.
    """

    levels: int = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        parts, top = [], self.levels - 1
        for level in range(self.levels):
            fields = 2**level
            rows, columns = (_members(size, fields).astype(x.dtype) for size in x.shape[1:3])
            counts = jnp.einsum("nhwk,hi,wj->nijk", x, rows, columns) / (x.shape[1] * x.shape[2])
            weight = 2.0 ** -(top - max(level - 1, 0))
            parts.append(jnp.sqrt(weight * counts).reshape(x.shape[0], -1))
        return jnp.concatenate(parts, axis=-1)


def _members(size: int, fields: int) -> np.ndarray:
    """[size, fields]: the field in which the middle of each place lies."""
    return np.eye(fields, dtype=np.float32)[((np.arange(size) + 0.5) * fields / size).astype(int)]
