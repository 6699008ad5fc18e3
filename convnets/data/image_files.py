"""Loads image files and prepares them for a network in the same way as test images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convnets.augment import host_ops, pipeline
from convnets.augment.statistics import load_statistics
from convnets.data import image_formats
from convnets.errors import UsageError
from convnets.op_string import Call

ORIENTATION = 0x0112  # of EXIF; 1 is upright


def read(files: Sequence[str], facts: Mapping[str, Any], test_ops: str, invert: bool) -> np.ndarray:
    """Reads image files and applies the host operations of test images: returns uint8 [n, h, w, c].

    Args:
        facts: data set facts from the manifest: 'image_shape' and 'dark_background'.
        test_ops: the augmentation string of test images.
        invert: whether to invert the pixel values, so that dark becomes light.

    Raises:
        UsageError: a file cannot be read as an image.
    """
    height, width, channels = facts["image_shape"]
    host, _ = pipeline.parse(test_ops, test=True)
    keeps_size = {call.name for call in host} <= {"decode", "grey"}
    pixels = []
    for name in files:
        image = _open(name)
        if channels == 1:
            image = image.convert("L")
        if keeps_size:  # no host operation sets the size, so match the data set
            image = image.resize((width, height), Image.Resampling.BOX)
        array = np.asarray(image, np.uint8).reshape(*image.size[::-1], channels)
        edge = np.concatenate([array[0], array[-1], array[:, 0], array[:, -1]])
        if invert:
            array = 255 - array
        elif facts["dark_background"] and np.median(edge) > 127:
            print(f"note: {name} has a light background, the training images a dark one; --invert turns it round")
        pixels.append(array if keeps_size else host_ops.show(host, array))
    return np.stack(pixels)


def _open(name: str) -> Image.Image:
    """Opens an image file as 8-bit RGB; prints a note about what is read otherwise than other programs show it."""
    try:
        with Image.open(name) as image:
            if image.getexif().get(ORIENTATION, 1) != 1:
                print(f"note: {name} is stored rotated (EXIF); it is read as stored, as training images are")
            if image.has_transparency_data:
                print(f"note: {name} has transparent parts; they are white, as in training images")
            return image_formats.to_rgb(image)
    except Exception as e:  # Pillow raises many kinds of errors
        reason = next(iter(str(e).strip().splitlines()), type(e).__name__)
        raise UsageError(f"{name} cannot be read as an image: {reason}") from None


def operations(test_ops: str, workdir: Path) -> list[Call]:
    """Returns the device operations of test images, given the training-set statistics saved in `workdir`.

    Raises:
        UsageError: an operation needs statistics, and `workdir` holds none.
    """
    ops: list[Call] = pipeline.parse(test_ops, test=True)[1]
    if not pipeline.needs_statistics(ops):
        return ops
    kept = workdir / "statistics.npz"
    if not kept.exists():
        raise UsageError(
            f"data.test_ops '{test_ops}' needs the training set's statistics, and {workdir} holds none:"
            " give numbers in their place, such as subtract_mean(124, 116, 104)"
        )
    return pipeline.bind(ops, load_statistics(kept))
