import gc
import json
import os
import subprocess
import sys
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convnets import data, pixels, sources, views
from convnets.errors import DataError, UsageError
from convnets.records import Records
from convnets.stream import example_seed


def schedule(n, batch, start, stop, **kwargs):
    return list(data.training_schedule(n, batch, 7, start, stop, **kwargs))


@pytest.mark.parametrize("n, batch", [(10, 4), (7, 7), (5, 12), (1, 3)])
def test_every_epoch_shows_every_example_once(n, batch):
    steps = 6 * n
    batches = schedule(n, batch, 0, steps)
    pairs = Counter((int(e), int(i)) for b in batches for e, i in zip(b["epoch"], b["index"], strict=True))
    assert pairs == {(e, i): 1 for e in range(6 * batch) for i in range(n)}
    first, second = (
        [i for b in batches for e, i in zip(b["epoch"], b["index"], strict=True) if e == k] for k in (0, 1)
    )
    assert n == 1 or batch == 7 or first != second


def test_schedule_can_begin_at_any_step():
    whole = schedule(10, 4, 0, 20)
    for start in (1, 9, 19):
        for a, b in zip(whole[start:], schedule(10, 4, start, 20), strict=True):
            assert all(np.array_equal(a[k], b[k]) for k in a)


def test_without_reshuffling_every_epoch_has_the_order_of_the_first():
    shuffled, fixed = (schedule(12, 4, 0, 9, reshuffle=flag) for flag in (True, False))
    index = lambda batches: [b["index"].tolist() for b in batches]  # noqa: E731
    assert index(fixed) == 3 * index(shuffled)[:3] and index(shuffled)[3:6] != index(shuffled)[:3]
    assert [b["epoch"].tolist() for b in fixed] == [b["epoch"].tolist() for b in shuffled]


