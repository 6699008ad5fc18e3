"""LeNet: the first convolutional networks trained by back-propagation, 1989 to 1998.

LeNet-1989  LeCun, Boser, Denker, Henderson, Howard, Hubbard, Jackel: Backpropagation applied to handwritten zip code
            recognition, Neural Computation 1(4), 1989.
LeNet-1     LeCun et al.: Handwritten digit recognition with a back-propagation network, NIPS 1989; named later.
LeNet-5     LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proc. IEEE 86(11),
            1998, section II.B.
LeNet-4     the same paper, section III.C; boosted: Drucker, Schapire, Simard: Boosting performance in neural networks,
            IJPRAI 7(4), 1993.

Notation: '5/2' is kernel 5 with stride 2; '12 @ 8' is 12 feature maps of 8 x 8.

              LeNet-1989              LeNet-1               LeNet-5
    input     16 x 16, [-1, 1]        28 x 28               32 x 32, background -0.1, ink 1.175
              H1 conv 5/2, 12 @ 8     H1 conv 5, 4 @ 24     C1 conv 5, 6 @ 28
                                      H2 subsample, 4 @ 12  S2 subsample, 6 @ 14
              H2 conv 5/2, 12 @ 4     H3 conv 5, 12 @ 8     C3 conv 5, 16 @ 10 (table I)
                                      H4 subsample, 12 @ 4  S4 subsample, 16 @ 5
              H3 full, 30                                   C5 conv 5, 120 @ 1
                                                            F6 full, 84
              out full, 10            out full, 10          OUT 10 RBF units
    weights   9,760                   2,578                 60,000

              LeNet-4
    input     32 x 32
              C1 conv 5, 4 @ 28
              S2 subsample, 8 @ 14, two of each map of C1
              C3 conv 5, 16 @ 10 (LENET4_C3)
              S4 subsample, 16 @ 5
              F5 full, 37
              out full, 10
    weights   16,885, connections 258,193

Choices where the papers are silent or ambiguous:
- The 8 of 12 H1 maps that each H2 map sees (1989): Karpathy's scheme of three groups of four.
- The RBF codes (1998) appear only as a drawing in figure 3. We re-drew 7 x 12 characters in its style.
- The constant j of the loss (1998, eq. 9) is 1 (`convnets.losses.rbf_map`). Biases start at 0.
- S2 and S4 start as averages, with coefficient 1/4. The paper does not say; U(-2.4/F, 2.4/F) with F = 4 would give
  coefficients of random sign and size, up to 0.6.
- LeNet-4 has "about 17,000" weights and "about 260,000" connections. The connections allow C3 from 59 to 62 links
  between maps; we take the 60 of LeNet-5, by its rule: neighbouring triples, neighbouring quadruples, and all. Then 37
  hidden units give both numbers. The paper's "fully connected layer with 120 units" (III.C.8) would alone need 48,120 weights.
- Initial weights: U(-2.4/F, 2.4/F), as the 1998 paper explains (appendix A). Copies of the 1989 text may have lost a root sign,
  and Karpathy uses 2.4/sqrt(F), which the learning rates of the 1998 paper speak for (`experiments/first_rates.py`). `init_root`
  selects the latter; each config states its choice.
"""

import functools
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from convnets.errors import UsageError
from convnets.layers import (
    RBF,
    Conv,
    Dense,
    Pool,
    Subsample,
    relu,
    scaled_tanh,
    uniform_fan_in,
)

# Connection tables: for each feature map, the maps of the layer below that it sees.
LENET1989_H2 = 4 * (tuple(range(0, 8)),) + 4 * (tuple(range(4, 12)),) + 4 * ((0, 1, 2, 3, 8, 9, 10, 11),)
LENET1_H3 = (
    (0,), (0, 1), (0, 1), (1,), (0, 1), (0, 1),
    (2,), (2, 3), (2, 3), (3,), (2, 3), (2, 3),
)  # fmt: skip
LENET5_C3 = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip

LENET4_C3 = (
    *(tuple((i + j) % 8 for j in range(3)) for i in range(8)),
    *(tuple((i + j) % 8 for j in range(4)) for i in range(7)),
    tuple(range(8)),
)

# 7 x 12 characters in the style of figure 3 of LeCun et al. 1998.
CHARACTERS = """
....... ....... ....... ####### ....... ....... ...#### ####### .#####. ..###..
..###.. ...##.. .#####. .....## .#...## .#####. ..##... ####### ##...## .##.##.
.#...#. ..###.. #....## .....#. ##...## ##..... .##.... .....## #.....# ##...##
##...## .####.. .....## ....##. ##...## ##..... ##..... .....## ##...## #.....#
##...## ...##.. .....#. ...##.. ##...## ##..... ##..... ....##. .##.##. ##...##
##...## ...##.. ....##. ..####. ##...## #####.. ######. ....##. .####.. .##.###
##...## ...##.. ...##.. .....## .###### ....##. ###.### ...##.. .#####. ..#####
##...## ...##.. ..##... .....## .....## .....## ##...## ...##.. ##..### .....##
##...## ...##.. .##.... .....## .....## .....## ##...## ..##... #.....# .....##
.#...#. ...##.. ##..... #....## .....## ##...## ##...## ..##... ##...## ....##.
..###.. .###### ####### ######. ....##. .#####. .#####. .##.... .#####. #####..
....... ....... ....... ....... ....... ....... ....... .##.... ..###.. .###...
"""


def _codes() -> np.ndarray:
    rows = [line.split() for line in CHARACTERS.strip().splitlines()]
    return np.array([[1.0 if c == "#" else -1.0 for r in rows for c in r[digit]] for digit in range(10)], np.float32)


