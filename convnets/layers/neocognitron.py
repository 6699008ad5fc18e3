"""Layers of Fukushima's neocognitron: S-cells, with their unsupervised, gradient-free learning rule, and C-cells.

Fukushima: Neocognitron: A self-organizing neural network model for a mechanism of pattern recognition unaffected by
shift in position, Biological Cybernetics 36, 1980. Attributes and arrays are named by the paper's letters.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from convnets.layers.cpu_convolution import plain_conv
from convnets.layers.initializers import Init
from convnets.layers.pooling import Padding, pads


def fading(size: int, rate: float, total: float) -> np.ndarray:
    """Returns fixed synapses [size, size, 1, 1]: proportional to rate ** distance from the centre, with sum `total`."""
    at = np.arange(size) - (size - 1) / 2
    strength = rate ** np.hypot(at[:, None], at)
    return np.asarray(strength * (total / strength.sum()), np.float32)[..., None, None]


def shunt(excitation: jax.Array, inhibition: jax.Array) -> jax.Array:
    """Returns relu((1 + e) / (1 + h) - 1), in a form that keeps a small e from being rounded away against the 1."""
    return nn.relu((excitation - inhibition) / (1 + inhibition))


def representatives(u: jax.Array, side: int) -> jax.Array:
    """Selects the S-cells that each image reinforces: a boolean mask of the shape of u, [n, h, w, planes].

    An S-column is all planes of a side x side window. Columns overlap: there is one at every position where it fits.
    The cell with the largest output of a column is a candidate, unless all outputs are 0. The strongest candidate of a
    plane is its representative, so a plane has at most one. Ties take the first in the order of positions, then planes.
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
    """Feature extraction, [n, h, w, c] to [n, h', w', planes]; the cells of a plane share their trained synapses.

        u = r relu((1 + sum a u_C) / (1 + 2 r / (1 + r) b v) - 1)      v = sqrt(sum c u_C^2), the V-cell

    The sums run over the window and all planes of the layer below. `a` and `b` have no gradient. Instead, if the
    collection "reinforcement" is mutable, the layer stores their update at the learning speed q = 1 there, as a mean
    over the images. Each representative adds c u_C of its window to the update of `a`, and v / 2 to the update of `b`.

    Attributes:
        r: selectivity: a cell that has learned a pattern responds to inputs whose similarity to it exceeds r / (1 + r).
        fading: decay rate of c with the distance from the window's centre; c sums to 1 over the window and the planes.
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
        edges = pads(self.padding)
        v = jnp.sqrt(plain_conv(jnp.square(u), jnp.asarray(c, self.dtype), (1, 1), edges))
        s = self.r * shunt(plain_conv(u, a, (1, 1), edges), 2 * self.r / (1 + self.r) * b * v)
        if self.is_mutable_collection("reinforcement") and not self.is_initializing():
            chosen = representatives(s, self.column).astype(jnp.float32) / len(u)
            u, v = u.astype(jnp.float32), v.astype(jnp.float32)
            # The inputs of the representatives are the gradient of their excitation with respect to a.
            (seen,) = jax.vjp(lambda a: plain_conv(u, a, (1, 1), edges), jnp.zeros(shape))[1](chosen)
            self.put_variable("reinforcement", "a", c * seen)
            self.put_variable("reinforcement", "b", jnp.sum(chosen * v, (0, 1, 2)) / 2)
        return s


class CCells(nn.Module):
    """Tolerance to shifts in position, [n, h, w, planes] to [n, h', w', planes], without parameters.

        u = psi((1 + sum d u_S) / (1 + v) - 1)      v = the mean over planes of sum d u_S, the V-cell
        psi(x) = x / (alpha + x) above 0, else 0

    Attributes:
        fading: decay rate of d with the distance from the window's centre.
        total: sum of d over the window.
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
        window = fading(self.size, self.fading, self.total)
        d = jnp.asarray(np.broadcast_to(window, (self.size, self.size, 1, planes)), self.dtype)
        excited = plain_conv(u, d, (self.stride, self.stride), pads(self.padding), groups=planes)
        x = shunt(excited, jnp.mean(excited, axis=-1, keepdims=True))
        return x / (self.alpha + x)
