"""Rows 11 to 13, 18, 21 and 28 to 30 of docs/reliability.md: bad images and records, odd names and sizes.

The number in a test's name is its row. Most run in the process of the tests; one of each kind has a process of its own.
"""

import json
import re
import resource
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from convnets.data.tfrecord import Records
from tests.conftest import run_here
from tests.data.test_image_formats import UNREADABLE
from tests.data.test_tf_pipeline import damage, photographs
from tests.processes import TINY, end, last_line, run, start

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


# A two-layer network on 16 x 16 photographs.
PHOTOGRAPHS = ("--config=configs/ablation.py:mnist10k", "--config.model.layers=conv(4, 3)|relu|max(2)|out",
               "--config.model.num_classes=2", "--config.model.side=16", "--config.model.channels=3",
               "--config.data.train_split=train", "--config.data.loader=stream",
               "--config.data.train_ops=decode|inception_crop(16)|flip|value_range(-1, 1)",
               "--config.data.test_ops=decode|resize_center_crop(16)|value_range(-1, 1)", "--config.train.epochs=1",
               "--config.train.batch_size=8", "--config.evaluate.batch_size=8")  # fmt: skip


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """Writes 1,025 photographs, some of them greyscale, CMYK, or PNG files with a .jpg suffix."""
    root = tmp_path_factory.mktemp("folder") / "birds"
    photographs(root, {"train": 1016, "test": 9}, size=(20, 24))
    for i, (mode, form) in enumerate([("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG"), ("L", "PNG")]):
        for split in ("train", "test"):
            file = root / split / "ab"[i % 2] / f"{i:04}.jpg"
            Image.open(file).convert(mode).save(file, form)
    return root


def test_11_grey_cmyk_and_png_under_another_name_are_read(birds, tmp_path):
    run_here(*PHOTOGRAPHS, f"--config.data.name=folder:{birds}", f"--workdir={tmp_path}")
    assert json.loads((tmp_path / "result.json").read_text())["num_examples"] == 9


def test_11_an_image_that_cannot_be_read_is_named_or_skipped_and_counted(birds, tmp_path):
    """At most one training image in a thousand may be skipped, and no test image."""
    root = tmp_path / "birds"
    shutil.copytree(birds, root)
    config, bad = (*PHOTOGRAPHS, f"--config.data.name=folder:{root}"), root / "train" / "b" / "0501.jpg"
    whole = bad.read_bytes()
    for how in ("empty", "truncated", "corrupt", "text"):
        bad.write_bytes(whole)
        damage(bad, how)
        _, err = run_here(*config, f"--workdir={tmp_path / 'error'}", code=3)
        assert last_line(err).startswith(f"error: train, {bad}: "), how
    out, _ = run_here(*config, "--config.data.on_error=skip", f"--workdir={tmp_path / 'skip'}")
    assert re.search(rf"train, {bad}: .*; 1 of [\d,]+ examples skipped", out), out
    damage(root / "train" / "a" / "0600.jpg", "truncated")
    _, err = run_here(*config, "--config.data.on_error=skip", f"--workdir={tmp_path / 'limit'}", code=3)
    assert re.search(r"2 of [\d,]+ examples skipped, more than 0.1 %", last_line(err))
    damage(root / "test" / "a" / "0004.jpg", "truncated")
    _, err = run_here("--mode=evaluate", f"--workdir={tmp_path / 'skip'}", code=3)
    assert last_line(err).startswith(f"error: test, {root / 'test' / 'a' / '0004.jpg'}: ")


@pytest.fixture
def digits(tmp_path):
    """Returns the shard of the training digits and the flags of a run that streams them."""
    config = (*TINY, "--config.train.epochs=1", f"--config.data.data_dir={tmp_path}", "--config.data.loader=stream")
    out, _ = run_here("--mode=prepare", *config)
    assert "train: 1,437 examples of 10 classes, counted" in out and "ready: train streamed" in out
    return next(tmp_path.glob("digits/*/digits-train*")), config


