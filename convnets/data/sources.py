"""Sources of examples: a TensorFlow Datasets (TFDS) data set by name, or `folder:PATH` with the user's own images.

A folder has the layout of TFDS's ImageFolder: PATH/split/class/image, with a suffix of folders.SUFFIXES in any case.
"""

import difflib
import hashlib
import importlib
import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from convnets.data import folders
from convnets.data.tfrecord import Records
from convnets.errors import DataError, first_line
from convnets.runtime import distributed
from convnets.runtime.environment import NO_HOME
from convnets.runtime.files import IMAGE_FOLDER, escape_unprintable, local_path
from convnets.runtime.import_tensorflow import import_tensorflow

OWN = ("digits", "shifted_digits", "stimuli", "zip_codes")  # data sets with a builder of that name in data/builders/
# Names of classes, for prepared files without them: TFDS takes these from the archive, and keeps them in a file of their own.
CLASSES = {"cifar10": ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]}


class Info(NamedTuple):
    """Facts about one split.

    `image_shape` is (height, width, channels): of a `Source` as the data set declares it, of a `Split` after the host
    operations; None for a side that varies.
    """

    name: str
    version: str
    split: str
    num_examples: int
    num_classes: int
    label_names: list[str]
    image_shape: tuple[int, ...]


class Source(NamedTuple):
    """The encoded examples of one split.

    Attributes:
        info: facts about the split, with the image shape that the data set declares.
        reader: `read` returns the records at [n] indices; `name` returns the location of one record.
        parse: maps tensors of [n] indices and their [n] records to encoded images and int32 labels.
    """

    info: Info
    reader: Records | folders.ImageFiles
    parse: Callable[[Any, Any], tuple[Any, Any]]


def name_classes(dataset: str, names: list[str]) -> list[str]:
    """Returns the names of a data set's classes: those of CLASSES in place of mere numbers."""
    return CLASSES.get(dataset, names) if names == [str(i) for i in range(len(names))] else names


def find(name: str, data_dir: str, split: str) -> Source:
    """Opens a split of the data set `name`; a missing TFDS data set is downloaded and prepared if possible.

    Raises:
        DataError: the data set is missing or damaged, has no labelled images, or cannot be prepared.
    """
    if name.startswith(IMAGE_FOLDER):
        return _folder(local_path(name.removeprefix(IMAGE_FOLDER)), split)
    return _prepared(name, directory(data_dir), split)


