"""Finds and loads image files, and prepares them for a network in the same way as test images."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from convnets.augment import host_ops, pipeline
from convnets.augment.statistics import load_statistics
from convnets.data import digit_photos, image_formats
from convnets.data.folders import SUFFIXES
from convnets.errors import UsageError, first_line
from convnets.op_string import Call
from convnets.runtime import files

ORIENTATION = 0x0112  # of EXIF; 1 is upright


def find(name: str) -> list[str]:
    """Returns the image files that a name stands for: a file, a folder with all that lies in it, or a glob; sorted.

    In folders and globs, files without a suffix of `folders.SUFFIXES` and hidden files are passed over.
    """
    if files.is_file(name):
        return [name]
    pattern = f"{glob.escape(name)}/**" if Path(name).is_dir() else name
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    return [path for path in found if Path(path).suffix.lower() in SUFFIXES and files.is_file(path)]


def read(
    images: Sequence[str | Path | np.ndarray], facts: Mapping[str, Any], test_ops: str, invert: bool
) -> np.ndarray:
    """Reads images and applies the host operations of test images: returns uint8 [n, h, w, c].

    Images for a network trained on MNIST are taken for photographs of one digit each, unless they have MNIST's size
    already: they are turned upright, and the digit is cut out (`digit_photos`).

    Args:
        images: image files, or pixels, uint8 [h, w, 1 or 3] or [h, w]; [h, w, 4] too if the data set has 4 channels, of which
            the last is the opacity.
        facts: data set facts, see `network.load_facts`.
        test_ops: the augmentation string of test images.
        invert: whether to invert the pixel values, so that dark becomes light.

    Raises:
        UsageError: a file cannot be read as an image, or an array is none.
    """
    height, width, channels = facts["image_shape"]
    host, _ = pipeline.parse(test_ops, test=True)
    keeps_size = {call.name for call in host} <= {"decode", "grey"}
    of_digits = facts.get("name") == "mnist"
    pixels = []
    for name in images:
        mode = "RGBA" if channels == 4 else "RGB"
        image = _from_pixels(name, mode) if isinstance(name, np.ndarray) else _open(name, mode, upright=of_digits)
        if channels == 1:
            image = image.convert("L")
        photo = of_digits and image.size != (width, height)
        if photo:
            image = Image.fromarray(digit_photos.normalize(np.asarray(image)))
        if keeps_size:  # no host operation sets the size, so match the data set
            image = image.resize((width, height), Image.Resampling.BOX)
        array = np.asarray(image, np.uint8).reshape(*image.size[::-1], channels)
        edge = np.concatenate([array[0], array[-1], array[:, 0], array[:, -1]])
        if invert and not photo:
            array = np.concatenate([255 - array[..., :3], array[..., 3:]], axis=-1)
        elif facts["dark_background"] and np.median(edge) > 127 and not isinstance(name, np.ndarray):
            print(f"note: {name} has a light background, the training images a dark one; --invert inverts it")
        pixels.append(array if keeps_size else host_ops.show(host, array))
    return np.stack(pixels)


def _from_pixels(array: np.ndarray, mode: str) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (len(mode),)):
        channels = "1, 3 or 4" if mode == "RGBA" else "1 or 3"
        raise UsageError(
            f"an image is uint8 [height, width, {channels}], this one {array.dtype} {list(array.shape)}; give a list of images,"
            f" or their array [n, height, width, {channels}]"
        )
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array).convert(mode)


def _open(name: str | Path, mode: str, upright: bool) -> Image.Image:
    """Opens an image file as 8-bit RGB or RGBA; prints a note if other programs show it differently."""
    try:
        with Image.open(name) as image:
            if upright:
                ImageOps.exif_transpose(image, in_place=True)
            if image.getexif().get(ORIENTATION, 1) != 1:
                print(f"note: {name} is stored rotated (EXIF); it is read as stored, as training images are")
            if image.has_transparency_data and mode == "RGBA":
                return image.convert(mode)
            if image.has_transparency_data:
                print(f"note: {name} has transparent parts; they are white, as in training images")
            return image_formats.to_rgb(image).convert(mode)
    except Exception as e:  # Pillow raises many kinds of errors
        raise UsageError(f"{name} cannot be read as an image: {first_line(e)}") from None


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
