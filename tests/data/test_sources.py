"""TFDS data sets of many shards, with other key names, labels and image types, and splits without examples."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from convnets.data import dataset, sources
from convnets.data.sampler import evaluation_schedule
from convnets.data.tf_pipeline import Stream
from convnets.data.tfrecord import Records, open_files
from convnets.errors import DataError
from convnets.op_string import parse
from tests.conftest import ROOT

SIZE, CLASSES = 6, 3
LABELS = {"train": [0, 1, 2, 0, 1, 2], "validation": [0, 1, 2, 0, -1, 0], "test": [-1] * 6}  # test has no labels


def draw(feature, number, brightest=1.0):
    """Returns random pixels over the whole range of an image feature's type; floats from 0 to `brightest`."""
    rng, kind, shape = np.random.default_rng(number), np.dtype(feature.np_dtype), tuple(n or 8 for n in feature.shape)
    if kind == np.float32:
        return rng.random(shape, np.float32) * np.float32(brightest)
    return rng.integers(0, 256**kind.itemsize, shape).astype(kind)


def make(folder, features, supervised=None, name="made", brightest=1.0):
    """Writes a data set of six images; it is read without the class that wrote it."""

    def info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features), supervised_keys=supervised)

    def examples(self, labels):
        for i, label in enumerate(labels):
            values = {}
            for key, feature in features.items():
                if isinstance(feature, tfds.features.ClassLabel):
                    values[key] = label
                elif isinstance(feature, tfds.features.Image):
                    values[key] = draw(feature, i, brightest)
                else:
                    values[key] = i
            yield i, values

    members = {"VERSION": tfds.core.Version("1.0.0"), "_info": info, "_generate_examples": examples,
               "_split_generators": lambda self, _: {k: self._generate_examples(v) for k, v in LABELS.items()},
               "name": name, "__module__": __name__}  # fmt: skip
    kind = type(name.title(), (tfds.core.GeneratorBasedBuilder,), members, skip_registration=True)
    kind(data_dir=folder, file_format="tfrecord").download_and_prepare()


IMAGE, LABEL = tfds.features.Image(shape=(8, 8, 1)), tfds.features.ClassLabel(num_classes=CLASSES)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    make(folder, {"image": IMAGE, "label": LABEL}, ("image", "label"))
    return folder


def find(folder, split="train", ops="decode"):
    source = sources.find("made", str(folder), split)
    return source, Stream(source, parse(ops, {"decode": lambda seed, image: image}, skip=2))


@pytest.mark.parametrize(
    "own, wanted", [({"num_classes": CLASSES}, ["x", "y", "z"]), ({"names": ["a", "b", "c"]}, ["a", "b", "c"])]
)
def test_classes_have_names_where_the_prepared_files_give_none(own, wanted, tmp_path, monkeypatch):
    make(tmp_path, {"image": IMAGE, "label": tfds.features.ClassLabel(**own)})
    monkeypatch.setitem(sources.CLASSES, "made", ["x", "y", "z"])
    assert find(tmp_path)[0].info.label_names == wanted


@pytest.mark.parametrize(
    "features, supervised",
    [
        ({"picture": IMAGE, "digit": LABEL}, ("picture", "digit")),
        ({"picture": IMAGE, "digit": LABEL}, None),  # the only image and the only label
        ({"picture": IMAGE, "digit": LABEL, "id": np.int64}, ("picture", "digit", "id")),  # with a weight
        ({"image": IMAGE, "label": LABEL, "coarse": LABEL}, ("image", "label")),
        ({"left": IMAGE, "right": IMAGE, "label": LABEL}, ("right", "label")),
        ({"image": IMAGE, "label": LABEL, "id": np.int64}, ("image", "id")),
    ],
)
def test_other_key_names_are_read(features, supervised, tmp_path):
    make(tmp_path, features, supervised)
    source, stream = find(tmp_path)
    (batch,) = stream(evaluation_schedule(SIZE, SIZE))
    assert batch["image"].shape == (SIZE, 8, 8, 1) and source.info.num_classes == CLASSES
    assert sorted(batch["label"].tolist()) == sorted(LABELS["train"])


