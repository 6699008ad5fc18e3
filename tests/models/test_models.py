"""Every network in MODELS matches its paper: exact parameter and multiply-add counts, and sizes layer by layer."""

import collections
import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from convnets import models
from convnets.analysis.graph_layout import lay_out
from convnets.errors import UsageError
from convnets.models import MODELS
from convnets.models.graph import build_graph, count_depth
from convnets.models.paper_costs import STATED
from convnets.models.summary import sum_costs, summarize, summarize_trace, trace_layers, variable_shapes
from convnets.training.state import create_state
from tests.analysis.test_graph_layout import assert_clear
from tests.conftest import ROOT, filled

# {name: {"classes", "parameters", "multiply_adds", "depth": layers with weights on the longest path, "additions",
# "concatenations", "sizes": {layer: output}}}; the numbers come from the papers' tables or from arithmetic on them, never
# from this program's output.
GOLDEN = json.loads((ROOT / "tests" / "golden" / "models.json").read_text())


def create(name):
    return models.create(name, GOLDEN[name]["classes"], "float32")


def test_every_model_has_a_golden():
    assert sorted(GOLDEN) == sorted(MODELS)
    assert set(STATED) <= set(MODELS)


@pytest.mark.parametrize("name", GOLDEN)
def test_counts_and_sizes(name):
    model, golden = create(name), GOLDEN[name]
    trace = trace_layers(model)
    rows = summarize_trace(trace)
    totals = sum_costs(rows)
    assert totals["parameters"] == golden["parameters"]
    assert totals["multiply_adds"] == golden["multiply_adds"]
    assert {k: v for r in rows if (k := r.name) in golden["sizes"] for v in [r.output]} == golden["sizes"]
    graph = build_graph(trace)
    joins = collections.Counter(node.kind for node in graph.nodes if len(node.inputs) > 1)
    expected = {"add": golden.get("additions"), "concatenate": golden.get("concatenations")}
    assert joins == {kind: count for kind, count in expected.items() if count}
    assert count_depth(graph) == golden["depth"]
    assert [node.name for node in graph.nodes if node.layer] == [r.name for r in rows]  # all lead to an output
    assert_clear(lay_out(graph))


@pytest.mark.parametrize("name", GOLDEN)
def test_layers_hold_all_parameters(name):
    variables = variable_shapes(create(name))
    counted = sum(math.prod(v.shape) for v in jax.tree.leaves(variables["params"]))
    assert counted == GOLDEN[name]["parameters"]
    assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(variables))


def test_dropout_is_random_in_training_only():
    model = models.create("cuda_convnet_13pct", 10, "float32", dropout=0.5, init_weights="he")
    x = jax.random.normal(jax.random.key(0), (2, 24, 24, 3))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    apply = jax.jit(model.apply, static_argnames="train")
    one, other = (apply(variables, x, train=True, rngs={"dropout": jax.random.key(k)}) for k in (2, 3))
    assert not jnp.allclose(one, other)
    assert jnp.array_equal(apply(variables, x, train=False), apply(variables, x, train=False))


