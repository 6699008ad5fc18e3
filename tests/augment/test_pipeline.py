import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from convnets.augment import host_ops, pipeline
from convnets.errors import UsageError

N = 64


def keys(epoch=0):
    return pipeline.example_keys(3, jnp.full(N, epoch, jnp.int32), jnp.arange(N, dtype=jnp.int32))


def digit(n=9):
    """Returns an image of a bright, off-centre plus sign."""
    image = np.zeros((n, n, 1), np.uint8)
    image[2:7, 4], image[4, 2:7] = 255, 255
    return image


def run(text, images, keys=None):
    return np.asarray(pipeline.apply(pipeline.parse("decode|" + text)[1], keys, images))


def test_decode_gives_the_pixels_of_a_png():
    buffer = io.BytesIO()
    Image.fromarray(digit()[..., 0]).save(buffer, "png")
    seed, ops = np.zeros(2, np.int64), pipeline.parse("decode")[0]
    np.testing.assert_array_equal(host_ops.apply(ops, seed, buffer.getvalue(), 1).numpy(), digit())


def test_deterministic_ops_by_hand():
    image = digit()[None]
    padded = run("pad(2)", image)
    assert (
        padded.shape == (1, 13, 13, 1)
        and padded[0, 2:-2, 2:-2].tolist() == image[0].tolist()
        and padded[0, 0].max() == 0
    )
    np.testing.assert_array_equal(run("center(5)", image), image[:, 2:7, 2:7])
    np.testing.assert_allclose(run("value_range(-0.1, 1.175)", image), np.where(image > 0, 1.175, -0.1), rtol=1e-6)
    assert run("resize(18)", image).shape == (1, 18, 18, 1)
    np.testing.assert_array_equal(run("resize(9)", image), image)


def test_distort_by_nothing_changes_nothing():
    images = np.repeat(digit()[None], N, 0)
    np.testing.assert_allclose(run("distort()", images, keys()), images, atol=1e-3)


def test_distort_translates_by_what_it_draws():
    images = np.repeat(np.pad(digit(), ((8, 8), (8, 8), (0, 0)))[None], N, 0)
    moved = run("distort(translate=3)", images, keys()).astype(float)[..., 0]
    grid = np.arange(25.0)
    mass = moved.sum((1, 2))
    np.testing.assert_allclose(mass, images[0].sum(), rtol=1e-4)  # nothing is shifted out of the image
    shifts = np.stack([(moved.sum(2) @ grid), (moved.sum(1) @ grid)]) / mass - 12
    assert np.abs(shifts).max() <= 3.01 and np.abs(shifts).max() > 2.5
    assert np.abs(shifts.mean(1)).max() < 0.6 and np.all(np.abs(shifts.std(1) - 3**0.5) < 0.4)  # uniform: 3/sqrt(3)


@pytest.mark.parametrize("kind, wider, taller", [("scale=0.5", True, True), ("squeeze=0.5", True, False)])
def test_distort_changes_sizes(kind, wider, taller):
    image = np.zeros((33, 33, 1), np.uint8)
    image[10:23, 10:23] = 255
    moved = run(f"distort({kind})", np.repeat(image[None], N, 0), keys())[..., 0] / 255
    width, height = moved[:, 16].sum(1), moved[:, :, 16].sum(1)
    assert width.max() > 17 and width.min() < 11
    correlation = np.corrcoef(width, height)[0, 1]
    assert correlation > 0.95 if taller else correlation < -0.9


def test_distort_shears_rows_and_rotates():
    line = np.zeros((33, 33, 1), np.uint8)
    line[:, 16] = 255
    images = np.repeat(line[None], N, 0)
    for text, limit in (("distort(shear=0.5)", 0.5), ("distort(rotate=30)", np.tan(np.pi / 6))):
        moved = run(text, images, keys())[..., 0][:, [8, 24]]
        at = (moved @ np.arange(33.0)) / moved.sum(2)
        slope = (at[:, 1] - at[:, 0]) / 16
        assert 0.8 * limit < np.abs(slope).max() <= limit * 1.01


@pytest.mark.parametrize(
    "text, message",
    [
        ("pad(2)", "must begin with decode"),
        ("decode|pad(2)|decode", "put it before the device operations"),
        ("decode|padd(2)", "did you mean 'pad'"),
        ("decode|pad(two=2)", "pad"),
        ("decode|pad('2')", "n must be int"),
        ("decode|value_range(0, 1)|standardize", "put it in front of 'value_range', or give it numbers"),
        ("decode|standardize|subtract_mean", "'subtract_mean' takes statistics of pixels from 0 to 255"),
        ("decode|pad(-3)", "n must be int of at least 0, not -3"),
        ("decode|pad_crop(-3)", "n must be int of at least 0, not -3"),
        ("decode|resize(0)", "n must be int of at least 1, not 0"),
        ("decode|standardize(0.5, 0.5)", r"mean must be \(float, ...\), not 0.5"),
        ("decode|standardize((0.5,), 0.5)", r"std must be \(float, ...\), not 0.5"),
    ],
)
def test_wrong_strings_are_explained(text, message):
    with pytest.raises(UsageError, match=message):
        pipeline.parse(text)
