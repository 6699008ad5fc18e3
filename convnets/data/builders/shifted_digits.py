"""TFDS builder of small sets of binary digits, each at four positions, made from MNIST's training digits.

The design is that of LeCun 1989 (Generalization and network design strategies, section 4), whose digits are not public: 12
digits of each class, which one person drew with a mouse on 16 rows of 13 pixels; each stands at four consecutive positions
in 16 x 16 pixels. Of these 480 images 32 of each class are drawn at random for training, and 16 are for testing. So most
test images have a shifted copy among the training images.

Ours are of many writers. A digit is scaled to fill the 16 x 13 pixels, as far as its proportions allow; a pixel of at least
half the ink is black.
"""

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

SETS = 120  # 57,600 images; set k has the digits 12 k to 12 k + 11 of each class
DIGITS, TRAIN = 12, 32  # of each class: the digits of a set, its training images
ROWS, COLUMNS, POSITIONS = 16, 13, 4


class ShiftedDigits(tfds.core.GeneratorBasedBuilder):
    """SETS sets one after the other, each of 320 training and 160 test images, uint8 16 x 16: 0 (paper) or 255 (ink)."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(ROWS, COLUMNS + POSITIONS - 1, 1)),
            "label": tfds.features.ClassLabel(num_classes=10),
        })  # fmt: skip
        keys = ("image", "label")
        return self.dataset_info_from_configs(
            features=features, supervised_keys=keys, description=__doc__, disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        from convnets.data import sources

        mnist = sources.builder("mnist", self.data_path.parents[1]).as_dataset("train", batch_size=-1)
        images, labels = mnist["image"].numpy()[..., 0], mnist["label"].numpy()
        of_class = [images[np.flatnonzero(labels == label)[: SETS * DIGITS]] for label in range(10)]
        return {split: self._generate_examples(of_class, split == "train") for split in ("train", "test")}

    def _generate_examples(self, of_class, training):
        number = 0
        for k in range(SETS):
            for image, label in zip(
                *make_set([d[DIGITS * k : DIGITS * (k + 1)] for d in of_class], k, training), strict=True
            ):
                yield number, {"image": image[..., None], "label": label}
                number += 1


def make_set(digits: list[np.ndarray], seed: int, training: bool) -> tuple[np.ndarray, list[int]]:
    """Makes the training or the test images of a set.

    Args:
        digits: uint8 [DIGITS, h, w] of each class.
        seed: of the draw of the training images.

    Returns:
        uint8 [n, 16, 16] and n labels, class by class.
    """
    rng = np.random.Generator(np.random.Philox(key=seed))
    images, labels = [], []
    for label, members in enumerate(digits):
        drawn = [
            np.pad(draw(digit), ((0, 0), (at, POSITIONS - 1 - at))) for digit in members for at in range(POSITIONS)
        ]
        order = rng.permutation(len(drawn))
        chosen = order[:TRAIN] if training else order[TRAIN:]
        images += [drawn[i] for i in chosen]
        labels += [label] * len(chosen)
    return np.stack(images), labels


def draw(digit: np.ndarray) -> np.ndarray:
    """Returns a grey digit, uint8 [h, w], as a bitmap of 0 and 255, uint8 [16, 13], scaled to fill it and centred."""
    rows, columns = (np.flatnonzero((digit > 127).any(axis)) for axis in (1, 0))
    cut = Image.fromarray(digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    scale = min(ROWS / cut.height, COLUMNS / cut.width)
    width, height = max(1, round(scale * cut.width)), max(1, round(scale * cut.height))
    small = np.asarray(cut.resize((width, height), Image.Resampling.BILINEAR))
    top, left = (ROWS - height) // 2, (COLUMNS - width) // 2
    ink = np.where(small > 127, np.uint8(255), np.uint8(0))
    return np.pad(ink, ((top, ROWS - height - top), (left, COLUMNS - width - left)))
