"""Host operations of the augmentation language: one encoded image to uint8 pixels of fixed size, with TensorFlow.

Operations only place windows on the image; the windows are decoded and sampled once, at the end (augment/sampling.py). So
`resize_short(256)|center(224)` gives the same pixels as resizing the whole image and cropping its centre, for much
less work. Each operation is a function (seed, image, arguments). Seeds are int64 [2], for stateless generators only.
"""

from collections.abc import Sequence
from typing import Any

from convnets.augment.op import Op, make_table
from convnets.augment.sampling import Image, begin, sample
from convnets.errors import UsageError
from convnets.op_string import Call, Count, Natural
from convnets.runtime.import_tensorflow import import_tensorflow

ATTEMPTS = 10  # of inception_crop, before it falls back to a central window


def apply(calls: Sequence[Call], seed: Any, encoded: Any, channels: int) -> Any:
    """Applies host operations to one image: returns uint8 [h, w, channels] or [views, h, w, channels].

    Args:
        seed: int64 [2], the example's seed; the operation at position i of the string uses seed + (0, i).
        encoded: JPEG, PNG, GIF or BMP, a string tensor. Gray and CMYK images become RGB if channels is 3.
    """
    import tensorflow as tf

    image = begin(encoded, channels)
    for place, call in enumerate(calls):
        image = call(tf.add(tf.cast(seed, tf.int64), [0, place]), image)
    return sample(image)


def show(calls: Sequence[Call], pixels: Any) -> Any:
    """Applies the host operations of a test string to uint8 pixels [h, w, channels], a NumPy array."""
    tf = import_tensorflow()
    return apply(calls, [0, 0], tf.io.encode_png(pixels), pixels.shape[-1]).numpy()


# Sizes --------------------------------------------------------------------------------------------------------------


def decode(seed: Any, image: Image) -> Image:
    """Keeps the image at its own size, pixels 0 to 255; every string begins with this operation."""
    return image


def grey(seed: Any, image: Image) -> Image:
    """Makes colours grey, for a network with one channel: 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601)."""
    return image._replace(grey=image.channels == 3)


def resize_short(
    seed: Any, image: Image, a: Count, b: Natural = 0, antialias: bool = False, cubic: bool = False
) -> Image:
    """Resizes the shorter side to a, or to a uniform integer from a to b; the longer in proportion, rounded down."""
    import tensorflow as tf

    short = a + _draw(seed, b - a) if b else tf.constant(a)
    size = image.size * short // tf.reduce_min(image.size)
    return image._replace(size=size, own_size=False, antialias=antialias, cubic=cubic)


def resize_center_crop(seed: Any, image: Image, n: Count, antialias: bool = False, cubic: bool = False) -> Image:
    """Resizes the shorter side to n, then takes the central n x n pixels (Krizhevsky et al. 2012, section 2)."""
    return center(seed, resize_short(seed, image, n, antialias=antialias, cubic=cubic), n)


# One window ---------------------------------------------------------------------------------------------------------


