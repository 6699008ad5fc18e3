"""Streaming input: random host operations, damaged images, image folders."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convnets.augment import host_ops
from convnets.augment.statistics import measure_statistics
from convnets.data import cache, dataset, sampler, sources, tf_pipeline
from convnets.data.tf_pipeline import example_seed
from convnets.errors import DataError, UsageError


def photographs(root, counts, size=(24, 30), seed=0):
    """Writes different JPEGs as PATH/split/class/image."""
    rng = np.random.default_rng(seed)
    for split, count in counts.items():
        for i in range(count):
            place = root / split / "ab"[i % 2]
            place.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 255, (3, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC).save(place / f"{i:04}.jpg")
    return f"folder:{root}"


CROPS = "decode|resize_short(16, 24)|crop(12)"


def folder(name, train_ops=CROPS, test_ops="decode|resize_center_crop(12)", loader="stream", on_error="error"):
    return dataset.load_splits(name, "", loader, "train", "test", train_ops, test_ops, on_error)


def examples(split, batch, start=0, stop=None, seed=5):
    """Returns pixels and labels by (epoch, index) for batches `start` to `stop` of a schedule."""
    n = split.info.num_examples
    stop = stop or 2 * n // batch
    found = {}
    for b in split.feed(sampler.training_schedule(n, batch, seed, start, stop), seed):
        for key in zip(b["epoch"].tolist(), b["index"].tolist(), strict=True):
            found[key] = None
        found |= {
            (int(e), int(i)): (image.tobytes(), int(label))
            for e, i, image, label in zip(b["epoch"], b["index"], b["image"], b["label"], strict=True)
        }
    return found


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return photographs(tmp_path_factory.mktemp("folder") / "birds", {"train": 24, "test": 6})


def test_random_crops_resume_exactly_and_do_not_depend_on_the_batch(small):
    train, _ = folder(small)
    whole = examples(train, 4)
    assert len(whole) == 48 and len(set(whole.values())) == 48  # every epoch takes another crop
    assert examples(train, 4, start=5) == {k: whole[k] for k in list(whole)[20:]}
    assert examples(train, 8) == whole == examples(train, 1)
    assert examples(train, 4, seed=6) != whole


def test_every_seed_has_draws_of_its_own():
    seeds = [0, 5, 2**31 - 1, 2**31, 2**31 + 5, 2**32 - 1]
    drawn = [tuple(example_seed(seed, epoch, 7).numpy().tolist()) for seed in seeds for epoch in (0, 1, 2**31 - 1)]
    assert len(set(drawn)) == len(drawn) and drawn[3] == (5 << 32, 7 * 256)


def test_a_stream_gives_what_eager_operations_give(small):
    train, _ = folder(small)
    host, seed, n = train.stream.calls, 5, train.info.num_examples
    for batch in train.feed(sampler.training_schedule(n, 8, seed, 3, 5), seed):
        for epoch, index, image in zip(batch["epoch"], batch["index"], batch["image"], strict=True):
            encoded = train.stream.source.reader.read(np.array([index]))[0]
            own = host_ops.apply(host, example_seed(seed, epoch, index), encoded, 3)
            np.testing.assert_array_equal(own, image)


def test_folders_are_laid_out_as_image_folder_has_them(small):
    import tensorflow_datasets as tfds

    theirs = tfds.ImageFolder(small.removeprefix("folder:")).info
    for split, name in zip(folder(small), ("train", "test"), strict=True):
        assert split.info.num_examples == theirs.splits[name].num_examples
        assert split.info.label_names == theirs.features["label"].names == ["a", "b"]
        labels = [label for _, label in examples(split, 2).values()]
        assert sorted(set(labels)) == [0, 1]
    resident, _ = folder(small, "decode|resize_center_crop(12)", loader="resident")
    stream, _ = folder(small, "decode|resize_center_crop(12)")
    for (_, i), (image, label) in examples(stream, 4).items():
        assert (
            resident.resident_arrays["images"][i].tobytes() == image and resident.resident_arrays["labels"][i] == label
        )


def test_folders_that_cannot_be_read_are_explained(small, tmp_path):
    place = Path(small.removeprefix("folder:"))
    (tmp_path / "empty" / "train" / "a").mkdir(parents=True)
    for name, split, message in (
        ("folder:/nowhere", "train", "there is no such folder; it must hold PATH/split/class/image"),
        (small, "validation", "has no split 'validation'; it has test, train"),
        (f"folder:{tmp_path}/empty", "train", "split 'train' holds no images"),
    ):
        with pytest.raises(DataError, match=message):
            sources.find(name, "", split)
    with pytest.raises(UsageError, match="the images of folder:birds may have different sizes; make them alike"):
        folder(small, "decode")
    with pytest.raises(UsageError, match=r"'crop' differs every time.*take stream"):
        folder(small, "decode|resize_short(16)|crop(12)", loader="resident")
    assert place.is_dir()


def test_statistics_of_a_stream_are_those_of_its_pixels(small):
    ops = "decode|resize_short(14, 18)|crop(12)|flip|subtract_mean('colour')"
    train, test = folder(small, ops, "decode|resize_center_crop(12)|subtract_mean('colour')")
    still, _ = folder(small, "decode|resize_short(16)|center(12)", loader="resident")
    wanted = measure_statistics([still.resident_arrays["images"]])
    for ours, theirs in zip(train.statistics, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert test.statistics is train.statistics
    kept = list((cache.cache_dir() / "statistics").glob("*.npz"))
    assert folder(small, ops)[0].statistics.mean.tolist() == wanted.mean.tolist()
    assert len(list((cache.cache_dir() / "statistics").glob("*.npz"))) == len(kept)
    literal, _ = folder(
        small, "decode|resize_center_crop(12)|subtract_mean(1.0, 2.0, 3.0)", "decode|resize_center_crop(12)"
    )
    assert literal.statistics is None


def damage(path, how):
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "corrupt": b"\xff\xd8\xff" + whole[40:],
                      "text": b"not an image"}[how])  # fmt: skip


@pytest.mark.parametrize("how", ["empty", "truncated", "corrupt", "text"])
def test_an_image_that_cannot_be_decoded_ends_the_run_with_its_name(tmp_path, how):
    name = photographs(tmp_path / "birds", {"train": 12, "test": 4})
    damage(tmp_path / "birds" / "train" / "b" / "0003.jpg", how)
    with pytest.raises(DataError, match=r"^train, .*birds/train/b/0003\.jpg: [^{]*$"):
        examples(folder(name)[0], 4)
    with pytest.raises(DataError, match=r"1 of \d+ examples skipped, more than 0.1 %"):
        examples(folder(name, on_error="skip")[0], 4)
    damage(tmp_path / "birds" / "test" / "a" / "0002.jpg", how)
    with pytest.raises(DataError, match=r"^test, .*birds/test/a/0002\.jpg: "):
        list(folder(name, on_error="skip")[1].feed(sampler.evaluation_schedule(4, 4)))


@pytest.mark.parametrize("how", ["gone", "text", "abandoned"])
def test_a_pipeline_is_freed_with_its_error_still_held(tmp_path, monkeypatch, how):
    """A leaked pipeline waits for threads that end only with Python, so a failed program hung after its error."""
    train, _ = folder(photographs(tmp_path / "birds", {"train": 12, "test": 4}))
    begin, pipelines = train.stream._pipeline, []
    monkeypatch.setattr(train.stream, "_pipeline", lambda *args: pipelines.append(weakref.ref(p := begin(*args))) or p)
    if how == "gone":
        (tmp_path / "birds" / "train" / "b" / "0003.jpg").unlink()
    elif how == "text":
        damage(tmp_path / "birds" / "train" / "b" / "0003.jpg", how)
    gc.disable()
    try:
        if how == "abandoned":
            next(train.feed(sampler.training_schedule(12, 4, 5, 0, 3), 5))
        else:
            with pytest.raises(DataError, match=r"0003\.jpg") as held:
                examples(train, 4)
            assert held.value.__context__
        assert [p() for p in pipelines] == [None]
    finally:
        gc.enable()


def test_skipped_images_are_replaced_counted_and_limited(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tf_pipeline, "LIMIT", 0.01)
    name = photographs(tmp_path / "birds", {"train": 210, "test": 2}, size=(16, 16))
    files = sorted((tmp_path / "birds" / "train").glob("*/*"))
    for i in (70, 71):
        damage(files[i], "truncated")
    train, _ = folder(name, "decode|inception_crop(12)", on_error="skip")
    whole = list(train.feed(sampler.training_schedule(210, 7, 5, 0, 30), 5))
    index = np.concatenate([b["index"] for b in whole])
    assert all(len(b["index"]) == 7 == len(b["image"]) for b in whole)
    assert np.bincount(index, minlength=210)[[69, 70, 71, 72]].tolist() == [1, 0, 0, 3]
    assert "skipped" in capsys.readouterr().out
    for start in (7, 20):  # a resumed run gets the same examples
        again = list(train.feed(sampler.training_schedule(210, 7, 5, start, 30), 5))
        for a, b in zip(whole[start:], again, strict=True):
            assert all(np.array_equal(a[k], b[k]) for k in a)
    damage(files[5], "empty")
    with pytest.raises(DataError, match=r"more than 1 %"):
        list(train.feed(sampler.training_schedule(210, 7, 5, 0, 30), 5))


def test_a_damaged_image_that_was_passed_over_before_is_skipped_in_its_turn(tmp_path, monkeypatch):
    """The replacement of 70 passes over 71, whose own batch comes later."""
    monkeypatch.setattr(tf_pipeline, "LIMIT", 0.01)
    name = photographs(tmp_path / "birds", {"train": 210, "test": 2}, size=(16, 16))
    files = sorted((tmp_path / "birds" / "train").glob("*/*"))
    for i in (70, 71):
        damage(files[i], "truncated")
    train, _ = folder(name, "decode|inception_crop(12)", on_error="skip")
    order = np.concatenate([b["index"] for b in sampler.training_schedule(210, 7, 5, 0, 30)]).tolist()
    assert order.index(70) // 7 < order.index(71) // 7
    index = np.concatenate([b["index"] for b in train.feed(sampler.training_schedule(210, 7, 5, 0, 30), 5)])
    assert np.bincount(index, minlength=210)[[69, 70, 71, 72]].tolist() == [1, 0, 0, 3]


def test_a_resident_set_replaces_what_it_skips(tmp_path, monkeypatch):
    monkeypatch.setattr(tf_pipeline, "LIMIT", 0.01)
    name = photographs(tmp_path / "birds", {"train": 100, "test": 2}, size=(16, 16))
    damage(sorted((tmp_path / "birds" / "train").glob("*/*"))[99], "text")  # the last image; the first replaces it
    with pytest.raises(DataError, match=r"train, .*0099\.jpg"):
        folder(name, "decode|resize_center_crop(12)", loader="resident")
    train, _ = folder(name, "decode|resize_center_crop(12)", loader="resident", on_error="skip")
    images, labels = train.resident_arrays["images"], train.resident_arrays["labels"]
    np.testing.assert_array_equal(images[99], images[0])
    assert labels[99] == labels[0] != labels[98] and len({image.tobytes() for image in images}) == 99


def test_real_imagenet_is_read_by_index_with_its_labels(shared_data):
    train, test = dataset.load_splits("imagenet2012", shared_data, "stream", "train", "validation",
                            "decode|resize_short(64, 80)|crop(56)", "decode|resize_short(64)|five_crop(56)", "error")  # fmt: skip
    assert (train.info.num_examples, test.info.num_examples, train.info.num_classes) == (192, 64, 1000)
    assert train.info.image_shape == (56, 56, 3) and test.info.image_shape == (5, 56, 56, 3)
    labels = np.concatenate([b["label"] for b in test.feed(sampler.evaluation_schedule(64, 32))])
    assert len(set(labels.tolist())) == 64
    assert train.stream.source.reader.name(3).endswith("imagenet2012-train.tfrecord-00000-of-00001: record 3")
