"""The augmentation language: `decode|distort(...)|pad(2)|value_range(-0.1,1.175)`, read left to right.

Host operations work on one encoded image with TensorFlow and end in a uint8 image of fixed size. Device operations work
on a whole batch of float32 pixels (0 to 255 until an operation says otherwise) inside the compiled step. Each operation
exists once. A device operation is a function of (keys, images, arguments): `keys` holds one PRNG key an example, so
what happens to an example depends on (seed, epoch, example) alone, not on its batch, device or process.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from convnets import language
from convnets.errors import UsageError

# Host operations ----------------------------------------------------------------------------------------------------


def decode(image: Any, channels: int) -> Any:
    """An encoded image (a string tensor) to uint8 [h, w, channels]."""
    import tensorflow as tf

    return tf.io.decode_image(image, channels=channels, expand_animations=False)


HOST: dict[str, Callable[..., Any]] = {"decode": decode}

# Device operations --------------------------------------------------------------------------------------------------


def pad(keys: jax.Array, x: jax.Array, n: int, value: float = 0.0) -> jax.Array:
    """n pixels of `value` on every side."""
    return jnp.pad(x, ((0, 0), (n, n), (n, n), (0, 0)), constant_values=value)


def center(keys: jax.Array, x: jax.Array, n: int) -> jax.Array:
    """The central n x n pixels."""
    h, w = x.shape[1:3]
    if n > min(h, w):
        raise UsageError(f"center({n}): the image is only {h} x {w}")
    top, left = (h - n) // 2, (w - n) // 2
    return x[:, top : top + n, left : left + n]


def resize(keys: jax.Array, x: jax.Array, n: int, antialias: bool = True) -> jax.Array:
    """Bilinear to n x n."""
    return jax.image.resize(x, (x.shape[0], n, n, x.shape[3]), "bilinear", antialias=antialias)


def value_range(keys: jax.Array, x: jax.Array, low: float, high: float) -> jax.Array:
    """Maps 0 to `low` and 255 to `high`; LeNet-5 takes background -0.1 and ink 1.175 (LeCun et al. 1998, II.B)."""
    return low + x * ((high - low) / 255)


def distort(
    keys: jax.Array, x: jax.Array, translate: float = 0.0, scale: float = 0.0, squeeze: float = 0.0,
    shear: float = 0.0, rotate: float = 0.0, fill: float = 0.0,
) -> jax.Array:  # fmt: skip
    """A random planar affine map of each image (LeCun et al. 1998, III.B, which names the kinds, not the ranges).

    Args:
        translate: horizontal and vertical shift, each U(-translate, translate) pixels.
        scale: size changes by a factor exp(U(-scale, scale)).
        squeeze: width by exp(s) and height by exp(-s), s from U(-squeeze, squeeze).
        shear: horizontal shear, U(-shear, shear) pixels a row.
        rotate: angle, U(-rotate, rotate) degrees.
        fill: what lies outside the image.

    Bilinear sampling written as products with hat functions: no gathers, which are slow on every accelerator.
    """
    h, w = x.shape[1:3]
    limits = jnp.array([translate, translate, scale, squeeze, shear, jnp.deg2rad(rotate)], jnp.float32)
    draws = jax.vmap(lambda key: jax.random.uniform(key, (6,), minval=-1, maxval=1))(keys) * limits
    dx, dy, size, narrow, slant, angle = draws.T[:, :, None, None]
    rows = jnp.arange(h, dtype=jnp.float32)[None, :, None] - (h - 1) / 2 - dy
    columns = jnp.arange(w, dtype=jnp.float32)[None, None, :] - (w - 1) / 2 - dx
    # Where output pixel (row, column) comes from: the inverse of rotate, then shear, then scale.
    u, v = columns * jnp.cos(angle) + rows * jnp.sin(angle), rows * jnp.cos(angle) - columns * jnp.sin(angle)
    u = (u - slant * v) * jnp.exp(-size - narrow) + (w - 1) / 2
    v = v * jnp.exp(-size + narrow) + (h - 1) / 2
    n = x.shape[0]
    hat_rows = jax.nn.relu(1 - jnp.abs(v.reshape(n, h * w, 1) - jnp.arange(h, dtype=jnp.float32)))
    hat_columns = jax.nn.relu(1 - jnp.abs(u.reshape(n, h * w, 1) - jnp.arange(w, dtype=jnp.float32)))
    lines = jnp.einsum("npr,nrcm->npcm", hat_rows, x - fill)
    return jnp.einsum("npc,npcm->npm", hat_columns, lines).reshape(x.shape) + fill


DEVICE: dict[str, Callable[..., jax.Array]] = {
    f.__name__: f for f in (pad, center, resize, value_range, distort)
}  # fmt: skip

# The language -------------------------------------------------------------------------------------------------------


def parse(text: str) -> tuple[list[language.Call], list[language.Call]]:
    """Host and device operations of `text`.

    Raises:
        UsageError: an unknown operation, wrong arguments, no `decode` at the start, or a host operation after a device
            operation.
    """
    calls = language.parse(text, {**HOST, **DEVICE}, skip=2)
    names = [c.name for c in calls]
    if names[:1] != ["decode"]:
        raise UsageError(f"augmentation '{text}' must begin with decode")
    host = [c for c in calls if c.name in HOST]
    if calls[: len(host)] != host:
        late = next(c.name for i, c in enumerate(calls) if c.name in HOST and i >= len(host))
        raise UsageError(f"augmentation '{text}': '{late}' works on the host: put it before the device operations")
    return host, calls[len(host) :]


def apply(calls: list[language.Call], keys: jax.Array | None, images: jax.typing.ArrayLike) -> jax.Array:
    """Device operations on a batch: uint8 or float pixels [n, h, w, c] to float32.

    Args:
        keys: [n] typed PRNG keys; None where no operation is random.
    """
    x = jnp.asarray(images, jnp.float32)
    for position, call in enumerate(calls):
        own = None if keys is None else jax.vmap(lambda key, p=position: jax.random.fold_in(key, p))(keys)
        x = call.function(own, x, **call.kwargs)
    return x


def example_keys(seed: int, epoch: jax.Array, index: jax.Array) -> jax.Array:
    """[n] PRNG keys, each a pure function of (seed, epoch, example index)."""
    root = jax.random.key(seed)
    return jax.vmap(lambda e, i: jax.random.fold_in(jax.random.fold_in(root, e), i))(epoch, index)
