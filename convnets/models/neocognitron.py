"""Neocognitron, Fukushima's self-organizing network.

Fukushima: Neocognitron: A self-organizing neural network model for a mechanism of pattern recognition unaffected by
shift in position, Biological Cybernetics 36:193-202, 1980.

    layer   cells          input window    r     q
    U0      16 x 16
    US1     16 x 16 x 24   5 x 5 of U0     4     1     S-columns 5 x 5 x 24
    UC1     10 x 10 x 24   5 x 5, one plane
    US2      8 x  8 x 24   5 x 5 x 24      1.5   16    S-columns 5 x 5 x 24
    UC2      6 x  6 x 24   5 x 5, one plane
    US3      2 x  2 x 24   5 x 5 x 24      1.5   16    S-columns 2 x 2 x 24
    UC3      1 x  1 x 24   2 x 2, one plane
    plastic synapses       29,472 (600 + 14,400 + 14,400 of a, 72 of b)

S-cells learn unsupervised. `SCells` in convnets/layers/neocognitron.py computes the direction of the update. The
learning speeds q are the learning rates in configs/neocognitron.py.

Choices where the paper is silent (the same for every seed):
- c and d: the paper says only that they decrease with distance. We use rate ** distance, with rate 0.8 for the c of US1
  and 0.9 for all others. c sums to 1 (as in the paper) and d to 32.
- Cell positions: UC1 and UC2 have stride 2 and extend one and a half cells beyond each edge (padding 3 and 4). This
  gives the paper's 10 x 10 and 6 x 6. US1 has padding 2 and US2 padding 1.
- Initial a: the paper says small, a function of the position and the planes without randomness, so that orientations differ
  from plane to plane; it does not print the function. Ours is random, unlike the paper's: one half is a preference, the other
  is U(0, 1). The largest a is 0.0001, 0.0001 and 0.0003 in US1, US2 and US3. In US1 the preference is a line through the
  middle of the window, rotated from plane to plane. In US2 and US3 it favours planes below with nearly the same number. b
  starts at 0, as in the paper.
- S-columns: one at every position where the window fits into the layer. With additional columns cut at the edges, US2
  runs out of free planes and fewer seeds tell the digits apart.
- Read-out: the paper has no classes; it observes which cell of UC3 responds. Our read-out is the only layer trained
  with labels and a gradient. It is linear without bias, on the plane with the largest response in UC3: softmax regression,
  from weights of 0, with a step after each image. If a plane wins images of several classes, it predicts the one that it won
  often and lately, since recent images weigh more. An image without a response, or won by a plane that never won in training,
  counts as an error. `read` may name a layer instead; then the read-out sees all its cells (also our choice).
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from convnets.errors import UsageError
from convnets.layers import Bias, CCells, Conv, Init, Padding, SCells
from convnets.op_string import suggest

PLANES = 24
S = {  # r, decay rate of c, largest initial a, padding, side of the S-columns
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
    """Returns preferences [size, size, 1, planes], up to 1 on a line through the centre; angles divide 180 degrees."""
    x = np.arange(size) - (size - 1) / 2
    angles = np.pi * np.arange(planes) / planes
    distance = x[None, :, None] * np.sin(angles) - x[:, None, None] * np.cos(angles)
    return np.exp(-np.square(distance) / 2)[:, :, None]


def neighbours(below: int, planes: int) -> np.ndarray:
    """Returns preferences [1, 1, below, planes], up to 1 for nearly equal k / K of the two planes; k is cyclic."""
    apart = np.abs(np.arange(below)[:, None] / below - np.arange(planes) / planes)
    return np.exp(-np.square(2 * np.minimum(apart, 1 - apart) / 0.3))[None, None]


def slight(largest: float) -> Init:
    """Returns the initializer of a, [size, size, planes below, planes], up to `largest`; its random half is ours."""

    def init(key, shape, dtype=jnp.float32):
        size, _, below, planes = shape
        preference = lines(size, planes) if below == 1 else neighbours(below, planes)
        return largest / 2 * (jnp.asarray(preference, dtype) + jax.random.uniform(key, shape, dtype))

    return init


def winner(u: jax.Array) -> jax.Array:
    """Returns [n, 1, 1, planes] one-hot for the plane with the largest response; all 0 if no plane responds."""
    first = jax.nn.one_hot(jnp.argmax(u, axis=-1), u.shape[-1], dtype=u.dtype)
    return jnp.where(u > 0, first, 0)


class Neocognitron(nn.Module):
    """Maps images [n, 16, 16, 1] with background 0 and strokes 1 to logits [n, classes].

    Attributes:
        read: input of the read-out: 'winner', or all cells of 'UC1', 'UC2' or 'UC3'.
    """

    num_classes: int
    read: str = "winner"
    dtype: Any = jnp.float32
    input_shape: ClassVar[tuple[int, int, int]] = (16, 16, 1)
    answers: ClassVar[str] = "UC3"  # layer whose planes represent the recognized patterns; runs plot it

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
        bias: Bias = "none" if self.read == "winner" else "map"
        readout = Conv(self.num_classes, features.shape[1], kernel_init=nn.initializers.zeros_init(), bias=bias,
                       dtype=self.dtype, name="readout")  # fmt: skip
        return readout(features)[:, 0, 0]
