"""Fast formulations of convolution, matrix products, normalization and ReLU for XLA's CPU backend.

The layers call these functions. Other backends use the plain formulation and their vendors' kernels. One exception: a
TPU uses `bands` for images of one channel, which XLA takes minutes to compile as convolutions (`make bench-tpu`).

Each form equals the plain one up to rounding (tests/layers/test_cpu_kernels.py). Each is kept because it was at least
10 % faster (`make bench-kernels`; benchmarks/results.jsonl):

    groups           One convolution per group. XLA has no fast kernels for the gradients of a grouped convolution.
    products         Operands are reshaped to matrices, in both gradients too. XLA transposes an operand with more axes,
                     as in `bands`, on a single core. In float32, the input gradient of a few rows is the transpose of
                     weights times the transposed gradient: XLA multiplies by transposed weights on a slow path.
    whole map        A kernel as large as the feature map is a matrix product: fc6 of AlexNet and VGG, C5 of LeNet.
    bands            The other LeNet convolutions, as products of image row segments and a banded (Toeplitz) matrix. The
                     matrix holds the kernel along its diagonal; half of it is zeros. With few channels, XLA's
                     convolution reaches a tenth of the products' rate. From 4 channels on, only the gradients use this
                     form: XLA's forward convolution is then as fast.
    pairs            In float32, the forward convolution of these layers, if it has fewer than 32 maps. It computes two
                     neighbouring output pixels at once, as twice the maps. XLA is slow with few maps.
    mirrored         In bfloat16, the library oneDNN computes convolutions with the processor's bfloat16 units (`CPU_FLAGS`
                     in runtime/environment.py), but the input gradient of autodiff in float32. Here it is a convolution
                     with a mirrored copy of the kernel. The weight gradient reads stored arrays: XLA would fuse their
                     transposition with the operations before.
    strided 1 x 1    In bfloat16, a 1 x 1 convolution of the pixels that a stride leaves. oneDNN refuses the input
                     gradient of a strided convolution.
    channel sums     The sums over all axes but the last: eight slices are added, and a product with ones adds the rest.
                     XLA's own reduction runs on one core and with strides. Batch norm and biases use this form.
    bias             Its gradient is a channel sum in float32. A bfloat16 sum is slow and rounds at every addition.
    roots            LRN's power of 3/4 is computed from square roots.
    batch norm       Closed-form gradients: two sums per group and one pass. Autodiff stores and reads several arrays.
    relu             Its gradient is computed from its output. In float32 it is a select between two arrays: XLA copies a
                     cheap function of one array into each of its users. The transposition in a weight gradient would
                     then recompute everything before the ReLU, over several residual blocks. bfloat16 gains little.

Tried and rejected (speed relative to the plain form in parentheses):

    the input gradient of a strided convolution as one small convolution per phase of the stride (0.94)
    patches x weights in bfloat16: all of them (0.1 to 1.2 on maps above 7 x 7), or one product per kernel row (0.3 to 0.5
        of oneDNN's convolution)
    space to depth, 2 x 2 or 4 x 4 pixels as one of more channels: stems (ResNet 1.0, AlexNet 0.9), deeper layers (0.5)
    weight gradients as products: in float32 (0.4 to 1.1), of narrow layers (0.7 to 1.2; on jax 0.12 0.5 to 1.1, also in
        chunks of the batch)
    1 x 1 as products in float32 (0.9 to 1.1), and in bfloat16 beside oneDNN's convolution (1.0 to 1.3)
    bands of wider rows, also in tiles (stems 0.3 to 1.2)
    pairs in wider layers (the whole of ResNet-20: 1.0), three or four pixels at once (0.6 to 2.2; pairs 1.0 to 2.0)
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Edges = tuple[tuple[int, int], tuple[int, int]]  # padding: (top, bottom), (left, right)

DIMENSION_NUMBERS = ("NHWC", "HWIO", "NHWC")
MAX_BAND_WIDTH = 96  # largest width x channels of an image for which `bands` wins
MAX_SLICES = 8  # largest number of slices that `channel_sums` adds in one pass; more were slower
TILES = range(4, 9)  # candidate numbers of output pixels per row that one product of `bands` computes


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


def conv(x: jax.Array, kernel: jax.Array, stride: tuple[int, int], padding: Edges, groups: int = 1) -> jax.Array:
    """Cross-correlates [n, h, w, c] with [kh, kw, c / groups, features], like lax.conv_general_dilated.

    The result has the dtype of x. The kernel may have a wider dtype, which its gradient then keeps.
    """
    few = x.shape[2] * x.shape[3] <= MAX_BAND_WIDTH and kernel.shape[:2] != (1, 1)
    if platform() == "tpu" and few and x.shape[3] == 1:
        return _toeplitz_conv(x, kernel, stride, padding)
    if not on_cpu():
        return plain_conv(x, kernel, stride, padding, groups)
    if groups > 1:
        parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
        return jnp.concatenate([conv(a, b, stride, padding) for a, b in parts], axis=-1)
    if kernel.shape[:2] == x.shape[1:3] and not any(map(any, padding)):
        return matmul(x.reshape(x.shape[0], 1, 1, -1), kernel.reshape(-1, kernel.shape[3]))
    if few:
        return (_toeplitz_conv if x.shape[3] < 4 else _toeplitz_gradient_conv)(x, kernel, stride, padding)
    if x.dtype != jnp.bfloat16:
        return plain_conv(x, kernel, stride, padding)
    if kernel.shape[:2] == (1, 1) and not any(map(any, padding)):
        x, stride = x[:, :: stride[0], :: stride[1]], (1, 1)
    return _mirrored_conv(x, kernel, stride, padding)


def plain_conv(x: jax.Array, kernel: jax.Array, stride: tuple[int, int], padding: Edges, groups: int = 1) -> jax.Array:
    """Returns XLA's own convolution, which the other forms equal."""
    return lax.conv_general_dilated(x, kernel.astype(x.dtype), stride, padding, dimension_numbers=DIMENSION_NUMBERS,
                                    feature_group_count=groups)  # fmt: skip


