"""ResNet: counts for the paper's options, the layer names of the prototxt, and parameter-free shortcuts."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets import models
from convnets.errors import UsageError
from convnets.models import MODELS, resnet
from convnets.models.summary import sum_costs, summarize, variable_shapes
from tests.models.test_models import GOLDEN

NAMES = [name for name in MODELS if name.startswith(("resnet", "plain"))]

# (parameters, multiply-adds), computed by hand from table 1 of the paper.
OPTIONS = {
    ("resnet18", "A"): (11_515_688, 1_794_805_760),
    ("resnet18", "C"): (12_043_816, 1_878_298_624),
    ("resnet34", "A"): (21_623_848, 3_644_493_824),
    ("resnet34", "C"): (22_716_840, 3_830_747_136),
    ("resnet50", "A"): (22_780_456, 3_498_311_680),
    ("resnet50", "C"): (40_128_552, 6_324_224_000),
    ("resnet101", "A"): (41_772_584, 7_210_532_864),
    ("resnet101", "C"): (76_981_288, 13_530_300_416),
    ("resnet152", "A"): (57_416_232, 10_922_754_048),
    ("resnet152", "C"): (107_335_720, 20_736_376_832),
    ("resnet20_cifar", "B"): (272_474, 40_813_184),
    ("resnet56_cifar", "B"): (855_770, 125_747_840),
    ("resnet110_cifar", "B"): (1_730_714, 253_149_824),
}


def create(name, **options):
    return models.create(name, 10 if "cifar" in name else 1000, "float32", **options)


def rows(name, **options):
    model = create(name, **options)
    return summarize(model)


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_counts_of_the_shortcut_options(name, option):
    totals = sum_costs(rows(name, shortcut=option))
    assert (totals["parameters"], totals["multiply_adds"]) == OPTIONS[name, option]


@pytest.mark.parametrize("name", NAMES)
def test_depth_is_that_of_the_name(name):
    """The depth of the golden file, which test_models.py finds in the network."""
    assert GOLDEN[name]["depth"] == int(name.removeprefix("resnet").removeprefix("plain").split("_")[0])


def test_names_are_those_of_the_prototxt():
    names = [r.name for r in rows("resnet50")]
    assert names[:13] == [
        "conv1", "bn_conv1", "pool1", "res2a_branch2a", "bn2a_branch2a", "res2a_branch2b", "bn2a_branch2b",
        "res2a_branch2c", "bn2a_branch2c", "res2a_branch1", "bn2a_branch1", "res2b_branch2a", "bn2b_branch2a",
    ]  # fmt: skip
    assert {"res3d_branch2c", "res4f_branch2a", "res5c_branch2c", "pool5", "fc1000"} <= set(names)
    ends = {101: ["2c", "3b3", "4b22", "5c"], 152: ["2c", "3b7", "4b35", "5c"]}
    for depth, last in ends.items():
        lengths = resnet.IMAGENET[depth][1]
        blocks = list(resnet.names(lengths))
        assert [name for stage, i, name in blocks if i == lengths[stage] - 1] == last
        assert [name for _, i, name in blocks if not i] == ["2a", "3a", "4a", "5a"]


@pytest.mark.parametrize("name", ["20_cifar", "18"])
def test_option_a_adds_no_layers_and_no_parameters_to_the_plain_network(name):
    assert rows(f"resnet{name}", shortcut="A") == rows(f"plain{name}")


def test_option_a_by_hand():
    x = jnp.arange(1 * 4 * 4 * 2, dtype=jnp.float32).reshape(1, 4, 4, 2)
    y = resnet.shortcut(x, "3a", 4, 2, "A", None)
    expected = np.zeros((1, 2, 2, 4), np.float32)
    expected[..., 1:3] = [[[[0, 1], [4, 5]], [[16, 17], [20, 21]]]]
    np.testing.assert_array_equal(y, expected)
    assert resnet.shortcut(x, "3b", 2, 1, "A", None) is x
    assert resnet.shortcut(x, "3b", 2, 1, "B", None) is x


def test_where_a_bottleneck_halves_the_map():
    first, second = ({r.name: r.output for r in rows(name)} for name in ("resnet50", "resnet50_v1_5"))
    assert (first["res3a_branch2a"], first["res3a_branch2b"]) == ([28, 28, 128], [28, 28, 128])
    assert (second["res3a_branch2a"], second["res3a_branch2b"]) == ([56, 56, 128], [28, 28, 128])
    assert jax.tree.map(jnp.shape, variable_shapes(create("resnet50"))) == jax.tree.map(
        jnp.shape, variable_shapes(create("resnet50_v1_5"))
    )


def test_both_first_poolings_end_in_the_paper_s_size():
    for kind in resnet.POOL1:
        assert {r.name: r.output for r in rows("resnet18", pool1=kind)}["pool1"] == [56, 56, 64]


def test_a_shortcut_lets_a_silent_block_pass():
    """If the last scale of every block is 0, the blocks of a stage are identities and x passes unchanged."""
    model = create("resnet20_cifar", zero_init=True)
    image = np.random.default_rng(1).standard_normal((2, 32, 32, 3), np.float32)
    variables = model.init(jax.random.key(0), image, train=False)  # op by op, since few shapes repeat
    scales = {k: np.asarray(v["scale"]) for k, v in variables["params"].items() if k.startswith("bn")}
    assert all(np.all(v == (0 if k.endswith("branch2b") else 1)) for k, v in scales.items())
    keep = lambda module, _: module.name in ("bn_conv1", "pool5")  # noqa: E731
    _, seen = model.apply(variables, image, capture_intermediates=keep)
    first, last = (seen["intermediates"][k]["__call__"][0] for k in ("bn_conv1", "pool5"))
    expected = jnp.mean(jax.nn.relu(first)[:, ::4, ::4], (1, 2))
    np.testing.assert_allclose(last[:, 0, 0, 24:40], expected, rtol=1e-5, atol=1e-6)
    assert not np.any(last[:, 0, 0, :24]) and not np.any(last[:, 0, 0, 40:])


def test_any_size_from_32_on():
    model = create("resnet18")
    for size in (32, 224, 321):
        image = jax.ShapeDtypeStruct((2, size, size + 10, 3), jnp.float32)
        assert jax.eval_shape(model.apply, variable_shapes(model), image).shape == (2, 1000)


@pytest.mark.parametrize(
    ("name", "size", "positions"),
    [("resnet18", (224, 224), (1, 1)), ("resnet18", (288, 320), (3, 4)), ("resnet18", (224, 288), (1, 3)),
     ("resnet18", (160, 256), (1, 2)), ("resnet20_cifar", (40, 48), (1, 1))],
)  # fmt: skip
def test_scores_are_the_mean_of_the_score_map(name, size, positions, monkeypatch):
    """pool5 of the authors' prototxts has windows of 7 x 7 at stride 1; on CIFAR it is the whole map."""
    monkeypatch.setitem(resnet.IMAGENET, 18, (resnet.basic, (1, 1, 1, 1)))
    monkeypatch.setattr(resnet, "cifar", lambda depth: (resnet.basic, (1, 1, 1)))
    model = models.create(name, 3, "float32")
    image = np.random.default_rng(1).standard_normal((1, *size, 3), np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), image)
    maps = []

    def look(function, args, kwargs, context):
        if context.module.name == "pool5":
            maps.append(args[0])
        return function(*args, **kwargs)

    with nn.intercept_methods(look):
        found = model.apply(variables, image)
    features = np.asarray(maps[0][0])
    last = variables["params"]["fc" if "cifar" in name else "fc1000"]
    (rows, columns), (h, w) = positions, features.shape[:2]
    scores = [features[i : h - rows + 1 + i, j : w - columns + 1 + j].mean((0, 1)) @ last["kernel"] + last["bias"]
              for i in range(rows) for j in range(columns)]  # fmt: skip
    np.testing.assert_allclose(found[0], np.mean(scores, axis=0), rtol=1e-4)


def test_wrong_options_are_explained():
    with pytest.raises(UsageError, match="unknown shortcut 'D'"):
        variable_shapes(create("resnet18", shortcut="D"))
    with pytest.raises(UsageError, match="did you mean 'torch'"):
        variable_shapes(create("resnet18", pool1="torhc"))
    with pytest.raises(UsageError, match="6n \\+ 2 layers, not 21"):
        resnet.cifar(21)
    with pytest.raises(UsageError, match="width"):
        create("resnet18", width=2)


def test_bfloat16():
    model = models.create("resnet20_cifar", 10, "bfloat16", shortcut="A")
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.bfloat16)
    assert jax.eval_shape(model.apply, variable_shapes(model), image).dtype == jnp.bfloat16
    assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(variable_shapes(model)))
