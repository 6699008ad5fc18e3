"""Device operations of the augmentation language: they act on float32 batches [n, h, w, c] in the compiled step.

Each operation is a function (keys, images, arguments), with one PRNG key per example. The result for an example thus
depends on (seed, epoch, example) alone, not on its batch, device or process. Pixels range from 0 to 255 unless an
operation changes the range. An operation with a keyword-only `statistics` receives the training-set statistics.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from convnets.augment.op import Op, make_table
from convnets.augment.statistics import UNKNOWN, Statistics
from convnets.errors import UsageError
from convnets.layers.descriptors import LUMA
from convnets.op_string import Count, Natural

# Position -----------------------------------------------------------------------------------------------------------


def pad(keys: jax.Array, x: jax.Array, n: Natural, value: float = 0.0) -> jax.Array:
    """Pads n pixels of `value` on every side."""
    return jnp.pad(x, ((0, 0), (n, n), (n, n), (0, 0)), constant_values=value)


def center(keys: jax.Array, x: jax.Array, n: Count) -> jax.Array:
    """Takes the central n x n pixels."""
    h, w = _room("center", x, n)
    return x[:, h // 2 : h // 2 + n, w // 2 : w // 2 + n]


def crop(keys: jax.Array, x: jax.Array, n: Count) -> jax.Array:
    """Takes n x n pixels at a uniformly random position."""
    room = jnp.array(_room("crop", x, n)) + 1
    corners = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, room))(keys)
    window = lambda image, at: jax.lax.dynamic_slice(image, (at[0], at[1], 0), (n, n, image.shape[2]))  # noqa: E731
    return jax.vmap(window)(x, corners)


def pad_crop(keys: jax.Array, x: jax.Array, n: Natural) -> jax.Array:
    """Pads n zeros on every side, then takes a random crop of the original size (He et al. 2015, section 4.2: n = 4).

    The paper does not give the value of the padding. Put it after subtract_mean, so that the zero border equals the mean.
    Raises UsageError if the image is not square.
    """
    if x.shape[1] != x.shape[2]:
        raise UsageError(f"pad_crop({n}): the image is {x.shape[1]} x {x.shape[2]}, not square")
    return crop(keys, pad(keys, x, n), x.shape[1])


def flip(keys: jax.Array, x: jax.Array) -> jax.Array:
    """Flips each image left to right with probability 0.5."""
    heads = jax.vmap(jax.random.bernoulli)(keys)
    return jnp.where(heads[:, None, None, None], x[:, :, ::-1], x)


def resize(keys: jax.Array, x: jax.Array, n: Count, antialias: bool = True) -> jax.Array:
    """Resizes to n x n with bilinear interpolation."""
    return jax.image.resize(x, (x.shape[0], n, n, x.shape[3]), "bilinear", antialias=antialias)


def distort(
    keys: jax.Array, x: jax.Array, translate: float = 0.0, scale: float = 0.0, squeeze: float = 0.0,
    shear: float = 0.0, rotate: float = 0.0, fill: float = 0.0,
) -> jax.Array:  # fmt: skip
    """Applies a random planar affine map to each image (LeCun et al. 1998, III.B, gives the kinds but not the
    ranges; rotations are our addition).

    Bilinear sampling is written as products with hat functions, because gathers are slow on every accelerator. This
    suits small images only: it needs memory for h x w x (h + w) numbers per image.

    Args:
        translate: horizontal and vertical shift, each U(-translate, translate) pixels.
        scale: the size changes by a factor exp(U(-scale, scale)).
        squeeze: the width changes by exp(s) and the height by exp(-s), with s from U(-squeeze, squeeze).
        shear: horizontal shear, U(-shear, shear) pixels per row.
        rotate: rotation angle, U(-rotate, rotate) degrees.
        fill: pixel value outside the image.
    """
    h, w = x.shape[1:3]
    limits = jnp.array([translate, translate, scale, squeeze, shear, jnp.deg2rad(rotate)], jnp.float32)
    draws = jax.vmap(lambda key: jax.random.uniform(key, (6,), minval=-1, maxval=1))(keys) * limits
    dx, dy, size, narrow, slant, angle = draws.T[:, :, None, None]
    rows = jnp.arange(h, dtype=jnp.float32)[None, :, None] - (h - 1) / 2 - dy
    columns = jnp.arange(w, dtype=jnp.float32)[None, None, :] - (w - 1) / 2 - dx
    # Source coordinates (u, v) of each output pixel: undo rotation, then shear, then scale.
    u, v = columns * jnp.cos(angle) + rows * jnp.sin(angle), rows * jnp.cos(angle) - columns * jnp.sin(angle)
    u = (u - slant * v) * jnp.exp(-size - narrow) + (w - 1) / 2
    v = v * jnp.exp(-size + narrow) + (h - 1) / 2
    n = x.shape[0]
    hat_rows = jax.nn.relu(1 - jnp.abs(v.reshape(n, h * w, 1) - jnp.arange(h, dtype=jnp.float32)))
    hat_columns = jax.nn.relu(1 - jnp.abs(u.reshape(n, h * w, 1) - jnp.arange(w, dtype=jnp.float32)))
    lines = jnp.einsum("npr,nrcm->npcm", hat_rows, x - fill, precision="highest")
    return jnp.einsum("npc,npcm->npm", hat_columns, lines, precision="highest").reshape(x.shape) + fill


def deslant(keys: jax.Array, x: jax.Array) -> jax.Array:
    """Shears each image by shifting its rows sideways, so that its principal axis is vertical (LeCun et al. 1998, III.A).

    The moments count a pixel of the digit as 1 and others as 0, as in the paper; that a pixel above half of 255 is one of the
    digit is our reading. Rows move by fractions of a pixel, with bilinear interpolation, about the centre of mass, and pixels
    outside the image are 0. Put it before operations that change the values.
    """
    h, w = x.shape[1:3]
    ink = (jnp.mean(x, axis=3) > 127.5).astype(jnp.float32)
    rows, columns = jnp.arange(h, dtype=jnp.float32)[:, None], jnp.arange(w, dtype=jnp.float32)
    mass = jnp.maximum(ink.sum((1, 2)), 1)
    middle, centre = (jnp.sum(ink * place, (1, 2)) / mass for place in (rows, columns))
    down, right = rows - middle[:, None, None], columns - centre[:, None, None]
    slope = jnp.sum(ink * down * right, (1, 2)) / jnp.maximum(jnp.sum(ink * jnp.square(down), (1, 2)), 1e-6)
    source = columns + slope[:, None, None] * down  # [n, h, w]: where each pixel comes from, in its row
    hats = jax.nn.relu(1 - jnp.abs(source[..., None] - columns))
    return jnp.einsum("nhwv,nhvc->nhwc", hats, x, precision="highest")


def rotate(keys: jax.Array, x: jax.Array, degrees: float, fill: float = 0.0) -> jax.Array:
    """Rotates each image by an angle from U(-degrees, degrees)."""
    return distort(keys, x, rotate=degrees, fill=fill)


def scale(keys: jax.Array, x: jax.Array, factor: float, fill: float = 0.0) -> jax.Array:
    """Rescales each image by exp(U(-log(factor), log(factor))): scale(1.2) draws factors from 1/1.2 to 1.2.

    Raises UsageError if the factor is not above 0.
    """
    if factor <= 0:
        raise UsageError(f"scale({factor}): factor must be above 0")
    return distort(keys, x, scale=abs(float(np.log(factor))), fill=fill)


def shift(keys: jax.Array, x: jax.Array, down: int, right: int, fill: float = 0.0) -> jax.Array:
    """Shifts every image by the same whole number of pixels, to test how a network responds."""
    moved = jnp.roll(x, (down, right), (1, 2))
    inside = [jnp.arange(n) - by for n, by in zip(x.shape[1:3], (down, right), strict=True)]
    kept = [(i >= 0) & (i < n) for i, n in zip(inside, x.shape[1:3], strict=True)]
    return jnp.where((kept[0][:, None] & kept[1])[..., None], moved, fill)


# Views: several per image, at test time only; the views of an image are consecutive ---------------------------------


def five_crop(keys: jax.Array, x: jax.Array, n: Count) -> jax.Array:
    """Takes n x n crops of the four corners and the centre: [b, h, w, c] to [5 b, n, n, c]."""
    h, w = _room("five_crop", x, n)
    corners = [(0, 0), (0, w), (h, 0), (h, w), (h // 2, w // 2)]
    views = jnp.stack([x[:, top : top + n, left : left + n] for top, left in corners], axis=1)
    return views.reshape(-1, *views.shape[2:])


def with_flip(keys: jax.Array, x: jax.Array) -> jax.Array:
    """Returns each image followed by its mirror image: [b, h, w, c] to [2 b, h, w, c]."""
    return jnp.stack([x, x[:, :, ::-1]], axis=1).reshape(-1, *x.shape[1:])


# Values -------------------------------------------------------------------------------------------------------------


def value_range(keys: jax.Array, x: jax.Array, low: float, high: float) -> jax.Array:
    """Maps 0 to `low` and 255 to `high`; LeNet-5 uses background -0.1 and ink 1.175 (LeCun et al. 1998, II.B)."""
    return low + x * ((high - low) / 255)


def subtract_mean(keys: jax.Array, x: jax.Array, *of: Any, statistics: Statistics = UNKNOWN) -> jax.Array:
    """Subtracts the training set's per-pixel mean (no argument), its per-channel mean ('colour') or given numbers.

    Krizhevsky et al. 2012 (section 2) and He et al. 2015 subtract the per-pixel mean. VGG (section 2.1) subtracts the
    per-channel mean. 'center' subtracts the central patch of the mean image from a crop, wherever the crop was taken:
    cuda-convnet (convdata.py, lines 77 and 85) and cuda-convnet2 (convdata.py, lines 104 and 192).
    Raises UsageError if the mean image does not fit the image, or if there is not one number per channel.
    """
    if of in ((), ("center",)):
        mean, (h, w) = statistics.mean_image, x.shape[1:3]
        top, left = ((m - n) // 2 for m, n in zip(mean.shape, (h, w), strict=False))
        if min(top, left) < 0 or (not of and mean.shape != x.shape[1:]):
            raise UsageError(
                f"subtract_mean: the mean image is {' x '.join(map(str, mean.shape))}, here the image is {h} x {w}; "
                "put it in front of what changes the size, or subtract_mean('colour')"
            )
        return x - mean[top : top + h, left : left + w]
    colour = statistics.mean if of == ("colour",) else of
    if len(colour) != x.shape[3] or not all(isinstance(v, (int, float, np.floating)) for v in colour):
        raise UsageError(f"subtract_mean{of}: give nothing, 'colour', 'center', or {x.shape[3]} numbers")
    return x - jnp.array(colour, jnp.float32)


def standardize(
    keys: jax.Array, x: jax.Array, mean: tuple[float, ...] = (), std: tuple[float, ...] = (), *,
    statistics: Statistics = UNKNOWN,
) -> jax.Array:  # fmt: skip
    """Returns (x - mean) / std per channel; `mean` and `std` default to the training-set statistics.

    Raises UsageError if mean and std do not have one number per channel, or if a std is not above 0.
    """
    mean, std = (given or tuple(found.tolist()) for given, found in ((mean, statistics.mean), (std, statistics.std)))
    if not len(mean) == len(std) == x.shape[3] or min(std) <= 0:
        raise UsageError(f"standardize: mean and std are {x.shape[3]} numbers each, std above 0")
    return (x - jnp.array(mean, jnp.float32)) / jnp.array(std, jnp.float32)


def lighting(
    keys: jax.Array, x: jax.Array, std: float, formula: str = "eigenvalue", *, statistics: Statistics
) -> jax.Array:
    """Adds colour noise along the principal components of the training colours, with one draw per image.

    Args:
        std: standard deviation of the three normal draws a.
        formula: 'eigenvalue' adds P (a * eigenvalues) for pixels scaled to 0 to 1, as in Krizhevsky et al. 2012,
            section 4.1. With pixels of 0 to 255 the same formula would swamp the image. 'deviation' follows
            their program (configs/alexnet.py) and cuda-convnet2 (convdata.py, lines 74 and 181 to 183): it uses the square roots of the eigenvalues and divides
            the image and its noise by 1 + std. Put it after subtract_mean.
            Raises UsageError for another formula.
    """
    if formula not in ("eigenvalue", "deviation"):
        raise UsageError(f"lighting: formula is '{formula}': choose eigenvalue or deviation")
    values, vectors = statistics.eigenvalues, statistics.eigenvectors
    strength = values / 255 if formula == "eigenvalue" else np.sqrt(values)  # 255 * (values / 255^2)
    draws = std * jax.vmap(lambda key: jax.random.normal(key, (x.shape[3],)))(keys)
    noise = jnp.matmul(draws * strength, vectors.T, precision="highest")[:, None, None, :]
    return (x + noise) / (1 + std) if formula == "deviation" else x + noise


def color_jitter(
    keys: jax.Array, x: jax.Array, brightness: float = 0.5, contrast: float = 0.5, saturation: float = 0.5,
    clip: bool = True,
) -> jax.Array:  # fmt: skip
    """Changes brightness, contrast and saturation by factors from U(1 - a, 1 + a), in random order.

    `a` is the argument of that name; with `clip` every change clips the pixels to 0 to 255. The source is Howard 2013
    (Some improvements on deep convolutional neural network based image classification, section 2), cited by GoogLeNet
    (section 6). BN-Inception (section 4.2.1) uses weaker distortions. fb.resnet.torch does not clip (datasets/
    transforms.lua, lines 205 to 256). Raises UsageError if the images do not have three channels.
    """
    limits = jnp.array([brightness, contrast, saturation], jnp.float32)

    def one(key, image):
        order, amount = jax.random.split(key)
        factors = 1 + limits * jax.random.uniform(amount, (3,), minval=-1, maxval=1)

        def change(image, kind):
            gray = jnp.matmul(image, jnp.array(LUMA)[:, None], precision="highest")
            toward = jnp.stack([jnp.zeros_like(image), jnp.full_like(image, gray.mean()), gray + 0 * image])[kind]
            changed = toward + factors[kind] * (image - toward)
            return jnp.clip(changed, 0, 255) if clip else changed

        for kind in jax.random.permutation(order, 3):
            image = change(image, kind)
        return image

    if x.shape[3] != 3:
        raise UsageError(f"color_jitter: images have {x.shape[3]} channels, not red, green and blue")
    return jax.vmap(one)(keys, x)


def brightness_gradient(keys: jax.Array, x: jax.Array, gain: float, slope: float = 0.0) -> jax.Array:
    """Multiplies every image by the same light intensity, to test how a network responds.

    Args:
        slope: the factor falls linearly from gain * (1 + slope) at the left edge to gain * (1 - slope) at the right.
    """
    across = jnp.linspace(1.0, -1.0, x.shape[2], dtype=jnp.float32)[:, None]
    return x * (gain * (1 + slope * across))


def noise(keys: jax.Array, x: jax.Array, std: float) -> jax.Array:
    """Adds independent N(0, std^2) noise to every pixel and channel."""
    return x + std * jax.vmap(lambda key: jax.random.normal(key, x.shape[1:]))(keys)


def _room(name: str, x: jax.Array, n: int) -> tuple[int, int]:
    """Returns by how many pixels the image exceeds n in height and width; raises UsageError unless n fits."""
    h, w = x.shape[1:3]
    if not 0 < n <= min(h, w):
        raise UsageError(f"{name}({n}): the image is only {h} x {w}")
    return h - n, w - n


DEVICE = make_table(
    Op(pad),
    Op(center),
    Op(crop, random=True),
    Op(pad_crop, random=True),
    Op(flip, random=True),
    Op(resize),
    Op(distort, random=True),
    Op(deslant),
    Op(rotate, random=True),
    Op(scale, random=True),
    Op(shift),
    Op(five_crop, views=True),
    Op(with_flip, views=True),
    Op(value_range, scales=True),
    Op(subtract_mean, statistics=lambda of: of in ((), ("colour",), ("center",))),
    Op(standardize, statistics=lambda mean, std, **_: not (mean and std), scales=True),
    Op(lighting, random=True, statistics=True),
    Op(color_jitter, random=True),
    Op(brightness_gradient),
    Op(noise, random=True),
)
