"""BN-Inception, the Inception network with batch normalization.

Ioffe, Szegedy: Batch normalization: accelerating deep network training by reducing internal covariate shift, ICML 2015
(arXiv 1502.03167), section 4.2 and figure 5.

Figure 5, whose inception rows are `MODULES` below. Layers are named as in the public Caffe network:

    conv1            7x7/2, 64, separable 112 x 112 x 64
    pool1            max 3x3/2             56 x  56 x 64
    conv2            1x1 64, 3x3 192       56 x  56 x 192
    pool2            max 3x3/2             28 x  28 x 192
    inception_3a-c                         28 x  28 x 256, 320; 14 x 14 x 576
    inception_4a-e                         14 x  14 x 576, 576, 576, 576; 7 x 7 x 1024
    inception_5a, b                         7 x   7 x 1024, 1024
    pool5            average 7x7            1 x   1 x 1024
    linear           1000                 softmax

    parameters       11,188,288
    multiply-adds    1,934,857,216

Differences from GoogLeNet: two 3x3 convolutions replace every 5x5, and three modules instead of two work at 28 x 28.
Pooling inside the modules is average or max, and there is no pooling between modules. Instead 3c and 4e have stride 2;
they have no 1x1 branch and no projection, and pass their pooled input on. The first convolution is separable, with depth
multiplier 8 (appendix). Every convolution is normalized before its nonlinearity. It has no bias, which the normalization
would cancel (section 3.2).

Where the paper contradicts itself, we chose as its authors' own program, inception_v2.py of TensorFlow (tensorflow/models,
research/slim/nets), whose test counts 10,173,112 variables; ours, counted as it does, are as many:
- Figure 5 prints projections of 128 maps in 4c and 4d, but 576 maps after them and 1024 after 4e. With 96 maps all sums are
  as printed. The most used ports took 128, which gives 608 and 1056, and a plain first convolution (`port`): apache/mxnet,
  example/image-classification/symbols/inception-bn.py, and the Caffe and PyTorch weights of the same network. It has
  11,285,224 parameters, or 11,295,240 with their biases, and 2,032,600,064 multiply-adds. lim0606/caffe-googlenet-bn has 96
  maps and a plain first convolution.
- Figure 5 prints 28 x 28 and 14 x 14 for 3c and 4e despite their stride 2; we use the stride.
- The text counts 13.6 million parameters; no reading of figure 5 gives this number.

Choices where the paper is silent:
- Pooling windows that halve the map overhang the edge (Caffe's ceil mode), without padding, which gives the windows of the
  authors' "same" padding. A convolution of stride 2 pads both sides, as Caffe does; theirs pads less before than after.
- Average pooling inside the modules counts its padding as zeros, as Caffe does; TensorFlow leaves it out of the mean.
- Inference: algorithm 2 takes the statistics of the population, from many batches after training. Here they are running
  averages, as in the authors' program, without a further pass; theirs have `momentum` 0.9997 and `epsilon` 0.001
  (inception_utils.py), which configs/inception_bn.py takes. A momentum of 0.9997 needs some 10,000 steps to forget the
  initial mean 0 and variance 1. The defaults here, those of `layers.BatchNorm`, fit short trainings.
- Their program does not normalize the first convolution, and its normalization has no scale; section 3 has both.
- There are no auxiliary heads, since figure 5 has none.
- Initial weights are Caffe's "xavier"; without normalization, biases are 0.2, as for GoogLeNet.

The networks of section 4.2 are options. Inception is norm=False, lrn=True, dropout=0.4. BN-Baseline is the same with
norm=True. BN-x5 and BN-x30 have neither LRN nor dropout, as in figure 5; this is the default. BN-x5-Sigmoid is
activation='sigmoid'. Some members of the ensemble have dropout 0.05 or 0.1.
"""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from convnets.errors import UsageError
from convnets.layers import LRN, BatchNorm, Conv, Dense, Pool, caffe_xavier, relu
from convnets.models.googlenet import BIAS, Convolve, Convs, apply_conv1
from convnets.op_string import choose

# Figure 5: #1x1, #3x3 reduce, #3x3, double #3x3 reduce, double #3x3, pool, pool proj. Rows without #1x1 have stride 2.
# It prints 128 for the last number of 4c and 4d, which contradicts its column of output sizes.
MODULES = {
    "3a": (64, 64, 64, 64, 96, "average", 32),
    "3b": (64, 64, 96, 64, 96, "average", 64),
    "3c": (0, 128, 160, 64, 96, "max", 0),
    "4a": (224, 64, 96, 96, 128, "average", 128),
    "4b": (192, 96, 128, 96, 128, "average", 128),
    "4c": (160, 128, 160, 128, 160, "average", 96),
    "4d": (96, 128, 192, 160, 192, "average", 96),
    "4e": (0, 128, 192, 192, 256, "max", 0),
    "5a": (352, 192, 320, 160, 224, "average", 128),
    "5b": (352, 192, 320, 192, 224, "max", 128),
}
PORT = {module: (*MODULES[module][:-1], 128) for module in ("4c", "4d")}  # as the public ports read it
Activation = Callable[[jax.Array], jax.Array]
ACTIVATIONS: dict[str, Activation] = {"relu": relu, "sigmoid": nn.sigmoid}


