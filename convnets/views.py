"""Host operations of the augmentation language: one encoded image to uint8 pixels of fixed size, with TensorFlow."""

from collections.abc import Callable
from typing import Any


def decode(image: Any, channels: int) -> Any:
    """An encoded image (a string tensor) to uint8 [h, w, channels]."""
    import tensorflow as tf

    return tf.io.decode_image(image, channels=channels, expand_animations=False)


HOST: dict[str, Callable[..., Any]] = {"decode": decode}