def center(seed: Any, image: Image, n: Count) -> Image:
    """Takes the central n x n pixels."""
    return _cut(image, [(image.size - n) // 2], [n, n])


def crop(seed: Any, image: Image, n: Count) -> Image:
    """Takes n x n pixels at a uniformly random position.

    The window is moved to whole pixels of the source, by at most half a pixel, and reads no pixels outside it. This
    makes sampling twice as fast.
    """
    import tensorflow as tf

    extent = tf.cast(image.size, tf.float32)
    extent = tf.cast(tf.round(image.windows[0, 2:] * n / extent), tf.int32)
    extent = tf.maximum(extent, 1)
    corner = tf.cast(image.windows[0, :2], tf.int32) + _draw(seed, tf.cast(image.windows[0, 2:], tf.int32) - extent)
    window = tf.cast(tf.concat([corner, extent], 0), tf.float32)[None]
    return image._replace(windows=window, size=tf.constant([n, n]), own_size=False, whole_pixels=True)


def inception_crop(
    seed: Any, image: Image, n: Count, area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3), antialias: bool = False, cubic: bool = False, squared: bool = False,
) -> Image:  # fmt: skip
    """Resizes a random window to n x n: its share of the area is U(area), its width / height from `aspect`.

    GoogLeNet, section 6: "various sized patches of the image whose size is distributed evenly between 8% and 100% of
    the image area and whose aspect ratio is chosen randomly between 3/4 and 4/3". Details that the paper leaves open
    follow fb.resnet.torch (datasets/transforms.lua, lines 130 to 162): the aspect ratio is U(aspect), and its inverse
    with probability 1/2; after ten attempts that do not fit, the window is the largest central square. Until 2016-02-19
    (d4b9406) fb.resnet.torch took the square of the ratio, 9/16 to 16/9 (6f9402d, lines 140 to 146): `squared`.
    """
    import tensorflow as tf

    place, whole = _whole_pixels(image)
    h, w = tf.unstack(tf.cast(whole, tf.float32))
    draws = tf.random.stateless_uniform([ATTEMPTS, 3], seed)
    areas = h * w * (area[0] + (area[1] - area[0]) * draws[:, 0])
    ratios = (aspect[0] + (aspect[1] - aspect[0]) * draws[:, 1]) ** (2 if squared else 1)
    ratios = tf.where(draws[:, 2] < 0.5, 1 / ratios, ratios)
    extents = tf.round(tf.sqrt(tf.stack([areas / ratios, areas * ratios], 1)))
    fits = tf.reduce_all((extents >= 1) & (extents <= [h, w]), 1)
    square = tf.stack([tf.minimum(h, w)] * 2)
    found = tf.reduce_any(fits)
    extent = tf.cast(tf.where(found, extents[tf.argmax(fits)], square), tf.int32)
    room = whole - extent
    corner = place + tf.where(found, _draw(tf.add(seed, [0, 1 << 7]), room), room // 2)
    window = tf.cast(tf.concat([corner, extent], 0), tf.float32)[None]
    size = tf.constant([n, n])
    return image._replace(
        windows=window, size=size, own_size=False, antialias=antialias, cubic=cubic, whole_pixels=True
    )


def _whole_pixels(image: Image) -> tuple[Any, Any]:
    """Returns corner and extent, int32 [2], of the whole source pixels inside the current window; at least one pixel."""
    import tensorflow as tf

    start, end = image.windows[0, :2], image.windows[0, :2] + image.windows[0, 2:]
    corner = tf.minimum(tf.cast(tf.math.ceil(start), tf.int32), image.source - 1)
    return corner, tf.maximum(tf.cast(tf.floor(end), tf.int32) - corner, 1)


def crop_to_multiple(seed: Any, image: Image, m: Count) -> Image:
    """Takes the central part whose sides are multiples of m, for dense evaluation; its size varies between images."""
    size = image.size // m * m
    return _cut(image, [(image.size - size) // 2], size)


# Several windows, at test time only: [views, h, w, channels] --------------------------------------------------------


def five_crop(seed: Any, image: Image, n: Count) -> Image:
    """Takes n x n crops of the four corners and the centre."""
    return _cut(image, _corners(image, n), [n, n])._replace(several=True)


def six_crop(seed: Any, image: Image, n: Count) -> Image:
    """Takes the crops of `five_crop`, then the whole image resized to n x n (Szegedy et al. 2014, section 7, per square)."""
    import tensorflow as tf

    corners = [*_corners(image, n), tf.zeros([2], tf.int32)]
    return _cut(image, corners, [n, n], [[n, n]] * 5 + [image.size])._replace(several=True)


def three_squares(seed: Any, image: Image) -> Image:
    """Takes the left, central and right square of a wide image, or the top, central and bottom one of a tall image."""
    import tensorflow as tf

    short = tf.reduce_min(image.size)
    room = image.size - short
    return _cut(image, [0 * room, room // 2, room], tf.stack([short, short]))._replace(several=True)


def grid(seed: Any, image: Image, k: Count, n: Count) -> Image:
    """Takes k x k crops of n x n pixels on a regular grid (Simonyan & Zisserman 2015, section 3.2: 5 x 5)."""
    import tensorflow as tf

    room = image.size - n
    steps = [(room * i * 2 + k - 1) // (2 * k - 2) if k > 1 else room // 2 for i in range(k)]
    corners = [tf.stack([down[0], right[1]]) for down in steps for right in steps]
    return _cut(image, corners, [n, n])._replace(several=True)


def _corners(image: Image, n: int) -> list[Any]:
    room = image.size - n
    return [room * side for side in ([0, 0], [0, 1], [1, 0], [1, 1])] + [room // 2]


def _cut(image: Image, corners: list[Any], size: Any, extents: list[Any] | None = None) -> Image:
    """Places windows at `corners` of the current view, of `extents` ([2] each, default `size`), resized to `size`."""
    import tensorflow as tf

    at = tf.cast(tf.stack(corners), tf.float32)
    extent = tf.cast(tf.stack(extents or [size] * len(corners)), tf.float32)
    zoom = (image.windows[:, 2:] / tf.cast(image.size, tf.float32))[:, None]
    windows = tf.concat([image.windows[:, None, :2] + at * zoom, extent * zoom], -1)
    return image._replace(windows=tf.reshape(windows, [-1, 4]), size=tf.stack(size), own_size=False, whole_pixels=False)


def _draw(seed: Any, most: Any) -> Any:
    """Draws integers uniformly from 0 to `most`, inclusive."""
    import tensorflow as tf

    most = tf.convert_to_tensor(most, tf.int32)
    share = tf.random.stateless_uniform(tf.shape(most), seed)
    return tf.cast(share * tf.cast(most + 1, tf.float32), tf.int32)


def _middle_side(a: int, b: int, **kernel: bool) -> Call:
    return Call("resize_short", resize_short, {"a": (a + b) // 2 if b else a, "b": 0, **kernel})


HOST = make_table(
    Op(decode),
    Op(grey),
    Op(resize_short, size="varies", random=lambda a, b, **_: b > 0, still=_middle_side),
    Op(resize_center_crop, size="fixed"),
    Op(center, size="fixed"),
    Op(crop, size="fixed", random=True, still=lambda n: Call("center", center, {"n": n})),
    Op(inception_crop, size="fixed", random=True,
       still=lambda n, area, aspect, squared, **kernel: Call("resize_center_crop", resize_center_crop, {"n": n, **kernel})),
    Op(crop_to_multiple, size="dense"),
    Op(five_crop, size="fixed", views=True),
    Op(six_crop, size="fixed", views=True),
    Op(three_squares, size="fixed", views=True),
    Op(grid, size="fixed", views=True),
)  # fmt: skip


def remove_chance(call: Call) -> Call:
    """Returns a deterministic version of the operation: a central crop, or the middle of the range of sides."""
    still = HOST[call.name].still
    return still(**call.kwargs) if still else call


def check(calls: Sequence[Call]) -> None:
    """Validates arguments that depend on each other, as far as possible without an image.

    Raises:
        UsageError: an argument is invalid; the message names the operation and the argument.
    """
    short = None  # lower bound of the shorter side, if known
    for name, _, given in calls:
        if given.get("b") and given["b"] < given["a"]:
            raise UsageError(f"{name}({given['a']}, {given['b']}): the second side is smaller than the first")
        for key in ("area", "aspect"):
            low, high = given.get(key) or (0.5, 1)
            if not 0 < low <= high or (key == "area" and high > 1):
                raise UsageError(
                    f"{name}: {key} is {given[key]}: it must be (low, high) above 0" + ", to 1" * (key == "area")
                )
        wanted = given.get("m") or (given.get("n") if name not in ("resize_center_crop", "inception_crop") else None)
        if short and wanted and wanted > short:
            raise UsageError(f"{name}({wanted}): the shorter side of the image may be only {short}")
        short = given.get("n") or given.get("a") or short
