"""Files as other programs leave them: nested, wrapped, with NaN, or of another network; and layers chosen by patterns."""

import argparse
import collections
import functools
import io
import pathlib
import pickle

import numpy as np
import pytest
import safetensors.numpy

from convnets import models
from convnets.errors import CheckpointError, UsageError
from convnets.models.pretrained import selection, torch_file, weights
from convnets.models.pretrained.names import published_names, published_shape
from convnets.models.summary import variable_shapes
from convnets.runtime.arrays import name_leaves
from tests.models.pretrained.test_weights import create, random, same


@functools.cache
def shapes_of(name):
    return variable_shapes(create(name))


def stub(name):
    """Returns the tensors of a network under their published names, all of zeros that take no memory."""
    like = name_leaves(shapes_of(name))
    return {t: np.broadcast_to(np.float32(0), published_shape(k, like[k].shape))
            for k, t in published_names(name, list(like)).items()}  # fmt: skip


@pytest.fixture(scope="module")
def small():
    """Returns a network's published tensors with random values, its model and its shapes."""
    rng = np.random.default_rng(0)
    arrays = {k: rng.standard_normal(v.shape, np.float32) for k, v in stub("resnet20_cifar").items()}
    return arrays, create("resnet20_cifar"), shapes_of("resnet20_cifar")


def refused(call, *parts):
    """Asserts that a call is refused in one line with all `parts`."""
    with pytest.raises(CheckpointError) as caught:
        call()
    assert "\n" not in str(caught.value) and all(part in str(caught.value) for part in parts), str(caught.value)


# What surrounds the tensors -------------------------------------------------------------------------------------------

TENSOR = torch_file._Tensor(torch_file._Storage("0", "float32", 6), 0, (2, 3), (3, 1))
TENSORS = {"fc.weight": TENSOR, "fc.bias": TENSOR}
AVERAGE = {"module.fc.weight": TENSOR, "n_averaged": TENSOR}


def unpickled(found):
    return torch_file._Unpickler(io.BytesIO(pickle.dumps(found))).load()


BESIDE = {  # what training scripts save beside the tensors
    "epoch": 3, "best_acc1": 76.1, "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("a")), "arch": "resnet50",
    "scaler": None, "callbacks": {"ModelCheckpoint{'monitor': None}": {"best": 0.1}}, "loops": {}, "lr_schedulers": [{}],
    "lr_scheduler": {"milestones": collections.Counter([30, 60]), "last_epoch": 3}, "numpy": np.float64(1.5),
    "hyper_parameters": collections.defaultdict(list, a=[1]),
}  # fmt: skip


@pytest.mark.parametrize("entry", [*torch_file.ENTRIES, "anything"])
def test_the_tensors_of_a_checkpoint_are_found_beside_anything(entry):
    beside = {
        **unpickled(BESIDE),
        "optimizer": {"state": {0: {"momentum_buffer": TENSOR}}, "param_groups": [{"lr": 0.1}]},
    }
    assert torch_file._tensors({entry: TENSORS, **beside}) == TENSORS
    assert torch_file._tensors({**beside, "state": {entry: TENSORS, "step": 3}}) == TENSORS
    assert torch_file._tensors(TENSORS) == TENSORS


def test_of_the_weights_and_their_average_the_weights_are_read():
    assert torch_file._tensors({"model_ema": AVERAGE, "model": TENSORS, **unpickled(BESIDE)}) == TENSORS
    assert torch_file._tensors({"model_ema": AVERAGE, "epoch": 3}) == AVERAGE


@pytest.mark.parametrize("found, message", [
    ({"student": TENSORS, "teacher": TENSORS}, "it holds several sets of tensors: student, teacher; save one of them alone"),
    ({"model": {**TENSORS, "note": "x"}, "epoch": 3}, "'note' in it is no tensor; it holds fc.weight, fc.bias, note; save it again by"),
    ({"epoch": 3, "acc": 0.5}, "'epoch' in it is no tensor; it holds epoch, acc; save it again by torch.save(model.state_dict(), FILE)"),
    ({}, "it holds no dictionary of tensors by name; save it again"),
    ([TENSORS], "it holds no dictionary of tensors by name; save it again"),
    (TENSOR, "it holds no dictionary of tensors by name; save it again"),
])  # fmt: skip
def test_a_file_without_plain_tensors_says_what_it_has(found, message):
    refused(lambda: torch_file._tensors(found), message)


