"""Weight files that do not fit a network, are damaged or hostile: each is refused in one line."""

import collections
import functools
import os
import pickle
import zipfile

import jax
import numpy as np
import pytest
import safetensors.numpy

from convnets import models
from convnets.errors import CheckpointError
from convnets.models.pretrained import weights
from convnets.models.pretrained.names import published_names, to_published
from convnets.models.pretrained.torch_file import MAGIC, PROTOCOL, _array, _Storage, _Tensor
from convnets.models.summary import variable_shapes
from convnets.runtime.arrays import name_leaves
from tests.models.pretrained.test_weights import create, refused, same


def published(arrays, file, change):
    arrays = dict(arrays)
    change(arrays)
    safetensors.numpy.save_file(arrays, file)


@pytest.fixture(scope="module")
def arrays(small):
    _, _, variables = small
    named = name_leaves(variables)
    return {theirs: to_published(k, named[k]) for k, theirs in published_names("resnet20_cifar", list(named)).items()}


def test_differences_are_listed(small, arrays, tmp_path):
    _, like, variables = small
    file = tmp_path / "a.safetensors"
    load = functools.partial(refused, file, "resnet20_cifar", like)

    published(arrays, file, lambda a: a.pop("bn1.running_var"))
    load(r"does not fit this model: bn1\.running_var is missing$")
    published(arrays, file, lambda a: a.update({"layer9.0.conv1.weight": np.zeros(3, np.float32)}))
    load(r"layer9\.0\.conv1\.weight is not wanted$")
    published(arrays, file, lambda a: a.update({"linear.num_batches_tracked": np.zeros(1, np.int64)}))
    load("linear.num_batches_tracked is not wanted")
    published(arrays, file, lambda a: a.update({"linear.bias": np.zeros(100, np.float32)}))
    load(r"linear\.bias is float32\[100\], \[10\] of a floating type wanted$")
    published(arrays, file, lambda a: a.update({"linear.bias": np.zeros(10, np.int64)}))
    load(r"linear\.bias is int64\[10\]")
    published(arrays, file, lambda a: [a.pop(k) for k in list(a) if k.endswith("running_mean")])
    assert load("and 14 more$").count("is missing") == 5
    published(arrays, file, lambda a: a.update({"bn1.num_batches_tracked": np.zeros((), np.int64)}))
    same(weights.load(file, "resnet20_cifar", like), variables)


