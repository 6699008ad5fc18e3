"""Folders of images as people have them: junk, links, other formats, wrong depths, empty classes, grey images."""

import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from configs import lenet
from convnets import models
from convnets.data import dataset, sampler, sources
from convnets.errors import DataError
from convnets.training.network import split_problems
from tests.conftest import run_here
from tests.data.test_tf_pipeline import photographs


@pytest.fixture
def root(tmp_path):
    """Writes a folder of 8 training and 4 test images of the classes a and b."""
    photographs(tmp_path / "birds", {"train": 8, "test": 4}, size=(16, 20))
    return tmp_path / "birds"


def load(root, loader, ops="decode|resize_center_crop(12)"):
    return dataset.load_splits(f"folder:{root}", "", loader, "train", "test", ops, ops, "error")


JUNK = [
    ".ipynb_checkpoints/x.jpg", "train/.ipynb_checkpoints/x.jpg", "train/a/.ipynb_checkpoints/x.jpg", "__MACOSX/train/x.jpg",
    "train/__MACOSX/._x.jpg", "train/a/._x.jpg", "train/a/Thumbs.db", "train/a/.DS_Store", "train/@eaDir/x.jpg",
    "train/a/desktop.ini", "train/.git/x.jpg", "test/$RECYCLE.BIN/x.jpg", "train/.hidden.jpg", "test/lost+found/x.jpg",
]  # fmt: skip


@pytest.mark.parametrize("loader", dataset.LOADERS)
def test_junk_is_no_class_and_no_image(root, capsys, loader):
    for junk in JUNK:
        (root / junk).parent.mkdir(parents=True, exist_ok=True)
        (root / junk).write_bytes(b"junk")
    (root / "train" / ".x.jpg").symlink_to("/nowhere")
    train, test = load(root, loader)
    assert train.info.label_names == ["a", "b"] and (train.info.num_examples, test.info.num_examples) == (8, 4)
    assert "note" not in capsys.readouterr().out
    with pytest.raises(DataError, match="has no split 'validation'; it has test, train "):
        sources.find(f"folder:{root}", "", "validation")


@pytest.mark.parametrize("loader", dataset.LOADERS)
@pytest.mark.parametrize("place", ["train/a/x.jpg", "train/x", "test/b/x.png", "train/a/round.jpg"])
def test_a_link_that_leads_nowhere_is_named(root, place, loader):
    target = "round.jpg" if "round" in place else "/nowhere/y.jpg"
    (root / place).symlink_to(target)
    with pytest.raises(DataError, match=rf"^{root / place} is a link to {target}, which does not exist$"):
        load(root, loader)


def test_links_that_lead_somewhere_are_followed(root, tmp_path):
    (root / "train" / "a").rename(tmp_path / "elsewhere")
    (root / "train" / "a").symlink_to(tmp_path / "elsewhere")
    (root / "train" / "b" / "x.jpg").symlink_to(tmp_path / "elsewhere" / "0000.jpg")
    assert load(root, "stream")[0].info.num_examples == 9


@pytest.mark.parametrize("loader", dataset.LOADERS)
def test_files_that_are_not_read_are_counted(root, capsys, loader):
    for name in ("train/a/1.txt", "train/b/2.txt", "train/b/3.JSON", "train/a/README", "train/4.jpg", "train/a/deep/er/5.jpg",
                 "train/a/deep/6.jpg", "train/a/folder.jpg/7.jpg"):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    os.mkfifo(root / "train" / "a" / "pipe.jpg")  # reading it would wait for ever
    assert load(root, loader)[0].info.num_examples == 8
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "passed over" in line]
    counts = "3 in deeper folders, 2 .txt, 1 "
    assert line.startswith(f"note: {root / 'train'}: 9 files passed over: {counts}")
    assert {"1 .json", "1 without a suffix", "1 beside the classes", "1 .jpg"} < set(line.split(": ")[-1].split(", "))


def test_an_empty_split_says_what_it_holds_instead(root):
    for file in (root / "test").glob("*/*"):
        file.rename(file.with_suffix(".heic"))
    with pytest.raises(DataError, match=r"split 'test' holds no images; .* as PATH.*; 4 files passed over: 4 \.heic$"):
        load(root, "stream")


@pytest.mark.parametrize("loader", dataset.LOADERS)
def test_every_known_suffix_is_read(root, loader, capsys):
    for suffix in (".JPG", ".Jpeg", ".PNG", ".bmp", ".gif", ".webp", ".TIF", ".tiff"):
        Image.new("RGB", (20, 16), (255, 0, 0)).save(root / "train" / "b" / f"x{suffix}")
    train, _ = load(root, loader)
    assert train.info.num_examples == 16 and "passed over" not in capsys.readouterr().out
    images = (
        train.resident_arrays["images"]
        if train.resident_arrays
        else next(train.feed(sampler.evaluation_schedule(16, 16)))["image"]
    )
    assert np.abs(images[8:].astype(int) - (255, 0, 0)).max() < 3


