"""The layers of the papers as linen modules over NHWC arrays, with explicit padding and an explicit compute dtype.

Parameters are float32; `dtype` is what a layer computes in. Every layer that has a kernel, a window or parameters is a
module, so that `analytics` can list it under the paper's name; activations are plain functions.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Pair = int | tuple[int, int]
Padding = int | tuple[tuple[int, int], tuple[int, int]]
Init = Callable[..., jax.Array]


def pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def pads(value: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)) from one integer for all sides, or from that form itself."""
    return ((value, value), (value, value)) if isinstance(value, int) else value


# Initialisers -------------------------------------------------------------------------------------------------------


def uniform_fan_in(scale: float) -> Init:
    """U(-scale/F, scale/F), F the fan-in (LeCun et al. 1989, 1998 with scale 2.4)."""

    def init(key, shape, dtype=jnp.float32):
        limit = scale / np.prod(shape[:-1])
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def uniform_root_fan_in(scale: float) -> Init:
    """U(-scale/sqrt(F), scale/sqrt(F)): Karpathy's reading of the same sentence (lecun1989-repro)."""

    def init(key, shape, dtype=jnp.float32):
        limit = scale / np.sqrt(np.prod(shape[:-1]))
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def he_normal() -> Init:
    """N(0, 2/F), F the fan-in (He et al. 2015, Delving Deep into Rectifiers, eq. 10)."""
    return jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")


# Activations --------------------------------------------------------------------------------------------------------


def scaled_tanh(x: jax.Array) -> jax.Array:
    """1.7159 tanh(2x/3), so that f(1) = 1 and f(-1) = -1 (LeCun et al. 1998, appendix A)."""
    return 1.7159 * jnp.tanh(x * (2 / 3))


# Layers with weights ------------------------------------------------------------------------------------------------


