"""Pooling, and the window arithmetic of pooling and convolution: pairs, paddings, window counts.

Import all of it from `convnets.layers`.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from convnets.layers import cpu_kernels

Pair = int | tuple[int, int]
Edges = tuple[tuple[int, int], tuple[int, int]]  # padding: (top, bottom), (left, right)
Padding = int | Edges


def pair(value: Pair) -> tuple[int, int]:
    """Returns (height, width) of one integer or a pair."""
    return (value, value) if isinstance(value, int) else value


def pads(value: Padding) -> Edges:
    """Returns ((top, bottom), (left, right)), given that form or one integer for all sides."""
    return ((value, value), (value, value)) if isinstance(value, int) else value


def windows(
    shape: tuple[int, ...], size: Pair, stride: Pair, padding: Padding, ceil: bool
) -> tuple[tuple[int, int], Edges]:
    """Returns the (rows, columns) of windows on an [n, h, w, c] `shape`, and the smallest padding that holds them.

    Args:
        ceil: keeps a last window that hangs over the edge (Caffe's pooling, cuda-convnet's pooling and convolution). As
            in Caffe, a window that would start in the padding beyond the image is dropped.

    Raises:
        ValueError: the padded array is smaller than a window, unless `ceil` lets the window hang over.
    """
    counts, edges = [], []
    for n, f, s, (low, high) in zip(shape[1:3], pair(size), pair(stride), pads(padding), strict=True):
        span = n + low + high - f
        count = (-(-span // s) if ceil else span // s) + 1
        if count < 1:
            raise ValueError(f"a window of {f} pixels does not fit on {n} pixels padded by {low} and {high}")
        if ceil and (count - 1) * s >= n + low:
            count -= 1
        counts.append(count)
        edges.append((low, max((count - 1) * s + f - n - low, 0)))
    return (counts[0], counts[1]), (edges[0], edges[1])


def root(x: jax.Array) -> jax.Array:
    """Returns the square root, with a gradient of 0 at 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


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
    """Pools windows of an [n, h, w, c] array, each map separately.

    Args:
        kind: 'max', 'average', 'l1' (sum of absolute values) or 'l2' (root of the sum of squares).
        ceil: as in `windows`.
        count_include_pad: the average counts the padding (never the overhang) as pixels of value 0.

    Two tied maxima share the gradient equally. The gradient of 'l2' at 0 is 0.

    Raises:
        ValueError: the padding is not smaller than the window, or the kind is unknown.
    """
    size, stride, padding = pair(size), pair(stride), pads(padding)
    if any(max(edge) >= side for edge, side in zip(padding, size, strict=True)):
        raise ValueError(f"padding {padding} must be smaller than the pooling window {size}")
    outs, edges = windows(x.shape, size, stride, padding, ceil)
    # Sums are in float32. CPUs also take maxima there: their bfloat16 gradients are slow (`make bench-kernels`).
    if x.dtype == jnp.bfloat16 and (kind != "max" or cpu_kernels.on_cpu()):
        return _pool(x.astype(jnp.float32), kind, size, stride, padding, outs, edges, count_include_pad).astype(x.dtype)
    return _pool(x, kind, size, stride, padding, outs, edges, count_include_pad)


def _pool(x, kind, size, stride, padding, outs, edges, count_include_pad):
    if kind == "max":
        # Takes maxima over strided slices, one axis after the other. On CPUs the gradient of a reduce_window costs 3 to
        # 8 times as much (measured); elsewhere the slices fuse.
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
        return root(total(jnp.square(x)))
    raise ValueError(f"pooling kind '{kind}' is none of max, average, l1, l2")


def _reduce(function, x, axis, size, stride, out):
    ends = (out - 1) * stride + 1
    return functools.reduce(function, [lax.slice_in_dim(x, i, i + ends, stride, axis) for i in range(size)])


def _counts(n, f, s, padding, out, include_pad) -> np.ndarray:
    start = np.arange(out) * s - padding[0]
    low, high = (-padding[0], n + padding[1]) if include_pad else (0, n)
    return np.minimum(start + f, high) - np.maximum(start, low)
