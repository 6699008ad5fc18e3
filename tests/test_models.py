"""Every name in MODELS is its paper's network: counts to the integer, sizes layer by layer, every weight trained."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from convnets import analytics, models
from convnets.errors import UsageError
from convnets.models import MODELS

# {name: {"classes", "parameters", "multiply_adds", "sizes": {layer: output}}}; the numbers are those of the papers' own
# tables or of arithmetic on them, never this program's output.
GOLDEN = json.loads((Path(__file__).parent / "golden" / "models.json").read_text())


def create(name):
    return models.create(name, GOLDEN[name]["classes"], "float32")


def test_every_model_has_a_golden():
    assert sorted(GOLDEN) == sorted(MODELS)


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


@pytest.mark.parametrize("name", ["lenet1989", "lenet1", "lenet5", "lenet5_modern"])
def test_every_weight_has_a_gradient(name):
    model = create(name)
    x = jax.random.normal(jax.random.key(1), (4, *model.input_shape))
    params = model.init(jax.random.key(0), x, train=False)["params"]
    grads = jax.jit(jax.grad(lambda p: jnp.sum(jnp.square(model.apply({"params": p}, x, train=True)))))(params)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert bool(jnp.all(jnp.isfinite(grad))), path
        assert bool(jnp.any(grad != 0)), path


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
