"""Published weights compared with PyTorch reference networks (`make test-torch`); skipped without PyTorch."""

import argparse
import io
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets import models
from convnets.errors import CheckpointError
from convnets.models.pretrained import weights
from convnets.models.pretrained.names import published_names, published_shape, to_published
from convnets.models.summary import variable_shapes
from convnets.runtime.arrays import name_leaves
from tests.models.pretrained.test_weights import create, random

# 2026-11: PyTorch's CUDA build imports triton, whose LLVM crashes in a process that has loaded TensorFlow.
sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
torch = pytest.importorskip("torch", reason="the references need PyTorch: pip install .[test-torch]")

from benchmarks.torch_nets import NETS, PUBLISHED  # noqa: E402

pytestmark = pytest.mark.usefixtures("optimized")


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_are_pytorch_s(name):
    model = create(name)
    with torch.device("meta"):
        theirs = {k: tuple(v.shape) for k, v in PUBLISHED[name]().state_dict().items()}
    ours = {k: v.shape for k, v in name_leaves(variable_shapes(model)).items()}
    found = {v: published_shape(k, ours[k]) for k, v in published_names(name, list(ours)).items()}
    assert found == {k: v for k, v in theirs.items() if not k.endswith("num_batches_tracked")}


@pytest.mark.parametrize("name", NETS)
def test_what_is_measured_is_the_same_network(name):
    """Each network pair of benchmarks/train.py, PyTorch's and ours, agrees in parameter count and score shapes."""
    model = models.create(name, 10 if name == "lenet5_modern" else create(name).num_classes, "float32")
    with torch.device("meta"):
        network = NETS[name]()
        image = torch.empty(2, *np.roll(model.input_shape, 1))
        heads = network.train()(image)
    theirs = sum(v.numel() for v in network.parameters())
    assert theirs == sum(v.size for v in jax.tree.leaves(variable_shapes(model)["params"]))
    options = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(0)}}
    ours = jax.eval_shape(
        lambda v, x: model.apply(v, x, **options)[0], variable_shapes(model), jnp.zeros((2, *model.input_shape))
    )
    theirs = heads if isinstance(heads, tuple) else (heads,)
    assert [tuple(v.shape) for v in jax.tree.leaves(ours)] == [tuple(v.shape) for v in jax.tree.leaves(theirs)]


def test_googlenet_s_scores_are_pytorch_s():
    """Both networks use the same weights."""
    rng = np.random.default_rng(0)
    model, network = create("googlenet"), NETS["googlenet"]().eval()
    params = jax.tree.map(
        lambda v: rng.standard_normal(v.shape, np.float32) * np.float32(0.05), variable_shapes(model)["params"]
    )
    convs = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    image = rng.standard_normal((2, 224, 224, 3), np.float32)
    names = ["conv1/7x7_s2", "conv2/3x3_reduce", "conv2/3x3"]
    parts = ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj")
    names += [f"inception_{m}/{part}" for m in network.ROWS for part in parts]
    names += [f"{head}/{part}" for head in ("loss1", "loss2") for part in ("conv", "fc", "classifier")] + ["linear"]
    with torch.no_grad():
        for name, module in zip(names, convs, strict=True):
            ours = params
            for part in name.split("/"):
                ours = ours[part]
            kernel = ours["kernel"]
            if name.endswith("/fc"):  # after flattening: PyTorch orders maps first, ours last
                kernel = kernel.reshape(4, 4, 128, -1).transpose(2, 0, 1, 3).reshape(2048, -1)
            module.weight.copy_(
                torch.from_numpy(np.array(kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T))
            )
            module.bias.copy_(torch.from_numpy(ours["bias"]))
        expected = network(torch.from_numpy(image.transpose(0, 3, 1, 2))).numpy()
    scores = np.asarray(jax.jit(model.apply)({"params": params}, image))
    assert np.abs(scores - expected).max() <= 1e-4 * np.ptp(expected)


