"""What a folder of images holds: PATH/split/class/image, and what else people and programs leave there."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convnets.data import image_formats
from convnets.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
LAYOUT = f"PATH/split/class/image, images as {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
# What programs leave behind, beside names that begin with a dot; never a split, a class or an image.
JUNK = {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information", "lost+found", "thumbs.db",
        "ehthumbs.db", "desktop.ini"}  # fmt: skip


class ImageFiles:
    """Image files of any format, accessed by index."""

    def __init__(self, paths: Sequence[str]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Reads the images at [n] indices into an [n] object array of bytes, in a format that TensorFlow decodes.

        Raises:
            DataError: a file is missing or cannot be read.
        """
        contents = np.empty(len(indices), object)
        for i, index in enumerate(indices):
            try:
                contents[i] = image_formats.to_decodable(Path(self.paths[index]).read_bytes())
            except OSError as e:
                raise DataError(f"{self.paths[index]}: {e.strerror}") from None
        return contents

    def name(self, index: int) -> str:
        """Returns the path of an image file."""
        return self.paths[index]


def _entries(folder: Path) -> list[os.DirEntry]:
    """Returns the content of a folder without JUNK, sorted by name.

    Raises:
        DataError: the folder cannot be read, or a link in it leads nowhere.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(
                (e for e in found if e.name[0] != "." and e.name.lower() not in JUNK), key=lambda e: e.name
            )
    except OSError as e:
        raise DataError(f"{folder}: {e.strerror}") from None
    broken = [Path(e.path) for e in entries if e.is_symlink() and not Path(e.path).exists()]
    if broken:
        raise DataError(f"{broken[0]} is a link to {broken[0].readlink()}, which does not exist"
                        + f" (one of {len(broken)} such links there)" * (len(broken) > 1))  # fmt: skip
    return entries


def list_folders(path: Path) -> list[str]:
    """Returns the names of the folders in a folder, sorted."""
    return [e.name for e in _entries(path) if e.is_dir()]


def list_classes(root: Path) -> list[str]:
    """Returns the classes of all splits, sorted; their positions are the labels."""
    return sorted({name for split in list_folders(root) for name in list_folders(root / split)})


def scan_split(split: Path) -> tuple[list[Path], Counter[str]]:
    """Returns a split's images, as class/image, and the number of other files by kind."""
    images, passed = [], Counter[str]()
    for entry in _entries(split):
        if not entry.is_dir():
            passed["beside the classes"] += 1
            continue
        for file in _entries(Path(entry.path)):
            suffix = Path(file.name).suffix.lower()
            if file.is_dir():
                passed["in deeper folders"] += sum(len(names) for _, _, names in os.walk(file.path))
            elif file.is_file() and suffix in SUFFIXES:
                images.append(Path(entry.name, file.name))
            else:
                passed[suffix or "without a suffix"] += 1
    return images, +passed
