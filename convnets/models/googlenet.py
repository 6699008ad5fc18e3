"""GoogLeNet, the first Inception network.

Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich: Going deeper with convolutions, arXiv
1409.4842, 2014; CVPR 2015.

Table 1, whose inception rows are `MODULES` below. Layers are named as in Caffe's bvlc_googlenet, but for the last:

    conv1            7x7/2, 64           112 x 112 x 64
    pool1, norm1     max 3x3/2            56 x  56 x 64
    conv2            1x1 64, 3x3 192      56 x  56 x 192
    norm2, pool2     max 3x3/2            28 x  28 x 192
    inception_3a, b  then max 3x3/2       28 x  28 x 256, 480
    inception_4a-e   then max 3x3/2       14 x  14 x 512, 512, 512, 528, 832
    inception_5a, b                        7 x   7 x 832, 1024
    pool5            average 7x7           1 x   1 x 1024
    linear           40% dropout, 1000    softmax

Two auxiliary heads follow 4a (loss1) and 4d (loss2). They run only in training; each of their losses has weight 0.3
(section 5).

    parameters       6,998,552  with the heads 13,378,280; the column of table 1 adds up to 6798K (its K is 1024)
    multiply-adds    1,582,671,872

Table 1's parameter counts of rows 4a, 4c, 4d, 4e, 5a and 5b differ by 1 to 7% from its own layer widths; we use the widths.
Its 2.7K parameters and 34M operations of conv1 fit a separable 7x7 convolution with eight maps per colour channel. The
text does not mention one. `separable` builds it: 6,991,856 parameters and 1,498,677,248 multiply-adds, the text's
1.5 billion. By default conv1 is the plain convolution of figure 3.

Choices where the paper is silent or ambiguous:
- Max-pooling windows that halve the map overhang the edge (Caffe's ceil mode), without padding: 112, 56, 28, 14, 7. Figure 3
  marks these layers (S), for "same", which gives the same windows.
- Figure 3 shows the positions of local response normalization. We use the constants of Krizhevsky et al. 2012, whose
  formula does not divide alpha by n. Caffe's bvlc_googlenet does, with k = 1 (`lrn` is a row of LRNS or 'none').
- Initial weights follow Caffe: "xavier", biases 0.2, and biases 0 in the classifiers. Its readme says that the original had
  Gaussian weights; their deviation was not published. `init_weights` is a row of INITS; all rows have these biases.
"""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from convnets.layers import LRN, Conv, Dense, Init, Pool, caffe_xavier, he_normal, normal, relu
from convnets.models.alexnet import LRNS
from convnets.op_string import choose

# Table 1: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
POOLED = {"3b": "pool3", "4e": "pool4"}  # max pooling after a module
HEADS = {"4a": "loss1", "4d": "loss2"}  # auxiliary head fed by a module

INITS: dict[str, Init] = {"caffe": caffe_xavier(), "normal": normal(0.01), "he": he_normal()}
BIAS = nn.initializers.constant(0.2)

Convolve = Callable[..., jax.Array]  # (x, name, maps, kernel=1, stride=1) -> y


