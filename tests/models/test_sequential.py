"""Networks defined in one line: layers, initial weights, heads, error messages, and LeCun's five networks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets import models
from convnets.errors import UsageError
from convnets.models import MODELS, sequential, words
from convnets.models.summary import summarize, variable_shapes


def create(line, shape=(28, 28, 1), **options):
    return models.create("stack", 10, "float32", layers=line, side=shape[0], channels=shape[2], **options)


def rows(model):
    return {r.name: r for r in summarize(model)}


def initial(model, train=False):
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.jit(model.init, static_argnames="train")(keys, jnp.zeros((1, *model.input_shape)), train=train)


# (links, weights) from table 11.1 of Hastie, Tibshirani, Friedman.
TABLE = {"net1": (2570, 2570), "net2": (3214, 3214), "net3": (1226, 1226), "net4": (2266, 1132), "net5": (5194, 1060)}


@pytest.mark.parametrize("name", TABLE)
def test_links_and_weights_of_lecuns_networks(name):
    found = rows(models.create(f"lecun_{name}", 10, "float32")).values()
    units = [math.prod(r.output) for r in found if r.kind in ("Conv", "Dense", "LocallyConnected")]  # one bias each
    assert sum(r.multiply_adds for r in found) + sum(units) == TABLE[name][0]
    assert sum(r.parameters for r in found) == TABLE[name][1]


@pytest.mark.parametrize("name", ["net3", "net4", "net5"])
def test_units_one_apart_see_fields_two_apart_in_both_hidden_layers(name):
    """Hastie, Tibshirani & Friedman, section 11.7."""
    model = models.create("stack", 10, "float32", side=16, channels=1, init_weights="normal(0.1)",
                          layers=sequential.DIGITS_1989[name].removesuffix("|out|scaled_tanh") + "|out")  # fmt: skip
    variables = initial(model)

    def unit(x, row, column):
        _, state = model.apply(variables, x, capture_intermediates=lambda m, _: m.name in ("conv2", "local2", "local1"))
        return list(state["intermediates"].values())[-1]["__call__"][0][0, row, column, 0]

    seen = jax.jit(jax.vmap(jax.grad(unit), (None, 0, 0)))(
        jnp.zeros((1, 16, 16, 1)), jnp.array([1, 1, 2]), jnp.array([1, 2, 1])
    )
    # a unit of 8 x 8 is two pixels, so two units are four pixels
    first, right, down = np.asarray(seen[:, 0, ..., 0] != 0)
    np.testing.assert_array_equal(first, np.pad(np.ones((11, 11), bool), ((0, 5), (0, 5))))
    np.testing.assert_array_equal(right, np.roll(first, 4, 1))
    np.testing.assert_array_equal(down, np.roll(first, 4, 0))


def test_the_background_of_lecuns_networks_goes_on_beyond_the_edge():
    model = models.create("lecun_net5", 10, "float32")
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))
    _, state = model.apply(variables, -jnp.ones((1, 16, 16, 1)), capture_intermediates=True)
    maps = state["intermediates"]["conv1"]["__call__"][0]
    np.testing.assert_allclose(maps, jnp.broadcast_to(maps[:, :1, :1], maps.shape), rtol=1e-5)


def test_every_word_builds_what_it_says():
    line = ("conv(4, 3, padding=1, groups=1)|norm|relu|max(3, 2, ceil=True)|lrn|lcn(5)|local(3, 3)|tanh|subsample|average(2)"
            "|l2(2, 1)|dropout(0.5)|fc(7)|sigmoid|gain|out")  # fmt: skip
    found = rows(create(line))
    assert {name: r.output for name, r in found.items()} == {
        "conv1": [28, 28, 4], "norm1": [28, 28, 4], "pool1": [14, 14, 4], "lrn1": [14, 14, 4], "lcn1": [14, 14, 4],
        "local1": [12, 12, 3], "subsample1": [6, 6, 3], "pool2": [3, 3, 3], "pool3": [2, 2, 3], "fc1": [7], "gain1": [7], "out": [10],
    }  # fmt: skip
    assert found["fc1"].parameters == 12 * 7 + 7


def test_a_gain_is_the_variant_of_the_lecture():
    """y = c g(W * x) + b, with one c and b per map."""
    model, x = (
        create("conv(3, 2, bias='none')|tanh|gain|out", (4, 4, 1)),
        jax.random.normal(jax.random.key(0), (2, 4, 4, 1)),
    )
    variables = initial(model)
    c, b = jnp.array([2.0, -1.0, 0.5]), jnp.array([0.0, 3.0, 1.0])
    variables["params"]["gain1"] |= {"gain": c, "bias": b}
    _, state = model.apply(variables, x, capture_intermediates=True)
    convolved, gained = (state["intermediates"][name]["__call__"][0] for name in ("conv1", "gain1"))
    np.testing.assert_allclose(gained, c * jnp.tanh(convolved) + b, rtol=1e-6)
    assert set(variables["params"]["conv1"]) == {"kernel"}


def test_every_activation_is_a_word():
    x = jnp.linspace(-2, 2, 784).reshape(1, 28, 28, 1)
    for name, function in words.ACTIVATIONS.items():
        model = create(f"{name}|out")
        variables = initial(model)
        weights = variables["params"]["out"]
        expected = function(x).reshape(1, -1) @ weights["kernel"] + weights["bias"]
        np.testing.assert_allclose(model.apply(variables, x), expected, atol=1e-5)


# A module of inception 3a on 8 x 8: 192 maps in, 64 + 128 + 32 + 32 out, reduced as in table 1 or naive (figure 2a).
REDUCED, NAIVE = "inception(64, 96, 128, 16, 32, 32)|out", "inception(64, 0, 128, 0, 32, 0)|out"


def test_reductions_make_inception_cheap():
    reduced, naive = (rows(create(line, (8, 8, 192))) for line in (REDUCED, NAIVE))
    assert reduced["conv4"].multiply_adds + reduced["conv5"].multiply_adds == 64 * 15_872  # the 5x5 branch and its 1x1
    assert naive["conv3"].multiply_adds == 64 * 153_600
    assert reduced["out"].parameters == 64 * 256 * 10 + 10
    assert naive["out"].parameters == 64 * (64 + 128 + 32 + 192) * 10 + 10  # the pooled input keeps all its maps


def test_bottleneck_of_resnet_costs_less_than_two_convolutions():
    block, basic = (rows(create(f"{line}|out", (8, 8, maps))) for line, maps in (
        ("conv(64, 1, bias='none')|conv(64, 3, padding=1, bias='none')|conv(256, 1, bias='none')", 256),
        ("conv(64, 3, padding=1, bias='none')|conv(64, 3, padding=1, bias='none')", 64)))  # fmt: skip
    assert sum(r.parameters for n, r in block.items() if n != "out") == 69_632  # He et al. 2015, figure 5
    assert sum(r.parameters for n, r in basic.items() if n != "out") == 73_728


def test_a_1x1_convolution_is_a_full_layer_at_every_pixel():
    model, x = create("conv(5, 1)|out", (4, 4, 3)), jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    variables = initial(model)
    _, state = model.apply(variables, x, capture_intermediates=True)
    kernel = variables["params"]["conv1"]["kernel"][0, 0]
    expected = jnp.matmul(x.reshape(-1, 3), kernel, precision="highest").reshape(2, 4, 4, 5)
    np.testing.assert_allclose(state["intermediates"]["conv1"]["__call__"][0], expected, rtol=1e-5, atol=1e-6)


def test_two_3x3_cost_less_than_a_5x5_of_as_many_maps_and_more_where_maps_double():
    def cost(line, maps):
        return sum(r.multiply_adds for n, r in rows(create(f"{line}|out", (8, 8, maps))).items() if n != "out")

    pair, one = "conv(32, 3, padding=1)|relu|conv(32, 3, padding=1)", "conv(32, 5, padding=2)"
    assert (cost(pair, 32), cost(one, 32)) == (64 * 18 * 32**2, 64 * 25 * 32**2)
    assert (cost(pair, 16), cost(one, 16)) == (64 * 27 * 16 * 32, 64 * 25 * 16 * 32)


def test_groups_are_two_columns():
    model, x = create("conv(6, 3, groups=2)|out", (5, 5, 4)), jax.random.normal(jax.random.key(0), (1, 5, 5, 4))
    variables = initial(model)
    _, state = model.apply(variables, x, capture_intermediates=True)
    kernel, column = variables["params"]["conv1"]["kernel"], create("conv(3, 3)|out", (5, 5, 2))
    for i in range(2):
        own = {
            "conv1": {"kernel": kernel[..., 3 * i : 3 * i + 3], "bias": jnp.zeros(3)},
            "out": initial(column)["params"]["out"],
        }
        _, alone = column.apply({"params": own}, x[..., 2 * i : 2 * i + 2], capture_intermediates=True)
        np.testing.assert_allclose(
            state["intermediates"]["conv1"]["__call__"][0][..., 3 * i : 3 * i + 3],
            alone["intermediates"]["conv1"]["__call__"][0], rtol=1e-5, atol=1e-6,
        )  # fmt: skip


@pytest.mark.parametrize(("init", "std"), [("he", 2**0.5), ("he(0.1)", 0.1 * 2**0.5), ("normal(0.01)", 0.01 * 28)])
def test_initial_weights(init, std):
    params = initial(create("fc(300)|out", init_weights=init))["params"]["fc1"]
    assert float(jnp.std(params["kernel"])) == pytest.approx(std / 28, rel=0.02)
    assert not jnp.any(params["bias"])


def test_a_head_works_in_training_only_and_begins_with_the_network():
    model = create("conv(4, 3, padding=1)|relu|head(3, 8)|max(2)|out", (8, 8, 3))
    variables = initial(model)
    x = jnp.ones((2, 8, 8, 3))
    scores, heads = model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(0)})
    assert heads["head1"].shape == (2, 10) and scores.shape == (2, 10)
    assert model.apply(variables, x).shape == (2, 10)
    assert {"head1_conv", "head1_fc", "head1_out"} <= set(variables["params"])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"layers": "konv(3, 3)|out"}, "did you mean 'conv'"), ({"layers": "conv(3)|out"}, "kernel"),
     ({"layers": "fc(3)"}, "one 'out'"), ({"layers": "conv(0, 3)|out"}, "maps must be int of at least 1, not 0"),
     ({"layers": "conv(3, 3, bias='maps')|out"}, "bias must be 'map' or 'unit' or 'none', not 'maps'"),
     ({"layers": "conv(3, 3, padding=(1, 1))|out"}, r"padding must be int or \(\(int, int\), \(int, int\)\), not \(1, 1\)"),
     ({"layers": "max(2, -1)|out"}, "stride must be int of at least 0"), ({"init_weights": "glorot(5)"}, "glorot"),
     ({"init_weights": "glorot(5)"}, "it takes glorot"), ({"side": 0}, "side must be int of at least 1"),
     ({"init_weights": "hee"}, "did you mean 'he'"), ({"init_weights": ""}, "give one of")],
)  # fmt: skip
def test_wrong_lines_are_explained_at_once(options, message):
    with pytest.raises(UsageError, match=message):
        models.create("stack", 10, "float32", **options)


@pytest.mark.parametrize(
    ("line", "message"),
    [("fc(64)|conv(8, 3)|out", "conv on (64,): it takes maps, [h, w, channels]"),
     ("fc(10)|mean|out", "mean on (10,): it takes maps, [h, w, channels]"),
     ("fc(10)|max(2)|out", "max on (10,): it takes maps, [h, w, channels]"),
     ("conv(8, 9)|conv(8, 9)|out", "conv on (6, 6, 8): a window of 9 pixels does not fit on 6 pixels padded by 0 and 0"),
     ("max(40)|out", "max on (14, 14, 1): a window of 40 pixels does not fit on 14 pixels padded by 0 and 0"),
     ("conv(6, 3, groups=4)|out", "conv on (14, 14, 1): groups is 4: it must divide the 1 maps below and the 6 maps"),
     ("pca(200)|out", "pca on (14, 14, 1): components is 200: it must be at most the 196 inputs"),
     ("gaussians(5)|out", "gaussians on (14, 14, 1): units is 5: it must be at least the 10 classes"),
     ("hog(20)|out", "hog on (14, 14, 1): it leaves nothing, ("),
     ("nearest(2)", "nearest on (14, 14, 1): k is 3: it must be at most the 2 examples"),
     ("out|relu|fc(3)", "'out|relu|fc(3)' return [3] for an image: the last layers must keep the 10 classes of 'out'")],
)  # fmt: skip
def test_a_layer_that_does_not_fit_its_input_is_explained(line, message):
    with pytest.raises(UsageError) as e:
        rows(create(line, (14, 14, 1)))
    assert str(e.value).startswith(f"model.layers: {message}") and "\n" not in str(e.value)


def test_products_are_of_all_pairs_of_inputs():
    """LeCun et al. 1998, III.C.3: "a module that computes all products of pairs of input variables"."""
    x = jax.random.normal(jax.random.key(0), (2, 2, 3, 1))
    model = models.create("stack", 10, "float32", layers="products|out", side=3, channels=1)
    kernel = variable_shapes(model, x.shape[1:])["params"]["out"]["kernel"]
    assert kernel.shape == (6 * 7 // 2, 10)
    found = np.asarray(words.products(None, x))
    flat = np.asarray(x).reshape(2, 6)
    np.testing.assert_array_equal(found[:, :8], np.concatenate([flat[:, :1] * flat, flat[:, 1:2] * flat[:, 1:3]], 1))


@pytest.mark.parametrize("name", sequential.NETS)
def test_every_weight_has_a_gradient(name):
    model = MODELS[name]()
    x = jax.random.normal(jax.random.key(1), (4, *model.input_shape))
    variables = jax.jit(model.init)(jax.random.key(0), x)

    def objective(params):
        scores, _ = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        return jnp.sum(jnp.square(scores - jnp.arange(10.0)))

    for path, grad in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(objective))(variables["params"])):
        behind = "norm" in str(path) or not (name == "bn_mnist" and path[-1].key == "bias" and "fc" in str(path))
        assert bool(jnp.any(jnp.abs(grad) > 1e-6)) or not behind, path  # a bias before batch norm has no effect


@pytest.mark.parametrize("name, options", [("lenet5", {"dropout": "x"}), ("lenet5", {"dropout": 2}),
                                           ("stack", {"layers": "inception(0, 1, 1, 1, 1, 1)|out", "side": 8, "channels": 1})])  # fmt: skip
def test_an_option_that_cannot_be_is_one_line(name, options):
    with pytest.raises(UsageError):
        model = models.create(name, 3, "float32", **options)
        variable_shapes(model)
