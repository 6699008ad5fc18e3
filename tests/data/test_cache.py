"""The cache of decoded images: damaged, it is made anew; where it cannot be written, it is not used."""

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from convnets.data import cache, dataset
from convnets.errors import DataError
from convnets.runtime import files
from convnets.training import network
from tests.data.test_tf_pipeline import photographs


def load(name):
    ops = "decode|resize_center_crop(8)|subtract_mean()"
    return dataset.load_splits(name, "", "resident", "train", "test", ops, ops, "error")


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    return photographs(tmp_path_factory.mktemp("set") / "birds", {"train": 6, "test": 4})


@pytest.fixture(scope="module")
def whole(birds, tmp_path_factory):
    """Returns a cache with both splits and the statistics, and the splits."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVNETS_CACHE", str(folder))
        return folder, load(birds)


def assert_equal(found, wanted):
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.info == theirs.info
        for key in ("images", "labels"):
            np.testing.assert_array_equal(ours.resident_arrays[key], theirs.resident_arrays[key])
            assert ours.resident_arrays[key].dtype == theirs.resident_arrays[key].dtype
        for key, value in ours.statistics._asdict().items():
            np.testing.assert_array_equal(value, getattr(theirs.statistics, key))


def damage(path, how):
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        half = content[: len(content) // 2]
        path.write_bytes({"empty": b"", "half": half, "zeros": bytes(len(content)), "text": b"no array"}[how])


@pytest.mark.parametrize(
    "file, how",
    [("images.npy", "half"), ("images.npy", "empty"), ("images.npy", "zeros"), ("images.npy", "gone"), ("labels.npy", "gone"),
     ("labels.npy", "half"), ("info.json", "empty"), ("info.json", "half"), ("info.json", "text"), ("info.json", "gone"),
     ("statistics", "half"), ("statistics", "empty"), ("statistics", "zeros")],
)  # fmt: skip
def test_a_damaged_cache_is_made_anew(file, how, birds, whole, tmp_path, monkeypatch, capfd):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("CONVNETS_CACHE", str(tmp_path))
    wanted = whole[1]
    folders = {p.name.split("-")[1]: p for p in (tmp_path / "data").iterdir()}
    path = next((tmp_path / "statistics").iterdir()) if file == "statistics" else folders["train"] / file
    damage(path, how)
    assert_equal(load(birds), wanted)
    said = capfd.readouterr().out
    again = "measured again" if file == "statistics" else "the images are decoded again"
    assert said.count("\n") == 1 and " is damaged" in said and said.endswith(f"{again}\n"), said
    assert str(path if file == "statistics" else path.parent) in said
    assert_equal(load(birds), wanted)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("error, message", [
    (MemoryError("Unable to allocate 252. GiB"), "does not fit into memory .*252.*; take data.loader=stream"),
    (OSError(24, "Too many open files"), "cannot be read: .*Too many open files"), (PermissionError(13, "denied"), "cannot be read"),
])  # fmt: skip
def test_a_cache_that_cannot_be_read_now_is_kept(birds, whole, monkeypatch, error, message):
    monkeypatch.setenv("CONVNETS_CACHE", str(whole[0]))
    before = sorted(whole[0].rglob("*"))

    def fails(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(cache.np, "load", fails)
        with pytest.raises(DataError, match=message):
            load(birds)
    assert sorted(whole[0].rglob("*")) == before
    assert_equal(load(birds), whole[1])


def test_a_set_that_does_not_fit_into_memory_is_to_be_streamed(birds, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVNETS_CACHE", str(tmp_path))

    def fails(shape, *rest, empty=np.empty):
        if shape == (6, 8, 8, 3):
            raise MemoryError("Unable to allocate 252. GiB")
        return empty(shape, *rest)

    monkeypatch.setattr(cache.np, "empty", fails)
    with pytest.raises(DataError, match=r"does not fit into memory .*; take data\.loader=stream"):
        load(birds)


def test_arrays_of_another_set_are_noticed(birds, whole, tmp_path, monkeypatch, capfd):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("CONVNETS_CACHE", str(tmp_path))
    for folder in (tmp_path / "data").iterdir():
        np.save(folder / "labels.npy", np.zeros(3, np.int32))
    assert_equal(load(birds), whole[1])
    assert capfd.readouterr().out.count("do not have the shapes") == 2


@pytest.mark.parametrize("where", ["/dev/null/cache", "/proc/cache", "a file"])
def test_without_a_cache_it_goes_on(where, birds, tmp_path, monkeypatch, capfd):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CONVNETS_CACHE", where.replace("a file", str(tmp_path / "file")))
    monkeypatch.setattr(cache, "NOTED", set())
    train, test = load(birds)
    assert train.resident_arrays["images"].shape == (6, 8, 8, 3) and test.info.num_examples == 4 and train.statistics
    said = capfd.readouterr().out
    assert said.count("\n") == 1 and said.startswith("note: nothing is kept in the cache "), said


def test_a_full_disk_leaves_no_half_of_a_cache(birds, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("CONVNETS_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "NOTED", set())
    save = np.save

    def full(path, array):
        save(path, array)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    load(birds)
    assert "No space left on device" in capfd.readouterr().out and not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("name", ["CONVNETS_CACHE", "XDG_CACHE_HOME"])
def test_an_empty_variable_names_no_folder(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CONVNETS_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(name, "")
    assert cache.cache_dir() == tmp_path / ".cache" / "convnets"


def test_a_cache_has_a_name_that_every_file_system_takes(tmp_path):
    root = tmp_path / ("ü" * 100 + "[1] #2:%")
    photographs(root, {"t" * 200: 1})
    path = cache.cached_path(f"folder:{root}", "", "t" * 200, [], "error")
    assert len(os.fsencode(path.name)) <= 255 and path.parent == cache.cache_dir() / "data"
    assert json.dumps(path.name)


def test_classes_have_their_names_in_what_was_kept_before_they_had_any(whole, tmp_path):
    """A cache or a run's manifest of CIFAR-10 may hold mere numbers."""
    folder = next(whole[0].rglob("info.json")).parent
    facts = json.loads((folder / "info.json").read_text())
    shutil.copytree(folder, tmp_path / "copy")
    numbered = {**facts, "name": "cifar10", "label_names": [str(i) for i in range(10)]}
    (tmp_path / "copy" / "info.json").write_text(json.dumps(numbered))
    info, _ = cache.load_decoded(tmp_path / "copy")
    assert info.label_names[0] == "airplane" and info.name == "cifar10"
    assert cache.load_decoded(folder)[0].label_names == facts["label_names"]
    files.write_json(
        tmp_path / "manifest.json", {"dataset": {"name": "cifar10", "label_names": numbered["label_names"]}}
    )
    (tmp_path / "config.json").touch()
    model = SimpleNamespace(input_shape=(32, 32, 3), num_classes=10)
    assert network.load_facts(tmp_path, model)["label_names"] == info.label_names
