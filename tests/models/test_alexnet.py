"""AlexNet: its options keep its counts, and its orders are the paper's, CaffeNet's and the authors' program's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets import models
from convnets.errors import UsageError
from convnets.layers import LRN, Conv, Pool
from convnets.models.alexnet import LAYERS
from convnets.models.summary import sum_costs, summarize, variable_shapes
from tests.conftest import filled
from tests.models.test_models import GOLDEN

TINY = {"maps": (8, 8, 8, 8, 8), "units": 16}
ORIGINAL = {"order": "original", "lrn": "cuda_convnet2", "init_weights": "original"}


@pytest.mark.parametrize(
    "options",
    [{"view": "227"}, {"view": "pad2"}, {"lrn": "none"}, {"lrn": "caffe"}, {"pool_size": 2}, {"order": "caffenet"}, ORIGINAL],
    ids=str,
)  # fmt: skip
def test_the_options_of_alexnet_keep_its_counts(options):
    model, golden = models.create("alexnet", 1000, "float32", **options), GOLDEN["alexnet"]
    totals = sum_costs(summarize(model))
    assert (totals["parameters"], totals["multiply_adds"]) == (golden["parameters"], golden["multiply_adds"])


def test_alexnet_sees_what_its_units_should():
    model = models.create("alexnet", 1000, "float32")
    fields = {row.name: row.receptive_field for row in summarize(model)}
    # By hand: each layer adds (window - 1) x the product of the strides below it.
    assert [fields[n] for n in ("conv1", "norm1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")] == [
        11, 11, 19, 51, 67, 99, 131, 163, 195
    ]  # fmt: skip


@pytest.mark.parametrize(("side", "shape"), [(224, (2, 5)), (256, (2, 2, 2, 5)), (288, (2, 3, 3, 5))])
def test_alexnet_scores_larger_images_densely(side, shape):
    model = models.create("alexnet", 5, "float32", **TINY)
    assert jax.eval_shape(model.apply, variable_shapes(model), jnp.zeros((2, side, side, 3))).shape == shape


def test_alexnet_begins_with_the_weights_of_its_table():
    rows = (("paper", 1.0, 0.01, 0.01), ("caffe", 0.1, 0.005, 0.01), ("original", 1.0, 0.01, 0.03))
    for name, biases, std, middle in rows:
        model = models.create("alexnet", 5, "float32", **TINY | {"units": 64}, init_weights=name)
        params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
        for layer, weights in params.items():
            expected = biases if layer in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0
            assert jnp.all(weights["bias"] == jnp.float32(expected)), layer
        assert abs(float(jnp.std(params["fc6"]["kernel"])) / std - 1) < 0.05
        for layer in ("conv3", "conv4", "conv5"):  # of 288 weights or more
            assert abs(float(jnp.std(params[layer]["kernel"])) / middle - 1) < 0.2, layer
        assert abs(float(jnp.std(params["conv1"]["kernel"])) / 0.01 - 1) < 0.05


def normalize(x, k, alpha, size, *axes):
    """Divides maps by (k + alpha / n x sum of squares over n neighbours along the axes)^0.75."""
    total = x.astype(np.float64) ** 2
    for axis in axes:
        total = np.apply_along_axis(np.convolve, axis, total, np.ones(size), "same")
    return x / (k + alpha / size ** len(axes) * total) ** 0.75


def max_pool(x):
    """Takes the largest of 3 x 3 pixels at every second pixel."""
    n = (x.shape[1] - 3) // 2 + 1
    return np.max([x[:, i : i + 2 * n : 2, j : j + 2 * n : 2][:, :n, :n] for i in range(3) for j in range(3)], axis=0)


def test_the_order_of_alexnets_program():
    """computerhistory/AlexNet-Source-Code, layers/layers-145.cfg and layer-params-145.cfg; each GPU normalizes its own maps."""
    model = models.create("alexnet", 5, "float32", **TINY | {"maps": (12, 12, 8, 8, 8)} | ORIGINAL)
    images = 100 * jax.random.normal(jax.random.key(0), (2, 224, 224, 3))
    variables = filled(variable_shapes(model))
    _, seen = jax.jit(functools.partial(model.apply, capture_intermediates=True))(variables, images)
    found = {
        name: np.asarray(seen["intermediates"][name]["__call__"][0])
        for name in (*LAYERS, "norm1", "pool1", "norm2", "within2", "pool2")
    }
    relu = functools.partial(np.maximum, 0)
    halves = lambda x: np.concatenate([normalize(half, 2, 1e-4, 5, 3) for half in np.split(x, 2, 3)], 3)  # noqa: E731
    conv = lambda name, x, *args, **options: Conv(*args, **options).apply({"params": variables["params"][name]}, x)  # noqa: E731
    wanted = {
        "norm1": halves(found["conv1"]),
        "pool1": max_pool(found["norm1"]),
        "conv2": conv("conv2", relu(found["pool1"]), 12, 5, padding=2, groups=2),
        "norm2": halves(relu(found["conv2"])),
        "within2": normalize(found["norm2"], 1, 1e-3, 5, 1, 2),
        "pool2": max_pool(found["within2"]),
        "conv3": conv("conv3", found["pool2"], 8, 3, padding=1),
    }
    assert found["conv1"].min() < 0
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5 * np.abs(values).max(), err_msg=name)


@pytest.mark.parametrize("order", ["paper", "caffenet"])
def test_orders_of_alexnet_without_the_program(order):
    """The very numbers of the layers in a row, so that recorded runs and published weights keep their outputs."""
    model = models.create("alexnet", 5, "float32", **TINY, order=order)
    images = 100 * jax.random.normal(jax.random.key(0), (1, 224, 224, 3))
    params = filled(variable_shapes(model))["params"]

    def compose(x):
        conv = lambda name, *args, **options: Conv(*args, **options).apply({"params": params[name]}, x)  # noqa: E731
        finish = (LRN(), Pool("max", 3, 2)) if order == "paper" else (Pool("max", 3, 2), LRN())
        first = {"conv1": ((8, 11, 4), {"ceil": True}), "conv2": ((8, 5), {"padding": 2, "groups": 2})}
        for name, (args, options) in first.items():
            x = jax.nn.relu(conv(name, *args, **options))
            for layer in finish:
                x = layer.apply({}, x)
        x = jax.nn.relu(conv("conv3", 8, 3, padding=1))
        for name in ("conv4", "conv5"):
            x = jax.nn.relu(conv(name, 8, 3, padding=1, groups=2))
        x = Pool("max", 3, 2).apply({}, x)
        x = jax.nn.relu(conv("fc6", 16, 6))
        x = jax.nn.relu(conv("fc7", 16, 1))
        return conv("fc8", 5, 1)[:, 0, 0]

    scores = jax.jit(model.apply)({"params": params}, images)
    np.testing.assert_array_equal(scores, jax.jit(compose)(images))


def test_alexnet_without_lrn_has_no_normalization():
    for options in ({"maps": (8, 8, 8, 8, 8)}, {"order": "caffenet"}, ORIGINAL):
        rows = summarize(models.create("alexnet", 5, "float32", **TINY | options | {"lrn": "none"}), (224, 224, 3))
        assert not [row.name for row in rows if row.name.startswith(("norm", "within"))]


@pytest.mark.parametrize("option", ["view", "order", "lrn", "init_weights", "act"])
def test_wrong_options_of_alexnet_are_explained(option):
    model = models.create("alexnet", 5, "float32", **TINY, **{option: "tenh"})
    with pytest.raises(UsageError, match="'tenh'"):
        variable_shapes(model)
