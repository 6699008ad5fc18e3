"""TFDS builder of the digits 0 to 4 on 16 x 16 pixels, for the neocognitron; needs no download.

Fukushima (1980) draws such digits with a pen one cell wide and presents them at varying positions. He tests the network
on shifted, distorted and noisy digits. His drawings are not available; these are our own.
"""

import itertools

import numpy as np
import tensorflow_datasets as tfds

SIDE, SHIFT = 16, 2

DIGITS = """
..###.. ...#... .####.. #####.. ....#..
.#...#. ..##... #....#. ....#.. ...##..
#.....# .#.#... .....#. ...#... ..#.#..
#.....# ...#... .....#. ..##... .#..#..
#.....# ...#... ....#.. ....#.. #...#..
#.....# ...#... ...#... .....#. #######
#.....# ...#... ..#.... .....#. ....#..
.#...#. ...#... .#..... #....#. ....#..
..###.. ...#... ######. .####.. ....#..
"""
DISTORTED = {
    "tall": """
..###.. ...#... .####.. #####.. .....#.
.#...#. ..##... #....#. ....#.. ....##.
#.....# .#.#... .....#. ...#... ...#.#.
#.....# ...#... .....#. ..#.... ..#..#.
#.....# ...#... .....#. ..##... ..#..#.
#.....# ...#... ....#.. ....#.. .#...#.
#.....# ...#... ...#... .....#. #....#.
#.....# ...#... ..#.... .....#. #######
#.....# ...#... .#..... .....#. .....#.
.#...#. ...#... #...... #....#. .....#.
..###.. ...#... ######. .####.. .....#.
""",
    "wide": """
..#####.. ....#.... ..#####.. .######.. .....#...
.#.....#. ...##.... .#.....#. .....#... ....##...
#.......# ..#.#.... .......#. ....#.... ...#.#...
#.......# ....#.... .......#. ...##.... ..#..#...
#.......# ....#.... .....##.. .....##.. .#...#...
#.......# ....#.... ...##.... .......#. #########
#.......# ....#.... ..#...... .......#. .....#...
.#.....#. ....#.... .#....... #.....#.. .....#...
..#####.. ....#.... ########. .#####... .....#...
""",
    "slanted": """
....###.. .....#... ...####.. ..#####.. ......#..
...#...#. ....##... ..#....#. ......#.. .....##..
..#.....# ...#.#... .......#. .....#... ....#.#..
.#......# .....#... .......#. ...##.... ..##.#...
.#.....#. ....#.... ......#.. .....#... .#...#...
#......#. ....#.... ....##... .....#... ########.
#.....#.. ....#.... ..##..... .....#... ....#....
.#...#... ...#..... .#....... #...#.... ....#....
..###.... ...#..... ######... .###..... ...#.....
""",
    "noisy": """
..##... ...#... .#.##.. ##.##.. ....#.#
.#...#. ..##..# #....#. ....#.. ...##..
#...... .#.#... .....#. ...#... ..#.#..
#..#..# ......# .#...#. .###..# ....#..
#.....# ...#... ....#.. ....#.. #...#..
......# ...#... ...#... .....#. ###.###
#.....# .#.#... ..#...# .....#. ....#..
.#...#. ...#... .#..... #....#. .#..#..
#.###.. ...#... ####.#. .#.##.. ....#..
""",
}


def draw(text: str) -> np.ndarray:
    """Converts five bitmaps side by side to uint8 [5, 16, 16, 1]; digits are centred and ink is 255."""
    rows = [line.split() for line in text.strip().splitlines()]
    digits = np.array([[[c == "#" for c in r[i]] for r in rows] for i in range(len(rows[0]))])
    room = [((SIDE - n) // 2, SIDE - n - (SIDE - n) // 2) for n in digits.shape[1:]]
    return 255 * np.pad(digits, [(0, 0), *room]).astype(np.uint8)[..., None]


def deformed(digits: np.ndarray) -> list[np.ndarray]:
    """Returns seven deformed versions of the digits, each [5, 16, 16, 1].

    In order: one cell taller, shorter, wider and narrower; slanted to either side; with three random cells flipped.
    """
    slant = np.repeat([1, 0, -1], (6, 3, 7))  # shift of each row; the digits occupy rows 3 to 11
    found = []
    for axis, middle in ((1, 7), (2, 6)):
        longer = np.insert(digits, middle, np.take(digits, middle, axis), axis)
        found += [np.take(longer, range(SIDE), axis)]
        shorter = np.delete(digits, middle, axis)
        found += [np.concatenate([shorter, np.zeros_like(np.take(digits, [0], axis))], axis)]
    for by in (slant, -slant):
        found += [np.stack([np.roll(digits[:, row], n, 1) for row, n in enumerate(by)], axis=1)]
    noisy, rng = digits.copy(), np.random.default_rng(0)
    for image in noisy:
        image[tuple(rng.integers(3, 12, (2, 3)))] ^= 255
    return [*found, noisy]


class Stimuli(tfds.core.GeneratorBasedBuilder):
    """Digits 0 to 4, uint8 16 x 16, with 5 training images.

    Test splits: 'test' holds all 125 images shifted by up to 2 cells, 'deformed' 35 slightly deformed ones (by rule),
    and 'distorted' 20 distorted ones (drawn).
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(SIDE, SIDE, 1)),
            "label": tfds.features.ClassLabel(num_classes=5),
        })  # fmt: skip
        keys = ("image", "label")
        return self.dataset_info_from_configs(features=features, supervised_keys=keys, description=__doc__)

    def _split_generators(self, dl_manager):
        digits = draw(DIGITS)
        shifts = itertools.product(range(-SHIFT, SHIFT + 1), repeat=2)
        return {
            "train": self._generate_examples([digits]),
            "test": self._generate_examples([np.roll(digits, by, (1, 2)) for by in shifts]),
            "deformed": self._generate_examples(deformed(digits)),
            "distorted": self._generate_examples([draw(text) for text in DISTORTED.values()]),
        }

    def _generate_examples(self, sets):
        for i, (n, label) in enumerate(itertools.product(range(len(sets)), range(5))):
            yield i, {"image": sets[n][label], "label": label}