class Conv(nn.Module):
    """2-D cross-correlation, [n, h, w, c] to [n, h', w', features].

    Attributes:
        features: output maps.
        kernel, stride: one integer or (height, width).
        padding: pixels on every side, or ((top, bottom), (left, right)).
        pad_value: what the padding holds; LeCun et al. 1989 pad with the background, -1.
        groups: the input and output maps are cut into this many independent groups (AlexNet's two GPUs).
        table: for each output map the input maps it sees (the C3 table of LeNet-5). Only the connected kernels exist:
            the kernel's shape is [kh, kw, connections], map after map.
        bias: 'map' (one a map), 'unit' (one an output unit: LeCun et al. 1989) or 'none'.
    """

    features: int
    kernel: Pair
    stride: Pair = 1
    padding: Padding = 0
    pad_value: float = 0.0
    groups: int = 1
    table: Sequence[Sequence[int]] | None = None
    bias: str = "map"
    kernel_init: Init = he_normal()
    bias_init: Init = nn.initializers.zeros_init()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels, padding = x.shape[-1], pads(self.padding)
        x, kernel = x.astype(self.dtype), self._kernel(channels).astype(self.dtype)
        if self.pad_value:
            edges = ((0, 0, 0), (*padding[0], 0), (*padding[1], 0), (0, 0, 0))
            x, padding = lax.pad(x, jnp.asarray(self.pad_value, self.dtype), edges), pads(0)
        y = lax.conv_general_dilated(
            x, kernel, pair(self.stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )  # fmt: skip
        if self.bias == "none":
            return y
        shape = (self.features,) if self.bias == "map" else y.shape[1:]
        return y + self.param("bias", self.bias_init, shape).astype(self.dtype)

    def _kernel(self, channels: int) -> jax.Array:
        (kh, kw), table = pair(self.kernel), self.table
        if table is None:
            return self.param("kernel", self.kernel_init, (kh, kw, channels // self.groups, self.features))
        if len(table) != self.features or max(map(max, table)) >= channels:
            raise ValueError(f"the table of {self.name} must list input maps below {channels} for {self.features} maps")

        def init(key, _):  # every map has its own fan-in
            keys = jax.random.split(key, self.features)
            maps = [self.kernel_init(k, (kh, kw, len(row), 1)) for k, row in zip(keys, table, strict=True)]
            return jnp.concatenate([m[..., 0] for m in maps], axis=-1)

        inputs = np.concatenate([np.asarray(row) for row in table])
        outputs = np.repeat(np.arange(self.features), [len(row) for row in table])
        connected = self.param("kernel", init, (kh, kw, len(inputs)))
        # One-hot product rather than a scatter: its gradient is a product too, fast everywhere and exact.
        place = np.zeros((len(inputs), channels * self.features), np.float32)
        place[np.arange(len(inputs)), inputs * self.features + outputs] = 1
        dense = jnp.matmul(connected, place, precision="highest")
        return dense.reshape(kh, kw, channels, self.features)


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
        return x.astype(self.dtype) @ kernel.astype(self.dtype) + bias.astype(self.dtype)


class Subsample(nn.Module):
    """The S-layers of LeNet: coefficient x (sum over a size x size window) + bias, one pair of them a map.

    LeCun et al. 1998, section II.B. The squashing function that follows is the caller's. Begins as an average.
    """

    size: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels, fan_in = x.shape[-1], self.size**2
        coefficient = self.param("coefficient", nn.initializers.constant(1 / fan_in), (channels,))
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        total = pool(x.astype(self.dtype), "average", self.size, self.size) * fan_in
        return total * coefficient.astype(self.dtype) + bias.astype(self.dtype)


class RBF(nn.Module):
    """Euclidean radial basis units with fixed centres: y_i = sum_j (x_j - w_ij)^2 (LeCun et al. 1998, eq. 7).

    Returns -y, so that as with any other output layer the largest score wins. No parameters.

    Attributes:
        codes: [classes, c] array of +-1.
    """

    codes: Any
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        difference = x.astype(self.dtype)[:, None, :] - jnp.asarray(self.codes, self.dtype)
        return -jnp.sum(jnp.square(difference), axis=-1)


# Normalization ------------------------------------------------------------------------------------------------------


class BatchNorm(nn.Module):
    """Batch normalization over all axes but the last (Ioffe & Szegedy 2015, algorithms 1 and 2).

    In training by the statistics of this device's batch; else by running statistics, whose variance is the unbiased one
    of algorithm 2. Statistics are float32.

    Attributes:
        momentum: weight of the OLD running value, as in Flax and Caffe; PyTorch states the weight of the new one.
        epsilon: added to the variance inside the root.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: Init = nn.initializers.ones_init()
    bias_init: Init = nn.initializers.zeros_init()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", self.bias_init, shape)
        x = x.astype(jnp.float32)
        if train:
            axes = tuple(range(x.ndim - 1))
            mean, var = jnp.mean(x, axes), jnp.var(x, axes)
            if not self.is_initializing():
                n = x.size // x.shape[-1]
                keep, take = self.momentum, 1 - self.momentum
                running_mean.value = keep * running_mean.value + take * mean
                running_var.value = keep * running_var.value + take * var * (n / max(n - 1, 1))
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * lax.rsqrt(var + self.epsilon)
        return ((x - mean) * factor + bias).astype(self.dtype)


class LRN(nn.Module):
    """Local response normalization across maps: x / (k + alpha * sum of squares of `size` neighbouring maps)^beta.

    Krizhevsky et al. 2012, section 3.3, with alpha as printed there. cuda-convnet, Caffe and PyTorch divide alpha by
    `size`: that is `divide`.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    divide: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        half = self.size // 2
        squares = jnp.square(x.astype(jnp.float32))
        window = (1,) * (x.ndim - 1) + (self.size,)
        edges = ((0, 0),) * (x.ndim - 1) + ((half, self.size - 1 - half),)
        total = lax.reduce_window(squares, np.float32(0), lax.add, window, (1,) * x.ndim, edges)
        scale = self.k + self.alpha / (self.size if self.divide else 1) * total
        return (x.astype(jnp.float32) * scale**-self.beta).astype(x.dtype)


# Pooling ------------------------------------------------------------------------------------------------------------


class Pool(nn.Module):
    """`pool` as a named layer without parameters."""

    kind: str
    size: Pair
    stride: Pair
    padding: Padding = 0
    ceil: bool = False
    count_include_pad: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return pool(x, self.kind, self.size, self.stride, self.padding, self.ceil, self.count_include_pad)


def pool(
    x: jax.Array, kind: str, size: Pair, stride: Pair, padding: Padding = 0, ceil: bool = False,
    count_include_pad: bool = False,
) -> jax.Array:  # fmt: skip
    """Pools windows of an [n, h, w, c] array, each map by itself.

    Args:
        kind: 'max', 'average', 'l1' (sum of absolute values) or 'l2' (root of the sum of squares).
        ceil: the last window may hang over the edge (Caffe, cuda-convnet) instead of being dropped. As in Caffe, a
            window that would start in the padding beyond the image is left out.
        count_include_pad: an average counts the padding (never the overhang) as pixels of value 0.

    The gradient of a maximum is shared equally between two tied values; that of 'l2' at 0 is 0.
    """
    size, stride, padding = pair(size), pair(stride), pads(padding)
    outs, edges = [], []
    for n, f, s, (low, high) in zip(x.shape[1:3], size, stride, padding, strict=True):
        span = n + low + high - f
        out = (-(-span // s) if ceil else span // s) + 1
        if ceil and (out - 1) * s >= n + low:
            out -= 1
        outs.append(out)
        edges.append((low, max((out - 1) * s + f - n - low, 0)))

    if kind == "max":
        # As maxima over strided slices, one axis after the other: on CPUs the gradient of a reduce_window costs 3 to 8
        # times as much (measured), elsewhere the slices fuse.
        x = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), ((0, 0, 0), (*edges[0], 0), (*edges[1], 0), (0, 0, 0)))
        for axis in (1, 2):
            x = _reduce(jnp.maximum, x, axis, size[axis - 1], stride[axis - 1], outs[axis - 1])
        return x

    def total(values):
        window, strides = (1, *size, 1), (1, *stride, 1)
        return lax.reduce_window(values, np.zeros((), values.dtype), lax.add, window, strides, ((0, 0), *edges, (0, 0)))

    if kind == "average":
        counts = [_counts(*a, count_include_pad) for a in zip(x.shape[1:3], size, stride, padding, outs, strict=True)]
        return total(x) / jnp.asarray(np.outer(*counts)[:, :, None], x.dtype)
    if kind == "l1":
        return total(jnp.abs(x))
    if kind == "l2":
        squares = total(jnp.square(x))
        positive = squares > 0
        return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)
    raise ValueError(f"pooling kind '{kind}' is none of max, average, l1, l2")


def _reduce(function, x, axis, size, stride, out):
    ends = (out - 1) * stride + 1
    return functools.reduce(function, [lax.slice_in_dim(x, i, i + ends, stride, axis) for i in range(size)])


def _counts(n, f, s, padding, out, include_pad) -> np.ndarray:
    start = np.arange(out) * s - padding[0]
    low, high = (-padding[0], n + padding[1]) if include_pad else (0, n)
    return np.minimum(start + f, high) - np.maximum(start, low)
