"""Weight import and export: files round-trip bit for bit, names are the published ones, options that fit no file are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from convnets import models
from convnets.errors import CheckpointError, UsageError
from convnets.models import MODELS, vgg
from convnets.models.pretrained import weights
from convnets.models.pretrained.identify import find_network
from convnets.models.pretrained.names import PUBLISHED_LAYERS, from_published, published_names, to_published
from convnets.models.summary import variable_shapes
from convnets.runtime.arrays import name_leaves


def create(name):
    return models.create(name, 10 if "cifar" in name or name == "lenet5" else 1000, "float32")


def random(like, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda v: rng.standard_normal(v.shape, np.float32), like)


def same(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def refused(file, name, like, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        weights.load(file, name, like)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)
    return str(caught.value)


# Files of our own ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own_names", [False, True])
def test_what_is_saved_comes_back(small, own_names, tmp_path):
    _, like, variables = small
    file = tmp_path / "weights.safetensors"
    weights.save(file, "resnet20_cifar", variables, own_names=own_names)
    same(weights.load(file, "resnet20_cifar", like), variables)
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]
    names = set(weights.read(file)[0])
    assert ("params/res2a_branch2a/kernel" if own_names else "layer1.0.conv1.weight") in names


@pytest.mark.parametrize("name", ["lenet5_modern", "plain20_cifar"])
def test_every_model_can_be_saved_under_our_names(name, tmp_path):
    variables = random(variable_shapes(create(name)))
    weights.save(tmp_path / "a.safetensors", name, variables, own_names=True)
    same(weights.load(tmp_path / "a.safetensors", name, variable_shapes(create(name))), variables)
    with pytest.raises(CheckpointError, match=f"no table of published names for model '{name}'"):
        weights.save(tmp_path / "b.safetensors", name, variables)


def test_a_fully_connected_layer_is_flattened_map_after_map():
    kernel = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    flat = to_published("params/fc6/kernel", kernel)
    image = np.random.default_rng(0).standard_normal((2, 3, 4), np.float32)
    np.testing.assert_allclose(
        flat @ image.transpose(2, 0, 1).ravel(), np.einsum("hwc,hwco->o", image, kernel), rtol=1e-5
    )
    np.testing.assert_array_equal(from_published(flat, kernel.shape), kernel)


@pytest.mark.parametrize("name", [name for name in PUBLISHED_LAYERS if name in MODELS and "1202" not in name])
def test_every_parameter_has_one_published_name(name):
    keys = list(name_leaves(variable_shapes(create(name))))
    found = published_names(name, keys)
    assert list(found) == keys and len(set(found.values())) == len(keys)
    assert PUBLISHED_LAYERS[find_network(dict.fromkeys(found.values()))]() == PUBLISHED_LAYERS[name]()


def test_a_network_of_another_function_is_refused(tmp_path):
    """Parameters do not show strides, so ResNet v1 and v1.5 are distinguished by name."""
    variables = {"params": {"conv1": {"kernel": np.zeros((7, 7, 3, 64), np.float32)}}}
    with pytest.raises(CheckpointError, match="'resnet50_v1_5' has torchvision's function"):
        weights.save(tmp_path / "a.safetensors", "resnet50", variables)
    weights.save(tmp_path / "a.safetensors", "resnet50", variables, own_names=True)
    with pytest.raises(CheckpointError, match="of model 'resnet50', not of 'resnet50_v1_5'"):
        weights.load(tmp_path / "a.safetensors", "resnet50_v1_5", variables)


def test_options_of_another_function_are_refused(small, tmp_path):
    _, like, variables = small
    file = tmp_path / "a.safetensors"
    other = models.create("resnet20_cifar", 10, "float32", epsilon=1e-3, zero_init=True)
    weights.save(file, "resnet20_cifar", variables)  # no options are stored, so the defaults of the name apply
    with pytest.raises(CheckpointError, match=r"'resnet20_cifar' has epsilon 1e-05, not 0\.001$"):
        weights.load(file, "resnet20_cifar", like, other)
    assert "epsilon" in weights.unpublished("resnet20_cifar", other)
    assert weights.unpublished("resnet20_cifar", create("resnet20_cifar")) == ""
    weights.save(file, "resnet20_cifar", variables, own_names=True, model=other)
    same(weights.load(file, "resnet20_cifar", like, other), variables)
    with pytest.raises(CheckpointError, match=r"has epsilon 0\.001, not 1e-05$"):
        weights.load(file, "resnet20_cifar", like, create("resnet20_cifar"))


def test_options_of_training_change_no_function():
    for name in MODELS:
        assert weights.function_options(create(name)) == weights.function_options(
            create(name).clone(num_classes=10 if name == "lenet5" else 7, dtype=jnp.bfloat16)
        ), name
    plain = weights.function_options(create("vgg_d"))
    assert plain == weights.function_options(models.create("vgg_d", 10, "float32", dropout=0.1, init_weights="he"))
    for options in ({"pool1": "caffe"}, {"shortcut": "A"}, {"stride_on_3x3": True}):
        other = models.create("resnet18", 10, "float32", **options)
        assert weights._other(weights.function_options(create("resnet18")), weights.function_options(other)), options


def test_heads_need_not_be_in_a_file(tmp_path):
    like = random(variable_shapes(create("googlenet")))
    variables = weights.without_heads(random(like, seed=1))
    file = tmp_path / "a.safetensors"
    weights.save(file, "googlenet", variables, own_names=True)
    found = weights.load(file, "googlenet", like)
    same(weights.without_heads(found), variables)
    same({k: found["params"][k] for k in ("loss1", "loss2")}, {k: like["params"][k] for k in ("loss1", "loss2")})
    same(weights.load(file, "googlenet_main", variable_shapes(create("googlenet_main"))), variables)
    arrays, _ = weights.read(file)
    safetensors.numpy.save_file(arrays | {"params/loss1/fc/bias": np.zeros(1024, np.float32)}, file)
    refused(file, "googlenet", like, r"loss1/conv/bias is missing.*; and 6 more$")  # of 11 missing head arrays


# Some layers of a file ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow():
    """Returns (create, variables) of VGG at a sixteenth of its width."""

    def make(name, seed=0):
        model = models.create(name, 10, "float32", width=1 / 16)
        return model, random(variable_shapes(model), seed)

    return make


@pytest.mark.parametrize("form", ["published", "published, without a note", "our own"])
def test_a_deeper_vgg_begins_with_layers_of_a(narrow, form, tmp_path):
    (model, a), (_, d) = narrow("vgg_a"), narrow("vgg_d", seed=1)
    file = tmp_path / "a.safetensors"
    weights.save(file, "vgg_a", a, own_names=form == "our own", model=model)
    if "without" in form:
        safetensors.numpy.save_file(weights.read(file)[0], file)
    found = weights.load_layers(file, "vgg_d", d, list(vgg.COPIED_FROM_A))["params"]
    assert len(found) == 16 and set(vgg.COPIED_FROM_A) < set(found)
    for layer, parameters in found.items():
        same(parameters, (a if layer in vgg.COPIED_FROM_A else d)["params"][layer])


def test_layers_that_cannot_be_taken_are_listed(narrow, tmp_path):
    (_, a), (_, d) = narrow("vgg_a"), narrow("vgg_d", seed=1)
    file = tmp_path / "a.safetensors"
    weights.save(file, "vgg_a", a)
    with pytest.raises(UsageError, match="'conv1_3' is no layer of 'vgg_d'; did you mean 'conv"):
        weights.load_layers(file, "vgg_d", d, ["conv1_1", "conv1_3"])
    with pytest.raises(CheckpointError, match=r"conv1_2\.bias is missing; conv1_2\.weight is missing$"):
        weights.load_layers(file, "vgg_d", d, ["conv1_1", "conv1_2"])
    with pytest.raises(CheckpointError, match=r"features\.3\.weight is float32\[8, 4, 3, 3\], \[8, 4, 5, 5\] of a"):
        weights.load_layers(file, "vgg_b_5x5", narrow("vgg_b_5x5")[1], ["conv1_1", "conv2_1"])
    with pytest.raises(CheckpointError, match=r"; and 5 more$"):
        weights.load_layers(file, "vgg_d", d, [k for k in d["params"] if k not in a["params"]])


def test_a_layer_may_hold_layers(tmp_path):
    like = random(variable_shapes(create("googlenet_main")))
    variables = random(like, seed=1)
    file = tmp_path / "a.safetensors"
    weights.save(file, "googlenet_main", variables, own_names=True)
    found = weights.load_layers(file, "googlenet_main", like, ["inception_3a", "conv2/3x3"])["params"]
    same(found["inception_3a"], variables["params"]["inception_3a"])
    same(found["conv2"]["3x3"], variables["params"]["conv2"]["3x3"])
    same(found["conv2"]["3x3_reduce"], like["params"]["conv2"]["3x3_reduce"])
    same(found["inception_3b"], like["params"]["inception_3b"])
