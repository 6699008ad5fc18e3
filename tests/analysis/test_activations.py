"""Network analysis, on networks with hand-set weights."""

import jax
import numpy as np
import pytest

from convnets import models
from convnets.analysis import activations, gabor
from convnets.models.summary import capture, summarize, variable_shapes
from tests.conftest import filled


def stack(layers, side=12, seed=0):
    model = models.create("stack", 3, "float32", layers=layers, side=side, channels=1)
    return model, filled(variable_shapes(model), seed)


def wave(side, orientation, frequency, phase):
    angle = np.radians(90 - orientation)
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    u = columns * np.cos(angle) + rows * np.sin(angle)
    return np.exp(-(rows**2 + columns**2) / (2 * (side / 4) ** 2)) * np.cos(2 * np.pi * frequency * u + phase)


@pytest.mark.parametrize("orientation, frequency", [(0, 0.15), (30, 0.2), (135, 0.1)])
def test_a_planted_gabor_is_found(orientation, frequency):
    noise = 0.03 * np.random.default_rng(0).standard_normal((11, 11))
    found = gabor.fit(7 * (wave(11, orientation, frequency, 0.7) + noise))
    assert abs((found.orientation - orientation + 90) % 180 - 90) < 2
    assert found.frequency == pytest.approx(frequency, abs=0.01) and found.striped
    assert found.explained > 0.95
    np.testing.assert_allclose(found.centre, (5, 5), atol=0.5)


def test_stripes_run_as_they_are_seen():
    filters = np.zeros((7, 7))
    filters[3] = 1  # a horizontal line
    assert abs((gabor.fit(filters).orientation + 90) % 180 - 90) < 2
    assert abs((gabor.fit(np.fliplr(np.eye(7))).orientation) - 45) < 2  # rising to the right


def test_noise_and_nothing_are_no_gabors():
    assert np.median(gabor.fit_noise((11, 11), 3)) < 0.4
    assert gabor.fit(np.full((5, 5), 2.0)).explained == 0
    with pytest.raises(ValueError, match="3 x 3 pixels fits any"):
        gabor.fit(np.ones((3, 3)))


def test_a_filter_of_one_colour_axis_is_seen_on_it():
    pattern = wave(7, 60, 0.2, 0)
    kernel = np.stack([pattern[..., None] * c for c in ((0.2, 1, -0.3), (-2, -1, 0))], axis=-1)
    projected, share = gabor.project_on_colour_axis(kernel)
    np.testing.assert_allclose(share, 1)
    np.testing.assert_allclose(projected[0], pattern * np.linalg.norm((0.2, 1, -0.3)), atol=1e-12)
    np.testing.assert_allclose(projected[1], -pattern * np.sqrt(5), atol=1e-12)  # on the brighter side of the axis


def test_what_layers_give_is_what_linen_captures():
    model, variables = stack("conv(4, 3)|norm|relu|inception(2, 2, 2, 2, 2, 2)|mean|out")
    images = np.random.default_rng(0).standard_normal((2, 12, 12, 1), np.float32)

    @jax.jit
    def both(variables):
        captured = model.apply(variables, images, capture_intermediates=True, mutable=["intermediates"])[1]
        return capture(model, variables, images), captured["intermediates"]

    ours, theirs = both(variables)
    assert sorted(ours) == sorted(r.name for r in summarize(model, (12, 12, 1)))
    for name, (_, given) in ours.items():
        np.testing.assert_allclose(given, theirs[name]["__call__"][0], rtol=1e-5)


def test_statistics_are_those_of_all_images_that_count():
    model, variables = stack("conv(3, 3)|relu|norm|fc(5)|relu|out")
    variables["params"]["conv1"]["bias"] = np.array([0, -100, 0], np.float32)  # the second map never fires
    images = 3 * np.random.default_rng(0).standard_normal((5, 12, 12, 1), np.float32)
    filler = np.full((1, 12, 12, 1), 1e6, np.float32)
    batches = [(images[:3], np.ones(3)), (np.concatenate([images[3:], filler]), np.array([1, 1, 0]))]
    found = activations.collect_statistics(model, variables, batches)
    given = jax.jit(lambda v: capture(model, v, images))(variables)
    for name, (_, y) in given.items():
        over = tuple(range(y.ndim - 1))
        np.testing.assert_allclose(found[name].mean, np.mean(y, axis=over), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[name].std, np.std(y, axis=over), rtol=1e-3, atol=1e-3)
        assert found[name].max_value.shape == (5, y.shape[-1])
    assert found["conv1"].dead == 0 and found["norm1"].dead == pytest.approx(1 / 3)
    assert found["fc1"].dead >= 1 / 3
    lines = activations.tabulate_statistics(summarize(model, (12, 12, 1)), found)
    assert [(line["layer"], line["norm"]) for line in lines] == [("conv1", "norm1"), ("fc1", ""), ("out", "")]
    assert lines[0]["std"] == found["norm1"].std.tolist() and lines[0]["raw"] == found["conv1"].std.tolist()


