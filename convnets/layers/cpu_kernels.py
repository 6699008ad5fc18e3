"""Fast formulations of matrix products, sums, batch normalization and ReLU for XLA's CPU backend.

The layers call these functions. Other backends use the plain formulation and their vendors' kernels.

Each form equals the plain one up to rounding (tests/layers/test_cpu_kernels.py). Each is kept because it was at least
10 % faster (`make bench-kernels`; benchmarks/results.jsonl):

    products         Operands are reshaped to matrices, in both gradients too. XLA transposes an operand with more axes,
                     as in `bands` of cpu_convolution.py, on a single core. In float32, the input gradient of a few rows
                     is the transpose of weights times the transposed gradient: XLA multiplies by transposed weights on a
                     slow path.
    channel sums     The sums over all axes but the last: eight slices are added, and a product with ones adds the rest.
                     XLA's own reduction runs on one core and with strides. Batch norm and biases use this form.
    bias             Its gradient is a channel sum in float32. A bfloat16 sum is slow and rounds at every addition.
    roots            LRN's power of 3/4 is computed from square roots.
    batch norm       Closed-form gradients: two sums per group and one pass. Autodiff stores and reads several arrays.
    relu             Its gradient is computed from its output. In float32 it is a select between two arrays: XLA copies a
                     cheap function of one array into each of its users. The transposition in a weight gradient would
                     then recompute everything before the ReLU, over several residual blocks. bfloat16 gains little.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax

MAX_SLICES = 8  # largest number of slices that `channel_sums` adds in one pass; more were slower


_platform: contextvars.ContextVar[str] = contextvars.ContextVar("platform", default="")


@contextlib.contextmanager
def compile_for(platform: str) -> Iterator[None]:
    """Context manager that traces programs for a JAX platform ('cpu', 'cuda', 'tpu'), not necessarily the default one.

    The platform is read while tracing and is not part of JAX's cache key: use one function object per platform.
    """
    token = _platform.set(platform)
    try:
        yield
    finally:
        _platform.reset(token)


def platform() -> str:
    """Returns the platform set by `compile_for`, or JAX's default backend."""
    return _platform.get() or jax.default_backend()


def on_cpu() -> bool:
    """Whether programs are compiled for CPUs, where these forms are used."""
    return platform() == "cpu"


# Products -----------------------------------------------------------------------------------------------------------


def matmul(x: jax.Array, weights: jax.Array) -> jax.Array:
    """Multiplies [..., c] by [c, features] in the dtype of x. Wider weights have gradients of their own dtype."""
    return _matmul(x, weights) if on_cpu() else x @ weights.astype(x.dtype)


@jax.custom_vjp
def _matmul(x, weights):
    return (x.reshape(-1, x.shape[-1]) @ weights.astype(x.dtype)).reshape(*x.shape[:-1], -1)


def _matmul_backward(kept, g):
    x, weights = kept
    matrix, like_x = g.reshape(-1, g.shape[-1]), weights.astype(g.dtype)
    of_weights = lax.dot_general(x.reshape(-1, x.shape[-1]), matrix, (((0,), (0,)), ((), ())))
    if g.dtype == jnp.float32 and len(matrix) < len(weights):
        # The barriers keep XLA from merging the transpositions into the product, which is then the slow one again.
        of_x = lax.optimization_barrier(like_x @ lax.optimization_barrier(matrix.T)).T
    else:
        of_x = matrix @ like_x.T
    return of_x.reshape(x.shape), of_weights.astype(weights.dtype)


_matmul.defvjp(lambda *given: (_matmul(*given), given), _matmul_backward)


# Sums ---------------------------------------------------------------------------------------------------------------


def channel_sums(x: jax.Array) -> jax.Array:
    """Sums [..., c] over all axes but the last to [c], in float32."""
    return _channel_sums(x) if on_cpu() else plain_channel_sums(x)


def plain_channel_sums(x: jax.Array) -> jax.Array:
    """Returns the sums over all axes but the last, float32 [channels]."""
    return jnp.sum(x, tuple(range(x.ndim - 1)), dtype=jnp.float32)


