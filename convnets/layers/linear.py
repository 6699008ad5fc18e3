"""Layers with weights, as linen modules over NHWC arrays with explicit padding and an explicit compute dtype.

Parameters are float32; `dtype` is the compute dtype. Every layer with a kernel, a window or parameters is a module, so
that `convnets/models/summary.py` can list it under the paper's name. Activations are plain functions.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from convnets.layers import cpu_convolution, cpu_kernels
from convnets.layers.initializers import Init, he_normal
from convnets.layers.pooling import Padding, Pair, pads, pair, pool, windows

Bias = Literal["map", "unit", "none"]  # one per map, one per output unit (LeCun et al. 1989), or none


class Conv(nn.Module):
    """2-D cross-correlation, [n, h, w, c] to [n, h', w', features].

    Attributes:
        features: number of output maps.
        kernel, stride: one integer or (height, width).
        padding: pixels on every side, or ((top, bottom), (left, right)).
        pad_value: value of the padding; LeCun et al. 1989 pad with the background, -1.
        ceil: the last window may hang over the right and bottom edge, as in cuda-convnet: 1 + ceil((224 - 11) / 4) = 55
            positions for AlexNet's conv1. Other libraries drop this window. The overhang is filled with `pad_value`.
        groups: number of independent groups of input and output maps (AlexNet's two GPUs).
        table: the input maps of each output map (the C3 table of LeNet-5). Only connected kernels exist: the kernel's
            shape is [kh, kw, connections], ordered by output map.
        bias: a value of `Bias`.

    Raises:
        ValueError: when called, if the bias is unknown, or the kernel, the groups or the table do not fit the input.
    """

    features: int
    kernel: Pair
    stride: Pair = 1
    padding: Padding = 0
    pad_value: float = 0.0
    ceil: bool = False
    groups: int = 1
    table: Sequence[Sequence[int]] | None = None
    bias: Bias = "map"
    kernel_init: Init = he_normal()
    bias_init: Init = nn.initializers.zeros_init()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.bias not in get_args(Bias):
            raise ValueError(f"bias is '{self.bias}': it must be map, unit or none")
        if x.shape[-1] % self.groups or self.features % self.groups:
            raise ValueError(
                f"groups is {self.groups}: it must divide the {x.shape[-1]} maps below and the {self.features} maps"
            )
        padding = pads(self.padding)
        needed = windows(x.shape, self.kernel, self.stride, padding, self.ceil)[1]
        padding = needed if self.ceil else padding
        x, kernel = x.astype(self.dtype), self._kernel(x.shape[-1])
        if self.pad_value:
            edges = ((0, 0, 0), (*padding[0], 0), (*padding[1], 0), (0, 0, 0))
            x, padding = lax.pad(x, jnp.asarray(self.pad_value, self.dtype), edges), pads(0)
        y = cpu_convolution.conv(x, kernel, pair(self.stride), padding, self.groups)
        if self.bias == "none":
            return y
        shape = (self.features,) if self.bias == "map" else y.shape[1:]
        return cpu_kernels.add_bias(y, self.param("bias", self.bias_init, shape))

    def _kernel(self, channels: int) -> jax.Array:
        (kh, kw), table = pair(self.kernel), self.table
        if table is None:
            return self.param("kernel", self.kernel_init, (kh, kw, channels // self.groups, self.features))
        if len(table) != self.features or max(map(max, table)) >= channels:
            raise ValueError(f"the table of {self.name} must list input maps below {channels} for {self.features} maps")

        def init(key, _):  # the fan-in depends on the map; maps of equal fan-in are drawn together
            drawn: dict[int, Any] = {}
            for seen in sorted(set(map(len, table))):
                maps = sum(len(row) == seen for row in table)
                drawn[seen] = iter(
                    jnp.moveaxis(self.kernel_init(jax.random.fold_in(key, seen), (kh, kw, seen, maps)), -1, 0)
                )
            return jnp.concatenate([next(drawn[len(row)]) for row in table], axis=-1)

        inputs = np.concatenate([np.asarray(row) for row in table])
        outputs = np.repeat(np.arange(self.features), [len(row) for row in table])
        connected = self.param("kernel", init, (kh, kw, len(inputs)))
        # A one-hot product instead of a scatter: its gradient is also a product, fast on every backend and exact.
        place = np.zeros((len(inputs), channels * self.features), np.float32)
        place[np.arange(len(inputs)), inputs * self.features + outputs] = 1
        dense = jnp.matmul(connected, place, precision="highest")
        return dense.reshape(kh, kw, channels, self.features)


class LocallyConnected(nn.Module):
    """Convolution without weight sharing, one kernel per output position: [n, h, w, c] to [n, h', w', features].

    This is cuda-convnet's 'local' layer, with one bias per unit. The kernel's shape is [h', w', kh, kw, c, features].
    Equal kernels at all positions make it a convolution. Unlike a convolution, it accepts only one image size.
    """

    features: int
    kernel: Pair
    stride: Pair = 1
    padding: Padding = 0
    kernel_init: Init = he_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        (kh, kw), (sh, sw), channels = pair(self.kernel), pair(self.stride), x.shape[-1]
        (h, w), (rows, columns) = windows(x.shape, self.kernel, self.stride, self.padding, False)

        def init(key, shape):  # a kernel of a convolution for each position: the fans count one position
            draw = jax.vmap(lambda own: self.kernel_init(own, shape[2:]))
            return draw(jax.random.split(key, h * w)).reshape(shape)

        kernel = self.param("kernel", init, (h, w, kh, kw, channels, self.features)).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (h, w, self.features))
        x = jnp.pad(x.astype(self.dtype), ((0, 0), rows, columns, (0, 0)))
        down, right = (h - 1) * sh + 1, (w - 1) * sw + 1
        patches = [x[:, i : i + down : sh, j : j + right : sw] for i in range(kh) for j in range(kw)]
        weights = kernel.reshape(h, w, kh * kw, channels, self.features)
        y = jnp.einsum("nhwkc,hwkcf->nhwf", jnp.stack(patches, axis=3), weights)
        return (y.astype(jnp.float32) + bias).astype(self.dtype)  # so that the gradient of the bias is a float32 sum


class Dense(nn.Module):
    """Fully connected layer on the last axis: [..., c] to [..., features]."""

    features: int
    kernel_init: Init = he_normal()
    bias_init: Init = nn.initializers.zeros_init()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", self.bias_init, (self.features,))
        return cpu_kernels.add_bias(cpu_kernels.matmul(x.astype(self.dtype), kernel), bias)


class Subsample(nn.Module):
    """S-layer of LeNet: coefficient x (sum over a size x size window) + bias, with one coefficient and bias per map.

    LeCun et al. 1998, section II.B. The caller applies the squashing function. Initialized to an average.
    """

    size: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels, fan_in = x.shape[-1], self.size**2
        coefficient = self.param("coefficient", nn.initializers.constant(1 / fan_in), (channels,))
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        total = pool(x.astype(self.dtype), "average", self.size, self.size) * fan_in
        return (total.astype(jnp.float32) * coefficient + bias).astype(self.dtype)  # so that gradients are float32 sums


class Gain(nn.Module):
    """Trained gain per map after a squashing function: c * x, or c * x + b with `bias`.

    Jarrett et al. 2009: g_i tanh(convolution). Initialized to the identity.
    """

    bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        gain = self.param("gain", nn.initializers.ones_init(), x.shape[-1:])
        y = x.astype(jnp.float32) * gain  # so that gradients are float32 sums
        bias = self.param("bias", nn.initializers.zeros_init(), x.shape[-1:]) if self.bias else 0
        return (y + bias).astype(self.dtype)


class RBF(nn.Module):
    """Euclidean radial basis units with fixed centres: y_i = sum_j (x_j - w_ij)^2 (LeCun et al. 1998, eq. 7).

    Returns -y, so that the largest score wins, as in other output layers. It has no parameters. The inputs x, whose squared
    error is learnt, are sown as "outputs".

    Attributes:
        codes: the fixed centres, a [classes, c] array of +-1.
    """

    codes: Any
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if not self.is_initializing():
            self.sow("outputs", "units", x)
        difference = x.astype(jnp.float32)[:, None, :] - jnp.asarray(self.codes, jnp.float32)
        return -jnp.sum(jnp.square(difference), axis=-1).astype(self.dtype)