def test_shared_local_layers_are_convolutions():
    model = models.create("cuda_convnet_13pct", 10, "float32", shared=True)
    totals = sum_costs(summarize(model))
    assert totals["parameters"] == 1116490 - 35 * (9 * 64 * 32 + 32) - 35 * (9 * 32 * 32 + 32)
    assert totals["multiply_adds"] == 18517248


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("cuda_convnet")])
def test_poolings_of_cuda_convnet_give_the_same_maps(name):
    golden = GOLDEN[name]
    for kind in ("max", "average", "l1", "l2", "stride"):
        model = models.create(name, 10, "float32", pooling=kind)
        rows = {r.name: r for r in summarize(model)}
        assert sum(r.parameters for r in rows.values()) == golden["parameters"]
        first = golden["sizes"]["conv1"]
        if kind == "stride":
            assert not any(n.startswith("pool") for n in rows)
            assert rows["conv1"].output == [first[0] // 2, first[1] // 2, first[2]]
        else:
            assert {n: r.output for n, r in rows.items() if n in golden["sizes"]} == golden["sizes"]


@pytest.mark.parametrize(
    ("act", "value"), [("relu", 0.0), ("leaky_relu", -0.02), ("tanh", -0.9640276), ("sigmoid", 0.1192029)]
)
def test_activation_and_normalization_of_cuda_convnet(act, value):
    """With zero weights and bias -2 in conv1 the maps are f(-2); with batch norm before the activation, f(0)."""
    model = models.create("cuda_convnet_26pct", 10, "float32", act=act)
    variables = filled(variable_shapes(model))
    variables["params"]["conv1"] = {"kernel": np.zeros((5, 5, 3, 32), np.float32), "bias": np.full(32, -2, np.float32)}
    keep = lambda module, _: module.name == "pool1"  # noqa: E731
    x = np.zeros((2, 32, 32, 3), np.float32)
    _, seen = jax.jit(functools.partial(model.apply, capture_intermediates=keep))(variables, x)
    np.testing.assert_allclose(seen["intermediates"]["pool1"]["__call__"][0], value, rtol=1e-5)

    normed = models.create("cuda_convnet_26pct", 10, "float32", act=act, batch_norm=True)
    like = variable_shapes(normed)
    assert set(like["batch_stats"]) == {"bn1", "bn2", "bn3"}
    variables = filled(like) | {"params": filled(like)["params"] | {"conv1": variables["params"]["conv1"]}}
    variables["params"]["bn1"]["bias"] = np.zeros(32, np.float32)
    apply = jax.jit(functools.partial(normed.apply, train=True, capture_intermediates=keep, mutable=["batch_stats"]))
    _, seen = apply(variables, x)
    np.testing.assert_allclose(seen["intermediates"]["pool1"]["__call__"][0], 0.5 * (act == "sigmoid"), atol=1e-6)


def test_width_multiplies_maps_and_units():
    # Arithmetic on the paper's table with 8, 8, 16 maps and 16 units.
    parameters = 25 * 3 * 8 + 8 + 25 * 8 * 8 + 8 + 25 * 8 * 16 + 16 + 16 * 16 * 16 + 16 + 16 * 10 + 10
    model = models.create("cuda_convnet_26pct", 10, "float32", width=0.25)
    rows = summarize(model)
    assert sum_costs(rows)["parameters"] == parameters
    assert [r.name for r in rows] == [r.name for r in summarize(model.clone(width=1.0))]
    model = models.create("cuda_convnet_13pct", 10, "float32", width=2.0)
    outputs = {r.name: r.output for r in summarize(model)}
    assert (outputs["conv1"], outputs["local3"], outputs["fc10"]) == ([24, 24, 128], [6, 6, 64], [10])
    for width in (0, math.inf, math.nan):
        with pytest.raises(UsageError, match=f"width is {width}: it must be a number above 0"):
            variable_shapes(models.create("vgg_a", 10, "float32", width=width))


@pytest.mark.parametrize("option", ["pooling", "lrn", "init_weights", "act"])
def test_wrong_options_of_cuda_convnet_are_explained(option):
    with pytest.raises(UsageError, match="'tenh'"):
        variable_shapes(models.create("cuda_convnet_11pct", 10, "float32", **{option: "tenh"}))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [("cuda_convnet_13pct", {"pool_size": 0}, "pool_size must be int of at least 1, not 0"),
     ("resnet20_cifar", {"maps": 0}, "maps must be int of at least 1, not 0"),
     ("resnet50", {"ghost_batch": -1}, "ghost_batch must be int of at least 0, not -1"),
     ("alexnet", {"groups": 0}, "groups must be int of at least 1, not 0"),
     ("alexnet", {"lrn": 3}, "lrn must be str, not 3"), ("googlenet_main", {"separable": "yes"}, "separable must be bool"),
     ("lenet5", {"num_classes": 5}, "lenet5 has codes for 10 classes, not 5"),
     ("lenet1", {"num_classes": 0}, "num_classes must be int of at least 1, not 0")],
)  # fmt: skip
def test_wrong_values_of_options_are_explained_at_once(name, options, message):
    with pytest.raises(UsageError, match=message):
        models.create(**{"name": name, "num_classes": 10, "dtype": "float32", **options})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [("cuda_convnet_13pct", {"pool_size": 40}, "pool1 on (24, 24, 64): a window of 40 pixels does not fit on 24 pixels"),
     ("alexnet", {"groups": 3}, "conv2 on (27, 27, 96): groups is 3: it must divide the 96 maps below and the 256 maps")],
)  # fmt: skip
def test_a_layer_that_does_not_fit_its_input_is_named(name, options, message):
    model = models.create(name, 10, "float32", **options)
    for trace in (summarize, lambda model: create_state(model, optax.identity(), 0)):
        with pytest.raises(UsageError) as e:
            trace(model)
        assert str(e.value).startswith(f"model: {message}") and "\n" not in str(e.value)


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