def test_processes_share_each_batch_in_order():
    whole = schedule(10, 4, 0, 20)
    shares = [schedule(10, 4, 0, 20, process=p, processes=2) for p in (0, 1)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert np.concatenate([p["index"] for p in parts]).tolist() == batch["index"].tolist()


@pytest.mark.parametrize("n, batch", [(1, 8), (7, 8), (8, 8), (9, 8), (20, 8)])
def test_evaluation_counts_every_example_once(n, batch):
    batches = list(data.evaluation_schedule(n, batch))
    assert all(len(b["index"]) == batch for b in batches)
    counted = [int(i) for b in batches for i, m in zip(b["index"], b["mask"], strict=True) if m]
    assert counted == list(range(n))


def digits(loader, ops="decode|pad(1)"):
    return data.make("digits", "", loader, "train", "test", ops, ops, "error")


def test_digits_split_is_fixed_and_balanced():
    train, test = digits("resident")
    assert train.info.num_examples == 1437 and test.info.num_examples == 360
    assert np.bincount(test.constants["labels"]).tolist() == [36] * 10
    from sklearn.datasets import load_digits

    every = np.concatenate([train.constants["images"], test.constants["images"]])[..., 0]
    original = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
    assert Counter(map(bytes, every)) == Counter(map(bytes, original))


def batches_of(split, count):
    """Images and labels of some training batches, whichever way they come."""
    result = []
    n = split.info.num_examples
    for batch in split.feed(data.training_schedule(n, 48, 3, n // 48 - 2, n // 48 - 2 + count)):
        if split.constants:
            batch = {**batch, "image": split.constants["images"][batch["index"]],
                     "label": split.constants["labels"][batch["index"]]}  # fmt: skip
        result.append(batch)
    return result


def test_stream_and_resident_give_the_same_batches():
    for resident, stream in zip(*(batches_of(digits(loader)[0], 5) for loader in data.LOADERS), strict=True):
        assert resident.keys() == stream.keys()
        for key in resident:
            assert resident[key].dtype == stream[key].dtype
            np.testing.assert_array_equal(resident[key], stream[key])


def test_real_mnist(shared_data):
    train, test = data.make("mnist", shared_data, "resident", "train", "test[:1000]", "decode", "decode", "error")
    assert train.constants["images"].shape == (60000, 28, 28, 1) and test.info.num_examples == 1000
    assert train.constants["images"].mean() / 255 == pytest.approx(0.13066, abs=1e-5)


def test_second_run_of_a_resident_set_does_not_import_tensorflow():
    digits("resident")
    program = (
        "import sys; from convnets import data; t, _ = data.make('digits', '', 'resident', 'train', 'test', 'decode',"
        " 'decode', 'error'); assert len(t.constants['images']) == 1437; assert 'tensorflow' not in sys.modules"
    )
    digits("resident", "decode")
    subprocess.run([sys.executable, "-c", program], check=True, env=dict(os.environ))


def test_records_give_bytes_by_index_and_notice_damage(tmp_path):
    import tensorflow as tf

    path, contents = tmp_path / "a.tfrecord", [bytes([i]) * (20 + i) for i in range(6)]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in contents:
            writer.write(content)
    records = Records([(str(path), 4, 1), (str(path), 1, 0)])
    assert records.read(np.array([3, 0, 4])).tolist() == [contents[4], contents[1], contents[0]]

    whole = bytearray(path.read_bytes())
    (tmp_path / "cut").write_bytes(whole[: 12 + 20 + 4])  # at a record boundary: TensorFlow would not notice
    with pytest.raises(DataError, match="holds 1 records, 6 expected"):
        Records([(str(tmp_path / "cut"), 6, 0)])
    (tmp_path / "short").write_bytes(whole[:-3])
    with pytest.raises(DataError, match="cut short"):
        Records([(str(tmp_path / "short"), 6, 0)])
    whole[20] ^= 1
    (tmp_path / "flipped").write_bytes(whole)
    with pytest.raises(DataError, match="record 0 at byte 12 is damaged"):
        Records([(str(tmp_path / "flipped"), 6, 0)]).read(np.array([0]))


@pytest.mark.parametrize(
    "name, message",
    [
        ("no_such_set", "knows no data set"),
        ("imagenet2012", "imagenet2012 is not in .* add --mode=prepare --manual_dir=FOLDER"),
    ],
)
def test_missing_data_sets_are_explained(name, message, tmp_path):
    with pytest.raises(DataError, match=message):
        data.make(name, str(tmp_path), "resident", "train", "test", "decode", "decode", "error")


def test_a_half_prepared_set_and_a_wrong_split_are_explained(tmp_path):
    data.make("digits", str(tmp_path), "resident", "train", "test", "decode", "decode", "error")
    with pytest.raises(DataError, match="no split 'validation'; it has train, test"):
        data.make("digits", str(tmp_path), "stream", "validation", "test", "decode", "decode", "error")
    version = tmp_path / "digits" / "1.0.0"
    facts = json.loads((version / "dataset_info.json").read_text())
    assert facts["name"] == "digits"
    next(version.glob("*train.tfrecord*")).unlink()
    with pytest.raises(DataError, match="half prepared"):
        data.make("digits", str(tmp_path), "stream", "train", "test", "decode", "decode", "error")


# Streams: random host operations, damaged images, folders -----------------------------------------------------------


def photographs(root, counts, size=(24, 30), seed=0):
    """PATH/split/class/image: JPEGs, every one different."""
    rng = np.random.default_rng(seed)
    for split, count in counts.items():
        for i in range(count):
            place = root / split / "ab"[i % 2]
            place.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 255, (3, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC).save(place / f"{i:04}.jpg")
    return f"folder:{root}"


CROPS = "decode|resize_short(16, 24)|crop(12)"


def folder(name, train_ops=CROPS, test_ops="decode|square(12)", loader="stream", on_error="error"):
    return data.make(name, "", loader, "train", "test", train_ops, test_ops, on_error)


def examples(split, batch, start=0, stop=None, seed=5):
    """Pixels and labels by (epoch, index), from `start` to `stop` of a schedule of batches."""
    n = split.info.num_examples
    stop = stop or 2 * n // batch
    found = {}
    for b in split.feed(data.training_schedule(n, batch, seed, start, stop), seed):
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
    assert len(whole) == 48 and len(set(whole.values())) == 48  # every epoch shows another crop
    assert examples(train, 4, start=5) == {k: whole[k] for k in list(whole)[20:]}
    assert examples(train, 8) == whole == examples(train, 1)
    assert examples(train, 4, seed=6) != whole


def test_a_stream_gives_what_eager_operations_give(small):
    train, _ = folder(small)
    host, seed, n = train.stream.calls, 5, train.info.num_examples
    for batch in train.feed(data.training_schedule(n, 8, seed, 3, 5), seed):
        for epoch, index, image in zip(batch["epoch"], batch["index"], batch["image"], strict=True):
            encoded = train.stream.source.reader.read(np.array([index]))[0]
            own = views.apply(host, example_seed(seed, epoch, index), encoded, 3)
            np.testing.assert_array_equal(own, image)


def test_folders_are_laid_out_as_image_folder_has_them(small):
    import tensorflow_datasets as tfds

    theirs = tfds.ImageFolder(small.removeprefix("folder:")).info
    for split, name in zip(folder(small), ("train", "test"), strict=True):
        assert split.info.num_examples == theirs.splits[name].num_examples
        assert split.info.label_names == theirs.features["label"].names == ["a", "b"]
        labels = [label for _, label in examples(split, 2).values()]
        assert sorted(set(labels)) == [0, 1]
    resident, _ = folder(small, "decode|square(12)", loader="resident")
    stream, _ = folder(small, "decode|square(12)")
    for (_, i), (image, label) in examples(stream, 4).items():
        assert resident.constants["images"][i].tobytes() == image and resident.constants["labels"][i] == label


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
    with pytest.raises(UsageError, match="the images of folder:birds have different sizes; make them alike"):
        folder(small, "decode")
    with pytest.raises(UsageError, match=r"'crop' differs every time.*take stream"):
        folder(small, "decode|resize_short(16)|crop(12)", loader="resident")
    assert place.is_dir()


def test_statistics_of_a_stream_are_those_of_its_pixels(small):
    ops = "decode|resize_short(14, 18)|crop(12)|flip|subtract_mean('colour')"
    train, test = folder(small, ops, "decode|square(12)|subtract_mean('colour')")
    still, _ = folder(small, "decode|resize_short(16)|center(12)", loader="resident")
    wanted = pixels.measure([still.constants["images"]])
    for ours, theirs in zip(train.statistics, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert test.statistics is train.statistics
    kept = list((data.cache_dir() / "statistics").glob("*.npz"))
    assert folder(small, ops)[0].statistics.mean.tolist() == wanted.mean.tolist()
    assert len(list((data.cache_dir() / "statistics").glob("*.npz"))) == len(kept)
    literal, _ = folder(small, "decode|square(12)|subtract_mean(1.0, 2.0, 3.0)", "decode|square(12)")
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
        list(folder(name, on_error="skip")[1].feed(data.evaluation_schedule(4, 4)))


@pytest.mark.parametrize("how", ["gone", "text", "abandoned"])
def test_a_pipeline_is_freed_with_its_error_still_held(tmp_path, monkeypatch, how):
    """Until Python ends it would wait for threads that end with Python: such a program printed its error and stayed."""
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
            next(train.feed(data.training_schedule(12, 4, 5, 0, 3), 5))
        else:
            with pytest.raises(DataError, match=r"0003\.jpg") as held:
                examples(train, 4)
            assert held.value.__context__
        assert [p() for p in pipelines] == [None]
    finally:
        gc.enable()


def test_skipped_images_are_replaced_counted_and_limited(tmp_path, capsys):
    name = photographs(tmp_path / "birds", {"train": 2100, "test": 2}, size=(16, 16))
    files = sorted((tmp_path / "birds" / "train").glob("*/*"))
    for i in (700, 701):
        damage(files[i], "truncated")
    train, _ = folder(name, "decode|inception_crop(12)", on_error="skip")
    whole = list(train.feed(data.training_schedule(2100, 70, 5, 0, 30), 5))
    index = np.concatenate([b["index"] for b in whole])
    assert all(len(b["index"]) == 70 == len(b["image"]) for b in whole)
    assert np.bincount(index, minlength=2100)[[699, 700, 701, 702]].tolist() == [1, 0, 0, 3]
    assert "skipped" in capsys.readouterr().out
    for start in (7, 20):  # a resumed run sees the same
        again = list(train.feed(data.training_schedule(2100, 70, 5, start, 30), 5))
        for a, b in zip(whole[start:], again, strict=True):
            assert all(np.array_equal(a[k], b[k]) for k in a)
    damage(files[5], "empty")
    with pytest.raises(DataError, match=r"more than 0.1 %"):
        list(train.feed(data.training_schedule(2100, 70, 5, 0, 30), 5))


def test_a_resident_set_replaces_what_it_skips(tmp_path):
    name = photographs(tmp_path / "birds", {"train": 1000, "test": 2}, size=(16, 16))
    damage(sorted((tmp_path / "birds" / "train").glob("*/*"))[999], "text")  # the last: the first stands in
    with pytest.raises(DataError, match=r"train, .*0999\.jpg"):
        folder(name, "decode|square(12)", loader="resident")
    train, _ = folder(name, "decode|square(12)", loader="resident", on_error="skip")
    images, labels = train.constants["images"], train.constants["labels"]
    np.testing.assert_array_equal(images[999], images[0])
    assert labels[999] == labels[0] != labels[998] and len(np.unique(images, axis=0)) == 999


def test_real_imagenet_is_read_by_index_with_its_labels(shared_data):
    train, test = data.make("imagenet2012", shared_data, "stream", "train", "validation",
                            "decode|resize_short(64, 80)|crop(56)", "decode|resize_short(64)|five(56)", "error")  # fmt: skip
    assert (train.info.num_examples, test.info.num_examples, train.info.num_classes) == (192, 64, 1000)
    assert train.info.image_shape == (56, 56, 3) and test.info.image_shape == (5, 56, 56, 3)
    labels = np.concatenate([b["label"] for b in test.feed(data.evaluation_schedule(64, 32))])
    assert len(set(labels.tolist())) == 64
    assert train.stream.source.reader.name(3).endswith("imagenet2012-train.tfrecord-00000-of-00001: record 3")