def _conv(x: jax.Array, name: str, maps: int, kernel: int = 1, stride: int = 1, *, init: Init, dtype: Any) -> jax.Array:
    """Applies a convolution and ReLU; the layer belongs to the calling module.

    It pads kernel // 2 on both sides, as Caffe does; "same" padding would pad less before than after at stride 2.
    """
    options: dict[str, Any] = {"kernel_init": init, "bias_init": BIAS, "dtype": dtype, "name": name}
    return relu(Conv(maps, kernel, stride, kernel // 2, **options)(x))


class Convs(nn.Module):
    """A sequence of convolutions under one name; each of `rows` is (name, feature maps, kernel, stride)."""

    rows: tuple[tuple[str, int, int, int], ...]
    conv: Convolve

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for row in self.rows:
            x = self.conv(x, *row)
        return x


class Inception(nn.Module):
    """Inception module of figure 2b, for one row of `MODULES`.

    Maps [n, h, w, c] to [n, h, w, #1x1 + #3x3 + #5x5 + pool proj].
    """

    row: tuple[int, int, int, int, int, int]
    conv: Convolve

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = self.conv
        n1, reduce3, n3, reduce5, n5, projected = self.row
        branches = [
            conv(x, "1x1", n1),
            conv(conv(x, "3x3_reduce", reduce3), "3x3", n3, 3),
            conv(conv(x, "5x5_reduce", reduce5), "5x5", n5, 5),
            conv(Pool("max", 3, 1, 1, name="pool")(x), "pool_proj", projected),
        ]
        return jnp.concatenate(branches, axis=-1)


class Head(nn.Module):
    """Auxiliary classifier (section 5): [n, h, w, c] to logits [n, classes].

    Average pooling reduces a 14 x 14 map to 4 x 4 positions.
    """

    num_classes: int
    kernel_init: Init
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if min(x.shape[1:3]) < 5:
            raise ValueError(
                f"the auxiliary head {self.name} averages 5 x 5 windows but its map is {x.shape[1]} x {x.shape[2]}: "
                "take images of 79 pixels and more, or aux=False"
            )
        dense = functools.partial(Dense, kernel_init=self.kernel_init, dtype=self.dtype)
        x = Pool("average", 5, 3, ceil=True, name="ave_pool")(x)
        x = _conv(x, "conv", 128, init=self.kernel_init, dtype=self.dtype)
        x = x.reshape(x.shape[0], -1)
        x = relu(dense(1024, bias_init=BIAS, name="fc")(x))
        x = nn.Dropout(0.7, deterministic=not train)(x)
        return dense(self.num_classes, name="classifier")(x)


class GoogLeNet(nn.Module):
    """Maps [n, 224, 224, 3] to logits [n, classes]; in training to (logits, {'loss1': logits, 'loss2': logits}).

    Other image sizes work from 79 pixels on, or from 32 without the heads. The heads' weights fit only the image size
    used at initialization. Training needs the rng 'dropout'.

    Attributes:
        aux: adds the two auxiliary heads. Training and evaluation share one parameter tree, but evaluation does not run
            the heads. Without heads, training returns only the logits.
        separable: builds conv1 as a separable convolution, as table 1 counts it.
        lrn, init_weights: rows of alexnet.LRNS (or 'none') and of INITS; see the module docstring.
    """

    num_classes: int = 1000
    aux: bool = True
    separable: bool = False
    lrn: str = "paper"
    init_weights: str = "caffe"
    dtype: Any = jnp.float32
    input_shape: ClassVar = (224, 224, 3)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Any:
        half = functools.partial(Pool, "max", 3, 2, ceil=True)
        init = choose(INITS, "init_weights", self.init_weights)
        conv = functools.partial(_conv, init=init, dtype=self.dtype)
        x = self._norm("norm1", half(name="pool1")(self._conv1(x, init, conv)))
        x = Convs((("3x3_reduce", 64, 1, 1), ("3x3", 192, 3, 1)), conv, name="conv2")(x)
        x = half(name="pool2")(self._norm("norm2", x))
        auxiliary = {}
        for module, widths in MODULES.items():
            x = Inception(widths, conv, name=f"inception_{module}")(x)
            if module in POOLED:
                x = half(name=POOLED[module])(x)
            if module in HEADS and self.aux and (train or self.is_initializing()):
                head = Head(self.num_classes, init, self.dtype, name=HEADS[module])
                auxiliary[HEADS[module]] = head(x, train=train)
        x = Pool("average", (x.shape[1], x.shape[2]), 1, name="pool5")(x)
        x = nn.Dropout(0.4, deterministic=not train)(x.reshape(x.shape[0], -1))
        scores = Dense(self.num_classes, kernel_init=init, dtype=self.dtype, name="linear")(x)
        return (scores, auxiliary) if train and self.aux else scores

    def _norm(self, name: str, x: jax.Array) -> jax.Array:
        return x if self.lrn == "none" else LRN(name=name, **choose(LRNS, "lrn", self.lrn))(x)

    def _conv1(self, x: jax.Array, init: Init, conv: Convolve) -> jax.Array:
        if not self.separable:
            return Convs((("7x7_s2", 64, 7, 2),), conv, name="conv1")(x)
        colours = x.shape[-1]
        options: dict[str, Any] = {"bias": "none", "kernel_init": init, "dtype": self.dtype}
        x = Conv(8 * colours, 7, 2, 3, groups=colours, **options, name="conv1_depthwise")(x)
        return Convs((("1x1", 64, 1, 1),), conv, name="conv1")(x)
