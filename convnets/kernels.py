"""Convolution, products and batch normalization in the form in which XLA's CPU backend is fast; a helper of the layers.

Other backends get the plain formulation, whose kernels are their vendors'. Each form equals the plain one up to rounding
(tests/test_kernels.py) and is kept because it won by 10 % or more (`make bench-kernels`; benchmarks/results.jsonl):

    groups           a convolution for each: XLA runs the gradients of a grouped one without its fast kernels
    1 x 1            a matrix product, whose weight gradient is one too
    stride           the gradient of the input is a small convolution for each phase of the stride, and no inserted zeros
    bfloat16         products ask for float32 sums: without, the operands are widened first
    batch norm       gradients in closed form: two sums and one pass, where autodiff keeps and reads several arrays
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from convnets.pooling import Edges

NUMBERS = ("NHWC", "HWIO", "NHWC")


def on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def conv(x: jax.Array, kernel: jax.Array, stride: tuple[int, int], padding: Edges, groups: int = 1) -> jax.Array:
    """Cross-correlation of [n, h, w, c] with [kh, kw, c / groups, features], as lax.conv_general_dilated."""
    if not on_cpu():
        return plain_conv(x, kernel, stride, padding, groups)
    if groups > 1:
        parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
        return jnp.concatenate([conv(a, b, stride, padding) for a, b in parts], axis=-1)
    if kernel.shape[:2] == (1, 1) and not any(map(any, padding)):
        return product(x[:, :: stride[0], :: stride[1]], kernel[0, 0])
    if stride != (1, 1):
        return _strided_conv(x, kernel, stride, padding)
    return plain_conv(x, kernel, stride, padding)


def plain_conv(x: jax.Array, kernel: jax.Array, stride: tuple[int, int], padding: Edges, groups: int = 1) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=NUMBERS, feature_group_count=groups)


# Products -----------------------------------------------------------------------------------------------------------


def product(x: jax.Array, weights: jax.Array) -> jax.Array:
    """[..., c] x [c, features] to [..., features], summed in float32."""
    return _product(x, weights) if on_cpu() else x @ weights


@jax.custom_vjp
def _product(x, weights):
    return _dot(x, weights, (x.ndim - 1,), (0,))


def _product_forward(x, weights):
    return _product(x, weights), (x, weights)


def _product_backward(kept, g):
    x, weights = kept
    over = tuple(range(x.ndim - 1))
    # In bfloat16 this product, along the longest axis, is slower than in float32.
    wide = (a.astype(jnp.float32) for a in (x, g))
    return _dot(g, weights, (g.ndim - 1,), (1,)), _dot(*wide, over, over).astype(weights.dtype)


_product.defvjp(_product_forward, _product_backward)


def _dot(a, b, over_a, over_b):
    return lax.dot_general(a, b, ((over_a, over_b), ((), ())), preferred_element_type=jnp.float32).astype(a.dtype)


# Strided convolution ------------------------------------------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _strided_conv(x, kernel, stride, padding):
    return plain_conv(x, kernel, stride, padding)


def _strided_forward(x, kernel, stride, padding):
    return plain_conv(x, kernel, stride, padding), (x, kernel)


def _strided_backward(stride, padding, kept, g):
    x, kernel = kept
    of_kernel = jax.vjp(lambda k: plain_conv(x, k, stride, padding), kernel)[1](g)[0]
    return _input_gradient(g, kernel, x.shape[1:3], stride, padding), of_kernel


_strided_conv.defvjp(_strided_forward, _strided_backward)


def _input_gradient(g, kernel, sides, stride, padding):
    """Pixels a, a + stride, a + 2 stride, ... meet the same taps of the kernel: a convolution of stride 1 for each a."""
    axes = [
        [_phase(a, k, s, n, out, low) for a in range(min(s, n))]
        for k, s, n, out, (low, _) in zip(kernel.shape[:2], stride, sides, g.shape[1:3], padding, strict=True)
    ]
    rows = [
        _interleave([_phase_gradient(g, kernel, down, right) for right in axes[1]], 2, sides[1]) for down in axes[0]
    ]
    return _interleave(rows, 1, sides[0])


def _phase(a: int, k: int, s: int, n: int, out: int, low: int) -> tuple[list[int], tuple[int, int], int]:
    """Along one axis: the taps that pixels a, a + s, ... meet, the padding of the gradient, how many pixels they are."""
    taps = list(range((a + low) % s, k, s))[::-1]
    count = -(-(n - a) // s)
    if not taps:
        return taps, (0, 0), count
    first, last = ((a + low - taps[end]) // s for end in (0, -1))
    return taps, (-first, count - 1 + last - (out - 1)), count


def _phase_gradient(g, kernel, down, right):
    (rows, above, height), (columns, left, width) = down, right
    if not rows or not columns:
        return jnp.zeros((g.shape[0], height, width, kernel.shape[2]), g.dtype)
    taps = jnp.stack([kernel[i, j].T for i in rows for j in columns])
    taps = taps.reshape(len(rows), len(columns), *taps.shape[1:])
    cut = [(min(low, 0), min(high, 0), 0) for low, high in (above, left)]
    g = lax.pad(g, jnp.zeros((), g.dtype), [(0, 0, 0), *cut, (0, 0, 0)])
    return plain_conv(g, taps, (1, 1), tuple((max(low, 0), max(high, 0)) for low, high in (above, left)))


def _interleave(parts: Sequence[jax.Array], axis: int, count: int) -> jax.Array:
    """parts[0][0], parts[1][0], ..., parts[0][1], ... along an axis; the first `count` of them."""
    longest = max(part.shape[axis] for part in parts)
    edge = lambda part: [(0, longest - part.shape[axis] if i == axis else 0) for i in range(4)]  # noqa: E731
    joined = jnp.stack([jnp.pad(part, edge(part)) for part in parts], axis + 1)
    shape = list(parts[0].shape)
    shape[axis] = longest * len(parts)
    return lax.slice_in_dim(joined.reshape(shape), 0, count, axis=axis)


# Batch normalization ------------------------------------------------------------------------------------------------


def normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalized [..., c] in the type of x, and mean and variance [c] of the batch in float32.

    Ioffe & Szegedy 2015, algorithm 1. On CPUs no gradient goes through the mean and the variance that are returned.
    """
    return _normalize(x, scale, bias, epsilon) if on_cpu() else plain_normalize(x, scale, bias, epsilon)


