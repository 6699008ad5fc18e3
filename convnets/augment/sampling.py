"""Decodes an image under the windows that host operations placed on it, with TensorFlow.

Sampling is bilinear between pixel centres. `antialias` widens the kernel where an image shrinks, as Pillow does. The default,
without it, is the resize of OpenCV and thus of Caffe, from which VGG's program derives; the other papers do not name theirs.
`cubic` samples with Keys' bicubic kernel (a = -0.5) instead; values beyond 0 to 255 are clipped.
"""

from typing import Any, NamedTuple

from convnets.layers.descriptors import LUMA


class Image(NamedTuple):
    """An encoded image and the windows that will be sampled from it.

    Attributes:
        encoded, pixels: the encoded bytes, a string; and uint8 [h, w, channels], empty for a JPEG, which is decoded at
            the end.
        channels: number of channels after decoding.
        source: int32 [2], height and width of the encoded image.
        windows: float32 [views, 4]: top, left, height and width in pixels of the source.
        size: int32 [2], the height and width to which each window is resized.
        own_size: True until an operation places a window or replaces the image's own size.
        several: whether the result has an axis of views.
        antialias: whether sampling widens the kernel where the image shrinks.
        cubic: whether sampling is bicubic.
        whole_pixels: whether window edges lie on pixel boundaries of the source, which allows faster sampling.
        grey: whether colours become grey after decoding.
    """

    encoded: Any
    pixels: Any
    channels: int
    source: Any
    windows: Any
    size: Any
    own_size: bool = True
    several: bool = False
    antialias: bool = False
    cubic: bool = False
    whole_pixels: bool = False
    grey: bool = False


def begin(encoded: Any, channels: int) -> Image:
    """Returns an Image whose single window is the whole image at its own size."""
    import tensorflow as tf

    def header():
        return tf.io.extract_jpeg_shape(encoded)[:2], tf.zeros([0, 0, channels], tf.uint8)

    def everything():
        pixels = tf.io.decode_image(encoded, channels, expand_animations=False)
        return tf.shape(pixels)[:2], tf.ensure_shape(pixels, [None, None, channels])

    source, pixels = tf.cond(tf.io.is_jpeg(encoded), header, everything)
    whole = tf.cast(tf.concat([[0, 0], source], 0), tf.float32)[None]
    return Image(encoded, pixels, channels, source, whole, source)


def sample(image: Image) -> Any:
    """Decodes only the pixels under the windows and resizes each window: uint8 [(views,) h, w, channels]."""
    import tensorflow as tf

    def pixels(first, last):
        decoded = tf.cond(
            tf.io.is_jpeg(image.encoded),
            lambda: tf.io.decode_and_crop_jpeg(
                image.encoded, tf.concat([first, last - first], 0), image.channels, dct_method="INTEGER_ACCURATE"
            ),
            lambda: image.pixels[first[0] : last[0], first[1] : last[1]],
        )
        return _to_grey(decoded) if image.grey else decoded

    if image.own_size:
        return pixels(tf.zeros([2], tf.int32), image.source)
    corners, extents = image.windows[:, :2], image.windows[:, 2:]
    scales = tf.cast(image.size, tf.float32) / extents
    radius = 2.0 if image.cubic else 1.0  # of the kernel
    reach = 0.0 if image.whole_pixels else radius * (1.0 + tf.reduce_max(1 / scales) * image.antialias)
    first = tf.maximum(tf.cast(tf.floor(tf.reduce_min(corners, 0) - reach), tf.int32), 0)
    last = tf.cast(tf.math.ceil(tf.reduce_max(corners + extents, 0) + reach), tf.int32)
    source = pixels(first, tf.minimum(last, image.source))[None]
    if image.whole_pixels and not image.antialias and not image.several and not image.cubic:
        shown = tf.raw_ops.ResizeBilinear(images=source, size=image.size, half_pixel_centers=True)
    else:
        offsets = (tf.cast(first, tf.float32) - corners) * scales
        shown = tf.concat(
            [
                tf.raw_ops.ScaleAndTranslate(
                    images=source, size=image.size, scale=scale, translation=offset,
                    kernel_type="keyscubic" if image.cubic else "triangle", antialias=image.antialias,
                )
                for scale, offset in zip(tf.unstack(scales), tf.unstack(offsets), strict=True)
            ],
            0,
        )  # fmt: skip
    shown = tf.cast(tf.clip_by_value(shown + 0.5, 0, 255), tf.uint8)
    return shown if image.several else shown[0]


def _to_grey(pixels: Any) -> Any:
    """Returns uint8 [h, w, 1] of RGB pixels, rounded as Pillow does."""
    import tensorflow as tf

    weighted = tf.cast(pixels, tf.int32) * tf.cast(tf.round(LUMA * 2**16), tf.int32)
    return tf.cast((tf.reduce_sum(weighted, -1, keepdims=True) + 2**15) // 2**16, tf.uint8)
