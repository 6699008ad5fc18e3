"""What a training finds in its folder before it begins."""

import json
import re
import sys

import numpy as np
import pytest

from configs import base, lenet
from convnets.augment.statistics import load_statistics
from convnets.data import dataset
from convnets.errors import CheckpointError, UsageError
from convnets.modes import train
from convnets.runtime import files


def finished(workdir, checkpoint=True):
    """Writes the files of a finished run that are looked at before training."""
    (workdir / "config.json").write_text(json.dumps(base.get_config().to_dict()))
    (workdir / "result.json").write_text('{"top1_error": 1.0}')
    if checkpoint:
        step = workdir / "checkpoints" / "30"
        step.mkdir(parents=True)
        (step / "_CHECKPOINT_METADATA").write_text("{}")
    return base.get_config()


@pytest.mark.parametrize("left", ["no folder", "an empty folder", "a half-written one", "a damaged one set aside"])
def test_a_finished_run_without_its_checkpoints_is_trained_again_only_when_asked(left, tmp_path):
    config = finished(tmp_path, checkpoint=False)
    if left != "no folder":
        (tmp_path / "checkpoints").mkdir()
    if left == "a half-written one":
        (tmp_path / "checkpoints" / "30.orbax-checkpoint-tmp").mkdir()
    if left == "a damaged one set aside":
        (tmp_path / "checkpoints" / "30.damaged").mkdir()
    for allow in (False, True):
        with pytest.raises(
            UsageError, match=r"holds the result of a finished run, and no checkpoint .* with --restart$"
        ):
            train.check_outdated(config, tmp_path, allow, False)
    assert train.check_outdated(config, tmp_path, False, True) and (tmp_path / "result.json").exists()


def test_with_its_checkpoints_a_finished_run_needs_no_flag(tmp_path):
    config = finished(tmp_path)
    assert not train.check_outdated(config, tmp_path, False, False)
    assert not train.check_outdated(config, tmp_path, False, True)  # nothing to restart
    assert train.read_result(tmp_path) == {"top1_error": 1.0}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", bytes(50), b"[]"])
def test_damaged_state_files_are_one_line(content, tmp_path, capsys):
    config = finished(tmp_path)
    for name in ("config.json", "result.json", "statistics.npz"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path / 'config.json'} is damaged: ")):
        train.check_outdated(config, tmp_path, False, False)
    with pytest.raises(
        CheckpointError, match=re.escape(f"{tmp_path / 'statistics.npz'} is damaged: ") + ".*; remove it"
    ):
        load_statistics(tmp_path / "statistics.npz")
    assert train.read_result(tmp_path) is None
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.endswith("; the network is tested again\n")


def test_statistics_are_read(tmp_path):
    wanted = {key: np.ones(3, np.float32) for key in ("mean_image", "mean", "std", "eigenvalues", "eigenvectors")}
    np.savez(tmp_path / "statistics.npz", **wanted)
    assert all(
        np.array_equal(value, wanted[key])
        for key, value in load_statistics(tmp_path / "statistics.npz")._asdict().items()
    )


def test_decoded_images_alone_are_trained_on_without_tensorflow(tmp_path, monkeypatch, capsys):
    """The cache of decoded images goes to a machine that has neither the data set nor TensorFlow."""
    config = lenet.get_config("digits")
    config.train.epochs = 0.01
    config.data.train_ops = config.data.test_ops = "decode|resize(28)|pad(2)|standardize"
    monkeypatch.setenv("CONVNETS_CACHE", str(tmp_path / "cache"))
    dataset.load_splits(**config.data)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    for name in [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "tensorflow_datasets")]:
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    train.train(config, tmp_path, False)
    assert json.loads((tmp_path / "result.json").read_text())["num_examples"] == 360
    assert (
        f"note: digits is not in {tmp_path / 'nothing'}; its decoded images are in {tmp_path}"
        in capsys.readouterr().out
    )


def test_of_a_complete_run_only_missing_files_are_written(tmp_path):
    config = lenet.get_config("digits")
    config.train.epochs = 0.01
    train.train(config, tmp_path, False)
    before = {name: (tmp_path / name).read_bytes() for name in ("config.json", "manifest.json", "result.json")}
    (tmp_path / "config.json").unlink()
    train.train(config, tmp_path, False)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_the_first_filters_of_a_network_without_convolutions_are_drawn(tmp_path):
    config = base.get_config("stack")
    config.model.update(layers="fc(4)|relu|out", side=8)
    config.train.update(epochs=0.02, batch_size=8)
    train.train(config, tmp_path, False)
    assert (tmp_path / "filters.png").stat().st_size > 500


def test_a_finished_run_does_not_become_a_run_of_another_recipe(tmp_path):
    """With nothing left to train, the result would be of the former recipe under the name of the new one."""
    config = finished(tmp_path)
    (tmp_path / "manifest.json").write_text('{"dataset": {"num_examples": 320}}')
    files.write_json(tmp_path / "config.json", config.to_dict())
    config.train.epochs, config.optim.lr = 30 * config.train.batch_size / 320, 0.9
    with pytest.raises(UsageError, match=r"is at step 30, and with the changed config .*optim.lr: .* -> 0.9"):
        train.check_outdated(config, tmp_path, True, False)
    assert train.read_result(tmp_path) == {"top1_error": 1.0}
    config.train.epochs *= 2
    assert train.check_outdated(config, tmp_path, True, False)


def test_a_finished_run_may_be_tested_in_another_way(tmp_path):
    config = finished(tmp_path)
    (tmp_path / "manifest.json").write_text('{"dataset": {"num_examples": 320}}')
    files.write_json(tmp_path / "config.json", config.to_dict())
    config.evaluate.batch_size = 7
    config.data.data_dir = "/elsewhere"
    assert train.check_outdated(config, tmp_path, True, False)