def _channel_sums(x):
    rows = math.prod(x.shape[:-1])
    slices = max(n for n in range(1, MAX_SLICES + 1) if rows % n == 0)
    x = x.astype(jnp.float32).reshape(slices, rows // slices, x.shape[-1])
    total = functools.reduce(jnp.add, (x[i] for i in range(slices)))
    return (jnp.ones((1, rows // slices), jnp.float32) @ total)[0]


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Returns x + bias in the dtype of x; the bias may have a wider dtype, which its gradient then keeps."""
    return _add_bias(x, bias) if on_cpu() else x + bias.astype(x.dtype)


@jax.custom_vjp
def _add_bias(x, bias):
    return (x.astype(jnp.float32) + bias.astype(jnp.float32)).astype(x.dtype)


def _add_bias_backward(bias, g):
    return g, channel_sums(g.reshape(-1, bias.size)).reshape(bias.shape).astype(bias.dtype)


_add_bias.defvjp(lambda x, bias: (_add_bias(x, bias), bias), _add_bias_backward)


# Normalization ------------------------------------------------------------------------------------------------------


def inverse_power(x: jax.Array, exponent: float) -> jax.Array:
    """Returns x ** -exponent for x > 0; on CPUs from square roots if the exponent is a multiple of 1/4."""
    quarters = round(4 * exponent)
    return lax.rsqrt(lax.sqrt(x)) ** quarters if on_cpu() and quarters == 4 * exponent else x**-exponent


def normalize(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> tuple[jax.Array, ...]:
    """Returns x normalized ([..., c], dtype of x), and mean and variance ([c], float32).

    Ioffe & Szegedy 2015, algorithm 1. On CPUs mean and variance return no gradient.
    """
    return _normalize(x, scale, bias, epsilon) if on_cpu() else plain_normalize(x, scale, bias, epsilon)


def plain_normalize(x, scale, bias, epsilon, sums=plain_channel_sums):
    """Returns the normalized x, its mean and its variance per channel, in two passes over x."""
    wide, n = x.astype(jnp.float32), math.prod(x.shape[:-1])
    mean = sums(wide) / n
    var = sums(jnp.square(wide - mean)) / n
    factor = scale * lax.rsqrt(var + epsilon)
    return ((wide - mean) * factor + bias).astype(x.dtype), mean, var


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalize(x, scale, bias, epsilon):
    return plain_normalize(x, scale, bias, epsilon, _channel_sums)


def _normalize_forward(x, scale, bias, epsilon):
    y, mean, var = _normalize(x, scale, bias, epsilon)
    return (y, mean, var), (x, scale, mean, var)


def _normalize_backward(epsilon, kept, gradients):
    """Section 3 of the paper in closed form: dx = scale / sigma (dy - mean(dy) - xhat mean(dy xhat))."""
    x, scale, mean, var = kept
    n = math.prod(x.shape[:-1])
    g, centred = gradients[0].astype(jnp.float32), x.astype(jnp.float32) - mean
    inverse = lax.rsqrt(var + epsilon)
    of_bias, of_scale = _channel_sums(g), inverse * _channel_sums(g * centred)
    factor = scale * inverse
    of_x = g * factor - (centred * (factor * inverse * of_scale / n) + factor * of_bias / n)
    return of_x.astype(x.dtype), of_scale, of_bias


_normalize.defvjp(_normalize_forward, _normalize_backward)


# ReLU ---------------------------------------------------------------------------------------------------------------


def relu(x: jax.Array) -> jax.Array:
    """Returns max(x, 0); the gradient at 0 is 0, and NaN stays NaN."""
    return _relu(x) if on_cpu() else jax.nn.relu(x)


@jax.custom_vjp
def _relu(x):
    zero = jnp.zeros((), x.dtype)
    return jnp.maximum(x, zero) if x.dtype == jnp.bfloat16 else jnp.where(x <= 0, zero, x)


def _relu_forward(x):
    y = _relu(x)
    return y, y


def _relu_backward(y, g):
    return (jnp.where(y > 0, g, jnp.zeros((), g.dtype)),)


_relu.defvjp(_relu_forward, _relu_backward)