def test_another_network_or_number_of_classes_is_refused(arrays, tmp_path):
    file = tmp_path / "a.safetensors"
    published(arrays, file, lambda a: None)
    refused(
        file, "resnet32_cifar", variable_shapes(create("resnet32_cifar")), "does not fit this model: .* and .* more$"
    )
    refused(file, "resnet18", variable_shapes(create("resnet18")), "does not fit this model")
    like100 = variable_shapes(models.create("resnet20_cifar", 100, "float32"))
    refused(
        file, "resnet20_cifar", like100, r"linear.weight is float32\[10, 64\], \[100, 64\] of a floating type wanted"
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floating_types_are_converted(small, arrays, dtype, tmp_path):
    _, like, variables = small
    file = tmp_path / "a.safetensors"
    published(arrays, file, lambda a: a.update({k: v.astype(dtype) for k, v in a.items()}))
    same(
        weights.load(file, "resnet20_cifar", like),
        jax.tree.map(lambda v: v.astype(dtype).astype(np.float32), variables),
    )


# Damaged and hostile files ------------------------------------------------------------------------------------------


class Attack:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def zipped(file, content):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", content)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_a_pickle_that_runs_a_command_is_refused(small, form, protocol, tmp_path):
    _, like, _ = small
    file, mark = tmp_path / "evil.pth", tmp_path / "mark"
    content = pickle.dumps({"conv1.weight": Attack(mark)}, protocol)
    if form == "zip":
        zipped(file, content)
    else:
        header = [MAGIC, PROTOCOL, {"little_endian": True}] if form == "legacy" else []
        file.write_bytes(b"".join(pickle.dumps(part, 2) for part in header) + content)
    message = refused(file, "resnet20_cifar", like, r"refused: it asks for (posix|nt)\.system")
    assert "only tensors" in message and not mark.exists()


@pytest.mark.parametrize(
    "name", ["builtins eval", "torch.nn.modules.linear Linear", "collections Counter", "torch load"]
)
def test_any_other_name_is_refused(name, tmp_path):
    module, attribute = name.split()
    zipped(tmp_path / "a.pth", f"c{module}\n{attribute}\n.".encode())
    with pytest.raises(CheckpointError, match=f"asks for {module}.{attribute}"):
        weights.read(tmp_path / "a.pth")


def test_a_hostile_name_cannot_write_on_the_terminal(small, tmp_path):
    _, like, _ = small
    zipped(tmp_path / "a.pth", pickle.dumps({"\x1b[2Jconv1\nweight": 1}))
    assert "?[2Jconv1" in refused(tmp_path / "a.pth", "resnet20_cifar", like, "in it is no tensor|\\?")
    safetensors.numpy.save_file({"\x1b[2Jconv1\nweight": np.zeros(1)}, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "resnet20_cifar", like, "does not fit")


def test_a_pickle_cannot_change_what_it_is_given(tmp_path):
    """The BUILD opcode sets attributes, but no object that the unpickler returns has attributes to set."""
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    for target in (rebuild, b"ctorch\nFloatStorage\n", b"ccollections\nOrderedDict\n"):
        zipped(tmp_path / "a.pth", target + b"N}X\x04\x00\x00\x00evilI1\ns\x86b.")
        with pytest.raises(CheckpointError):
            weights.read(tmp_path / "a.pth")
    assert not hasattr(collections.OrderedDict, "evil")


def test_damaged_files_are_explained(small, arrays, tmp_path):
    _, like, _ = small
    whole, file = tmp_path / "whole.safetensors", tmp_path / "a.safetensors"
    published(arrays, whole, lambda a: None)
    for content in (b"", b"\0" * 50, whole.read_bytes()[:-1], whole.read_bytes()[:1000]):
        file.write_bytes(content)
        refused(file, "resnet20_cifar", like, "cannot be read, it may be damaged")
    torch_file = tmp_path / "a.pth"
    for content in (b"", b"\0" * 50, b"PK\x03\x04 and no more", pickle.dumps([1, 2, 3])):
        torch_file.write_bytes(content)
        refused(torch_file, "resnet20_cifar", like, "cannot be read, it may be damaged")
    zipped(torch_file, pickle.dumps([1, 2, 3]))
    refused(torch_file, "resnet20_cifar", like, "holds no dictionary of tensors")
    zipped(torch_file, pickle.dumps({"epoch": 3}))
    refused(torch_file, "resnet20_cifar", like, "'epoch' in it is no tensor")
    refused(tmp_path / "none.pth", "resnet20_cifar", like, "is no file")


@pytest.mark.parametrize(
    "tensor",
    [
        ("float32", 8, (2, 4), (4, 1), 1),  # starts too late
        ("float32", 8, (3, 4), (4, 1), 0),  # too long
        ("float32", 8, (2, 4), (-4, 1), 7),  # negative stride
        ("float32", 8, (2, 4), (4, 1), -1),
        ("float32", 8, (10**6, 10**6), (0, 0), 0),  # a terabyte from one number with zero strides
        ("float32", 9, (2, 4), (4, 1), 0),  # more than the file holds
        ("float32", 8, (2, 4), (4,), 0),
    ],
)
def test_a_tensor_beyond_its_data_is_refused(tensor):
    dtype, length, shape, strides, offset = tensor
    storage = _Storage("0", dtype, length)
    with pytest.raises((CheckpointError, ValueError)):
        _array(_Tensor(storage, offset, shape, strides), bytes(32))


def test_only_safetensors_is_written(small, tmp_path):
    _, _, variables = small
    with pytest.raises(CheckpointError, match=r"written as \.safetensors"):
        weights.save(tmp_path / "a.pth", "resnet20_cifar", variables)
    with pytest.raises(CheckpointError, match="could not be written"):
        weights.save(tmp_path / "none" / "a.safetensors", "resnet20_cifar", variables)
