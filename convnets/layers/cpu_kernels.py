"""Convolution, products, normalization and ReLU as XLA's CPU backend is fast at them; a helper of the layers.

Other backends get the plain formulation, whose kernels are their vendors'; but a TPU gets bands for images of one channel,
which XLA takes minutes to compile as convolutions (`make bench-tpu`). Each form equals the plain one up to rounding
(tests/layers/test_cpu_kernels.py) and is kept because it won by 10 % or more (`make bench-kernels`; benchmarks/results.jsonl):

    groups           a convolution for each: XLA runs the gradients of a grouped one without its fast kernels
    products         of matrices, both gradients too: of arrays with more axes, as in bands, XLA transposes one, on a single
                     core; in bfloat16 ask for float32 sums: without, the operands are widened first
    whole map        a kernel as large as the map is such a product: AlexNet's and VGG's fc6, LeNet's C5
    1 x 1            in bfloat16 such a product
    bands            LeNet's other convolutions as products of parts of rows of the image and a matrix with the kernel along
                     its diagonal, half of it zeros: of few channels XLA reaches a tenth of the products' rate. From 4
                     channels on in the gradients alone: there XLA's forward convolution is as fast
    rows             in bfloat16 a convolution of many channels as one product for each row of its kernel: XLA widens what
                     it convolves to float32, and only products reach the matrix unit of the processor
    bias             added in float32, so that its gradient is a sum in float32: in bfloat16 one is slow, and rounds each time
    roots            in place of LRN's power of 3/4
    batch norm       gradients in closed form: two sums and one pass, where autodiff keeps and reads several arrays
    relu             in float32 a choice between two arrays, its gradient from its own output: XLA copies a cheap function
                     of one array into each of its users, and so into a weight gradient's transposition all that leads
                     up to it, over several residual blocks

Tried and not worth it: a strided convolution's input gradient as a small convolution for each phase of the stride (0.94
times as fast), all patches x weights in bfloat16 (0.1 to 1.2 on maps above 7 x 7), 2 x 2 or 4 x 4 pixels of a stem as one of
more channels, space to depth (ResNet's 1.0, AlexNet's 0.9), the same for deeper layers (0.5), weight gradients as products in
float32 (0.4 to 1.1) or of narrow layers (0.7 to 1.2; on jax 0.12 0.5 to 1.1, in chunks of the batch too), 1 x 1 as products
in float32 (0.9 to 1.1), bands of wider rows, in tiles too (stems 0.3 to 1.2).
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
MIN_ROW_CHANNELS = (
    96  # channels and features from which rows win; up to 64 the patches cost more than the product saves
)
MAX_BAND_WIDTH = 96  # numbers in a row of an image up to which bands win
TILES = range(4, 9)  # pixels of a row of the output that one product of a band may give


_platform: contextvars.ContextVar[str] = contextvars.ContextVar("platform", default="")


@contextlib.contextmanager
def compile_for(platform: str) -> Iterator[None]:
    """Within it programs are traced for a platform of JAX ('cpu', 'cuda', 'tpu'), which need not be the default one.

    The choice is made while tracing and is no part of JAX's cache: one function object is for one platform.
    """
    token = _platform.set(platform)
    try:
        yield
    finally:
        _platform.reset(token)


def platform() -> str:
    """Of the device that the program being traced is for; where nobody says so, JAX's default."""
    return _platform.get() or jax.default_backend()


def on_cpu() -> bool:
    return platform() == "cpu"