@pytest.mark.parametrize("state", [None, {"a": 1}, [1], 3])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_objects_of_other_classes_do_nothing(state, protocol):
    """The placeholders take arguments, state and items of every protocol; nothing of them is kept or run."""
    for value in (argparse.Namespace(a=state), collections.Counter("aab"), np.float32(1), np.arange(3), {1, 2}, print,
                  collections.deque([1, 2]), pathlib.PurePosixPath("a/b"), complex(1, 2), range(3), slice(1, 2)):  # fmt: skip
        found = torch_file._Unpickler(io.BytesIO(pickle.dumps({"args": value, "after": 1}, protocol))).load()
        assert found["after"] == 1
        assert not getattr(found["args"], "__dict__", None) or isinstance(found["args"], type)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module.model.", "_orig_mod.module.", "model._orig_mod.",
                                    "net.", "network.", "backbone."])  # fmt: skip
def test_prefixes_of_wrappers_are_removed(small, prefix, tmp_path):
    arrays, _, like = small
    file = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({prefix + k: v for k, v in arrays.items()} | {"n_averaged": np.zeros(1)}, file)
    found = weights.load(file, "resnet20_cifar", like)
    safetensors.numpy.save_file(arrays, file)
    same(found, weights.load(file, "resnet20_cifar", like))
    own = tmp_path / "own.safetensors"
    weights.save(own, "resnet20_cifar", found, own_names=True)
    same(found, weights.load(own, "resnet20_cifar", like))


def test_tensors_of_another_module_are_shown(small, tmp_path):
    arrays, _, like = small
    file = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"model." + k: v for k, v in arrays.items()} | {"loss.weight": np.zeros(1)}, file)
    refused(
        lambda: weights.load(file, "resnet20_cifar", like),
        str(file),
        "loss.weight",
        "are those of no published network",
    )


# NaN ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("own_names", [True, False])
def test_a_number_that_is_not_finite_is_refused_with_its_tensor(small, value, own_names, tmp_path):
    arrays, _, like = small
    file = tmp_path / "a.safetensors"
    if own_names:
        arrays = {k: np.zeros(v.shape, np.float32) for k, v in name_leaves(like).items()}
    name = "batch_stats/bn_conv1/var" if own_names else "bn1.running_var"
    arrays = {k: v.astype(np.float64) for k, v in arrays.items()}
    arrays[name][3] = value
    safetensors.numpy.save_file(arrays, file)
    refused(lambda: weights.load(file, "resnet20_cifar", like), f"{file}: {name} holds NaN or infinity")
    take = functools.partial(weights.load_layers, file, "resnet20_cifar", random(like))
    refused(lambda: take(["*"]), f"{file}: {name} holds NaN or infinity")
    take(["!bn_conv1"])


# Another network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of, asked, parts", [
    ("vgg_a_bn", "vgg_a", ["does not fit this model", "it fits model.name=vgg_a_bn with 1,000 classes"]),
    ("vgg_a", "vgg_a_lrn", ["no table of published names for model 'vgg_a_lrn'", "it fits model.name=vgg_a with"]),
    ("alexnet_owt", "alexnet", ["no table of published names for model 'alexnet'", "it fits model.name=alexnet_owt with 1,000 classes"]),
    ("resnet18", "resnet34", ["it fits model.name=resnet18 with"]),
    ("resnet50_v1_5", "resnet50", ["'resnet50_v1_5' has torchvision's function", "it fits model.name=resnet50_v1_5 with"]),
    ("resnet20_cifar", "lenet5_modern", ["it fits model.name=resnet20_cifar with 10 classes"]),
])  # fmt: skip
def test_a_refusal_names_the_file_and_the_network_that_fits(of, asked, parts, monkeypatch):
    monkeypatch.setattr(weights, "read", lambda path: (stub(of), {}))
    refused(lambda: weights.load("a.pth", asked, shapes_of(asked)), "a.pth", *parts)


def test_a_wide_variant_is_not_said_to_fit(monkeypatch):
    wide = {k: np.broadcast_to(np.float32(0), tuple(n + 1 for n in v.shape)) for k, v in stub("resnet18").items()}
    monkeypatch.setattr(weights, "read", lambda path: (wide, {}))
    with pytest.raises(CheckpointError) as caught:
        weights.load("a.pth", "resnet34", shapes_of("resnet34"))
    assert "it fits" not in str(caught.value)


@pytest.mark.parametrize("name", ["inception3a.branch1.conv.weight", "blocks.0.attn.qkv.weight"])
def test_networks_that_are_not_here_are_named_or_shown(name, tmp_path):
    file = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"a.conv.weight": np.zeros(3, np.float32), name: np.zeros(3, np.float32)}, file)
    like = shapes_of("googlenet")
    what = (
        "torchvision's googlenet, which is not the paper's"
        if "inception" in name
        else f"a.conv.weight, {name}, ..., are"
    )
    refused(lambda: weights.load(file, "googlenet", like), str(file), what)
    refused(lambda: weights.load_layers(file, "googlenet", like, ["conv1"]), str(file), what)


