"""TFDS builder of the 1,797 handwritten 8 x 8 digits that scikit-learn ships; needs no download.

The source is UCI Optical Recognition of Handwritten Digits (Alpaydin & Kaynak 1998), the part in scikit-learn. The
train/test split is ours: 36 test digits per class, spaced evenly over the class's digits, which are ordered by writer.
"""

import numpy as np
import tensorflow_datasets as tfds

TEST_PER_CLASS = 36


def split(labels: np.ndarray) -> np.ndarray:
    """Returns an [n] mask for [n] labels, True for the test split: 36 of each class."""
    test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        test[members[np.arange(TEST_PER_CLASS) * len(members) // TEST_PER_CLASS]] = True
    return test


class Digits(tfds.core.GeneratorBasedBuilder):
    """1,437 training and 360 test digits, uint8 8 x 8 (17 grey levels scaled to 0 to 255)."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(8, 8, 1)),
            "label": tfds.features.ClassLabel(num_classes=10),
        })  # fmt: skip
        keys = ("image", "label")
        return self.dataset_info_from_configs(features=features, supervised_keys=keys, description=__doc__)

    def _split_generators(self, dl_manager):
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        test = split(digits.target)
        return {
            name: self._generate_examples(images[mask], digits.target[mask])
            for name, mask in (("train", ~test), ("test", test))
        }

    def _generate_examples(self, images, labels):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield i, {"image": image, "label": int(label)}