def conv(x: jax.Array, kernel: jax.Array, stride: tuple[int, int], padding: Edges, groups: int = 1) -> jax.Array:
    """Cross-correlation of [n, h, w, c] with [kh, kw, c / groups, features], as lax.conv_general_dilated.

    In the type of x; the kernel may be of a wider one, and its gradient then is too.
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
    if x.dtype == jnp.bfloat16 and kernel.shape[:2] == (1, 1) and not any(map(any, padding)):
        return matmul(x[:, :: stride[0], :: stride[1]], kernel[0, 0])
    if few:
        return (_toeplitz_conv if x.shape[3] < 4 else _toeplitz_gradient_conv)(x, kernel, stride, padding)
    if x.dtype == jnp.bfloat16 and min(kernel.shape[2:]) >= MIN_ROW_CHANNELS:
        return _row_im2col_conv(x, kernel, stride, padding)
    return plain_conv(x, kernel, stride, padding)


def plain_conv(x: jax.Array, kernel: jax.Array, stride: tuple[int, int], padding: Edges, groups: int = 1) -> jax.Array:
    return lax.conv_general_dilated(x, kernel.astype(x.dtype), stride, padding, dimension_numbers=DIMENSION_NUMBERS,
                                    feature_group_count=groups)  # fmt: skip


def _toeplitz_conv(x, kernel, stride, padding):
    (kh, kw, c, features), (down, right) = kernel.shape, stride
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    n, h, w = x.shape[0], (x.shape[1] - kh) // down + 1, (x.shape[2] - kw) // right + 1
    # Outputs in a product: with more of them the matrix has more zeros, with fewer a pixel is copied more often.
    tile = min(TILES, key=lambda tile: -(-w // tile) * tile * ((tile - 1) * right + kw)) if on_cpu() else w
    count, span, step = -(-w // tile), (tile - 1) * right + kw, tile * right
    x = jnp.pad(x, ((0, 0), (0, 0), (0, max(0, (count - 1) * step + span - x.shape[2])), (0, 0)))
    x = x.reshape(n, x.shape[1], -1)
    x = jnp.stack([x[:, :, i * step * c : (i * step + span) * c] for i in range(count)], axis=2)
    x = jnp.concatenate([x[:, i : i + (h - 1) * down + 1 : down] for i in range(kh)], axis=-1)
    taps = np.arange(span)[:, None] - right * np.arange(tile)  # the kernel's column between one of x and one of y
    place = jnp.asarray(np.arange(kw)[:, None, None] == taps, kernel.dtype)
    band = jnp.einsum("ijcf,jab->iacbf", kernel, place).reshape(-1, tile * features)
    return matmul(x, band).reshape(n, h, count * tile, features)[:, :, :w]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _toeplitz_gradient_conv(x, kernel, stride, padding):
    return plain_conv(x, kernel, stride, padding)


def _toeplitz_gradient_conv_forward(x, kernel, stride, padding):
    return plain_conv(x, kernel, stride, padding), (x, kernel)


def _toeplitz_gradient_conv_backward(stride, padding, kept, g):
    return jax.vjp(lambda x, kernel: _toeplitz_conv(x, kernel, stride, padding), *kept)[1](g)


_toeplitz_gradient_conv.defvjp(_toeplitz_gradient_conv_forward, _toeplitz_gradient_conv_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _row_im2col_conv(x, kernel, stride, padding):
    (kh, kw, c, features), (down, right) = kernel.shape, stride
    x, kernel = jnp.pad(x, ((0, 0), *padding, (0, 0))), kernel.astype(x.dtype)
    h, w = (x.shape[1] - kh) // down + 1, (x.shape[2] - kw) // right + 1
    x = jnp.concatenate([x[:, :, j : j + (w - 1) * right + 1 : right] for j in range(kw)], axis=-1)
    x = lax.optimization_barrier(x)  # made once, and not in every product
    y = sum(_matmul_f32(x[:, i : i + (h - 1) * down + 1 : down].reshape(-1, kw * c), kernel[i].reshape(-1, features), 1, 0)
            for i in range(kh))  # fmt: skip
    return y.astype(x.dtype).reshape(-1, h, w, features)


def _row_im2col_conv_forward(x, kernel, stride, padding):
    return _row_im2col_conv(x, kernel, stride, padding), (x, kernel)


def _row_im2col_conv_backward(stride, padding, kept, g):
    x, kernel = kept
    kh, kw, c, features = kernel.shape
    if stride != (1, 1) or any(edge >= k for edges, k in zip(padding, (kh, kw), strict=True) for edge in edges):
        return jax.vjp(lambda x, kernel: plain_conv(x, kernel, stride, padding), x, kernel)[1](g)
    rest = tuple((k - 1 - before, k - 1 - after) for k, (before, after) in zip((kh, kw), padding, strict=True))
    of_x = _row_im2col_conv(g, kernel[::-1, ::-1].swapaxes(2, 3), (1, 1), rest)
    # One product for all taps: pixels shifted along a row, times gradients shifted down.
    x = jnp.pad(x.transpose(3, 0, 1, 2), ((0, 0), (0, 0), *padding))
    x = jnp.concatenate([x[..., j : j + g.shape[2]] for j in range(kw)]).reshape(kw * c, -1)
    g = jnp.concatenate([jnp.pad(g, ((0, 0), (i, kh - 1 - i), (0, 0), (0, 0))) for i in range(kh)], axis=-1)
    of_kernel = _matmul_f32(x, g.reshape(-1, kh * features), 1, 0).reshape(kw, c, kh, features)
    return of_x, of_kernel.transpose(2, 0, 1, 3).astype(kernel.dtype)


_row_im2col_conv.defvjp(_row_im2col_conv_forward, _row_im2col_conv_backward)


# Products -----------------------------------------------------------------------------------------------------------


def matmul(x: jax.Array, weights: jax.Array) -> jax.Array:
    """[..., c] x [c, features] to [..., features] in the type of x, on CPUs summed in float32.

    The weights may be of a wider type, and their gradient then is too.
    """
    return _matmul(x, weights) if on_cpu() else x @ weights.astype(x.dtype)


@jax.custom_vjp
def _matmul(x, weights):
    y = _matmul_f32(x.reshape(-1, x.shape[-1]), weights.astype(x.dtype), 1, 0)
    return y.astype(x.dtype).reshape(*x.shape[:-1], -1)


def _matmul_forward(x, weights):
    return _matmul(x, weights), (x, weights)


def _matmul_backward(kept, g):
    x, weights = kept
    c, matrix = x.shape[-1], g.reshape(-1, g.shape[-1])
    of_x = _matmul_f32(matrix, weights.astype(x.dtype), 1, 1).astype(x.dtype).reshape(x.shape)
    if x.dtype == jnp.bfloat16:
        # Turned with all its axes: the transposition of a matrix goes into the product, which then is a slow one. And after
        # the barrier: before it may stand what makes x, which would be done over in the order of the transposed array.
        turned = jnp.moveaxis(lax.optimization_barrier(x), -1, 0)
        of_weights = _matmul_f32(turned.reshape(c, -1), matrix, 1, 0)
    else:
        of_weights = _matmul_f32(x.reshape(-1, c), matrix, 0, 0)
    return of_x, of_weights.astype(weights.dtype)


_matmul.defvjp(_matmul_forward, _matmul_backward)


def _matmul_f32(a, b, over_a, over_b):
    """The product of two matrices in float32, summed over an axis of each."""
    return lax.dot_general(a, b, (((over_a,), (over_b,)), ((), ())), preferred_element_type=jnp.float32)


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """x + bias in the type of x; the bias may be of a wider type, and its gradient then is too."""
    if not on_cpu():
        return x + bias.astype(x.dtype)
    return (x.astype(jnp.float32) + bias.astype(jnp.float32)).astype(x.dtype)


# Normalization ------------------------------------------------------------------------------------------------------


def inverse_power(x: jax.Array, exponent: float) -> jax.Array:
    """x ** -exponent of what is above 0; on CPUs from roots, where the exponent is a number of quarters."""
    quarters = round(4 * exponent)
    return lax.rsqrt(lax.sqrt(x)) ** quarters if on_cpu() and quarters == 4 * exponent else x**-exponent


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
    return jax.nn.relu(x) if x.dtype == jnp.bfloat16 or not on_cpu() else _relu(x)


@jax.custom_vjp
def _relu(x):
    return jnp.where(x <= 0, jnp.zeros((), x.dtype), x)


def _relu_forward(x):
    y = _relu(x)
    return y, y


def _relu_backward(y, g):
    return (jnp.where(y > 0, g, jnp.zeros((), g.dtype)),)


_relu.defvjp(_relu_forward, _relu_backward)
