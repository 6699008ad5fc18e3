"""Convolution, products, batch normalization and ReLU as XLA's CPU backend is fast at them; a helper of the layers.

Other backends get the plain formulation, whose kernels are their vendors'. Each form equals the plain one up to rounding
(tests/test_kernels.py) and is kept because it won by 10 % or more (`make bench-kernels`; benchmarks/results.jsonl):

    groups           a convolution for each: XLA runs the gradients of a grouped one without its fast kernels
    products         of matrices, both gradients too: of arrays with more axes XLA transposes one, on a single core; in
                     bfloat16 ask for float32 sums: without, the operands are widened first
    1 x 1            such a product
    batch norm       gradients in closed form: two sums and one pass, where autodiff keeps and reads several arrays
    relu             a choice between two arrays, its gradient from its own output: XLA copies a cheap function of one
                     array into each of its users, and so into a weight gradient's transposition all that leads up to
                     it, over several residual blocks

Tried and not worth it: a strided convolution's input gradient as a small convolution for each phase of the stride (0.94
times as fast), patches x weights in bfloat16 (0.1 to 1.2 on maps above 7 x 7), 2 x 2 or 4 x 4 pixels of a stem as one of
more channels, space to depth (ResNet's 1.0, AlexNet's 0.9), the same for deeper layers (0.5).
"""

import math

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
    return plain_conv(x, kernel, stride, padding)


def plain_conv(x: jax.Array, kernel: jax.Array, stride: tuple[int, int], padding: Edges, groups: int = 1) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=NUMBERS, feature_group_count=groups)


# Products -----------------------------------------------------------------------------------------------------------


def product(x: jax.Array, weights: jax.Array) -> jax.Array:
    """[..., c] x [c, features] to [..., features], on CPUs summed in float32."""
    if not on_cpu():
        return x @ weights
    return _product(x.reshape(-1, x.shape[-1]), weights).reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def _product(x, weights):
    return _dot(x, weights, 1, 0)


def _product_forward(x, weights):
    return _product(x, weights), (x, weights)


def _product_backward(kept, g):
    x, weights = kept
    # Along the longest axis, the product in bfloat16 is slower than in float32.
    of_weights = _dot(x.astype(jnp.float32), g.astype(jnp.float32), 0, 0)
    return _dot(g, weights, 1, 1), of_weights.astype(weights.dtype)


_product.defvjp(_product_forward, _product_backward)


def _dot(a, b, over_a, over_b):
    """The product of two matrices, summed over an axis of each."""
    return lax.dot_general(a, b, (((over_a,), (over_b,)), ((), ())), preferred_element_type=jnp.float32).astype(a.dtype)


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
    factor = scale * inverse
    of_x = g * factor - (centred * (factor * inverse * of_scale / n) + factor * of_bias / n)
    return of_x.astype(x.dtype), of_scale, of_bias


_normalize.defvjp(_normalize_forward, _normalize_backward)


# ReLU ---------------------------------------------------------------------------------------------------------------


def relu(x: jax.Array) -> jax.Array:
    """max(x, 0); its gradient at 0 is 0, and what is not a number stays so."""
    return _relu(x) if on_cpu() else jax.nn.relu(x)


@jax.custom_vjp
def _relu(x):
    return jnp.where(x <= 0, jnp.zeros((), x.dtype), x)


def _relu_forward(x):
    y = _relu(x)
    return y, y


def _relu_backward(y, g):
    return (jnp.where(y > 0, g, jnp.zeros((), g.dtype)),)


_relu.defvjp(_relu_forward, _relu_backward)