# Layers by patterns ---------------------------------------------------------------------------------------------------

NAMES = [f"params/{layer}/kernel" for layer in ("conv1", "conv2/3x3", "conv2/5x5", "fc6", "fc8")]


@pytest.mark.parametrize("patterns, layers", [
    (["*"], "conv1 conv2/3x3 conv2/5x5 fc6 fc8"), (["!fc*"], "conv1 conv2/3x3 conv2/5x5"), (["conv2"], "conv2/3x3 conv2/5x5"),
    (["conv*", "!conv2/5x5"], "conv1 conv2/3x3"), (["!fc8"], "conv1 conv2/3x3 conv2/5x5 fc6"), (["!conv*", "fc?"], "fc6 fc8"),
    (["*/3x3"], "conv2/3x3"), (["! fc8", "!conv2"], "conv1 fc6"), (["fc8", "conv1"], "conv1 fc8"),
])  # fmt: skip
def test_patterns_and_exclusions(patterns, layers):
    assert selection.select_layers(patterns, NAMES, "net") == [f"params/{layer}/kernel" for layer in layers.split()]


@pytest.mark.parametrize("patterns, message", [
    (["!fc9"], "'fc9' is no layer of 'net'; did you mean 'fc"), (["con*", "xyz*"], "'xyz*' is no layer of 'net'; known: conv1"),
    (["!*"], "'!*' leaves no layer of 'net'"), (["fc6", "!fc*"], "'fc6,!fc*' leaves no layer"),
])  # fmt: skip
def test_patterns_that_fit_nothing_are_refused(patterns, message):
    with pytest.raises(UsageError) as caught:
        selection.select_layers(patterns, NAMES, "net")
    assert message in str(caught.value)


@pytest.mark.parametrize("own_names", [False, True])
def test_fine_tuning_to_another_number_of_classes_is_one_exclusion(small, own_names, tmp_path):
    _, model, like = small
    file = tmp_path / "a.safetensors"
    variables = random(like)
    weights.save(file, "resnet20_cifar", variables, own_names=own_names, model=model)
    other = models.create("resnet20_cifar", 7, "float32")
    wanted = random(variable_shapes(other), seed=1)
    refused(lambda: weights.load(file, "resnet20_cifar", wanted, other), str(file), "all other layers fit",
            "model.init_layers='!fc'")  # fmt: skip
    refused(lambda: weights.load_layers(file, "resnet20_cifar", wanted, ["*"], other), "model.init_layers='!fc'")
    found = weights.load_layers(file, "resnet20_cifar", wanted, ["!fc"], other)
    for part, layers in found.items():
        for layer, values in layers.items():
            same(values, (wanted if layer == "fc" else variables)[part][layer])


@pytest.mark.parametrize(
    "head, layers", [(True, ["*"]), (True, ["!fc*", "!conv1"]), (False, ["!fc*"]), (False, ["bn*", "res*"])]
)
def test_most_layers_of_another_function_are_refused(head, layers, monkeypatch):
    """ResNet-50 v1 and v1.5 have the same names and shapes; single layers may be taken all the same."""
    arrays = {k: v for k, v in stub("resnet50_v1_5").items() if head or not k.startswith("fc")}
    monkeypatch.setattr(weights, "read", lambda path: (arrays, {}))
    first, same_function = create("resnet50"), create("resnet50_v1_5")
    like = shapes_of("resnet50")
    take = functools.partial(weights.load_layers, "a.pth")
    refused(
        lambda: take("resnet50", like, layers, first),
        "a.pth holds weights of another function: its 'resnet50_v1_5' has stride_on_3x3",
    )
    take("resnet50", like, ["conv1", "bn_conv1"], first)
    take("resnet50_v1_5", like, layers, same_function)


def test_the_exclusions_include_the_heads_of_the_classes(tmp_path):
    file = tmp_path / "a.safetensors"
    weights.save(file, "googlenet", random(shapes_of("googlenet")), own_names=True)
    other = variable_shapes(models.create("googlenet", 7, "float32"))
    refused(lambda: weights.load(file, "googlenet", other), "model.init_layers='!linear,!loss1,!loss2'")


def test_layers_of_a_deeper_network_may_be_taken(monkeypatch):
    arrays, model = stub("resnet34"), create("resnet18")
    monkeypatch.setattr(weights, "read", lambda path: (arrays, {}))
    weights.load_layers("a.pth", "resnet18", shapes_of("resnet18"), ["*"], model)
