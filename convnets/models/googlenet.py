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
- Initial weights: `init_weights` is a row of INITS. All rows have Caffe's biases: 0.2, and 0 in the classifiers. 'caffe' is
  its "xavier"; its readme says that the original had Gaussian weights. The first commit of bvlc_googlenet (BVLC/caffe
  f15210cdc, made with Szegedy's help) has a standard deviation at each "xavier" filler, which ignores it; 86758be93 removed
  them. 'gaussian' draws from them, the STDS. That they are the paper's is likely, but nobody says so. Two of them, 0.09 and
  0.1, return in Google's inception_v2.py (tensorflow/models, research/slim/nets), but its inception_v1.py, which has batch
  normalization, takes 0.01 everywhere. The classifier `linear` has no deviation there and remains "xavier".
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

# Standard deviations in BVLC/caffe f15210cdc, models/bvlc_googlenet/train_val.prototxt, by block and layer.
STDS = {
    "conv1": {"7x7_s2": 0.1},
    "conv2": {"3x3_reduce": 0.1, "3x3": 0.03},
    "inception": {"1x1": 0.03, "3x3_reduce": 0.09, "3x3": 0.03, "5x5_reduce": 0.2, "5x5": 0.03, "pool_proj": 0.1},
    "loss": {"conv": 0.08, "fc": 0.02, "classifier": 2**-10},
}


def _gaussian(block: str, layer: str) -> Init:
    std = STDS.get(block, {}).get(layer)
    return normal(std) if std else caffe_xavier()


Rule = Callable[[str, str], Init]  # of a block of STDS and a layer in it
INITS: dict[str, Rule] = {
    "caffe": lambda block, layer: caffe_xavier(), "normal": lambda block, layer: normal(0.01),
    "he": lambda block, layer: he_normal(), "gaussian": _gaussian,
}  # fmt: skip
BIAS = nn.initializers.constant(0.2)

Convolve = Callable[..., jax.Array]  # (x, name, maps, kernel=1, stride=1) -> y


def _conv(
    x: jax.Array, name: str, maps: int, kernel: int = 1, stride: int = 1, *, block: str, rule: Rule, dtype: Any
) -> jax.Array:
    """Applies a convolution and ReLU; the layer belongs to the calling module.

    It pads kernel // 2 on both sides, as Caffe does; "same" padding would pad less before than after at stride 2.
    """
    options: dict[str, Any] = {"kernel_init": rule(block, name), "bias_init": BIAS, "dtype": dtype, "name": name}
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


def apply_conv1(x: jax.Array, conv: Convolve, separable: bool, depthwise_init: Init, dtype: Any) -> jax.Array:
    """Applies the first layer, 7x7/2 to 64 maps, plain or separable; its layers belong to the calling module.

    The separable one has eight 7x7/2 filters for each input map, without biases, and a 1x1 convolution of their outputs.
    """
    if not separable:
        return Convs((("7x7_s2", 64, 7, 2),), conv, name="conv1")(x)
    maps = x.shape[-1]
    options: dict[str, Any] = {"bias": "none", "kernel_init": depthwise_init, "dtype": dtype}
    x = Conv(8 * maps, 7, 2, 3, groups=maps, **options, name="conv1_depthwise")(x)
    return Convs((("1x1", 64, 1, 1),), conv, name="conv1")(x)


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
    rule: Rule
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if min(x.shape[1:3]) < 5:
            raise ValueError(
                f"the auxiliary head {self.name} averages 5 x 5 windows but its map is {x.shape[1]} x {x.shape[2]}: "
                "take images of 79 pixels and more, or aux=False"
            )
        init = functools.partial(self.rule, "loss")
        x = Pool("average", 5, 3, ceil=True, name="ave_pool")(x)
        x = _conv(x, "conv", 128, block="loss", rule=self.rule, dtype=self.dtype)
        x = x.reshape(x.shape[0], -1)
        x = relu(Dense(1024, kernel_init=init("fc"), bias_init=BIAS, dtype=self.dtype, name="fc")(x))
        x = nn.Dropout(0.7, deterministic=not train)(x)
        return Dense(self.num_classes, kernel_init=init("classifier"), dtype=self.dtype, name="classifier")(x)


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
        rule = choose(INITS, "init_weights", self.init_weights)
        conv = functools.partial(_conv, rule=rule, dtype=self.dtype)
        conv1, conv2, conv = (functools.partial(conv, block=block) for block in ("conv1", "conv2", "inception"))
        x = apply_conv1(x, conv1, self.separable, rule("conv1", "depthwise"), self.dtype)
        x = self._norm("norm1", half(name="pool1")(x))
        x = Convs((("3x3_reduce", 64, 1, 1), ("3x3", 192, 3, 1)), conv2, name="conv2")(x)
        x = half(name="pool2")(self._norm("norm2", x))
        auxiliary = {}
        for module, widths in MODULES.items():
            x = Inception(widths, conv, name=f"inception_{module}")(x)
            if module in POOLED:
                x = half(name=POOLED[module])(x)
            if module in HEADS and self.aux and (train or self.is_initializing()):
                head = Head(self.num_classes, rule, self.dtype, name=HEADS[module])
                auxiliary[HEADS[module]] = head(x, train=train)
        x = Pool("average", (x.shape[1], x.shape[2]), 1, name="pool5")(x)
        x = nn.Dropout(0.4, deterministic=not train)(x.reshape(x.shape[0], -1))
        scores = Dense(self.num_classes, kernel_init=rule("", "linear"), dtype=self.dtype, name="linear")(x)
        return (scores, auxiliary) if train and self.aux else scores

    def _norm(self, name: str, x: jax.Array) -> jax.Array:
        return x if self.lrn == "none" else LRN(name=name, **choose(LRNS, "lrn", self.lrn))(x)
