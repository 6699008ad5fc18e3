import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets import op_string
from convnets.augment import device_ops, pipeline
from convnets.augment.statistics import measure_statistics
from convnets.errors import UsageError
from convnets.evaluation import protocols
from tests.conftest import products

N = 2000
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (50, 6, 6, 3), dtype=np.uint8)
FOUND = measure_statistics(np.array_split(COLOURS, 3))


def keys(n=N, epoch=0):
    return pipeline.example_keys(7, jnp.full(n, epoch, jnp.int32), jnp.arange(n, dtype=jnp.int32))


def run(text, images, keys=None):
    test = bool({"five_crop", "with_flip"} & {word.split("(")[0] for word in text.split("|")})
    calls = pipeline.bind(pipeline.parse("decode|" + text, test)[1], FOUND)
    return np.asarray(pipeline.apply(calls, keys, images))


def places(side):
    """Returns images whose pixels encode their position: row in channel 0, column in channel 1."""
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).astype(np.uint8)
    return np.repeat(grid[None], N, 0)


def test_statistics_are_those_of_numpy():
    x = COLOURS.astype(np.float64)
    np.testing.assert_allclose(FOUND.mean_image, x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(FOUND.mean, x.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(FOUND.std, x.std((0, 1, 2)), rtol=1e-6)
    covariance = np.cov(x.reshape(-1, 3).T, bias=True)
    rebuilt = FOUND.eigenvectors @ np.diag(FOUND.eigenvalues) @ FOUND.eigenvectors.T
    np.testing.assert_allclose(rebuilt, covariance, atol=1e-2)
    assert (np.diff(FOUND.eigenvalues) >= 0).all()


def test_crop_takes_every_place_equally_often():
    crops = run("crop(4)", places(8), keys()).astype(int)
    top, left = crops[:, 0, 0, 0], crops[:, 0, 0, 1]
    np.testing.assert_array_equal(crops[:, 3, 3], np.stack([top + 3, left + 3], -1))
    counts = np.histogram2d(top, left, bins=[range(6), range(6)])[0]  # 25 positions, 80 crops each
    assert counts.sum() == N and counts.min() > 40 and counts.max() < 130
    assert abs(np.corrcoef(top, left)[0, 1]) < 0.1


def test_pad_crop_has_nine_offsets_for_four():
    shifted = run("pad_crop(4)", places(9) + np.uint8(1), keys()).astype(int)
    middle = shifted[:, 4, 4, 0] - 5
    assert sorted(set(middle.tolist())) == list(range(-4, 5))  # nine offsets; pycls never draws the last
    assert shifted.shape[1:3] == (9, 9) and (shifted[middle == -4][:, :4] == 0).all()


def test_flip_is_a_fair_coin_for_each_image():
    flipped = run("flip", places(5), keys())[:, 0, 0, 1] == 4
    assert 0.45 < flipped.mean() < 0.55
    again = run("flip", places(5), keys(epoch=1))[:, 0, 0, 1] == 4
    assert 0.4 < (flipped == again).mean() < 0.6


def test_views_stand_one_after_the_other():
    two = places(6)[:2].copy()
    two[1] += 100
    views = run("five_crop(4)|with_flip", two)
    assert views.shape == (20, 4, 4, 2)
    corners = [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)]
    for (image, base), (number, (top, left)) in itertools.product(enumerate((0, 100)), enumerate(corners)):
        at = (image * 5 + number) * 2
        np.testing.assert_array_equal(views[at, 0, 0], [top + base, left + base])
        np.testing.assert_array_equal(views[at + 1], views[at][:, ::-1])


def test_views_of_the_host_are_flattened():
    assert pipeline.apply([], None, np.zeros((2, 3, 4, 4, 1), np.uint8)).shape == (6, 4, 4, 1)


def test_shift_moves_down_and_right_and_fills():
    image = places(4)[:1]
    moved = run("shift(1, -2, 9)", image)
    np.testing.assert_array_equal(moved[0, 1:, :2], image[0, :3, 2:])
    assert (moved[0, 0] == 9).all() and (moved[0, :, 2:] == 9).all()


def test_deslant_makes_a_slanted_bar_upright():
    upright, slanted = np.zeros((2, 1, 9, 20, 1), np.uint8)
    for row in range(9):
        upright[0, row, 9:11] = 255
        slanted[0, row, 5 + row : 7 + row] = 255  # one pixel to the right in each row, through the same centre
    np.testing.assert_allclose(run("deslant", slanted), upright, atol=1e-2)
    np.testing.assert_allclose(run("deslant", upright), upright, atol=1e-2)
    half = slanted.copy()
    half[0, ::2] //= 4  # pixels below one half do not count, and move with the others
    moved = run("deslant", half)
    np.testing.assert_allclose(moved[0, :, 9:11, 0], half.max(axis=2)[0] * np.ones(2), atol=1e-2)


def test_light_has_a_strength_and_falls_from_left_to_right():
    x = np.full((1, 2, 3, 1), 10, np.uint8)
    np.testing.assert_allclose(run("brightness_gradient(0.5)", x), 5.0)
    np.testing.assert_allclose(run("brightness_gradient(2, 0.25)", x)[0, 1, :, 0], [25, 20, 15])


def test_subtract_mean_of_pixels_of_colours_and_given():
    x = COLOURS.astype(np.float32)
    np.testing.assert_allclose(run("subtract_mean", COLOURS), x - x.mean(0), atol=1e-4)
    np.testing.assert_allclose(run("subtract_mean('colour')", COLOURS), x - x.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(run("subtract_mean(1, 2.5, 3)", COLOURS), x - [1, 2.5, 3], atol=1e-4)
    np.testing.assert_allclose(run("standardize", COLOURS).std((0, 1, 2)), 1, rtol=1e-5)
    given = run("standardize((1, 2, 3), (4, 5, 6))", COLOURS)
    np.testing.assert_allclose(given, (x - [1, 2, 3]) / [4, 5, 6], rtol=1e-5)


def test_a_crop_loses_the_central_patch_of_the_mean_image_wherever_it_was_taken():
    """cuda-convnet, convdata.py, lines 77 and 85; its mirror images lose the same patch, not its mirror image."""
    x, mean = COLOURS.astype(np.float32), COLOURS.mean(0, dtype=np.float64)
    crops = run("crop(4)|flip", COLOURS, keys(50))
    np.testing.assert_allclose(
        run("crop(4)|flip|subtract_mean('center')", COLOURS, keys(50)), crops - mean[1:5, 1:5], atol=1e-4
    )
    (part,) = protocols.parts("ten_crop", "decode|center(4)|subtract_mean('center')")
    views = run(op_string.write(part.passes[0]).removeprefix("decode|"), COLOURS)
    np.testing.assert_allclose(views[:2], np.stack([x[0, :4, :4], x[0, :4, 3::-1]]) - mean[1:5, 1:5], atol=1e-4)


@pytest.mark.parametrize("formula", ["eigenvalue", "deviation"])
def test_lighting_is_one_draw_an_image_along_the_components(formula):
    """cuda-convnet2, convdata.py, lines 181 to 183: (x + noise) / (1 + s)."""
    x = np.repeat(COLOURS[:1], N, 0)
    kept = 1.1 if formula == "deviation" else 1
    noise = kept * run(f"lighting(0.1, '{formula}')", x, keys()) - x
    assert np.ptp(noise, axis=(1, 2)).max() < 1e-3  # the same for every pixel
    draws = noise[:, 0, 0] @ FOUND.eigenvectors  # projected back on the components
    expected = 0.1 * (FOUND.eigenvalues / 255 if formula == "eigenvalue" else np.sqrt(FOUND.eigenvalues))
    np.testing.assert_allclose(draws.std(0), expected, rtol=0.05)  # the former x / 1.1 + noise is 10 % larger
    assert (np.abs(draws.mean(0)) < 0.1 * expected).all()


def test_photometric_changes_what_it_says_and_in_every_order():
    x = np.repeat(RNG.integers(90, 120, (1, 4, 4, 3), dtype=np.uint8), N, 0)  # far from the clipping limits
    gray = x[0] @ [0.299, 0.587, 0.114]
    for text, centre, limit in (("brightness=0.5, contrast=0, saturation=0", 0, 0.5),
                                ("brightness=0, contrast=0.3, saturation=0", gray.mean(), 0.3),
                                ("brightness=0, contrast=0, saturation=0.4", gray[..., None], 0.4)):  # fmt: skip
        changed = run(f"color_jitter({text})", x, keys())
        factor = ((changed - centre) / (x - centre))[:, 0, 0, 0]
        np.testing.assert_allclose(changed - centre, factor[:, None, None, None] * (x - centre), atol=0.02)
        assert 1 - limit <= factor.min() < 1 - 0.95 * limit and 1 + 0.95 * limit < factor.max() <= 1 + limit
        assert abs(factor.mean() - 1) < 0.03
    # fb.resnet.torch, transforms.lua, lines 205 to 256
    free = run("color_jitter(0.4, 0.4, 0.4, clip=False)", 2 * x, keys())
    assert free.max() > 255 and (run("color_jitter(0.4, 0.4, 0.4)", 2 * x, keys()).max() == 255)
    both = run("color_jitter(0.5, 0.5, 0.5)", x, keys())
    assert both.min() >= 0 and both.max() <= 255 and len(np.unique(both[:, 0, 0, 0])) > N / 2


def test_noise_has_its_deviation():
    added = run("noise(3)", np.full((200, 8, 8, 3), 100, np.uint8), keys(200)) - 100
    assert abs(added.std() - 3) < 0.05 and abs(added.mean()) < 0.05


def test_rotate_and_scale_are_distortions():
    x = RNG.integers(0, 256, (8, 9, 9, 1), dtype=np.uint8)
    np.testing.assert_array_equal(run("rotate(20)", x, keys(8)), run("distort(rotate=20)", x, keys(8)))
    np.testing.assert_array_equal(run("scale(1.2)", x, keys(8)), run("distort(scale=0.1823215567939546)", x, keys(8)))


RANDOM = ["crop(4)", "pad_crop(2)", "flip", "lighting(0.1)", "color_jitter", "noise(2)", "distort(translate=1, scale=0.1, shear=0.2)",
          "rotate(20)", "scale(1.1)"]  # fmt: skip


@pytest.mark.parametrize("text", RANDOM)
def test_random_operations_depend_on_the_example_alone(text):
    """The result does not depend on the batch, and is the same compiled and eager."""
    assert {t.split("(")[0] for t in RANDOM} == {op.name for op in device_ops.DEVICE.values() if op.random}
    x = COLOURS[:8]
    whole = run(text, x, keys(8))
    np.testing.assert_allclose(run(text, x[5:6], keys(8)[5:6]), whole[5:6], atol=1e-2)
    calls = pipeline.bind(pipeline.parse("decode|" + text)[1], FOUND)
    np.testing.assert_allclose(jax.jit(lambda k, i: pipeline.apply(calls, k, i))(keys(8), x), whole, atol=1e-2)
    assert np.abs(run(text, x, keys(8, epoch=1)) - whole).max() > 0.1
    with pytest.raises(UsageError, match=f"'{text.split('(')[0]}' is random"):
        pipeline.parse("decode|" + text, test=True)


@pytest.mark.parametrize("text, message", [
    ("crop(7)", "crop.7.: the image is only 6 x 6"),
    ("center(7)", "center.7.: the image is only 6 x 6"),
    ("center(0)", "n must be int of at least 1, not 0"),
    ("five_crop(9)", "five_crop.9.: the image is only"),
    ("center(4)|subtract_mean", "subtract_mean: the mean image is 6 x 6 x 3"),
    ("pad(1)|subtract_mean('center')", "subtract_mean: the mean image is 6 x 6 x 3, here the image is 8 x 8"),
    ("subtract_mean(1, 2)", "give nothing, 'colour', 'center', or 3 numbers"),
    ("subtract_mean('color')", "give nothing, 'colour', 'center', or 3 numbers"),
    ("standardize((1, 2), (3, 4))", "3 numbers each"),
    ("lighting(0.1, 'pca')", "choose eigenvalue or deviation"),
    ("scale(0.0)", "above 0"),
    ("subtract_mean(statistics=1)", "statistics"),
])  # fmt: skip
def test_errors_name_the_operation(text, message):
    with pytest.raises(UsageError, match=message):
        run(text, COLOURS, keys(50))


@pytest.mark.parametrize(
    "text", ["distort(2, rotate=10)", "rotate(10)", "scale(1.2)", "deslant", "lighting(0.1)", "color_jitter"]
)
def test_matrix_products_are_not_rounded_on_accelerators(text):
    """GPUs and TPUs compute them in fewer bits unless told otherwise; some tenths of a grey level would be wrong."""
    calls = pipeline.bind(pipeline.parse("decode|" + text)[1], FOUND)
    found = products(jax.make_jaxpr(lambda images: pipeline.apply(calls, keys(2), images))(COLOURS[:2]))
    assert found and set(found) == {(jax.lax.Precision.HIGHEST,) * 2}