def _unit(
    x: jax.Array, name: str, maps: int, kernel: int = 1, stride: int = 1, *, activation: Activation,
    norm: Callable[..., BatchNorm] | None, dtype: Any, train: bool,
) -> jax.Array:  # fmt: skip
    """Applies convolution, optional batch norm and nonlinearity; the layers belong to the calling module.

    It pads kernel // 2 on both sides, as Caffe does. In 3c and 4e the 3x3 convolution of stride 2 therefore begins a pixel
    before the pooling beside it.
    """
    options: dict[str, Any] = {"kernel_init": caffe_xavier(), "dtype": dtype, "name": name}
    if norm:
        x = Conv(maps, kernel, stride, kernel // 2, bias="none", **options)(x)
        x = norm(name=f"{name}_bn")(x, train=train)
    else:
        x = Conv(maps, kernel, stride, kernel // 2, bias_init=BIAS, **options)(x)
    return activation(x)


class Inception(nn.Module):
    """Inception module for one row of `MODULES`: [n, h, w, c] to [n, h, w, maps].

    A row without #1x1 halves the map and passes its c pooled input maps on.
    """

    row: tuple[int, int, int, int, int, str, int]
    unit: Convolve

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        unit = self.unit
        n1, reduce3, n3, reduce_double, n_double, kind, projected = self.row
        stride = 1 if n1 else 2
        branches = [unit(x, "1x1", n1)] if n1 else []
        branches.append(unit(unit(x, "3x3_reduce", reduce3), "3x3", n3, 3, stride))
        double = unit(unit(x, "double_3x3_reduce", reduce_double), "double_3x3_1", n_double, 3)
        branches.append(unit(double, "double_3x3_2", n_double, 3, stride))
        if n1:
            pooled = Pool(kind, 3, 1, 1, count_include_pad=True, name="pool")(x)
        else:
            pooled = Pool(kind, 3, 2, ceil=True, name="pool")(x)
        branches.append(unit(pooled, "pool_proj", projected) if projected else pooled)
        return jnp.concatenate(branches, axis=-1)


class BNInception(nn.Module):
    """Maps images [n, 224, 224, 3] to logits [n, classes]; other sizes must be multiples of 32 pixels.

    Raises UsageError for other sizes and for an unknown activation.

    Attributes:
        activation: 'relu' or 'sigmoid'.
        norm: batch normalization; without it the convolutions have biases.
        momentum, epsilon: parameters of the batch norms; momentum is the weight of the old running value.
        lrn: local response normalization where GoogLeNet has it.
        dropout: dropout rate of the classifier's inputs; uses the rng 'dropout'.
        port: builds the network of the public ports instead, see the module docstring.
    """

    num_classes: int = 1000
    activation: str = "relu"
    norm: bool = True
    momentum: float = 0.9
    epsilon: float = 1e-5
    lrn: bool = False
    dropout: float = 0.0
    port: bool = False
    dtype: Any = jnp.float32
    input_shape: ClassVar = (224, 224, 3)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        activation = choose(ACTIVATIONS, "activation", self.activation)
        if x.shape[1] % 32 or x.shape[2] % 32:
            raise UsageError(
                f"BN-Inception takes images whose sides are multiples of 32, not {x.shape[1]} x {x.shape[2]}"
            )
        norm = functools.partial(BatchNorm, self.momentum, self.epsilon, dtype=self.dtype) if self.norm else None
        unit = functools.partial(_unit, activation=activation, norm=norm, dtype=self.dtype, train=train)
        half = functools.partial(Pool, "max", 3, 2, ceil=True)
        x = half(name="pool1")(apply_conv1(x, unit, not self.port, caffe_xavier(), self.dtype))
        x = LRN(name="norm1")(x) if self.lrn else x
        x = Convs((("3x3_reduce", 64, 1, 1), ("3x3", 192, 3, 1)), unit, name="conv2")(x)
        x = LRN(name="norm2")(x) if self.lrn else x
        x = half(name="pool2")(x)
        for module, row in {**MODULES, **(PORT if self.port else {})}.items():
            x = Inception(row, unit, name=f"inception_{module}")(x)
        x = Pool("average", (x.shape[1], x.shape[2]), 1, name="pool5")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x.reshape(x.shape[0], -1))
        return Dense(self.num_classes, kernel_init=caffe_xavier(), dtype=self.dtype, name="linear")(x)
