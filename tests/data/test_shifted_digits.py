"""Sets of binary digits at four positions: LeCun's design of 1989 (CRG-TR-89-4, section 4)."""

import numpy as np
import pytest

from configs import ablation
from convnets.data.builders import shifted_digits
from convnets.data.builders.shifted_digits import COLUMNS, DIGITS, POSITIONS, ROWS, TRAIN, draw, make_set


@pytest.fixture(scope="module")
def digits():
    """Returns strokes of random places and sizes, uint8 [10, DIGITS, 28, 28], that differ from each other."""
    rng, made = np.random.default_rng(0), np.zeros((10, DIGITS, 28, 28), np.uint8)
    for digit in made.reshape(-1, 28, 28):
        top, left, height, width = *rng.integers(0, 8, 2), *rng.integers(8, 20, 2)
        digit[top : top + height, left : left + width] = 255 * (rng.random((height, width)) < 0.5)
    return made


def test_a_digit_fills_16_rows_or_13_columns_in_two_values(digits):
    for digit in digits[0]:
        drawn = draw(digit)
        assert drawn.shape == (16, 13) and drawn.dtype == np.uint8 and set(np.unique(drawn)) == {0, 255}
    bar = np.zeros((28, 28), np.uint8)
    bar[4:24, 12:16] = 200  # 20 x 4 pixels
    assert draw(bar).any(1).all() and draw(bar).any(0).sum() == 3
    np.testing.assert_array_equal(np.flatnonzero(draw(bar.T).any(1)), [6, 7, 8])  # 13 columns, in the middle
    assert draw(bar.T).any(0).all()


def test_a_set_has_32_training_and_16_test_images_of_each_class(digits):
    """12 digits at four positions are 48 images, each in one of the two parts."""
    (train, train_labels), (test, test_labels) = (make_set(list(digits), 7, training) for training in (True, False))
    assert train.shape == (320, 16, 16) and test.shape == (160, 16, 16)
    assert np.bincount(train_labels).tolist() == [32] * 10 and np.bincount(test_labels).tolist() == [16] * 10
    for label in range(10):
        expected = []
        for digit in digits[label]:
            for at in range(POSITIONS):
                image = np.zeros((ROWS, COLUMNS + POSITIONS - 1), np.uint8)
                image[:, at : at + COLUMNS] = draw(digit)
                expected.append(image)
        found = [*train[np.array(train_labels) == label], *test[np.array(test_labels) == label]]
        assert sorted(map(bytes, found)) == sorted(map(bytes, expected)) and len(set(map(bytes, found))) == 48


def test_every_seed_draws_other_training_images(digits):
    first, again, second = (make_set(list(digits), seed, True)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert set(map(bytes, first)) != set(map(bytes, second))


def test_the_config_knows_the_number_of_sets():
    assert ablation.SETS == shifted_digits.SETS and TRAIN == 320 // 10
    assert 12 * shifted_digits.SETS <= 5421  # the rarest digit of MNIST, 5
