"""VGG: the depths of the paper's table, and dense evaluation with the same parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets import models
from convnets.errors import UsageError
from convnets.models import vgg
from convnets.models.summary import sum_costs, summarize, variable_shapes
from tests.conftest import filled


def test_depths_of_table_1():
    depths = {"A": 11, "A-LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19, "B-5x5": 8}
    words = {row: sum(word != "LRN" for stage in stages for word in stage.split()) for row, stages in vgg.TABLE.items()}
    assert {row: count + 3 for row, count in words.items()} == depths


def test_order_of_layers():
    rows = summarize(models.create("vgg_a_lrn_bn", 1000, "float32"), (224, 224, 3))
    assert [r.name for r in rows[:5]] == ["conv1_1", "bn1_1", "norm1", "pool1", "conv2_1"]
    assert [r.name for r in rows[-4:]] == ["pool5", "fc6", "fc7", "fc8"]


def test_pairs_of_3x3_see_what_a_5x5_sees():
    fields = [
        {r.name: r.receptive_field for r in summarize(models.create(name, 1000, "float32"), (224, 224, 3))}
        for name in ("vgg_b", "vgg_b_5x5")
    ]
    assert all(fields[0][f"pool{stage}"] == fields[1][f"pool{stage}"] for stage in range(1, 6))


def test_dense_evaluation_has_the_same_parameters():
    model = models.create("vgg_d", 1000, "float32")
    like = variable_shapes(model)
    assert jax.tree.structure(like) == jax.tree.structure(variable_shapes(model, (288, 288, 3)))
    assert [a.shape for a in jax.tree.leaves(like)] == [
        a.shape for a in jax.tree.leaves(variable_shapes(model, (288, 288, 3)))
    ]
    for size, side in ((256, 2), (288, 3), (384, 6), (512, 10)):
        image = jax.ShapeDtypeStruct((2, size, size + 32, 3), jnp.float32)
        scores = jax.eval_shape(functools.partial(model.apply, train=False), like, image)
        assert scores.shape == (2, side, side + 1, 1000)
    image = jax.ShapeDtypeStruct(
        (1, 256, 341, 3), jnp.float32
    )  # Caffe: 341, 171, 86, 43, 22, 11 columns; 11 - 7 + 1 = 5
    assert jax.eval_shape(functools.partial(model.apply, train=False), like, image).shape == (1, 2, 5, 1000)


def test_convolutions_at_the_end_are_fully_connected_layers():
    model = models.create("vgg_d", 1000, "float32")
    variables = filled(variable_shapes(model))
    image = np.random.default_rng(1).standard_normal((1, 224, 224, 3), np.float32)
    keep = lambda module, _: module.name == "pool5"  # noqa: E731
    scores, seen = jax.jit(functools.partial(model.apply, capture_intermediates=keep))(variables, image)
    x = np.asarray(seen["intermediates"]["pool5"]["__call__"][0]).reshape(1, -1)
    for name in ("fc6", "fc7", "fc8"):
        layer = variables["params"][name]
        x = x @ layer["kernel"].reshape(-1, layer["kernel"].shape[-1]) + layer["bias"]
        x = x if name == "fc8" else np.maximum(x, 0)
    assert scores.shape == (1, 1000)
    np.testing.assert_allclose(scores, x, atol=1e-4 * np.ptp(x))


def test_initial_weights():
    for rule, deviation in (
        ("glorot", np.sqrt(2 / (9 * 512 + 9 * 512))),
        ("he", np.sqrt(2 / (9 * 512))),
        ("normal", 0.1),
    ):
        kernel = vgg.INITS[rule](jax.random.key(0), (3, 3, 512, 512))
        np.testing.assert_allclose(np.std(kernel), deviation, rtol=0.01)
    with pytest.raises(UsageError, match="did you mean 'glorot'"):
        variable_shapes(models.create("vgg_a", 10, "float32", init_weights="glorrot"))


def test_fc6_has_the_initial_weights_of_a_fully_connected_layer():
    """Its kernel of 7 x 7 meets an image of 224 x 224 at one position, so a unit feeds `units` outputs, not 49 times as many."""
    net = models.create("vgg_a", 10, "float32", width=1 / 16)
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
    assert params["fc6"]["kernel"].shape == (7, 7, 32, 256)
    for name, inputs, units in (("fc6", 7 * 7 * 32, 256), ("fc7", 256, 256), ("conv2_1", 9 * 4, 9 * 8)):
        np.testing.assert_allclose(np.std(params[name]["kernel"]), np.sqrt(2 / (inputs + units)), rtol=0.15)
    np.testing.assert_allclose(np.std(params["fc6"]["kernel"]), np.sqrt(2 / (1568 + 256)), rtol=0.01)


def test_too_small_an_image_is_explained():
    with pytest.raises(UsageError, match="193 x 193"):
        variable_shapes(models.create("vgg_a", 10, "float32"), (192, 192, 3))
    variable_shapes(models.create("vgg_a", 10, "float32"), (193, 193, 3))


def test_bfloat16():
    model = models.create("vgg_a_lrn_bn", 10, "bfloat16")
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.bfloat16)
    assert jax.eval_shape(model.apply, variable_shapes(model), image).dtype == jnp.bfloat16
    assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(variable_shapes(model)))


def test_a_quarter_of_the_width():
    model = models.create("vgg_a", 10, "float32", width=0.25)
    maps = (16, 32, 64, 64, 128, 128, 128, 128)
    expected = sum(9 * a * b + b for a, b in zip((3, *maps), maps, strict=False))
    expected += 49 * 128 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 10 + 10
    assert sum_costs(summarize(model, (224, 224, 3)))["parameters"] == expected
