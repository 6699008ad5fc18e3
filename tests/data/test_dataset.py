import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from convnets.data import dataset, sampler
from convnets.data.tfrecord import Records
from convnets.errors import DataError


def schedule(n, batch, start, stop, **kwargs):
    return list(sampler.training_schedule(n, batch, 7, start, stop, **kwargs))


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
    batches = list(sampler.evaluation_schedule(n, batch))
    assert all(len(b["index"]) == batch for b in batches)
    counted = [int(i) for b in batches for i, m in zip(b["index"], b["mask"], strict=True) if m]
    assert counted == list(range(n))


def digits(loader, ops="decode|pad(1)"):
    return dataset.load_splits("digits", "", loader, "train", "test", ops, ops, "error")


def test_digits_split_is_fixed_and_balanced():
    train, test = digits("resident")
    assert train.info.num_examples == 1437 and test.info.num_examples == 360
    assert np.bincount(test.resident_arrays["labels"]).tolist() == [36] * 10
    from sklearn.datasets import load_digits

    every = np.concatenate([train.resident_arrays["images"], test.resident_arrays["images"]])[..., 0]
    original = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
    assert Counter(map(bytes, every)) == Counter(map(bytes, original))


def batches_of(split, count):
    """Returns images and labels of some training batches, from either loader."""
    result = []
    n = split.info.num_examples
    for batch in split.feed(sampler.training_schedule(n, 48, 3, n // 48 - 2, n // 48 - 2 + count)):
        if split.resident_arrays:
            batch = {**batch, "image": split.resident_arrays["images"][batch["index"]],
                     "label": split.resident_arrays["labels"][batch["index"]]}  # fmt: skip
        result.append(batch)
    return result


def test_stream_and_resident_give_the_same_batches():
    for resident, stream in zip(*(batches_of(digits(loader)[0], 5) for loader in dataset.LOADERS), strict=True):
        assert resident.keys() == stream.keys()
        for key in resident:
            assert resident[key].dtype == stream[key].dtype
            np.testing.assert_array_equal(resident[key], stream[key])


@pytest.mark.parametrize("loader", ["stream", "resident"])
def test_a_split_gives_the_images_of_some_examples(loader):
    test = digits(loader)[1]
    everything = digits("resident")[1].resident_arrays["images"]
    np.testing.assert_array_equal(test.images(np.array([5, 2, 359])), everything[[5, 2, 359]])
    assert test.images(np.array([], int)).shape == everything[:0].shape


def test_real_mnist(shared_data):
    train, test = dataset.load_splits(
        "mnist", shared_data, "resident", "train", "test[:1000]", "decode", "decode", "error"
    )
    assert train.resident_arrays["images"].shape == (60000, 28, 28, 1) and test.info.num_examples == 1000
    assert train.resident_arrays["images"].mean() / 255 == pytest.approx(0.13066, abs=1e-5)


def test_second_run_of_a_resident_set_does_not_import_tensorflow():
    digits("resident")
    program = (
        "import sys; from convnets.data import dataset; t, _ = dataset.load_splits('digits', '', 'resident', 'train', 'test', 'decode',"
        " 'decode', 'error'); assert len(t.resident_arrays['images']) == 1437; assert 'tensorflow' not in sys.modules"
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
        ("no_such_set", "^TFDS knows no data set 'no_such_set'; [^\n]*$"),
        ("cifar-10", r"^TFDS has no data set 'cifar-10' \([^\n]*\); did you mean 'cifar10'\?$"),
        ("mnist:9.9.9", r"^TFDS has no data set 'mnist:9.9.9' \([^\n]*$"),
        ("/data/birds", "images of your own are folder:PATH$"),
        ("", "has no data set ''"),
        ("imagenet2012", "imagenet2012 is not in .* add --mode=prepare --manual_dir=FOLDER"),
    ],
)
def test_missing_data_sets_are_explained(name, message, tmp_path):
    with pytest.raises(DataError, match=message):
        dataset.load_splits(name, str(tmp_path), "resident", "train", "test", "decode", "decode", "error")


def test_a_name_that_tfds_keeps_under_another_one_is_read(tmp_path):
    """As emnist, which is in emnist/byclass; the cache, which is named after the files, is then not used."""
    arguments = (str(tmp_path), "resident", "train", "test", "decode", "decode", "error")
    small, large = (dataset.load_splits(name, *arguments)[1] for name in ("digits", "Digits"))
    assert np.array_equal(small.resident_arrays["images"], large.resident_arrays["images"])


def test_statistics_stay_with_a_test_string_that_does_not_need_them(tmp_path):
    """The change of features is measured from the string of the run, which may need them."""
    section = {"name": "digits", "data_dir": str(tmp_path), "loader": "resident", "train_split": "train", "test_split": "test",
               "train_ops": "decode|subtract_mean", "on_error": "error"}  # fmt: skip
    own = dataset.load_splits(test_ops="decode|subtract_mean", **section)[0].statistics
    other = dataset.load_test_split(own, test_ops="decode|value_range(0.0, 1.0)", **section)
    assert other.with_test_ops("decode|subtract_mean").device_ops


def test_a_half_prepared_set_and_a_wrong_split_are_explained(tmp_path):
    dataset.load_splits("digits", str(tmp_path), "resident", "train", "test", "decode", "decode", "error")
    with pytest.raises(DataError, match="no split 'validation'; it has train, test"):
        dataset.load_splits("digits", str(tmp_path), "stream", "validation", "test", "decode", "decode", "error")
    version = tmp_path / "digits" / "1.0.0"
    facts = json.loads((version / "dataset_info.json").read_text())
    assert facts["name"] == "digits"
    next(version.glob("*train.tfrecord*")).unlink()
    with pytest.raises(DataError, match="half prepared"):
        dataset.load_splits("digits", str(tmp_path), "stream", "train", "test", "decode", "decode", "error")
