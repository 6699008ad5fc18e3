"""AlexNet, and the CIFAR-10 networks published with the same program (cuda-convnet).

AlexNet       Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks, NIPS 2012.
Program       its authors' program of 2012, computerhistory/AlexNet-Source-Code, commit 2f8b81f. Its network #145 is the
              paper's: layers/layers-145.cfg; the notes in layer-params-145.cfg have the errors of table 2.
One weird     Krizhevsky: One weird trick for parallelizing convolutional neural networks, arXiv 1404.5997, 2014.
cuda-convnet  Krizhevsky's program of 2011-12, folder example-layers; section 3.3 of the AlexNet paper quotes its 13%
              and 11% nets.

Notation: '11/4' is kernel 11 with stride 4; '96 @ 55' is 96 feature maps of 55 x 55.

                                    alexnet      ungrouped  one_gpu     owt
    input     224 x 224
    conv1     11/4, overhanging     96 @ 55      96         48          64, padding 2
              LRN, pool 3/2            @ 27                             no LRN
    conv2     5, padding 2          256, halves  256        128         192
              LRN, pool 3/2            @ 13                             no LRN
    conv3     3, padding 1          384          384        192         384
    conv4     3, padding 1          384, halves  384        192         256
    conv5     3, padding 1          256, halves  256        256         256
              pool 3/2                 @ 6
    fc6, fc7  full, dropout         4096         4096       4096        4096
    fc8       full, softmax         1000         1000       1000        1000
    parameters                      60,965,224   62,378,344 59,798,312  61,100,840
    multiply-adds                   724,406,816  1,135.3 M  391.5 M     714.2 M

    cuda_convnet_  26pct           19pct, 18pct     13pct           11pct
    input          32 x 32         32 x 32          24 x 24         24 x 24
    conv1          5, 32 @ 32      5, 32 @ 32       5, 64 @ 24      5, 64 @ 24
                   max 3/2 @ 16    max (LRN in 18)  max 3/2 @ 12    max, LRN
    conv2          5, 32 @ 16      5, 32 @ 16       5, 64 @ 12      5, 64 @ 12
                   average 3/2     average (LRN)    max 3/2 @ 6     LRN, max
    conv3, local3  conv 5, 64 @ 8  conv 5, 64 @ 8   local 3, 32     local 3, 64
                   average 3/2     average 3/2
    fc64, local4   full, 64                         local 3, 32     local 3, 32
    fc10           full, softmax   full, softmax    full, softmax   full, softmax
    parameters     145,578         89,578           1,116,490       2,112,970
    multiply-adds  12,354,176      12,298,240       18,517,248      19,512,576

ReLU follows every layer with weights except the last. 'halves' means two groups: each GPU sees only its own half of the
feature maps. `alexnet_one_gpu` is the control experiment of section 3.2. `alexnet_owt` has the widths and the padding
of torchvision's alexnet.

Where the paper's text and the authors' program contradict each other, an option has both:
- `order`: the text has ReLU, LRN and pooling in both stages. The program has LRN, pooling and ReLU in the first. In the second
  it has ReLU, LRN, a normalization within maps, and pooling. Caffe's CaffeNet pools before it normalizes.
- `lrn`: the formula does not divide alpha by n; the program (layer.py, line 1183), Caffe and PyTorch do. The formula sums over
  all maps of a layer, as Caffe does. In the program each GPU normalizes its own maps alone.
- `init_weights`: the text has deviations of 0.01, the program 0.03 in conv3 to conv5. Between random images of deviation 70,
  blurred by 4 pixels, initial logits then deviate by 0.032 instead of 0.0023 (1,024 units, 100 classes). Caffe found that
  biases of 1 leave the loss flat and used 0.1.

Choices where the papers are silent or ambiguous:
- 224 pixels give 55 positions only if the last window overhangs the edge: 1 + ceil((224 - 11) / 4), layer.py, line 1004. So
  does the default (`view` 'ceil'). The program cuts equal borders off 256 pixels (convdata_jpeg.py, line 73), so it cannot have
  read 227. Caffe did ('227'); others pad ('pad2'). The parameters are equal.
- Dropout is inverted: training multiplies the kept outputs by 2, whereas the paper halves all outputs at test time.
- One weird trick gives conv4 384 maps in a footnote, and its file in cuda-convnet2 256, which alone fits the paper's "0.2%
  more parameters". The file ends in a softmax, the paper in 1,000 logistic units. In the first stage the file has LRN before
  pooling and ReLU. `alexnet_owt` has 256 maps, a softmax, and no LRN, as in torchvision, but the file's initial weights (the
  biases of fc8 start at -7).
- The 11% net follows the last version of its file. An earlier version has LRN over 5 maps before both poolings and a
  local3 of 32 maps. Section 3.3 says only that LRN reduces the error from 13% to 11%.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from convnets.errors import UsageError
from convnets.layers import (
    ACTIVATIONS,
    LRN,
    BatchNorm,
    Conv,
    Dense,
    Init,
    LocallyConnected,
    Pool,
    constant,
    he_normal,
    normal,
)
from convnets.models.options import scale_width
from convnets.op_string import Count, choose, suggest

# Border handling of conv1: input side in pixels, and the options of the convolution.
VIEWS: dict[str, tuple[int, dict[str, Any]]] = {
    "ceil": (224, {"ceil": True}),
    "227": (227, {}),
    "pad2": (224, {"padding": 2}),
}

LRNS: dict[str, dict[str, Any]] = {
    "paper": {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0},
    "caffe": {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0, "divide": True},
    "cuda_convnet2": {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0, "divide": True},
    # cuda-convnet's constants for CIFAR-10: within a feature map (18% net), across feature maps (11% net).
    "within": {"size": 3, "alpha": 5e-5, "beta": 0.75, "k": 1.0, "divide": True, "within": True},
    "across": {"size": 9, "alpha": 1e-3, "beta": 0.75, "k": 1.0, "divide": True},
    # The second normalization of AlexNet's program (cnorm2a, cnorm2b).
    "original_within": {"size": 5, "alpha": 1e-3, "beta": 0.75, "k": 1.0, "divide": True, "within": True},
}

# What follows the convolutions of stages 1 and 2. LRN is over all maps ('norm'), over those of each group alone ('halves') or
# within each map ('within').
ORDERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "paper": (("act", "norm", "pool"), ("act", "norm", "pool")),
    "caffenet": (("act", "pool", "norm"), ("act", "pool", "norm")),
    "original": (("halves", "pool", "act"), ("act", "halves", "within", "pool")),
}

# Standard deviations of the initial weights and values of the initial biases, one per layer.
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
INITS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "paper": ((0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01), (0, 1, 0, 1, 1, 1, 1, 0)),
    "caffe": ((0.01, 0.01, 0.01, 0.01, 0.01, 0.005, 0.005, 0.01), (0, 0.1, 0, 0.1, 0.1, 0.1, 0.1, 0)),
    "original": ((0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01), (0, 1, 0, 1, 1, 1, 1, 0)),
    "one_weird_trick": ((0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01), (0, 1, 0, 1, 1, 1, 1, -7)),
}

POOLINGS = ("", "max", "average", "l1", "l2", "stride")


class AlexNet(nn.Module):
    """Maps images [n, 224, 224, 3] to logits [n, classes]; larger images give a logit map [n, h, w, classes].

    Attributes:
        maps: number of feature maps of conv1 to conv5.
        groups: number of groups in conv2, conv4 and conv5.
        units: number of units of fc6 and fc7.
        view, order, lrn, init_weights: rows of VIEWS, ORDERS, LRNS (or 'none') and INITS (or 'he'); see the module docstring.
        dropout: dropout rate after fc6 and fc7.
    """

    maps: tuple[int, ...]
    groups: Count = 1
    units: Count = 4096
    num_classes: int = 1000
    view: str = "ceil"
    order: str = "paper"
    lrn: str = "paper"
    init_weights: str = "paper"
    act: str = "relu"
    pool_size: Count = 3
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an input."""
        side, _ = choose(VIEWS, "view", self.view)
        return (side, side, 3)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        act, halves = choose(ACTIVATIONS, "activation", self.act), {"groups": self.groups}
        _, edge = choose(VIEWS, "view", self.view)
        x = self._finish_stage(1, self._conv("conv1", self.maps[0], 11, stride=4, **edge)(x))
        x = self._finish_stage(2, self._conv("conv2", self.maps[1], 5, padding=2, **halves)(x))
        x = act(self._conv("conv3", self.maps[2], 3, padding=1)(x))
        x = act(self._conv("conv4", self.maps[3], 3, padding=1, **halves)(x))
        x = act(self._conv("conv5", self.maps[4], 3, padding=1, **halves)(x))
        x = Pool("max", self.pool_size, 2, name="pool5")(x)
        # Fully connected layers are convolutions, so that the same parameters apply densely to larger images.
        for name, kernel in (("fc6", 6), ("fc7", 1)):
            x = act(self._conv(name, self.units, kernel)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = self._conv("fc8", self.num_classes, 1)(x)
        return x[:, 0, 0] if x.shape[1:3] == (1, 1) else x

    def _conv(self, name: str, features: int, kernel: int, **options: Any) -> Conv:
        weights: Init = he_normal()
        bias = 0.0
        if self.init_weights != "he":
            stds, biases = choose(INITS, "init_weights", self.init_weights)
            weights, bias = normal(stds[LAYERS.index(name)]), biases[LAYERS.index(name)]
        return Conv(
            features, kernel, name=name, kernel_init=weights, bias_init=constant(bias), dtype=self.dtype, **options
        )

    def _finish_stage(self, stage: int, x: jax.Array) -> jax.Array:
        for step in choose(ORDERS, "order", self.order)[stage - 1]:
            if step == "act":
                x = choose(ACTIVATIONS, "activation", self.act)(x)
            elif step == "pool":
                x = Pool("max", self.pool_size, 2, name=f"pool{stage}")(x)
            elif self.lrn != "none" and step == "within":
                x = LRN(name=f"within{stage}", **LRNS["original_within"])(x)
            elif self.lrn != "none":
                groups = self.groups if step == "halves" else 1
                x = LRN(name=f"norm{stage}", groups=groups, **choose(LRNS, "lrn", self.lrn))(x)
        return x


class CudaConvnet(nn.Module):
    """Maps images [n, side, side, 3] to logits [n, classes]; side is 32, or 24 if training crops.

    Each stage is a size-preserving 5 x 5 convolution, ReLU, 3/2 pooling that rounds up, and optionally LRN. Then follow
    3 x 3 locally connected layers, which need exactly this image size, fully connected layers and softmax.
    The files of 26pct, 19pct and 18pct apply the first ReLU after the max pooling, which gives the same result.

    Attributes:
        stages: per stage the number of feature maps, then pooling ('max', 'average') and LRN ('norm') in their order.
        local: number of feature maps of each locally connected layer.
        hidden: number of units of each fully connected layer before the last.
        lrn: row of LRNS for the places marked 'norm', or 'none'.
        init_weights: 'cuda_convnet' (the standard deviations of its files, biases 0) or 'he'.
        act: row of ACTIVATIONS, applied after every layer with weights except the last.
        batch_norm: batch norm before the activation of every convolution and locally connected layer. These layers
            keep their biases.
        pooling: 'max', 'average', 'l1' or 'l2' replaces the pooling of every stage; '' keeps the network's own.
            'stride' replaces pooling by stride 2 in the convolutions (Springenberg et al. 2015), with equal map sizes.
        width: factor on the numbers of feature maps and hidden units; layer names do not change.
        shared: replaces the locally connected layers by convolutions.
        dropout: dropout rate of the last layer's inputs.
    """

    stages: tuple[tuple[Any, ...], ...]
    local: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    side: Count = 32
    num_classes: int = 10
    lrn: str = "none"
    init_weights: str = "cuda_convnet"
    act: str = "relu"
    batch_norm: bool = False
    pooling: str = ""
    pool_size: Count = 3
    width: float = 1.0
    shared: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an input."""
        return (self.side, self.side, 3)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        if self.pooling not in POOLINGS:
            raise UsageError(f"unknown pooling '{self.pooling}'{suggest(self.pooling, POOLINGS)}")
        strides = self.pooling == "stride"
        for n, (maps, *order) in enumerate(self.stages, 1):
            weights = self._weights(1e-4 if n == 1 else 0.01)
            x = Conv(scale_width(maps, self.width), 5, 2 if strides else 1, 2, name=f"conv{n}", **weights)(x)
            x = self._activate(n, x, train)
            for kind in order:
                if kind == "norm":
                    x = self._norm(n, x)
                elif not strides:
                    x = Pool(self.pooling or kind, self.pool_size, 2, 0, True, name=f"pool{n}")(x)
        layer = Conv if self.shared else LocallyConnected
        for n, maps in enumerate(self.local, len(self.stages) + 1):
            x = layer(scale_width(maps, self.width), 3, padding=1, name=f"local{n}", **self._weights(0.04))(x)
            x = self._activate(n, x, train)
        x = x.reshape(x.shape[0], -1)
        for units in self.hidden:
            x = Dense(scale_width(units, self.width), name=f"fc{units}", **self._weights(0.1))(x)
            x = choose(ACTIVATIONS, "activation", self.act)(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Dense(self.num_classes, name="fc10", **self._weights(0.1 if self.hidden else 0.01))(x)

    def _activate(self, n: int, x: jax.Array, train: bool) -> jax.Array:
        x = BatchNorm(dtype=self.dtype, name=f"bn{n}")(x, train=train) if self.batch_norm else x
        return choose(ACTIVATIONS, "activation", self.act)(x)

    def _norm(self, stage: int, x: jax.Array) -> jax.Array:
        return x if self.lrn == "none" else LRN(name=f"rnorm{stage}", **choose(LRNS, "lrn", self.lrn))(x)

    def _weights(self, std: float) -> dict[str, Any]:
        inits = {"cuda_convnet": normal(std), "he": he_normal()}
        return {"kernel_init": choose(inits, "init_weights", self.init_weights), "dtype": self.dtype}


ALEXNETS: dict[str, dict[str, Any]] = {
    "alexnet": {"maps": (96, 256, 384, 384, 256), "groups": 2},
    "alexnet_ungrouped": {"maps": (96, 256, 384, 384, 256)},
    "alexnet_one_gpu": {"maps": (48, 128, 192, 192, 256)},
    "alexnet_owt": {"maps": (64, 192, 384, 256, 256), "view": "pad2", "lrn": "none", "init_weights": "one_weird_trick"},
}

_THREE = ((32, "max", "norm"), (32, "average", "norm"), (64, "average"))
_TWO = ((64, "max", "norm"), (64, "norm", "max"))
CUDA_CONVNETS: dict[str, dict[str, Any]] = {
    "cuda_convnet_26pct": {"stages": _THREE, "hidden": (64,)},
    "cuda_convnet_19pct": {"stages": _THREE},
    "cuda_convnet_18pct": {"stages": _THREE, "lrn": "within"},
    "cuda_convnet_13pct": {"stages": _TWO, "local": (32, 32), "side": 24},
    "cuda_convnet_11pct": {"stages": _TWO, "local": (64, 32), "side": 24, "lrn": "across"},
}

NETS: dict[str, Any] = {
    **{name: functools.partial(AlexNet, **options) for name, options in ALEXNETS.items()},
    **{name: functools.partial(CudaConvnet, **options) for name, options in CUDA_CONVNETS.items()},
}
