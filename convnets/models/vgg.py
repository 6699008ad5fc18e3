"""VGG: deep stacks of 3x3 convolutions.

Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition, ICLR 2015. TABLE below is
table 1. Every convolution keeps the size of the feature map and is followed by ReLU. Every stage ends in 2x2 max
pooling with stride 2. fc6 and fc7 have 4,096 units and dropout 0.5; fc8 outputs the classes.

             A            A-LRN        B            C            D            E
    weights  132,863,336  132,863,336  133,047,848  133,638,952  138,357,544  143,667,240

Choices where the paper is silent or ambiguous:
- Initial weights: section 3.1 draws A from N(0, variance 0.01) with biases 0, and initializes the deeper networks from
  A. It adds that after submission the authors found training possible without this, with Glorot & Bengio's rule. The
  default is 'glorot', since it needs no pretrained network. 'normal' is the first rule (standard
  deviation 0.1, not the 0.01 of most code); 'he' is the rule of He et al. 2015. With 'normal' and pixels of 0 to 255 less
  their mean, the first logits of A are of the order of 1e8, and of 1e5 at a quarter of the width; a tenth of the deviation
  makes them 1e11 times smaller. So the paper's 10^-2 may have been the deviation. COPIED_FROM_A lists the layers that a
  deeper network copied from A, for `--config.model.init_from=FILE --config.model.init_layers=LIST`.
- The 5x5 variant of B (section 4.1) replaces each pair of 3x3 convolutions by one 5x5 with as many output maps.
- A-LRN uses the constants of Krizhevsky et al. 2012, to which the paper refers. LRN follows the ReLU of conv1_1.
- Batch normalization (`_bn`) was published after the paper. It stands between convolution and ReLU. The convolutions
  keep their biases, as in torchvision, whose weights can be imported. If LRN is used too, it comes after the ReLU.
- Pooling rounds up, as in Caffe (BVLC/caffe, src/caffe/layers/pooling_layer.cpp), on which the authors built (section 3.3): a
  last window may overhang the edge. This matters only for images whose sides are not multiples of 32.
- Fully connected layers are always convolutions (section 3.2), 7x7 and 1x1 without padding. At 224 x 224 they have one
  position; a larger image gives a map of class scores from the same parameters.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from convnets.errors import UsageError
from convnets.layers import LRN, BatchNorm, Conv, Init, Pool, he_normal, relu
from convnets.models.options import scale_width
from convnets.op_string import choose

# Table 1, stage by stage; '3-64' is the paper's conv3-64: kernel 3x3, 64 feature maps.
TABLE = {
    "A": ("3-64", "3-128", "3-256 3-256", "3-512 3-512", "3-512 3-512"),
    "A-LRN": ("3-64 LRN", "3-128", "3-256 3-256", "3-512 3-512", "3-512 3-512"),
    "B": ("3-64 3-64", "3-128 3-128", "3-256 3-256", "3-512 3-512", "3-512 3-512"),
    "B-5x5": ("5-64", "5-128", "5-256", "5-512", "5-512"),
    "C": ("3-64 3-64", "3-128 3-128", "3-256 3-256 1-256", "3-512 3-512 1-512", "3-512 3-512 1-512"),
    "D": ("3-64 3-64", "3-128 3-128", "3-256 3-256 3-256", "3-512 3-512 3-512", "3-512 3-512 3-512"),
    "E": ("3-64 3-64", "3-128 3-128", "3-256 " * 4, "3-512 " * 4, "3-512 " * 4),
}

# Section 3.1: the first four convolutions and the three fully connected layers.
COPIED_FROM_A = ("conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8")

INITS: dict[str, Init] = {
    "glorot": nn.initializers.glorot_uniform(),
    "he": he_normal(),
    "normal": nn.initializers.normal(0.1),
}


def _as_fully_connected(init: Init) -> Init:
    """Returns an initializer that draws the kernel of a convolution as one of [inputs, units]: a unit has one position."""

    def draw(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return init(key, (math.prod(shape[:-1]), shape[-1]), dtype).reshape(shape)

    return draw


class VGG(nn.Module):
    """Maps images [n, h, w, 3] to logits [n, classes], or to a logit map [n, h', w', classes].

    The output has no spatial axes if pool5 is 7 x 7, that is for images of 193 to 224 pixels.

    Attributes:
        config: row of TABLE.
        batch_norm: batch norm after every convolution.
        init_weights: row of INITS.
        dropout: dropout rate after fc6 and fc7.
        epsilon: epsilon of the batch norms.
        width: factor on the numbers of feature maps and of units of fc6 and fc7.
    """

    config: str = "D"
    batch_norm: bool = False
    init_weights: str = "glorot"
    dropout: float = 0.5
    epsilon: float = 1e-5
    width: float = 1.0
    num_classes: int = 1000
    dtype: Any = jnp.float32
    input_shape: ClassVar = (224, 224, 3)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        common: dict[str, Any] = {"kernel_init": choose(INITS, "init_weights", self.init_weights), "dtype": self.dtype}
        for stage, words in enumerate(TABLE[self.config], 1):
            for i, word in enumerate(words.split(), 1):
                if word == "LRN":
                    x = LRN(name=f"norm{stage}")(x)
                    continue
                kernel, maps = map(int, word.split("-"))
                x = Conv(scale_width(maps, self.width), kernel, padding=kernel // 2, name=f"conv{stage}_{i}", **common)(
                    x
                )
                if self.batch_norm:
                    x = BatchNorm(epsilon=self.epsilon, dtype=self.dtype, name=f"bn{stage}_{i}")(x, train=train)
                x = relu(x)
            x = Pool("max", 2, 2, ceil=True, name=f"pool{stage}")(x)
        if min(x.shape[1:3]) < 7:
            raise UsageError(
                f"VGG takes images from 193 x 193 on: fc6 needs 7 x 7, pool5 is {x.shape[1]} x {x.shape[2]}"
            )
        for name, kernel in (("fc6", 7), ("fc7", 1)):
            fully = {**common, "kernel_init": _as_fully_connected(common["kernel_init"])}
            x = relu(Conv(scale_width(4096, self.width), kernel, name=name, **fully)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = Conv(self.num_classes, 1, name="fc8", **common)(x)
        return x[:, 0, 0] if x.shape[1:3] == (1, 1) else x
