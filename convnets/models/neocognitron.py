"""Neocognitron: Fukushima: Neocognitron: A self-organizing neural network model for a mechanism of pattern recognition
unaffected by shift in position, Biological Cybernetics 36:193-202, 1980.

    layer   cells          sees            r     q
    U0      16 x 16
    US1     16 x 16 x 24   5 x 5 of U0     4     1     S-columns 5 x 5 x 24
    UC1     10 x 10 x 24   5 x 5, a plane
    US2      8 x  8 x 24   5 x 5 x 24      1.5   16    S-columns 5 x 5 x 24
    UC2      6 x  6 x 24   5 x 5, a plane
    US3      2 x  2 x 24   5 x 5 x 24      1.5   16    S-columns 2 x 2 x 24
    UC3      1 x  1 x 24   2 x 2, a plane
    plastic synapses       29,472 (600 + 14,400 + 14,400 of a, 72 of b)

S-cells learn without a teacher: `convnets/layers/`'s SCells say in which direction, the speeds q are the recipe's rates
(`configs/neocognitron.py`). What the paper leaves open, and what stands here, the same for every seed:
- c and d are only said to fall with the distance. Here as rate ** distance, with a rate of 0.8 for the c of US1 and of 0.9
  for the others; c adds up to 1 (the paper's), d to 32.
- Where the cells lie: C-layers take every second position, and one and a half cells beyond each edge (3 and 4 of padding),
  which gives the paper's 10 x 10 and 6 x 6; US1 is padded by 2 and US2 by 1.
- The initial a: small and slightly different from plane to plane. Here 0.0001, 0.0001 and 0.0003 in US1, US2 and US3 times
  the mean of a preference and of U(0, 1): in US1 for a line through the middle of the window, its direction turning from
  plane to plane; above, for the planes below with nearly the same number. b begins at 0.
- Which S-columns there are: one at every place where the window fits into the layer. With more of them, cut at the edges,
  US2 runs out of free planes and fewer seeds tell the digits apart.
- The paper has no classes: it looks which cell of UC3 answers. The read-out is ours, the only layer with labels and a
  gradient: a linear one without bias of the plane with the largest answer in UC3, that is the most frequent class among
  the training images that it won. No answer, or that of a plane that never won, is an error. `read` may name a layer
  instead, all of whose cells are read (ours too).
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from convnets.errors import UsageError
from convnets.layers import CCells, Conv, Init, Padding, SCells
from convnets.op_string import suggest

PLANES = 24
S = {  # r, fading of c, the largest initial a, padding, side of the S-columns
    "US1": (4.0, 0.8, 0.0001, 2, 5),
    "US2": (1.5, 0.9, 0.0001, 1, 5),
    "US3": (1.5, 0.9, 0.0003, 0, 2),
}
C: dict[str, tuple[int, int, Padding]] = {  # size, stride, padding
    "UC1": (5, 2, ((3, 4), (3, 4))),
    "UC2": (5, 2, ((3, 4), (3, 4))),
    "UC3": (2, 1, 0),
}


def lines(size: int, planes: int) -> np.ndarray:
    """[size, size, 1, planes], up to 1 on a line through the middle; the lines of the planes share out 180 degrees."""
    x = np.arange(size) - (size - 1) / 2
    angles = np.pi * np.arange(planes) / planes
    distance = x[None, :, None] * np.sin(angles) - x[:, None, None] * np.cos(angles)
    return np.exp(-np.square(distance) / 2)[:, :, None]


def neighbours(below: int, planes: int) -> np.ndarray:
    """[1, 1, below, planes], up to 1 where k / K of the two planes is nearly the same; the last is next to the first."""
    apart = np.abs(np.arange(below)[:, None] / below - np.arange(planes) / planes)
    return np.exp(-np.square(2 * np.minimum(apart, 1 - apart) / 0.3))[None, None]


def slight(largest: float) -> Init:
    """The initial a [size, size, planes below, planes]."""

    def init(key, shape, dtype=jnp.float32):
        size, _, below, planes = shape
        preference = lines(size, planes) if below == 1 else neighbours(below, planes)
        return largest / 2 * (jnp.asarray(preference, dtype) + jax.random.uniform(key, shape, dtype))

    return init


def winner(u: jax.Array) -> jax.Array:
    """[n, 1, 1, planes], 1 for the plane with the largest answer; all 0 where none answers."""
    first = jax.nn.one_hot(jnp.argmax(u, axis=-1), u.shape[-1], dtype=u.dtype)
    return jnp.where(u > 0, first, 0)


class Neocognitron(nn.Module):
    """Images [n, 16, 16, 1] with background 0 and strokes 1 to scores [n, classes].

    Attributes:
        read: what the read-out sees: 'winner', or all cells of 'UC1', 'UC2' or 'UC3'.
    """

    num_classes: int
    read: str = "winner"
    dtype: Any = jnp.float32
    input_shape: ClassVar[tuple[int, int, int]] = (16, 16, 1)
    answers: ClassVar[str] = "UC3"  # the layer whose planes stand for what is seen; a run draws them

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        if self.read not in ("winner", *C):
            raise UsageError(f"read is '{self.read}'{suggest(self.read, ('winner', *C))}")
        seen, u = {}, x
        for (s, s_row), (c, (size, stride, c_padding)) in zip(S.items(), C.items(), strict=True):
            r, fading, largest, padding, column = s_row
            u = SCells(PLANES, r, fading, slight(largest), column, padding=padding, dtype=self.dtype, name=s)(u)
            u = seen[c] = CCells(0.9, 32.0, 0.5, size, stride, c_padding, self.dtype, name=c)(u)
        features = winner(u) if self.read == "winner" else seen[self.read]
        bias = "none" if self.read == "winner" else "map"
        readout = Conv(self.num_classes, features.shape[1], kernel_init=nn.initializers.zeros_init(), bias=bias,
                       dtype=self.dtype, name="readout")  # fmt: skip
        return readout(features)[:, 0, 0]