def test_the_image_with_the_planted_pattern_is_found_and_its_patch():
    model, variables = stack("conv(2, 3, stride=2, padding=1)|relu|out")
    pattern = np.array([[1, -1, 1], [-1, 1, -1], [1, -1, 1]], np.float32)
    variables["params"]["conv1"]["kernel"][:, :, 0, 1] = pattern
    images = 0.1 * np.random.default_rng(0).standard_normal((6, 12, 12, 1)).astype(np.float32)
    images[4, 5:8, 3:6, 0] = pattern
    found = activations.collect_statistics(model, variables, [(images, np.ones(6))])["conv1"]
    layer = summarize(model, (12, 12, 1))[0]
    assert activations.find_strongest_images(found, 1, 3)[0] == 4
    box = activations.locate_receptive_field(layer, found.max_position[4, 1])
    assert box == (5, 3, 8, 6)
    np.testing.assert_array_equal(activations.crop_box(images[4], box)[..., 0], pattern)
    np.testing.assert_array_equal(activations.crop_box(images[4], (-1, 10, 2, 13))[1:, :2], images[4, :2, 10:])


@pytest.mark.parametrize("layer, place", [("conv1", 0), ("conv2", 13), ("conv7", 5), ("pool3", 10)])
def test_a_patch_is_where_the_gradient_reaches(layer, place):
    line = "conv(2, 3, padding=1)|average(2)|conv(2, 3, padding=1)|inception(2, 1, 1, 1, 1, 1)|average(3, 2, ceil=True)|out"
    model, variables = stack(line, side=16)
    variables = jax.tree.map(lambda v: np.abs(v) + np.float32(0.1), variables)  # every input has an effect
    image = np.random.default_rng(0).uniform(1, 2, (1, 16, 16, 1)).astype(np.float32)
    rows = {r.name: r for r in summarize(model, (16, 16, 1))}

    def unit(x):
        y = capture(model, variables, x)[layer][1]
        return y.reshape(-1, y.shape[-1])[place].sum()

    reached = np.argwhere(np.asarray(jax.jit(jax.grad(unit))(image))[0, :, :, 0] > 0)
    top, left, bottom, right = activations.locate_receptive_field(rows[layer], place)
    assert reached.min(0).tolist() == [max(top, 0), max(left, 0)]
    assert (reached.max(0) + 1).tolist() == [min(bottom, 16), min(right, 16)]


def test_levels_are_the_first_the_middle_and_the_last_layer_with_a_map():
    names = lambda line: [r.name for r in activations.choose_layers(summarize(stack(line)[0], (12, 12, 1)))]  # noqa: E731
    assert names("conv(1, 3)|max(2)|conv(1, 3)|conv(1, 1)|fc(4)|out") == ["conv1", "conv2", "conv3"]
    assert names("conv(1, 3)|relu|out") == ["conv1"]
    assert names("fc(4)|relu|fc(4)|out") == ["fc1", "fc2"] and names("out") == ["out"]
    alexnet = models.create("alexnet", 1000, "float32")  # fc8, which is a convolution, is its classifier
    assert [r.name for r in activations.choose_layers(summarize(alexnet, alexnet.input_shape))] == [
        "conv1",
        "conv4",
        "fc7",
    ]


def test_first_filters_are_pictures_of_the_image():
    def found(line):
        model, variables = stack(line)
        return activations.first_filters(model, variables, summarize(model, (12, 12, 1)))

    for line, name, shape in [
        ("conv(4, 3)|out", "conv1", (3, 3, 1, 4)), ("local(4, 5)|out", "local1", (5, 5, 1, 4)), ("fc(6)|out", "fc1", (12, 12, 1, 6))
    ]:  # fmt: skip
        assert (found(line)[0], found(line)[1].shape) == (name, shape)
    assert found("max(2)|fc(6)|out") is None


def test_the_probability_falls_where_the_square_hides_the_only_informative_pixel():
    model, variables = stack("out")
    kernel = np.zeros((144, 3), np.float32)
    kernel[5 * 12 + 7, 1] = 4.0
    variables["params"]["out"] = {"kernel": kernel, "bias": np.zeros(3, np.float32)}
    image = np.zeros((12, 12, 1), np.float32)
    image[5, 7] = 1
    score = activations.make_scorer(model, variables, "softmax")
    whole = score(image[None])[0, 1]
    found = activations.occlude(lambda v: score(v)[:, 1], image, side=3, stride=1, batch=50)
    assert found.values.shape == (12, 12) and found.centres[0].tolist() == list(range(12))
    rows, columns = np.nonzero(found.values < whole - 0.1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 6, 6, 8) and len(rows) == 9
    hidden = np.exp(4 / 144) / (np.exp(4 / 144) + 2)  # the square is the mean of the image
    np.testing.assert_allclose(found.values[rows, columns], hidden, rtol=1e-5)
    assert activations.make_scorer(model, variables, "mse")(image[None])[0].tolist() == [0, 4, 0]