@pytest.mark.parametrize("loader", dataset.LOADERS)
def test_a_class_without_images_is_named(root, capsys, loader):
    (root / "train" / "empty").mkdir()
    (root / "test" / "only in test").mkdir()
    Image.new("RGB", (20, 16)).save(root / "test" / "only in test" / "x.jpg")
    train, test = load(root, loader)
    assert train.info.label_names == test.info.label_names == ["a", "b", "empty", "only in test"]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert lines == [f"note: {root / 'train'}: no images of 2 of 4 classes: empty, only in test",
                     f"note: {root / 'test'}: no images of 1 of 4 classes: empty"]  # fmt: skip


def test_a_cached_set_notices_another_class_and_keeps_what_did_not_change(root):
    host = dataset.parse_operations("decode|resize_center_crop(12)", "resident", False)[0]
    path = lambda split: dataset.cached_path(f"folder:{root}", "", split, host, "error")  # noqa: E731
    before = [path(split) for split in ("train", "test")]
    Image.new("RGB", (20, 16)).save(root / "test" / "a" / "x.jpg")
    assert path("train") == before[0] and path("test") != before[1]
    (root / "train" / "aa").mkdir()  # b has another number now
    assert path("train") != before[0]
    assert path("validation") is None


@pytest.mark.parametrize("loader", dataset.LOADERS)
def test_names_of_any_bytes(tmp_path, loader):
    for split in ("train", "test"):
        for name in ("ba$$", "[red]", "caf\udce9", "a\nb", "日本", "_x", "x [lr=0.1], #1 50%"):
            (tmp_path / "b\udcffds" / split / name).mkdir(parents=True)
            Image.new("RGB", (20, 16)).save(tmp_path / "b\udcffds" / split / name / "\udce9.jpg")
    train, _ = load(tmp_path / "b\udcffds", loader)
    assert train.info.num_examples == 7 and {"caf\\udce9", "a\\nb", "日本"} < set(train.info.label_names)
    for name in (train.info.name, *train.info.label_names):
        name.encode()


def test_grey_images_train_a_network_of_one_channel(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        Image.fromarray(grey).save(tmp_path / split / "a" / "x.png")
    config = lenet.get_config("modern")
    config.model.num_classes = 1
    model = models.create(**config.model)
    for grey_op, loader in (("", "resident"), ("|grey", "resident"), ("|grey", "stream")):
        train, _ = load(tmp_path, loader, f"decode{grey_op}|resize_center_crop(28)|resize(32)")
        found = split_problems(config, model, train, "train_ops")
        if grey_op:
            assert not found and train.info.image_shape == (28, 28, 1)
            images = train.resident_arrays["images"] if train.resident_arrays else next(
                train.feed(sampler.evaluation_schedule(1, 1))
            )["image"]  # fmt: skip
            np.testing.assert_array_equal(images[0, ..., 0], grey)
        else:
            (line,) = found
            assert re.search(r"gives images of \(32, 32, 3\), .* takes \(32, 32, 1\); 'decode\|grey' makes", line)


@pytest.mark.parametrize("ops", ["decode|resize_short(14, 18)|crop(12)|grey", "decode|grey|inception_crop(12)|flip"])
def test_grey_goes_with_random_crops_and_statistics(root, ops):
    train, test = dataset.load_splits(f"folder:{root}", "", "stream", "train", "test", f"{ops}|subtract_mean",
                                      "decode|grey|resize_center_crop(12)|subtract_mean", "error")  # fmt: skip
    assert train.info.image_shape == test.info.image_shape == train.statistics.mean_image.shape == (12, 12, 1)
    assert next(train.feed(sampler.training_schedule(8, 4, 5, 0, 1), 5))["image"].shape == (4, 12, 12, 1)


def test_a_folder_of_images_trains_and_a_bad_one_is_named(tmp_path):
    for split, count in (("train", 40), ("val", 8)):
        for i in range(count):
            place = tmp_path / "birds" / split / "ab"[i % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40 + i, 50), (5 * i, 99, 0)).convert("CMYK" if i % 8 == 3 else "L").save(
                place / f"{i}.jpg"
            )
    birds = ("--config=configs/ablation.py:cifar", "--config.model.layers=conv(4, 5, 4)|relu|mean|out", f"--config.data.name=folder:{tmp_path / 'birds'}", "--config.data.test_split=val",
             "--config.data.loader=stream", "--config.data.train_ops=decode|inception_crop(32)|flip|standardize",
             "--config.data.test_ops=decode|resize_center_crop(32)|standardize", "--config.model.num_classes=2",
             "--config.train.batch_size=20", "--config.train.epochs=1", "--config.evaluate.batch_size=8")  # fmt: skip
    out, _ = run_here(*birds, f"--workdir={tmp_path / 'a'}")
    assert "data: train streamed, about" in out
    assert json.loads((tmp_path / "a" / "result.json").read_text())["num_examples"] == 8
    out, _ = run_here("--mode=predict", f"--workdir={tmp_path / 'a'}", f"--images={tmp_path}/birds/val/a/0.jpg",
                 "--config.data.test_ops=decode|resize_short(40)|center(32)|standardize")  # fmt: skip
    assert out.count(" %") == 2
    bad = tmp_path / "birds" / "val" / "a" / "4.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    _, err = run_here("--mode=evaluate", f"--workdir={tmp_path / 'a'}", "--config.data.on_error=skip", code=3)
    assert err.splitlines()[-1].startswith(f"error: val, {bad}: ")