def written(state, file, form):
    import safetensors.torch

    if form == "safetensors":
        safetensors.torch.save_file(state, file)
    elif form == "torchvision":  # as torchvision's references/classification/train.py saves
        model = torch.nn.Linear(2, 2)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        average = {f"module.{k}": v * 0 for k, v in state.items()} | {"n_averaged": torch.tensor(3)}
        steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [30, 60])
        torch.save({"model": state, "optimizer": optimizer.state_dict(), "lr_scheduler": steps.state_dict(), "epoch": 3,
                    "args": argparse.Namespace(lr=0.1, data=pathlib.Path()), "model_ema": average, "rng": torch.get_rng_state(),
                    "device": torch.device("cpu"), "dtype": torch.float32}, file)  # fmt: skip
    elif form == "lightning":
        wrapped = {f"model._orig_mod.{k}": v for k, v in state.items()}
        torch.save(
            {"epoch": 3, "global_step": 9, "state_dict": wrapped, "optimizer_states": [{}], "hyper_parameters": {}},
            file,
        )
    elif form == "checkpoint":  # as saved by a multi-device training script
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "best_prec1": 91.5, "epoch": 200}, file)
    else:
        torch.save(state, file, _use_new_zipfile_serialization=form == "zip")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("resnet20_cifar", "checkpoint"),
        ("resnet20_cifar", "safetensors"),
        ("resnet20_cifar", "torchvision"),
        ("resnet20_cifar", "lightning"),
        ("resnet18", "legacy"),
        ("resnet50_v1_5", "zip"),
        ("alexnet_owt", "zip"),
        ("vgg_d", "safetensors"),
        ("vgg_d_bn", "zip"),
    ],
)
def test_scores_are_pytorch_s(name, form, tmp_path):
    model = create(name)
    torch.manual_seed(0)
    network = PUBLISHED[name]().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    image = np.random.default_rng(0).standard_normal((1, *model.input_shape), np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image.transpose(0, 3, 1, 2))).numpy()

    file = tmp_path / f"weights.{'safetensors' if form == 'safetensors' else 'pth'}"
    written(network.state_dict(), file, form)
    variables = weights.load(file, name, variable_shapes(model))
    file.unlink()  # half a gigabyte
    scores = np.asarray(jax.jit(model.apply)(variables, image))
    assert np.abs(scores - expected).max() <= 1e-4 * np.ptp(expected)

    if name.startswith("vgg"):  # another half-gigabyte file would test the same
        return
    named, state = name_leaves(variables), network.state_dict()
    for ours, theirs in published_names(name, list(named)).items():
        np.testing.assert_array_equal(to_published(ours, named[ours]), state[theirs].numpy())


def test_pytorch_takes_what_is_saved(tmp_path):
    import safetensors.torch

    model = create("resnet20_cifar")
    variables = random(variable_shapes(model))
    variables = jax.tree_util.tree_map_with_path(lambda p, v: abs(v) if p[-1].key == "var" else v * 0.1, variables)
    weights.save(tmp_path / "a.safetensors", "resnet20_cifar", variables)
    network = PUBLISHED["resnet20_cifar"]().eval()
    network.load_state_dict(safetensors.torch.load_file(tmp_path / "a.safetensors"), strict=True)
    image = np.random.default_rng(0).standard_normal((1, 32, 32, 3), np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image.transpose(0, 3, 1, 2))).numpy()
    scores = np.asarray(jax.jit(model.apply)(variables, image))
    assert np.abs(scores - expected).max() <= 1e-4 * np.ptp(expected)


@pytest.mark.parametrize("new", [True, False])
def test_tensors_of_every_kind_are_read(new, tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "whole": base,
        "transposed": base.t(),
        "part": base[1:3, 2:5],
        "every_second": base[:, ::2],
        "scalar": torch.tensor(7.0),
        "parameter": torch.nn.Linear(2, 3).state_dict()["weight"],
        **{str(d): torch.arange(5).to(d) for d in (torch.float64, torch.float16, torch.bfloat16, torch.int64)},
    }
    torch.save(tensors, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    found, _ = weights.read(tmp_path / "a.pth")
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert str(found[name].dtype) == str(tensor.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(found[name].astype(np.float64), tensor.to(torch.float64).numpy())


@pytest.mark.parametrize("new", [True, False])
def test_a_truncated_pytorch_file_is_refused(new, tmp_path):
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(1000), "b": torch.ones(1000)}, buffer, _use_new_zipfile_serialization=new)
    content = buffer.getvalue()
    for length in (10, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "a.pth").write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="damaged"):
            weights.read(tmp_path / "a.pth")


@pytest.mark.parametrize("new", [True, False])
def test_tensors_beside_other_objects_are_read(new, tmp_path):
    class_of_its_own = argparse.Namespace(a=[torch.ones(2)])
    content = {
        "args": class_of_its_own,
        "model": {"a": torch.ones(3)},
        "rng": torch.get_rng_state(),
        "mask": torch.ones(2) > 0,
    }
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    assert {k: v.tolist() for k, v in weights.read(tmp_path / "a.pth")[0].items()} == {"a": [1, 1, 1]}


def test_a_whole_pickled_network_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"refused: it asks for torch\.nn\.modules\.linear\.Linear"):
        weights.read(tmp_path / "a.pth")