def directory(data_dir: str) -> Path:
    """Returns the folder that holds prepared data sets.

    Raises:
        DataError: none is given, and the user has no home folder.
    """
    if not data_dir and not os.environ.get("TFDS_DATA_DIR") and os.environ.get("HOME") == NO_HOME:
        raise DataError("there is no home folder to hold data sets: give --config.data.data_dir=DIR or TFDS_DATA_DIR")
    return local_path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def digest(name: str, data_dir: str, split: str, *made_with: Any) -> str | None:
    """Returns a hash of the arguments and of the data set's files (names, sizes, times), to name cached results.

    Returns None if the data set is missing. Does not import TensorFlow.
    """
    if name.startswith(IMAGE_FOLDER):
        root = local_path(name.removeprefix(IMAGE_FOLDER))
        there = os.path.isdir(root / split)  # noqa: PTH112 - Path.is_dir fails on a name that is too long
        files = [root / split / path for path in folders.scan_split(root / split)[0]] if there else []
        classes = folders.list_classes(root) if files else []  # of all splits, since they number the labels
        made_with = (*made_with, *classes)
    else:
        root = version_dir(directory(data_dir) / name.replace(":", "/")) or Path()
        files = sorted(p for p in root.iterdir() if p.exists()) if root.name else []  # a link may lead nowhere
    if not files:
        return None
    facts = [(str(p.relative_to(root)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return hashlib.sha256(json.dumps([facts, [split, *made_with]]).encode()).hexdigest()[:16]


def version_dir(path: Path) -> Path | None:
    """Returns the folder of the newest prepared version of a data set, or None."""
    if (path / "dataset_info.json").exists():
        return path
    found = [p.parent for p in path.glob("*/dataset_info.json")]
    number = lambda p: [int(n) if n.isdigit() else -1 for n in p.name.split(".")]  # noqa: E731
    return max(found, key=number, default=None)


def _folder(root: Path, split: str) -> Source:
    tf = import_tensorflow()
    if not root.is_dir():
        raise DataError(f"{IMAGE_FOLDER}{root}: there is no such folder; it must hold {folders.LAYOUT}")
    splits = folders.list_folders(root)
    if split not in splits:
        raise DataError(
            f"{IMAGE_FOLDER}{root} has no split '{split}'; it has {', '.join(splits) or 'none'} ({folders.LAYOUT})"
        )
    names = folders.list_classes(root)
    images, passed = folders.scan_split(root / split)
    kinds = f"{sum(passed.values())} files passed over: {', '.join(f'{n} {kind}' for kind, n in passed.most_common())}"
    if not images:
        raise DataError(f"{IMAGE_FOLDER}{root}: split '{split}' holds no images; they are expected as {folders.LAYOUT}"
                        + f"; {kinds}" * bool(passed))  # fmt: skip
    if passed and distributed.is_main():
        print(f"note: {root / split}: {kinds}", flush=True)
    shown = [escape_unprintable(name) for name in names]
    number = {name: i for i, name in enumerate(names)}
    labels = np.array([number[path.parent.name] for path in images], np.int32)
    empty = [shown[i] for i in sorted({*number.values()} - {*labels.tolist()})]
    if empty and distributed.is_main():
        print(f"note: {root / split}: no images of {len(empty)} of {len(names)} classes: {', '.join(empty[:5])}"
              + ", ..." * (len(empty) > 5), flush=True)  # fmt: skip
    name = f"{IMAGE_FOLDER}{escape_unprintable(root.name)}"
    info = Info(name, "1.0.0", split, len(images), len(names), shown, (None, None, 3))  # type: ignore
    files = folders.ImageFiles([str(root / split / path) for path in images])
    return Source(info, files, lambda index, records: (records, tf.gather(labels, index)))


def _prepared(name: str, where: Path, split: str) -> Source:
    tf = import_tensorflow()

    made = builder(name, where)
    complete(made, name)
    sliced = "[" in split
    whole = ", ".join(f"{k} of {s.num_examples:,} examples" if sliced else k for k, s in made.info.splits.items())
    try:
        facts = made.info.splits[split]
    except (KeyError, ValueError):
        raise DataError(f"{name} has no split '{split}'; it has {whole}") from None
    if facts.num_examples < 1:
        raise DataError(f"{name}: split '{split}' holds no examples; it has {whole}")
    if made.info.file_format.value != "tfrecord":
        raise DataError(f"{name} is stored as {made.info.file_format.value}; only tfrecord can be read")
    image, label = _find_keys(name, made.info)
    features = made.info.features
    records = Records(
        (f.filename, f.take if f.take >= 0 else f.examples_in_shard - f.skip, f.skip) for f in facts.file_instructions
    )
    if len(records) != facts.num_examples:
        raise DataError(f"{name}: {len(records)} records found, {facts.num_examples} expected")
    wanted = {image: tf.io.FixedLenFeature([], tf.string), label: tf.io.FixedLenFeature([], tf.int64)}
    to_bytes = _encode_floats if features[image].np_dtype == np.float32 else lambda encoded: encoded

    def parse(index, records):
        example = tf.io.parse_example(records, wanted)
        return to_bytes(example[image]), tf.cast(example[label], tf.int32)

    names, count = name_classes(made.name, list(features[label].names)), features[label].num_classes
    info = Info(made.name, str(made.version), split, facts.num_examples, count, names, tuple(features[image].shape))
    source, first = Source(info, records, parse), np.zeros(1, int)
    try:
        check_labels(source, first, parse(first, records.read(first))[1].numpy())  # a split without labels ends here
    except tf.errors.OpError as e:
        reason = e.message.splitlines()[0]
        raise DataError(f"{name}: {records.name(0)}: '{image}' and '{label}' cannot be read: {reason}") from None
    return source


def _find_keys(name: str, info: Any) -> tuple[str, str]:
    """Returns the names of a data set's image and label: those meant for training, else the only ones.

    Raises:
        DataError: there is no such pair, or its images are neither grey nor colour.
    """
    import tensorflow_datasets as tfds

    features = dict(info.features.items()) if hasattr(info.features, "items") else {}
    meant = [key for key in info.supervised_keys or () if isinstance(key, str)]
    pair = []
    for kind, what in ((tfds.features.Image, "image"), (tfds.features.ClassLabel, "class label")):
        fitting = [k for k, f in features.items()
                   if isinstance(f, kind) and not isinstance(f, tfds.features.LabeledImage)
                   and getattr(f, "num_classes", True)]  # fmt: skip
        chosen = [key for key in fitting if key in meant] or fitting
        if len(chosen) != 1:
            found = f"several: {', '.join(sorted(chosen))}" if chosen else f"none among {', '.join(sorted(features))}"
            raise DataError(f"{name} is not a classification data set: it needs one {what} and has {found}")
        pair.append(chosen[0])
    channels = features[pair[0]].shape[-1]
    if channels not in (1, 3, 4):
        raise DataError(f"{name} has images of {channels or 'an unknown number of'} channels; only grey or colour images can be"
                        " read, convert it to those")  # fmt: skip
    return pair[0], pair[1]


def _encode_floats(encoded: Any) -> Any:
    """Maps [n] float images as TFDS encodes them, four bytes a pixel in a PNG, to 8-bit grey PNGs: 0 to 1 becomes 0 to 255.

    Raises:
        tf.errors.OpError: an image is no such PNG, or a pixel is below 0, above 1 or NaN.
    """
    import tensorflow as tf

    @tf.autograph.experimental.do_not_convert  # which would put other lines before the message of an error
    def encode(image):
        pixels = tf.bitcast(tf.io.decode_png(image, 4), tf.float32)[..., None]
        within = tf.reduce_all((pixels >= 0) & (pixels <= 1))
        check = tf.debugging.assert_equal(within, True, "float pixels must be from 0 (black) to 1 (white)")
        with tf.control_dependencies([check]):
            return tf.io.encode_png(tf.cast(tf.round(255 * pixels), tf.uint8), compression=0)

    return tf.map_fn(encode, encoded)


def check_labels(source: Source, index: np.ndarray, labels: np.ndarray) -> None:
    """Raises DataError if a label is not the number of a class, such as the -1 of a split without labels."""
    classes = source.info.num_classes
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise DataError(
            f"{source.info.split}, {source.reader.name(int(index[wrong[0]]))}: label {labels[wrong[0]]} is none of the"
            f" {classes} classes; take a split with labels"
        )


def builder(name: str, where: Path, manual_dir: str | None = None) -> Any:
    """Returns the TFDS builder `name`, after preparing the data set if needed.

    Raises:
        DataError: the data set is unknown, cannot be prepared, or needs a manual download and `manual_dir` is None.
    """
    import_tensorflow()
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    from convnets.data import tfds_progress

    own = name.split(":")[0] in OWN
    if own:
        importlib.import_module(f"convnets.data.builders.{name.split(':')[0]}")  # registers the builder
    try:
        made = tfds.builder(name, data_dir=where)
    except Exception as e:  # of a name, a config or a version that there is not; TFDS raises several types
        known = isinstance(e, tfds.core.DatasetNotFoundError | tfds.core.registered.DatasetNotFoundError)
        why = f"TFDS knows no data set '{name}'" if known else f"TFDS has no data set '{name}' ({first_line(e)[:100]})"
        plain = re.sub(r"[^a-z0-9]+", "_", name.partition(":")[0].lower())
        near = difflib.get_close_matches(plain, tfds.list_builders(with_community_datasets=False), n=1)
        other = near and near[0] != name
        hint = f"did you mean '{near[0]}'?" if other else "its catalog lists the image classification sets"
        raise DataError(f"{why}; {hint}" + "; images of your own are folder:PATH" * ("/" in name)) from None
    if made.data_path.exists():
        return made
    if made.MANUAL_DOWNLOAD_INSTRUCTIONS and manual_dir is None:
        files = made.MANUAL_DOWNLOAD_INSTRUCTIONS if own else "its archives"
        raise DataError(
            f"{name} is not in {where} and must be downloaded by hand; put {files} into a folder and add"
            " --mode=prepare --manual_dir=FOLDER to this command"
        )
    print(f"preparing {name} in {where}", flush=True)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it logs one line per retry
    tfds_progress.replace_bars()
    downloader.MAX_RETRIES = 4  # the tenth retry comes minutes later: a useless wait without a network
    try:
        made.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    except DataError:
        raise
    except Exception as e:
        if made.data_path.exists():  # another trial of a sweep prepared it first
            return builder(name, where)
        raise DataError(f"{name} is not in {where} and could not be prepared ({first_line(e)[:200]}); where there is a network add"
                        " --mode=prepare to this command") from None  # fmt: skip
    return made


def complete(made: Any, name: str) -> None:
    """Raises DataError if files of a prepared data set are missing."""
    missing = [p for s in made.info.splits.values() for p in s.filepaths if not p.exists()]
    if missing or not made.info.splits:
        what = f"{missing[0]} is missing" if missing else f"{made.data_path} holds no splits"
        raise DataError(f"{name} is only half prepared ({what}); remove {made.data_path} and prepare it again with"
                        " --mode=prepare")  # fmt: skip