def plain_normalize(x, scale, bias, epsilon):
    wide, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
    mean = jnp.mean(wide, axes)
    var = jnp.mean(jnp.square(wide - mean), axes)
    factor = scale * lax.rsqrt(var + epsilon)
    return ((wide - mean) * factor + bias).astype(x.dtype), mean, var


_normalize = jax.custom_vjp(plain_normalize, nondiff_argnums=(3,))


def _normalize_forward(x, scale, bias, epsilon):
    y, mean, var = plain_normalize(x, scale, bias, epsilon)
    return (y, mean, var), (x, scale, mean, var)


def _normalize_backward(epsilon, kept, gradients):
    """The equations of section 3 of the paper, solved for x: scale / sigma (dy - mean(dy) - xhat mean(dy xhat))."""
    x, scale, mean, var = kept
    n, axes = math.prod(x.shape[:-1]), tuple(range(x.ndim - 1))
    g, centred = gradients[0].astype(jnp.float32), x.astype(jnp.float32) - mean
    inverse = lax.rsqrt(var + epsilon)
    of_bias, of_scale = jnp.sum(g, axes), inverse * jnp.sum(g * centred, axes)
    of_x = scale * inverse * (g - of_bias / n - centred * (inverse * of_scale / n))
    return of_x.astype(x.dtype), of_scale, of_bias


_normalize.defvjp(_normalize_forward, _normalize_backward)