def test_11_a_bad_image_in_a_record_is_named_by_split_shard_and_number(digits, tmp_path):
    """The record's checksums are valid; the image was already bad when it was written."""
    import tensorflow as tf

    shard, config = digits
    records = [tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(shard))]
    image = records[700].features.feature["image"].bytes_list
    image.value[0] = image.value[0][:40]
    with tf.io.TFRecordWriter(str(shard)) as file:
        for record in records:
            file.write(record.SerializeToString())
    _, err = run(*config, f"--workdir={tmp_path / 'run'}", code=3)
    assert last_line(err).startswith(f"error: train, {shard}: record 700: ")


@pytest.mark.parametrize("how", ["a byte", "in a record", "between two"])
def test_12_a_damaged_file_of_records_ends_the_run_by_name(digits, tmp_path, how):
    """Damaged record files are never skipped; TensorFlow would accept a file cut between two records silently."""
    shard, config = digits
    whole, last = bytearray(shard.read_bytes()), int(Records([(str(shard), 1437, 0)]).offsets[-1])
    if how == "a byte":
        whole[last + 40] ^= 1
    first = last - 12  # a record begins with its length and the checksum of that length
    shard.write_bytes(whole[: {"a byte": None, "in a record": -20, "between two": first}[how]])
    begin = run if how == "a byte" else run_here  # a process ends even if its pipeline has failed
    _, err = begin(*config, f"--workdir={tmp_path / 'run'}", "--config.data.on_error=skip", code=3)
    wanted = {"a byte": f"record 1436 at byte {last} is damaged", "in a record": f"the record at byte {first} is cut short",
              "between two": "holds 1436 records, 1437 expected; it was cut short"}  # fmt: skip
    assert f"{shard}: {wanted[how]}" in last_line(err)


def test_30_a_set_of_many_shards_is_trained_with_64_descriptors(digits, tmp_path):
    """120 shards; a set of ImageNet's size is in test_scale.py."""
    import tensorflow as tf

    shard, config = digits
    records, count = [r.numpy() for r in tf.data.TFRecordDataset(str(shard))], 120
    lengths = [len(records) // count + (i < len(records) % count) for i in range(count)]
    rest = iter(records)
    for i, length in enumerate(lengths):
        with tf.io.TFRecordWriter(str(shard.with_name(f"digits-train.tfrecord-{i:05d}-of-{count:05d}"))) as writer:
            for _ in range(length):
                writer.write(next(rest))
    shard.unlink()
    path = shard.with_name("dataset_info.json")
    facts = json.loads(path.read_text())
    next(s for s in facts["splits"] if s["name"] == "train")["shardLengths"] = [str(n) for n in lengths]
    path.write_text(json.dumps(facts))
    process = start(*config, f"--workdir={tmp_path / 'run'}")
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (64, 64))
    end(process)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["num_examples"] == 360