@pytest.mark.parametrize(
    "features, message",
    [
        ({"a": IMAGE, "b": IMAGE, "label": LABEL}, "it needs one image and has several: a, b"),
        ({"image": IMAGE, "coarse": LABEL, "fine": LABEL}, "it needs one class label and has several: coarse, fine"),
        ({"image": IMAGE, "id": np.int64}, "it needs one class label and has none among id, image"),
        ({"image": tfds.features.Image(shape=(8, 8, 2)), "label": LABEL}, "has images of 2 channels; only grey or colour"),
        ({"id": np.int64, "label": LABEL}, "it needs one image and has none among id, label"),
    ],
)  # fmt: skip
def test_other_data_are_refused_in_one_line(features, message, tmp_path):
    make(tmp_path, features)
    with pytest.raises(DataError) as caught:
        find(tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


FLOATS = tfds.features.Image(shape=(8, 8, 1), dtype=np.float32)


@pytest.mark.parametrize(
    "image, to_bytes",
    [(tfds.features.Image(shape=(8, 8, n), dtype=np.uint16), lambda values: values >> 8) for n in (1, 3, 4)]
    + [(FLOATS, lambda values: np.round(255 * values))],
    ids=["16 bits, grey", "16 bits, colours", "16 bits, transparent", "floats"],
)
def test_images_of_16_bits_and_of_floats_are_read_as_bytes(image, to_bytes, tmp_path):
    make(tmp_path, {"image": image, "label": LABEL})
    source, stream = find(tmp_path)
    (batch,) = stream(evaluation_schedule(SIZE, SIZE))
    expected = [to_bytes(draw(image, i)).astype(np.uint8) for i in range(SIZE)]
    assert batch["image"].shape == (SIZE, *image.shape) and source.info.image_shape == image.shape
    assert sorted(map(bytes, batch["image"])) == sorted(map(bytes, expected))


@pytest.mark.parametrize("brightest", [2.0, -1.0, np.nan])
def test_floats_beyond_0_to_1_are_named(brightest, tmp_path):
    message = r"record \d: .*float pixels must be from 0 \(black\) to 1 \(white\)$"
    for folder, most in (("right", 1.0), ("wrong", brightest)):
        make(tmp_path / folder, {"image": FLOATS, "label": LABEL}, brightest=most)
    with pytest.raises(DataError, match=message):  # at the start, the first image of the set
        find(tmp_path / "wrong")
    source, stream = find(tmp_path / "right")
    files = [str(path) for path in (tmp_path / "wrong").glob("made/*/made-train*")]
    stream.source = source._replace(reader=Records([(path, SIZE, 0) for path in files]))
    with pytest.raises(DataError, match=message):  # in the pipeline, any other
        list(stream(evaluation_schedule(SIZE, SIZE)))


@pytest.mark.parametrize("split", ["train[:0]", "train[3:3]", "train[:0%]", "train[4:2]", "train[:0]+test[:0]"])
def test_a_split_without_examples_is_refused(plain, split):
    for loader in dataset.LOADERS:
        for splits in ((split, "train"), ("train", split)):
            with pytest.raises(DataError, match=r"holds no examples; it has train of 6 examples, ") as caught:
                dataset.load_splits("made", str(plain), loader, *splits, "decode", "decode", "error")
            assert f"split '{split}'" in str(caught.value)


@pytest.mark.parametrize("split", ["train[9:]", "train[", "train[a:b]", "train[::2]", "other[:3]"])
def test_a_slice_that_is_none_is_refused_with_the_sizes(plain, split):
    with pytest.raises(DataError, match=r"has no split '.*'; it has train of 6 examples, .* test of 6 examples"):
        find(plain, split)


@pytest.mark.parametrize("loader", dataset.LOADERS)
def test_a_split_without_labels_is_refused_before_the_training(plain, loader):
    for splits in (("train", "test"), ("test", "train")):
        with pytest.raises(
            DataError, match=r"^test, .*: record 0: label -1 is none of the 3 classes; take a split with"
        ):
            dataset.load_splits("made", str(plain), loader, *splits, "decode", "decode", "error")


def test_a_single_wrong_label_is_named(plain):
    _, stream = find(plain, "validation")
    with pytest.raises(DataError, match=r"^validation, .*: record \d: label -1 is none of the 3 classes"):
        list(stream(evaluation_schedule(SIZE, 2)))


def test_a_record_without_the_keys_is_explained(tmp_path):
    make(tmp_path, {"image": IMAGE, "label": LABEL})
    facts = next(tmp_path.glob("made/*/features.json"))
    facts.write_text(facts.read_text().replace('"label"', '"class"'))
    with pytest.raises(DataError, match=r"record 0: 'image' and 'class' cannot be read: "):
        find(tmp_path)


# A bounded number of open files ---------------------------------------------------------------------------------------

MANY_SHARDS = """
import os, resource, sys
from concurrent.futures import ThreadPoolExecutor
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
import numpy as np
from convnets.data.tfrecord import Records
records = Records([(path, 2, 0) for path in sys.argv[1:]])
rng, most = np.random.default_rng(0), 0
def read(index):
    assert [r.decode() for r in records.read(index)] == [f"{i // 2}:{i % 2}" for i in index]
    return len(os.listdir("/proc/self/fd"))
with ThreadPoolExecutor(4) as pool:
    most = max(pool.map(read, [rng.permutation(len(records))[:100] for _ in range(60)]))
print(most)
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    import tensorflow as tf

    paths = [str(tmp_path_factory.getbasetemp() / f"{i:03}.tfrecord") for i in range(200)]
    for i, path in enumerate(paths):
        with tf.io.TFRecordWriter(path) as writer:
            for k in range(2):
                writer.write(f"{i}:{k}".encode())
    return paths


def test_many_shards_are_read_by_many_threads_under_a_limit_of_64_descriptors(shards):
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-c", MANY_SHARDS, *shards], cwd=ROOT, env=environment, text=True,
                          capture_output=True)  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert int(done.stdout) < 48


def test_the_least_recently_used_file_is_closed(shards):
    get = open_files(shards, most=3)
    held, second = get(0), get(1).descriptor
    for number in (2, 0, 3):
        get(number)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pread(second, 1, 0)
    assert get(0) is held and get.cache_info().currsize == 3
    descriptor = get(2).descriptor
    for number in (4, 5, 6):
        get(number)
    assert os.pread(held.descriptor, 1, 0)  # evicted, and open for the one who holds it
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pread(descriptor, 1, 0)


def test_a_shard_that_is_gone_is_named(shards, tmp_path):
    path = tmp_path / "gone.tfrecord"
    path.write_bytes(Path(shards[0]).read_bytes())
    records = Records([(str(path), 2, 0)])
    path.unlink()
    with pytest.raises(DataError, match=r"gone\.tfrecord: No such file"):
        records.read(np.array([1]))
