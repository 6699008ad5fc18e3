"""Opening and testing a trained network needs no optimizer, no training split and no writable folder."""

import json
import shutil
from unittest.mock import Mock

import jax
import numpy as np
import optax
import pytest

from configs import base
from convnets import models
from convnets.config import load_config
from convnets.errors import CheckpointError, UsageError
from convnets.models.pretrained import weights
from convnets.runtime import distributed
from convnets.training import network
from convnets.training.checkpoint import Checkpoints
from convnets.training.components import Components
from convnets.training.network import open_network
from convnets.training.state import create_state, draw_missing
from convnets.training.trainer import Run
from tests.conftest import ROOT, filled
from tests.data.test_tf_pipeline import photographs

OPS = "decode|resize_short(32)|center(32)|value_range(-1, 1)"


def config_for(folder, counts):
    """Returns a config of ResNet-20 with the default batch sizes on an image folder of two classes."""
    config = base.get_config("resnet20_cifar")
    name = photographs(folder, counts, size=(36, 40))
    config.model.num_classes = 2
    config.data.update(name=name, loader="stream", test_split="test", train_ops=OPS, test_ops=OPS)
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Returns a config on 24 images (fewer than train.batch_size), its network, and a state at step 7."""
    config = config_for(tmp_path_factory.mktemp("few") / "birds", {"train": 16, "test": 8})
    model = models.create(**config.model)
    state = create_state(model, optax.identity(), 0)
    state = state.replace(step=np.int32(7), params=filled(state.params), batch_stats=filled(state.batch_stats))
    return config, model, jax.device_get(state)


def test_weights_are_tested_on_fewer_images_than_a_training_batch(trained, tmp_path):
    config, model, state = trained
    assert config.train.batch_size > 24
    file = tmp_path / "a.safetensors"
    weights.save(file, "resnet20_cifar", state.variables, own_names=True, model=model)
    result, tested = network.test_run(config, tmp_path / "nowhere", str(file))
    assert (result["num_examples"], result["split_examples"], tested.scores.shape) == (8, 8, (8, 2))
    assert result["split"] == "test" and not (tmp_path / "nowhere").exists()
    assert result["top1_error"] == 100 * np.mean(tested.scores.argmax(1) != tested.labels)


def test_processes_that_opened_different_networks_say_so(trained, tmp_path, monkeypatch):
    """A test writes no mark into the folder of the run, which would show whether all processes see the same."""
    config, _, state = trained
    Checkpoints(tmp_path / "checkpoints").save(state)
    opened = open_network(config, tmp_path)
    monkeypatch.setattr(distributed._Group, "count", 2)
    monkeypatch.setattr(distributed, "all_gather_json", lambda own: [own, [own[0] + 1, *own[1:]]])
    with pytest.raises(CheckpointError, match=f"^{tmp_path}: the processes have different networks"):
        network.test_run(config, tmp_path, opened=opened)


def test_a_test_needs_no_training_split(tmp_path):
    config = config_for(tmp_path / "birds", {"test": 6})
    model = models.create(**config.model)
    state = create_state(model, optax.identity(), 0)
    file = tmp_path / "a.safetensors"
    weights.save(file, "resnet20_cifar", jax.device_get(state.variables), own_names=True, model=model)
    assert network.test_run(config, tmp_path, str(file))[0]["num_examples"] == 6


def test_who_only_reads_a_run_changes_nothing_in_its_folder(trained, tmp_path):
    """Reading does not delete the unfinished checkpoint of a training process that is saving."""
    config, _, state = trained
    Checkpoints(tmp_path / "checkpoints").save(state, seconds=1.5)
    (tmp_path / "config.json").write_text(config.to_json())
    unfinished = tmp_path / "checkpoints" / "8.orbax-checkpoint-tmp"
    unfinished.mkdir()
    (unfinished / "part").write_text("half")
    listing = lambda: {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}  # noqa: E731
    before = listing()
    opened = open_network(config, tmp_path)
    assert (opened.step, opened.seconds) == (7, 1.5)
    result, _ = network.test_run(config, tmp_path)
    assert (result["steps"], result["num_examples"]) == (7, 8)
    assert listing() == before
    Checkpoints(tmp_path / "checkpoints").save(state.replace(step=np.int32(9)), seconds=2.0)  # saving may delete it
    assert not unfinished.exists()


def test_a_folder_without_a_checkpoint_is_refused(trained, tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint yet"):
        open_network(trained[0], tmp_path)


def test_processes_that_see_different_checkpoints_say_so_before_one_waits_for_the_other_in_orbax(
    trained, tmp_path, monkeypatch
):
    config, _, state = trained
    Checkpoints(tmp_path / "checkpoints").save(state)
    monkeypatch.setattr(distributed, "all_gather_json", lambda own: [own, 0])
    monkeypatch.setattr(Checkpoints, "restore", None)
    with pytest.raises(CheckpointError, match=r"different newest checkpoints, of steps \[7, 0\]"):
        open_network(config, tmp_path)
    with pytest.raises(CheckpointError, match=r"different newest checkpoints"):
        Run(config, tmp_path, Mock())


@pytest.mark.parametrize("file", ["", "export.safetensors"])
def test_a_run_and_an_export_of_an_earlier_version_give_the_same_error(file, tmp_path):
    """tests/golden/run was written by commit 09a3ad8, before keys of the config and operations were renamed."""
    run = shutil.copytree(ROOT / "tests/golden/run", tmp_path / "run")
    config, problems = load_config(run / "config.json", [])
    assert not problems
    recorded = json.loads((run / "result.json").read_text())
    result, _ = network.test_run(config, run, str(run / file) if file else "")
    assert result["top1_error"] == recorded["top1_error"] and result["loss"] == pytest.approx(
        recorded["loss"], rel=1e-5
    )


def test_a_layer_that_does_not_fit_its_input_is_named_before_data_are_read(monkeypatch):
    config, _ = load_config(ROOT / "configs/ablation.py:13pct", ["--config.model.pool_size=40"])
    monkeypatch.setattr(network.dataset, "load_splits", None)
    with pytest.raises(UsageError, match=r"^model: pool1 on \(24, 24, 64\): a window of 40 pixels does not fit"):
        Components(config)


def test_what_a_file_lacks_is_drawn_and_nothing_else(trained):
    """Auxiliary heads may be missing; an array that stayed a shape would fail in the first use of the network."""
    _, model, state = trained
    fresh = create_state(model, optax.identity(), 0).variables
    given = jax.tree.map(lambda v: v, state.variables)
    given["params"]["fc"] = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), given["params"]["fc"])
    found = draw_missing(given, model)
    np.testing.assert_array_equal(found["params"]["fc"]["kernel"], fresh["params"]["fc"]["kernel"])
    assert found["params"]["conv1"]["kernel"] is given["params"]["conv1"]["kernel"]
    assert draw_missing(state.variables, model)["params"]["conv1"] is state.variables["params"]["conv1"]
