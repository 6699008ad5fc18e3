"""S- and C-cells, the layers of Fukushima's neocognitron, and how S-cells learn without a teacher and without a gradient.

Fukushima: Neocognitron: A self-organizing neural network model for a mechanism of pattern recognition unaffected by shift
in position, Biological Cybernetics 36, 1980. The names of attributes and arrays are the paper's letters.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from convnets.layers.normalization import Init
from convnets.layers.pooling import Padding, pads


def fading(size: int, rate: float, total: float) -> np.ndarray:
    """Fixed synapses [size, size, 1, 1] that fall as rate ** distance from the centre of the window and add up to `total`."""
    at = np.arange(size) - (size - 1) / 2
    strength = rate ** np.hypot(at[:, None], at)
    return np.asarray(strength * (total / strength.sum()), np.float32)[..., None, None]


def correlate(x: jax.Array, kernel: Any, padding: Padding, stride: int = 1, groups: int = 1) -> jax.Array:
    """[n, h, w, c] with [kh, kw, c / groups, k] to [n, h', w', k]."""
    kernel = jnp.asarray(kernel, x.dtype)
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), pads(padding), dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )  # fmt: skip


def shunt(excitation: jax.Array, inhibition: jax.Array) -> jax.Array:
    """relu((1 + e) / (1 + h) - 1), written so that a small e is not lost beside the 1."""
    return nn.relu((excitation - inhibition) / (1 + inhibition))


def representatives(u: jax.Array, side: int) -> jax.Array:
    """Which S-cells of [n, h, w, planes] are reinforced by what each image shows: as many True.

    An S-column is all planes of a side x side window; they overlap, one at every place where it fits. The cell with the
    largest output of a column is a candidate, unless all are silent. The strongest candidate of a plane is its
    representative, so a plane has one at most; the first one in the order of positions, then planes, where they tie.
    """
    n, h, w, planes = u.shape
    at, cells = np.arange(h * w).reshape(h, w), u.reshape(n, h * w, planes)
    columns = np.lib.stride_tricks.sliding_window_view(at, (side, side)).reshape(-1, side**2)
    first = jnp.argmax(cells[:, columns].reshape(n, len(columns), -1), axis=-1)
    position = jnp.take_along_axis(jnp.asarray(columns)[None], first[..., None] // planes, axis=2)[..., 0]
    candidate = jnp.zeros(cells.shape, bool).at[jnp.arange(n)[:, None], position, first % planes].set(True)
    strength = jnp.where(candidate, cells, 0)
    best = jnp.argmax(strength, axis=1)
    return ((jnp.arange(h * w)[:, None] == best[:, None]) & (strength > 0)).reshape(u.shape)


class SCells(nn.Module):
    """Feature extraction, [n, h, w, c] to [n, h', w', planes]; all cells of a plane share their plastic synapses.

        u = r relu((1 + sum a u_C) / (1 + 2 r / (1 + r) b v) - 1)      v = sqrt(sum c u_C^2), the V-cell

    The sums go over the window and all planes below. `a` and `b` have no gradient. Instead, where the collection
    "reinforcement" is mutable, the layer leaves the direction there in which they grow at the speed q = 1, a mean over the
    images: for every representative c u_C and v / 2 of the window it looks through.

    Attributes:
        r: how selective a cell is: one that has learned a pattern answers to what is more like it than r / (1 + r).
        fading: of c over the window, which adds up to 1 over window and planes.
        column: side of the S-columns.
    """

    planes: int
    r: float
    fading: float
    a_init: Init
    column: int
    size: int = 5
    padding: Padding = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, u: jax.Array) -> jax.Array:
        u, shape = u.astype(self.dtype), (self.size, self.size, u.shape[-1], self.planes)
        a, b = self.param("a", self.a_init, shape), self.param("b", nn.initializers.zeros_init(), (self.planes,))
        a, b = (lax.stop_gradient(w).astype(self.dtype) for w in (a, b))
        c = np.broadcast_to(fading(self.size, self.fading, 1 / shape[2]), (*shape[:3], 1))
        v = jnp.sqrt(correlate(jnp.square(u), c, self.padding))
        s = self.r * shunt(correlate(u, a, self.padding), 2 * self.r / (1 + self.r) * b * v)
        if self.is_mutable_collection("reinforcement") and not self.is_initializing():
            chosen = representatives(s, self.column).astype(jnp.float32) / len(u)
            u, v = u.astype(jnp.float32), v.astype(jnp.float32)
            # What the representatives see is the derivative of their excitation by a.
            (seen,) = jax.vjp(lambda a: correlate(u, a, self.padding), jnp.zeros(shape))[1](chosen)
            self.put_variable("reinforcement", "a", c * seen)
            self.put_variable("reinforcement", "b", jnp.sum(chosen * v, (0, 1, 2)) / 2)
        return s


class CCells(nn.Module):
    """Tolerance to position, [n, h, w, planes] to [n, h', w', planes]; nothing is learned.

        u = psi((1 + sum d u_S) / (1 + v) - 1)      v = the mean over planes of sum d u_S, the V-cell
        psi(x) = x / (alpha + x) above 0, else 0

    Attributes:
        fading, total: of d over the window, and what it adds up to.
    """

    fading: float
    total: float
    alpha: float
    size: int = 5
    stride: int = 1
    padding: Padding = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, u: jax.Array) -> jax.Array:
        u, planes = u.astype(self.dtype), u.shape[-1]
        d = np.broadcast_to(fading(self.size, self.fading, self.total), (self.size, self.size, 1, planes))
        excited = correlate(u, d, self.padding, self.stride, groups=planes)
        x = shunt(excited, jnp.mean(excited, axis=-1, keepdims=True))
        return x / (self.alpha + x)