def _toeplitz_conv(x, kernel, stride, padding):
    (kh, kw, c, features), (down, right) = kernel.shape, stride
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    n, h, w = x.shape[0], (x.shape[1] - kh) // down + 1, (x.shape[2] - kw) // right + 1
    # Output pixels per product: more of them add zeros to the matrix, fewer copy each input pixel more often.
    tile = min(TILES, key=lambda tile: -(-w // tile) * tile * ((tile - 1) * right + kw)) if on_cpu() else w
    count, span, step = -(-w // tile), (tile - 1) * right + kw, tile * right
    x = jnp.pad(x, ((0, 0), (0, 0), (0, max(0, (count - 1) * step + span - x.shape[2])), (0, 0)))
    x = x.reshape(n, x.shape[1], -1)
    x = jnp.stack([x[:, :, i * step * c : (i * step + span) * c] for i in range(count)], axis=2)
    x = jnp.concatenate([x[:, i : i + (h - 1) * down + 1 : down] for i in range(kh)], axis=-1)
    band = _band(kernel, tile, right).reshape(-1, tile * features)
    return matmul(x, band).reshape(n, h, count * tile, features)[:, :, :w]


def _band(kernel, tile, right):
    """Places [kh, kw, c, features] at every stride `right`: [kh, columns of x, c, tile, features] for `tile` columns of y."""
    taps = np.arange((tile - 1) * right + kernel.shape[1])[:, None] - right * np.arange(tile)  # kernel column
    place = jnp.asarray(np.arange(kernel.shape[1])[:, None, None] == taps, kernel.dtype)
    return jnp.einsum("ijcf,jab->iacbf", kernel, place)


def _pairs_conv(x, kernel, stride, padding):
    (kh, kw, c, features), (down, right), (before, after) = kernel.shape, stride, padding[1]
    w = (x.shape[2] + before + after - kw) // right + 1
    after += w % 2 * right  # the last pair may have one column too many
    band = _band(kernel, 2, right).reshape(kh, kw + right, c, -1)
    y = plain_conv(x, band, (down, 2 * right), (padding[0], (before, after)))
    return y.reshape(*y.shape[:2], -1, features)[:, :, :w]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _toeplitz_gradient_conv(x, kernel, stride, padding):
    pairs = x.dtype == jnp.float32 and kernel.shape[3] < 32
    return (_pairs_conv if pairs else plain_conv)(x, kernel, stride, padding)


def _toeplitz_gradient_conv_backward(stride, padding, kept, g):
    return jax.vjp(lambda x, kernel: _toeplitz_conv(x, kernel, stride, padding), *kept)[1](g)


_toeplitz_gradient_conv.defvjp(lambda *a: (_toeplitz_gradient_conv(*a), a[:2]), _toeplitz_gradient_conv_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _mirrored_conv(x, kernel, stride, padding):
    return plain_conv(x, kernel, stride, padding)


def _mirrored_conv_backward(stride, padding, kept, g):
    """The input gradient is a convolution of stride 1 with the mirrored kernel; see `mirrored` above."""
    x, kernel = kept
    x, g = lax.optimization_barrier((x, g))  # else XLA computes x and g again, in the transposed order of `of_kernel`
    of_kernel = jax.vjp(lambda kernel: plain_conv(x, kernel, stride, padding), kernel)[1](g)[0]
    edges = []
    for n, m, k, s, (before, _) in zip(x.shape[1:3], g.shape[1:3], kernel.shape, stride, padding, strict=False):
        edges.append((k - 1 - before, n + before - (m - 1) * s - 1, s - 1))
    g = lax.pad(g, jnp.zeros((), g.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    # The barrier keeps XLA from merging the mirroring into the convolution, which it would then compute in float32.
    mirrored = lax.optimization_barrier(kernel.astype(g.dtype)[::-1, ::-1].swapaxes(2, 3))
    return plain_conv(g, mirrored, (1, 1), ((0, 0), (0, 0))), of_kernel


_mirrored_conv.defvjp(lambda *given: (plain_conv(*given), given[:2]), _mirrored_conv_backward)


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
