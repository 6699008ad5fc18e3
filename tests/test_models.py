"""Every name in MODELS is its paper's network: counts to the integer, sizes layer by layer."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from convnets import analytics, models
from convnets.errors import UsageError
from convnets.models import MODELS
from convnets.models.stated import STATED
from tests.conftest import quick_jit

# {name: {"classes", "parameters", "multiply_adds", "sizes": {layer: output}}}; the numbers are those of the papers' own
# tables or of arithmetic on them, never this program's output.
GOLDEN = json.loads((Path(__file__).parent / "golden" / "models.json").read_text())


def create(name):
    return models.create(name, GOLDEN[name]["classes"], "float32")


def test_every_model_has_a_golden():
    assert sorted(GOLDEN) == sorted(MODELS)
    assert set(STATED) <= set(MODELS)


@pytest.mark.parametrize("name", GOLDEN)
def test_counts_and_sizes(name):
    model, golden = create(name), GOLDEN[name]
    rows = analytics.describe(model, model.input_shape)
    totals = analytics.totals(rows)
    assert totals["parameters"] == golden["parameters"]
    assert totals["multiply_adds"] == golden["multiply_adds"]
    assert {k: v for r in rows if (k := r.name) in golden["sizes"] for v in [r.output]} == golden["sizes"]


@pytest.mark.parametrize("name", GOLDEN)
def test_layers_hold_all_parameters(name):
    model = create(name)
    image = jnp.zeros((1, *model.input_shape))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    counted = sum(math.prod(v.shape) for v in jax.tree.leaves(variables["params"]))
    assert counted == GOLDEN[name]["parameters"]
    assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(variables))


TINY = {"maps": (8, 8, 8, 8, 8), "units": 16}


@pytest.mark.parametrize(
    "options",
    [{"view": "227"}, {"view": "pad2"}, {"lrn": "none"}, {"lrn": "caffe"}, {"pool_size": 2}, {"pool_first": True}],
    ids=str,
)
def test_the_options_of_alexnet_keep_its_counts(options):
    model, golden = models.create("alexnet", 1000, "float32", **options), GOLDEN["alexnet"]
    totals = analytics.totals(analytics.describe(model, model.input_shape))
    assert (totals["parameters"], totals["multiply_adds"]) == (golden["parameters"], golden["multiply_adds"])


def test_alexnet_sees_what_its_units_should():
    model = models.create("alexnet", 1000, "float32")
    fields = {row.name: row.receptive_field for row in analytics.describe(model, model.input_shape)}
    # By hand: each layer adds (window - 1) x the strides below it.
    assert [fields[n] for n in ("conv1", "norm1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")] == [
        11, 11, 19, 51, 67, 99, 131, 163, 195
    ]  # fmt: skip


@pytest.mark.parametrize(("side", "shape"), [(224, (2, 5)), (256, (2, 2, 2, 5)), (288, (2, 3, 3, 5))])
def test_alexnet_scores_larger_images_densely(side, shape):
    model = models.create("alexnet", 5, "float32", **TINY)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3))))
    assert jax.eval_shape(model.apply, variables, jnp.zeros((2, side, side, 3))).shape == shape


def test_alexnet_begins_with_the_weights_of_its_table():
    for name, biases, std in (("paper", 1.0, 0.01), ("caffe", 0.1, 0.005)):
        model = models.create("alexnet", 5, "float32", **TINY | {"units": 64}, init_weights=name)
        params = quick_jit(model.init)(jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
        for layer, weights in params.items():
            expected = biases if layer in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0
            assert jnp.all(weights["bias"] == jnp.float32(expected)), layer
        assert abs(float(jnp.std(params["fc6"]["kernel"])) / std - 1) < 0.05
        assert abs(float(jnp.std(params["conv1"]["kernel"])) / 0.01 - 1) < 0.05


def test_dropout_is_random_in_training_only():
    model = models.create("cuda_convnet_13pct", 10, "float32", dropout=0.5, init_weights="he")
    x = jax.random.normal(jax.random.key(0), (2, 24, 24, 3))
    variables = quick_jit(model.init)(jax.random.key(1), x)
    apply = quick_jit(model.apply, static_argnames="train")
    one, other = (apply(variables, x, train=True, rngs={"dropout": jax.random.key(k)}) for k in (2, 3))
    assert not jnp.allclose(one, other)
    assert jnp.array_equal(apply(variables, x, train=False), apply(variables, x, train=False))


def test_shared_local_layers_are_convolutions():
    model = models.create("cuda_convnet_13pct", 10, "float32", shared=True)
    totals = analytics.totals(analytics.describe(model, model.input_shape))
    assert totals["parameters"] == 1116490 - 35 * (9 * 64 * 32 + 32) - 35 * (9 * 32 * 32 + 32)
    assert totals["multiply_adds"] == 18517248


@pytest.mark.parametrize("option", ["view", "lrn", "init_weights", "act"])
def test_wrong_options_of_alexnet_are_explained(option):
    model = models.create("alexnet", 5, "float32", **TINY, **{option: "tenh"})
    with pytest.raises(UsageError, match="'tenh'"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3))))


def test_wrong_names_are_explained():
    with pytest.raises(UsageError, match="did you mean 'lenet5'"):
        models.create("lenet6", 10, "float32")
    with pytest.raises(UsageError, match="dtype"):
        models.create("lenet5", 10, "float23")
    with pytest.raises(UsageError, match="depth"):
        models.create("lenet5", 10, "float32", depth=3)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters():
    model = models.create("lenet5_modern", 10, "bfloat16")
    x = jnp.zeros((2, 32, 32, 1), jnp.bfloat16)
    scores, variables = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), x, train=False))
    assert scores.dtype == jnp.bfloat16
    assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(variables))