def test_13_missing_data_are_named_with_the_command_that_prepares_them(tmp_path):
    for change, code, messages in [
        (["--config.data.name=imagenet2012", "--config.data.data_dir=/nowhere"], 3,
         ["imagenet2012 is not in /nowhere and must be downloaded by hand", "--mode=prepare --manual_dir=FOLDER"]),
        (["--config.data.name=mnistt"], 3, ["no data set 'mnistt'; did you mean 'mnist'?"]),
        (["--config.data.test_split=validation"], 3, ["digits has no split 'validation'; it has train, test"]),
        (["--config.data.name=folder:/nowhere"], 3, ["there is no such folder; it must hold PATH/split/class/image"]),
    ]:  # fmt: skip
        _, err = run_here(*TINY, *change, f"--workdir={tmp_path}", code=code)
        last = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(last) == 1 and all(m in last[0] for m in messages) and "Traceback" not in err, err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    run_here(*TINY, "--config.train.epochs=1", f"--workdir={workdir}")
    return workdir


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("size", [1, 7, 8, 9])
def test_18_a_test_counts_each_example_once_around_the_batch(trained, tmp_path, size, devices, monkeypatch):
    """Tests the first `size` digits in batches of 8; test_hosts.py does so with two processes."""
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    workdir, found = tmp_path / "run", {}
    shutil.copytree(trained, workdir)
    for batch in (8, 360):
        run_here("--mode=evaluate", f"--workdir={workdir}", f"--config.data.test_split=test[:{size}]",
                 f"--config.evaluate.batch_size={batch}", f"--name={batch}")  # fmt: skip
        found[batch] = json.loads((workdir / f"evaluation-{batch}.json").read_text())
    assert found[8]["num_examples"] == found[8]["split_examples"] == size
    for key in ("num_examples", "top1_error", "top5_error"):
        assert found[8][key] == found[360][key]
    np.testing.assert_allclose(found[8]["loss"], found[360]["loss"], rtol=1e-5)


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Trains on classes with names that are mathtext, markup and no UTF-8; the user has settings for matplotlib."""
    folder = tmp_path_factory.mktemp("named")
    root = folder / "[b]$$"
    for split in ("train", "test"):
        for n, name in enumerate(("ba$$", "[|x]", "[bold]", "caf\udce9")):
            (root / split / name).mkdir(parents=True)
            for i in range(4):
                image = Image.new("L", (20, 24), 60 * n + i)
                image.save(root / split / name / f"{i}.png")
    (folder / "matplotlibrc").write_text("text.usetex: True\nno.such.key: 1\n")
    config = (
        *PHOTOGRAPHS,
        "--config.model.num_classes=4",
        f"--config.data.name=folder:{root}",
        "--config.model.channels=1",
    )
    grey = ("--config.data.train_ops=decode|grey|resize_center_crop(16)|value_range(-1, 1)",
            "--config.data.test_ops=decode|grey|resize_center_crop(16)|value_range(-1, 1)")  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATPLOTLIBRC", str(folder))
        patch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        out, err = run(*config, *grey, f"--workdir={folder / 'run'}")
    return folder, config, out, err


def test_21_names_and_settings_cost_no_result(named):
    folder, _, out, err = named
    assert json.loads((folder / "run" / "result.json").read_text())["num_examples"] == 16
    for name in ("curves", "filters", "confusion", "mistakes"):
        assert f"{name}.png" in out.splitlines()[-1] and (folder / "run" / f"{name}.png").exists()
    assert "folder:[b]$$" in out and "warning" not in out and not err


def test_28_pictures_of_any_kind_are_read_or_named_by_predict(named, tmp_path):
    folder, *_ = named
    transparent, broken = tmp_path / "[/red] \udce9.png", tmp_path / "broken.png"
    transparent.parent.mkdir()  # called [
    Image.new("RGBA", (30, 20)).save(transparent)
    predict = ("--mode=predict", f"--workdir={folder / 'run'}")
    out, err = run_here(*predict, f"--images={transparent}")
    assert "[/red] \\udce9.png" in out and "has transparent parts" in out and out.count(" %") == 3 and not err
    assert sum(name in out for name in ("ba$$", "[|x]", "[bold]", "caf\\udce9")) == 3, out
    broken.write_bytes(UNREADABLE["a broken chunk"])
    _, err = run_here(*predict, f"--images={transparent},{broken}", code=2)
    assert last_line(err).startswith(f"error: {broken} cannot be read as an image: ")


def test_29_a_link_to_nothing_and_colours_for_one_channel_are_named(named, tmp_path):
    folder, config, *_ = named
    _, err = run_here(*config, f"--workdir={tmp_path / 'run'}", code=2)
    assert "gives images of (16, 16, 3), model stack takes (16, 16, 1); 'decode|grey' makes colours grey" in err
    root = tmp_path / "linked"
    shutil.copytree(folder / "[b]$$", root)
    link, resident = (
        root / "train" / "ba$$" / "x.jpg",
        "--config.data.train_ops=decode|resize_center_crop(16)|value_range(-1, 1)",
    )
    link.symlink_to("/nowhere")
    _, err = run_here(*config, resident, "--config.data.loader=resident", f"--config.data.name=folder:{root}",
                 f"--workdir={tmp_path / 'run'}", code=3)  # fmt: skip
    assert last_line(err) == f"error: {link} is a link to /nowhere, which does not exist"
