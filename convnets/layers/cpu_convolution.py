"""Convolution, in the formulations that XLA's CPU backend runs fast.

The layers call `conv`. Other backends use `plain_conv` and their vendors' kernels. One exception: a TPU uses `bands` for
images of one channel, which XLA takes minutes to compile as convolutions (`make bench-tpu`).

Each form equals the plain one up to rounding (tests/layers/test_cpu_kernels.py). Each is kept because it was at least
10 % faster (`make bench-kernels`; benchmarks/results.jsonl):

    groups           One convolution per group. XLA has no fast kernels for the gradients of a grouped convolution.
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

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from convnets.layers import cpu_kernels
from convnets.layers.pooling import Edges

DIMENSION_NUMBERS = ("NHWC", "HWIO", "NHWC")
MAX_BAND_WIDTH = 96  # largest width x channels of an image for which `bands` wins
TILES = range(4, 9)  # candidate numbers of output pixels per row that one product of `bands` computes


def conv(x: jax.Array, kernel: jax.Array, stride: tuple[int, int], padding: Edges, groups: int = 1) -> jax.Array:
    """Cross-correlates [n, h, w, c] with [kh, kw, c / groups, features], like lax.conv_general_dilated.

    The result has the dtype of x. The kernel may have a wider dtype, which its gradient then keeps.
    """
    few = x.shape[2] * x.shape[3] <= MAX_BAND_WIDTH and kernel.shape[:2] != (1, 1)
    if cpu_kernels.platform() == "tpu" and few and x.shape[3] == 1:
        return _toeplitz_conv(x, kernel, stride, padding)
    if not cpu_kernels.on_cpu():
        return plain_conv(x, kernel, stride, padding, groups)
    if groups > 1:
        parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
        return jnp.concatenate([conv(a, b, stride, padding) for a, b in parts], axis=-1)
    if kernel.shape[:2] == x.shape[1:3] and not any(map(any, padding)):
        return cpu_kernels.matmul(x.reshape(x.shape[0], 1, 1, -1), kernel.reshape(-1, kernel.shape[3]))
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
    tile = min(TILES, key=lambda tile: -(-w // tile) * tile * ((tile - 1) * right + kw)) if cpu_kernels.on_cpu() else w
    count, span, step = -(-w // tile), (tile - 1) * right + kw, tile * right
    x = jnp.pad(x, ((0, 0), (0, 0), (0, max(0, (count - 1) * step + span - x.shape[2])), (0, 0)))
    x = x.reshape(n, x.shape[1], -1)
    x = jnp.stack([x[:, :, i * step * c : (i * step + span) * c] for i in range(count)], axis=2)
    x = jnp.concatenate([x[:, i : i + (h - 1) * down + 1 : down] for i in range(kh)], axis=-1)
    band = _band(kernel, tile, right).reshape(-1, tile * features)
    return cpu_kernels.matmul(x, band).reshape(n, h, count * tile, features)[:, :, :w]


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
