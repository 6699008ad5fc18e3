"""Tests the demonstrations thinned, drift, competition, first_rates and layer_responses: their numbers on small networks, and
that they can be drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets import models
from convnets.report import demonstration_plots
from convnets.report.demonstration_plots import Thinned
from experiments import competition, drift, first_rates, layer_responses, thinned


def test_the_mean_of_thinned_networks_is_the_scaled_network_where_units_are_linear():
    line = "fc(12)|relu|dropout(0.5)|fc(8)|relu|dropout(0.5)|out"
    model = models.create("stack", 10, "float32", layers=line, side=4)
    images = jax.random.normal(jax.random.key(1), (20, 4, 4, 1))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    found = thinned.compare(model, variables, images, np.zeros(20), seed=0, counts=(1, 12, 900))
    assert found["unit"].shape == (900,)
    chance = found["chance"]["fc2"] / np.array([1, 12, 900]) ** 0.5
    # nothing but chance, which falls as 1 / root n
    np.testing.assert_allclose(found["differences"]["fc2"], chance, rtol=0.5)
    assert chance[-1] < 5 < 50 < chance[0]
    assert found["differences"]["out"][-1] > 2 * found["chance"]["out"] / 30  # above the ReLU it is an approximation
    whole = thinned.run_layers(model, variables, images)["out"]
    np.testing.assert_allclose(whole, model.apply(variables, images), rtol=1e-6)


def test_drift_is_the_change_of_percentiles_in_widths():
    # percentiles move by 2, with a standard deviation of 1
    low, high = np.array([-1.0, 0.0, 1.0]), np.array([1.0, 2.0, 3.0])
    seen = np.stack([np.stack([low, low], 1), np.stack([low, high], 1)])  # [marks, 3, units]: the first unit stays
    np.testing.assert_allclose(drift.measure_drift(seen), [0.0, 50.0])


@pytest.mark.parametrize("name", drift.NETWORKS)
def test_inputs_of_sigmoids_are_those_of_training(name):
    network, kind = drift.NETWORKS[name]
    model = models.create(network, 10, "float32")
    images = jax.random.uniform(jax.random.key(1), (50, 28, 28, 1))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    found = drift.inputs(model, variables, images, kind)
    assert found.shape == (3, 50, 100)
    if kind == "norm":  # by the statistics of these images, not by the running ones
        np.testing.assert_allclose(found.mean(1), 0, atol=1e-4)
        np.testing.assert_allclose(found.std(1), 1, atol=0.05)
    else:
        weights = variables["params"]["fc1"]
        np.testing.assert_allclose(found[0], images.reshape(50, -1) @ weights["kernel"] + weights["bias"], atol=1e-4)


def test_neighbours_as_high_reduce_an_activation_by_a_lot():
    found = {name.split(":")[0]: value for name, value in competition.metrics().items()}
    squares = {"alone": 1e4, "among_four_of_20": 1e4 + 4 * 400, "among_four_as_high": 5e4}
    wanted = {f"an_activation_of_100_{name}": 100 * ((2 + 1e-4 * s) / 2) ** -0.75 for name, s in squares.items()}
    assert found == pytest.approx(wanted, abs=0.01)
    divided = [100 * ((2 + 1e-4 / 5 * s) / 2) ** -0.75 for s in squares.values()]  # as in the authors' program
    text = " ".join(competition.__doc__.split())
    assert all(f"{value:.2f} %" in text for value in divided)
    one, every = competition.profiles().values()
    kept = one[1] / one[0]
    assert kept[competition.MIDDLE + 2] < 0.8 * kept[competition.MIDDLE + 3] and np.all(
        every[1][2:-2] < 0.25 * every[0][2:-2]
    )


def test_the_figures_are_drawn(tmp_path, monkeypatch):
    ones = np.ones((2, 3))
    found = Thinned((1, 10, 100), {"a": ones, "b": 2 * ones}, {"a": ones[:, 0], "b": ones[:, 0]}, ones, ones[:, 0],
                    np.arange(9.0), 4.0)  # fmt: skip
    demonstration_plots.plot_thinned(found, tmp_path / "thinned.png")
    lines = np.sort(np.random.default_rng(0).standard_normal((3, 4, 3)))
    ranges, drifts = {"a": lines, "b": lines}, {"a": ones, "b": 3 * ones[:1]}
    demonstration_plots.plot_drift((0, 1, 2, 3), ranges, drifts, tmp_path / "drift.png")
    axis = jnp.arange(5.0)
    demonstration_plots.plot_competition({"a": (axis, axis), "b": (axis, axis)}, {"0": (axis, axis)}, (axis, axis, axis), 4.0,
                                         tmp_path / "competition.png")  # fmt: skip
    demonstration_plots.plot_responses({"ResNet-8": ones[0], "ResNet-14": axis}, tmp_path / "responses.png")
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_a_response_is_the_output_of_the_batch_norm_of_each_layer():
    names = ["bn_conv1", *(f"bn{block}_branch2{half}" for block in ("2a", "3a", "4a") for half in "ab")]
    model = models.create("resnet20_cifar", 10, "float32", maps=4, side=8).clone(depth=8)
    images = np.random.default_rng(1).standard_normal((6, 8, 8, 3), np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    uneven = lambda own: {**own, "mean": jnp.linspace(-1, 1, own["mean"].size)}  # maps with different means  # noqa: E731
    variables = {**variables, "batch_stats": {name: uneven(own) for name, own in variables["batch_stats"].items()}}
    found = layer_responses.deviations(model, variables, [images[:4], images[4:]])
    _, seen = model.apply(variables, images, capture_intermediates=lambda module, _: module.name in names)
    wanted = [np.std(seen["intermediates"][name]["__call__"][0]) for name in names]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    assert found.shape == (6 + 1,)


def test_the_papers_learning_rates_speak_for_larger_initial_weights(shared_data, tmp_path):
    low, high = first_rates.PAPER
    found = {reading: first_rates.measure(root, 7, shared_data)[0] for reading, root in first_rates.READINGS.items()}
    larger, smaller = (np.concatenate(list(layers.values())) for layers in found.values())
    assert len(larger) == 60_000 - 2 * (6 + 16) - 6 - 16 - 120 - 84  # without coefficients and biases
    assert np.mean((larger >= low) & (larger <= high)) > 0.999 and np.all(smaller > high)
    demonstration_plots.plot_first_rates(found, first_rates.PAPER, tmp_path / "rates.png")
    assert (tmp_path / "rates.png").stat().st_size > 1000
