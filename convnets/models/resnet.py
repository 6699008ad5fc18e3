"""ResNet, and the plain networks without shortcuts that the paper compares with it.

He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016 (arXiv 1512.03385, 2015): table 1 for
ImageNet, section 4.2 for CIFAR-10. Every convolution is followed by batch normalization and has no bias. Layers are
named as in the authors' prototxt.

               maps      18      34      50      101      152     CIFAR, 6n + 2         maps
    conv1      112, 56   7x7/2, 64; pool1 3x3/2                   3x3, 16               32
    conv2_x    56        2       3       3       3        3       n x (3x3, 3x3), 16    32
    conv3_x    28        2       4       4       4        8       n x (3x3, 3x3), 32    16
    conv4_x    14        2       6       6       23       36      n x (3x3, 3x3), 64    8
    conv5_x    7         2       3       3       3        3
    end        1         pool5, fc1000                            pool5, fc
    block                3x3, 3x3        1x1, 3x3, 1x1 (four times as many maps)

The columns 'maps' give the side of the feature maps, the columns 18 to 152 the number of blocks.

Choices where the paper is silent or ambiguous:
- Shortcuts: the paper labels its ImageNet results by option (A for table 2, in the text; in table 3 'A', 'B', 'C' for 34
  layers and 'B' for 50 and more). The default is B, which all published weights use; on CIFAR it is A (section 4.2). The paper
  does not say where option A adds its zero channels, which affects only the order of the channels. We add half before
  and half after, as in the common PyTorch weights.
- Bottlenecks halve the map in their first 1x1 convolution, as in the prototxt. `stride_on_3x3` moves the stride to the
  3x3, as in Torch and torchvision ("v1.5"); the parameters are the same, the function is not.
- pool1: the authors' Caffe code pools without padding and rounds up; Torch pads by 1 and rounds down. Both give
  56 x 56, shifted by one pixel. The default 'torch' matches the weights that we can import.
- pool5: the paper calls it global average pooling, which at 224 x 224 has one window of 7 x 7. Larger images are tested "in the
  fully-convolutional form" (section 3.4). We take it as the authors' prototxts have pool5: windows of 7 x 7 with stride 1.
  fc1000 then gives a map of class scores, as in our VGG, and the network returns its mean. One mean over the whole map would
  give pixels at the border more weight (torchvision does this). On a map below 7 x 7, and on CIFAR, pool5 is that one mean.
- Batch normalization has epsilon 1e-5 and momentum 0.9 (weight of the old value). `zero_init`, published after the
  paper, initializes the last scale of each block to 0. The released ResNet-50 has biases in conv1; ResNet-101 and -152
  have none, and neither do ours.
- The last layer is initialized by He's rule like the others (section 3.4); its bias is 0.
- The CIFAR networks were never released; their layers are named like the others.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from convnets.errors import UsageError
from convnets.layers import BatchNorm, Conv, Dense, Pool, relu
from convnets.op_string import Count, Natural, choose, suggest

Unit = Callable[..., jax.Array]  # (x, name, maps, kernel, stride): convolution and batch norm
POOL1: dict[str, dict[str, Any]] = {"torch": {"padding": 1}, "caffe": {"ceil": True}}
SHORTCUTS = ("A", "B", "C", "none")


def basic(x: jax.Array, name: str, maps: int, stride: int, unit: Unit, last: Unit) -> jax.Array:
    """Applies a basic block: 3x3, 3x3 (figure 5, left)."""
    x = relu(unit(x, f"{name}_branch2a", maps, 3, stride))
    return last(x, f"{name}_branch2b", maps, 3, 1)


def bottleneck(
    x: jax.Array, name: str, maps: int, stride: int, unit: Unit, last: Unit, stride_on_3x3: bool = False
) -> jax.Array:
    """Applies a bottleneck block: 1x1, 3x3, and 1x1 with four times as many feature maps (figure 5, right)."""
    first, second = (1, stride) if stride_on_3x3 else (stride, 1)
    x = relu(unit(x, f"{name}_branch2a", maps, 1, first))
    x = relu(unit(x, f"{name}_branch2b", maps, 3, second))
    return last(x, f"{name}_branch2c", 4 * maps, 1, 1)


# Table 1: the block, and the number of blocks in conv2_x to conv5_x.
IMAGENET: dict[int, tuple[Callable, tuple[int, ...]]] = {
    18: (basic, (2, 2, 2, 2)),
    34: (basic, (3, 4, 6, 3)),
    50: (bottleneck, (3, 4, 6, 3)),
    101: (bottleneck, (3, 4, 23, 3)),
    152: (bottleneck, (3, 8, 36, 3)),
}


def cifar(depth: int) -> tuple[Callable, tuple[int, ...]]:
    """Returns the block and the number of blocks per stage for a depth of 6n + 2 layers (section 4.2)."""
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise UsageError(f"a CIFAR ResNet has 6n + 2 layers, not {depth}")
    return basic, (n, n, n)


def names(lengths: tuple[int, ...]) -> Iterator[tuple[int, int, str]]:
    """Yields (stage, index, name) of each block, both from 0: '2a', '2b', ..., or '4a', '4b1', ... in long stages."""
    for stage, length in enumerate(lengths):
        numbered = length > 3 and max(lengths) > 6  # as in the prototxts: '3b3' in ResNet-101 is '3d' in ResNet-50
        for i in range(length):
            yield stage, i, f"{stage + 2}" + (f"b{i}" if numbered and i else "abcdef"[i])


def shortcut(x: jax.Array, name: str, maps: int, stride: int, option: str, unit: Unit) -> jax.Array:
    """Applies the shortcut of a block (sections 3.3 and 4.1).

    A and B are the identity if input and output sizes agree. Otherwise A subsamples with the stride and adds zero
    channels, without parameters, and B projects. C always projects.
    """
    same = maps == x.shape[-1] and stride == 1
    if option == "C" or (option == "B" and not same):
        return unit(x, f"{name}_branch1", maps, 1, stride)
    extra = maps - x.shape[-1]
    edges = ((0, 0, 0), (0, 0, 0), (0, 0, 0), (extra // 2, extra - extra // 2, 0))
    return x if same else lax.pad(x[:, ::stride, ::stride], jnp.zeros((), x.dtype), edges)


class Residual(nn.Module):
    """Base class of the ImageNet and CIFAR networks.

    Attributes:
        shortcut: 'A', 'B' or 'C'; 'none' gives the plain network. The default is B for ImageNet and A for CIFAR.
        zero_init: initializes the last batch-norm scale of each block to 0 instead of 1.
        epsilon, momentum, ghost_batch: parameters of the batch norms; momentum is the weight of the old value.
    """

    depth: int
    shortcut: str = "B"
    zero_init: bool = False
    epsilon: float = 1e-5
    momentum: float = 0.9
    ghost_batch: Natural = 0
    num_classes: int = 1000
    dtype: Any = jnp.float32

    def _unit(self, train: bool) -> tuple[Unit, Unit]:
        """Returns the function for convolution and batch norm, and its variant for the end of a block (`zero_init`)."""

        def unit(x, name, maps, kernel, stride, zero=False):
            conv, norm = (name, f"bn_{name}") if name == "conv1" else (f"res{name}", f"bn{name}")
            x = Conv(maps, kernel, stride, kernel // 2, bias="none", dtype=self.dtype, name=conv)(x)
            init = nn.initializers.zeros_init() if zero else nn.initializers.ones_init()
            options: dict[str, Any] = {"ghost_batch": self.ghost_batch, "dtype": self.dtype, "name": norm}
            return BatchNorm(self.momentum, self.epsilon, init, **options)(x, train=train)

        return unit, functools.partial(unit, zero=self.zero_init)

    def _stages(self, x: jax.Array, block: Callable, lengths: tuple[int, ...], maps: int, train: bool) -> jax.Array:
        """Applies all blocks; every stage except the first halves the map and doubles the channels."""
        if self.shortcut not in SHORTCUTS:
            raise UsageError(f"unknown shortcut '{self.shortcut}' of ResNet{suggest(self.shortcut, SHORTCUTS)}")
        unit, last = self._unit(train)
        for stage, i, name in names(lengths):
            stride = 2 if stage and not i else 1
            y = block(x, name, maps * 2**stage, stride, unit, last)
            if self.shortcut != "none":
                y = y + shortcut(x, name, y.shape[-1], stride, self.shortcut, unit)
            x = relu(y)
        return x


class ResNet(Residual):
    """Maps images [n, h, w, 3] of at least 32 pixels to logits [n, classes], for a larger image the mean of its score map.

    Attributes:
        depth: row of IMAGENET.
        stride_on_3x3: bottlenecks halve the map in their 3x3 instead of their first 1x1 convolution.
        pool1: row of POOL1.
    """

    stride_on_3x3: bool = False
    pool1: str = "torch"
    input_shape: ClassVar = (224, 224, 3)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        pooling = choose(POOL1, "pool1", self.pool1)
        block, lengths = IMAGENET[self.depth]
        if self.stride_on_3x3:
            block = functools.partial(block, stride_on_3x3=True)
        x = relu(self._unit(train)[0](x, "conv1", 64, 7, 2))
        x = Pool("max", 3, 2, name="pool1", **pooling)(x)
        x = self._stages(x, block, lengths, 64, train)
        x = Pool("average", (min(x.shape[1], 7), min(x.shape[2], 7)), 1, name="pool5")(x)
        x = jnp.mean(x, axis=(1, 2))  # the mean of the score map is the score of this mean, since fc1000 is linear
        return Dense(self.num_classes, name="fc1000", dtype=self.dtype)(x)


class CifarResNet(Residual):
    """Maps images [n, h, w, c] to logits [n, classes] with 6n + 2 layers; designed for 32 x 32.

    Attributes:
        maps: number of feature maps of the first stage.
        side, channels: side and channels of the square training images.
    """

    shortcut: str = "A"
    num_classes: int = 10
    maps: Count = 16
    side: Count = 32
    channels: Count = 3

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an input."""
        return (self.side, self.side, self.channels)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        block, lengths = cifar(self.depth)
        x = relu(self._unit(train)[0](x, "conv1", self.maps, 3, 1))
        x = self._stages(x, block, lengths, self.maps, train)
        x = Pool("average", (x.shape[1], x.shape[2]), 1, name="pool5")(x)[:, 0, 0]
        return Dense(self.num_classes, name="fc", dtype=self.dtype)(x)
