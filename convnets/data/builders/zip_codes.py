"""TFDS builder of handwritten digits from US zip codes on 16 x 16 pixels; its two files are downloaded by hand.

The files are zip.train and zip.test of Hastie, Tibshirani, Friedman: The elements of statistical learning, given by AT&T's
neural network group. They hold 7,291 and 2,007 digits, as many as LeCun et al. 1989 (Backpropagation applied to handwritten
zip code recognition) train and test on. Their description calls them deslanted, and cites a paper of 1990. So they are likely
the digits of 1989; that the pixels are the same is not proven.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from convnets.errors import DataError

SIDE = 16


class ZipCodes(tfds.core.GeneratorBasedBuilder):
    """7,291 training and 2,007 test digits, float32 16 x 16, from 0 (paper) to 1 (ink) in steps of 1/2000, in the files' order.

    The loader makes bytes of them (`convnets.data.sources`), which moves the files' values from -1 to 1 by at most 0.004. It
    changes none of the decisions of a LeNet-1989 about the training digits.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "zip.train and zip.test, or both with .gz, from the web page of the book 'The elements of statistical learning'"
    )

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(SIDE, SIDE, 1), dtype=np.float32),
            "label": tfds.features.ClassLabel(num_classes=10),
        })  # fmt: skip
        keys = ("image", "label")
        return self.dataset_info_from_configs(
            features=features, supervised_keys=keys, description=__doc__, disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        files = {split: find(Path(dl_manager.manual_dir), f"zip.{split}") for split in ("train", "test")}
        return {split: self._generate_examples(*read(path)) for split, path in files.items()}

    def _generate_examples(self, images, labels):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield i, {"image": image, "label": int(label)}


def find(folder: Path, name: str) -> Path:
    """Returns the file `name` or `name`.gz of a folder.

    Raises:
        DataError: it holds neither.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"{folder} holds neither {name} nor {name}.gz; put there {ZipCodes.MANUAL_DOWNLOAD_INSTRUCTIONS}")


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads a file of lines of a label and 256 values from -1 to 1.

    Returns:
        float32 [n, 16, 16, 1] from 0 to 1, and int [n] labels.

    Raises:
        DataError: the file is damaged or has another content.
    """
    wanted = f"{path} does not hold lines of a digit and {SIDE * SIDE} values from -1 to 1"
    try:
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        rows = np.array([line.split() for line in text.splitlines()], np.float64)
    except (OSError, EOFError, ValueError, zlib.error) as e:  # a damaged archive; lines of several lengths; words
        raise DataError(f"{wanted}: {e}") from None
    if rows.ndim != 2 or rows.shape[1] != 1 + SIDE * SIDE:
        raise DataError(f"{wanted}: its shape is {' x '.join(map(str, rows.shape))}")
    labels, values = rows[:, 0], rows[:, 1:]
    if not np.isin(labels, range(10)).all() or not (np.abs(values) <= 1).all():
        raise DataError(f"{wanted}: there are others")
    images = ((values + 1) / 2).astype(np.float32).reshape(-1, SIDE, SIDE, 1)
    return images, labels.astype(int)