CODES = _codes()  # [10, 84]


class _LeNet(nn.Module):
    """Options of the papers' networks.

    Attributes:
        init_root: initial weights from U(-2.4/sqrt(F), 2.4/sqrt(F)) instead of U(-2.4/F, 2.4/F), F the fan-in.
    """

    num_classes: int = 10
    init_root: bool = False
    dtype: Any = jnp.float32

    @property
    def weights(self) -> dict[str, Any]:
        """Arguments of every layer with a kernel."""
        return {"kernel_init": uniform_fan_in(2.4, self.init_root), "dtype": self.dtype}


class LeNet1989(_LeNet):
    """Maps [n, 16, 16, 1] to [n, classes]: 9,760 parameters, one bias per unit. Trained with squared error."""

    input_shape: ClassVar = (16, 16, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        strided = {"stride": 2, "padding": 2, "pad_value": -1.0, "bias": "unit", **self.weights}
        x = scaled_tanh(Conv(12, 5, name="H1", **strided)(x))
        x = scaled_tanh(Conv(12, 5, name="H2", table=LENET1989_H2, **strided)(x))
        x = scaled_tanh(Dense(30, name="H3", **self.weights)(x.reshape(x.shape[0], -1)))
        return scaled_tanh(Dense(self.num_classes, name="out", **self.weights)(x))


class LeNet1(_LeNet):
    """Maps [n, 28, 28, 1] to [n, classes]: 2,578 parameters. The 1998 paper centres a 16 x 16 digit in the input."""

    input_shape: ClassVar = (28, 28, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = scaled_tanh(Conv(4, 5, name="H1", **self.weights)(x))
        x = scaled_tanh(Subsample(name="H2", dtype=self.dtype)(x))
        x = scaled_tanh(Conv(12, 5, name="H3", table=LENET1_H3, **self.weights)(x))
        x = scaled_tanh(Subsample(name="H4", dtype=self.dtype)(x))
        return scaled_tanh(Dense(self.num_classes, name="out", **self.weights)(x.reshape(x.shape[0], -1)))


class LeNet4(_LeNet):
    """Maps [n, 32, 32, 1] to [n, classes]: 16,885 parameters. Trained with squared error."""

    input_shape: ClassVar = (32, 32, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = scaled_tanh(Conv(4, 5, name="C1", **self.weights)(x))
        x = scaled_tanh(Subsample(name="S2", dtype=self.dtype)(jnp.repeat(x, 2, axis=-1)))
        x = scaled_tanh(Conv(16, 5, name="C3", table=LENET4_C3, **self.weights)(x))
        x = scaled_tanh(Subsample(name="S4", dtype=self.dtype)(x))
        x = scaled_tanh(Dense(37, name="F5", **self.weights)(x.reshape(x.shape[0], -1)))
        return scaled_tanh(Dense(self.num_classes, name="out", **self.weights)(x))


class Boosted(_LeNet):
    """Three networks whose outputs are added; here averaged, which keeps their scale and decides the same.

    convnets/training/boosting.py trains them one after the other.
    """

    network: ClassVar = LeNet4
    count: ClassVar = 3
    input_shape: ClassVar = (32, 32, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        options = {"num_classes": self.num_classes, "init_root": self.init_root, "dtype": self.dtype}
        scores = [self.network(name=f"net{n}", **options)(x, train=train) for n in range(1, self.count + 1)]
        return functools.reduce(jnp.add, scores) / self.count


class LeNet5(_LeNet):
    """Maps [n, 32, 32, 1] to negative RBF distances [n, 10]: 60,000 parameters. Its loss is eq. 9 ('rbf_map')."""

    input_shape: ClassVar = (32, 32, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_classes != len(CODES):
            raise UsageError(
                f"lenet5 has codes for {len(CODES)} classes, not {self.num_classes}; lenet5_modern takes any number"
            )

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = scaled_tanh(Conv(6, 5, name="C1", **self.weights)(x))
        x = scaled_tanh(Subsample(name="S2", dtype=self.dtype)(x))
        x = scaled_tanh(Conv(16, 5, name="C3", table=LENET5_C3, **self.weights)(x))
        x = scaled_tanh(Subsample(name="S4", dtype=self.dtype)(x))
        x = scaled_tanh(Conv(120, 5, name="C5", **self.weights)(x))
        x = scaled_tanh(Dense(84, name="F6", **self.weights)(x.reshape(x.shape[0], -1)))
        return RBF(CODES, name="OUT", dtype=self.dtype)(x)


class LeNet5Modern(nn.Module):
    """Maps [n, 32, 32, 1] to logits [n, classes]: 61,706 parameters, LeNet-5 as it is usually built today.

    C3 is fully connected across maps, pooling has no parameters, and activations are ReLU. The output is linear, for
    softmax; initialization is He's.
    """

    num_classes: int = 10
    dtype: Any = jnp.float32
    input_shape: ClassVar = (32, 32, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = relu(Conv(6, 5, name="C1", dtype=self.dtype)(x))
        x = Pool("max", 2, 2, name="S2")(x)
        x = relu(Conv(16, 5, name="C3", dtype=self.dtype)(x))
        x = Pool("max", 2, 2, name="S4")(x)
        x = relu(Conv(120, 5, name="C5", dtype=self.dtype)(x))
        x = relu(Dense(84, name="F6", dtype=self.dtype)(x.reshape(x.shape[0], -1)))
        return Dense(self.num_classes, name="OUT", dtype=self.dtype)(x)
