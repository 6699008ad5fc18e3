"""Where examples come from: a data set of TensorFlow Datasets by name, or `folder:PATH` with one's own images.

A folder is laid out as TFDS's ImageFolder wants it: PATH/split/class/image, with .jpg, .jpeg or .png.
"""

import contextlib
import difflib
import hashlib
import importlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from convnets.data.tfrecord import Files, Records
from convnets.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png")
OWN = {"digits": "digits", "stimuli": "fukushima_digits"}  # our builders, by data set, and their files


class Info(NamedTuple):
    """Facts of one split; `image_shape` is (height, width, channels) after the host operations, None where it varies."""

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
        info: with the image shape that the data set declares.
        reader: `read` gives the records of [n] indices, `name` says where one stands.
        parse: tensors of indices and of their records, [n], to encoded images and int32 labels.
    """

    info: Info
    reader: Records | Files
    parse: Callable[[Any, Any], tuple[Any, Any]]


def find(name: str, data_dir: str, split: str) -> Source:
    """A split of the data set `name`; one of TFDS is downloaded and prepared where that is possible.

    Raises:
        DataError: it is not there, is damaged, holds no images with labels or cannot be prepared.
    """
    if name.startswith("folder:"):
        return _folder(Path(name.removeprefix("folder:")).expanduser().absolute(), split)
    return _prepared(name, directory(data_dir), split)


def directory(data_dir: str) -> Path:
    """Where prepared data sets lie."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser().absolute()


def digest(name: str, data_dir: str, *made_with: Any) -> str | None:
    """Names what is made from the files of a data set and `made_with`; None where it is not there. No TensorFlow."""
    if name.startswith("folder:"):
        root = Path(name.removeprefix("folder:")).expanduser().absolute()
        files = sorted(p for p in root.glob("*/*/*") if p.suffix.lower() in SUFFIXES)
    else:
        root = version_dir(directory(data_dir) / name.replace(":", "/")) or Path()
        files = sorted(root.iterdir()) if root.name else []
    if not files:
        return None
    facts = [(str(p.relative_to(root)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return hashlib.sha256(json.dumps([facts, made_with]).encode()).hexdigest()[:16]


def version_dir(path: Path) -> Path | None:
    """The newest prepared version of a data set."""
    if (path / "dataset_info.json").exists():
        return path
    found = [p.parent for p in path.glob("*/dataset_info.json")]
    number = lambda p: [int(n) if n.isdigit() else -1 for n in p.name.split(".")]  # noqa: E731
    return max(found, key=number, default=None)


def _tensorflow() -> Any:
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":  # as JAX sets it; warnings would bury our errors
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # no Keras is used; the old one is not there and takes no time
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # announces itself on the terminal; nothing here needs it
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # TensorFlow runs already
        tf.config.set_visible_devices([], "GPU")  # the accelerator is JAX's
    return tf


def _folder(root: Path, split: str) -> Source:
    tf = _tensorflow()
    layout = "PATH/split/class/image, images as .jpg, .jpeg or .png"
    if not root.is_dir():
        raise DataError(f"folder:{root}: there is no such folder; it must hold {layout}")
    folders = lambda path: sorted(p.name for p in path.iterdir() if p.is_dir())  # noqa: E731
    splits = {s: folders(root / s) for s in folders(root)}
    if split not in splits:
        raise DataError(f"folder:{root} has no split '{split}'; it has {', '.join(splits) or 'none'} ({layout})")
    names = sorted({c for classes in splits.values() for c in classes})
    number = {name: i for i, name in enumerate(names)}
    found = [
        (str(p), number[c]) for c in splits[split] for p in sorted((root / split / c).iterdir())
        if p.suffix.lower() in SUFFIXES
    ]  # fmt: skip
    if not found:
        raise DataError(f"folder:{root}: split '{split}' holds no images; they are expected as {layout}")
    paths, numbers = zip(*found, strict=True)
    labels = np.array(numbers, np.int32)
    info = Info(f"folder:{root.name}", "1.0.0", split, len(paths), len(names), names, (None, None, 3))  # type: ignore
    return Source(info, Files(paths), lambda index, records: (records, tf.gather(labels, index)))


def _prepared(name: str, where: Path, split: str) -> Source:
    tf = _tensorflow()
    import tensorflow_datasets as tfds

    made = builder(name, where)
    complete(made, name)
    try:
        facts = made.info.splits[split]
    except (KeyError, ValueError):
        raise DataError(f"{name} has no split '{split}'; it has {', '.join(made.info.splits)}") from None
    if made.info.file_format.value != "tfrecord":
        raise DataError(f"{name} is stored as {made.info.file_format.value}; only tfrecord can be read")
    features, keys = made.info.features, made.info.supervised_keys
    fits = keys and isinstance(features[keys[0]], tfds.features.Image) and hasattr(features[keys[1]], "num_classes")
    if not fits:
        raise DataError(f"{name} is not a classification data set: it has no (image, label) pair")
    image, label = keys
    records = Records(
        (f.filename, f.take if f.take >= 0 else f.examples_in_shard - f.skip, f.skip) for f in facts.file_instructions
    )
    if len(records) != facts.num_examples:
        raise DataError(f"{name}: {len(records)} records found, {facts.num_examples} expected")
    wanted = {image: tf.io.FixedLenFeature([], tf.string), label: tf.io.FixedLenFeature([], tf.int64)}

    def parse(index, records):
        example = tf.io.parse_example(records, wanted)
        return example[image], tf.cast(example[label], tf.int32)

    info = Info(made.name, str(made.version), split, facts.num_examples, features[label].num_classes,
                list(features[label].names), tuple(features[image].shape))  # fmt: skip
    return Source(info, records, parse)


def builder(name: str, where: Path, manual_dir: str | None = None) -> Any:
    """The TFDS builder `name`, prepared if that needs nothing that must be downloaded by hand."""
    _tensorflow()
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    if name.split(":")[0] in OWN:
        importlib.import_module(f"convnets.data.builders.{OWN[name.split(':')[0]]}")  # registers the builder
    try:
        made = tfds.builder(name, data_dir=where)
    except (tfds.core.DatasetNotFoundError, tfds.core.registered.DatasetNotFoundError):
        near = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False), n=1)
        raise DataError(f"TFDS knows no data set '{name}'; "
                        + (f"did you mean '{near[0]}'?" if near else "its catalog lists the image classification sets")
                       ) from None  # fmt: skip
    if made.data_path.exists():
        return made
    if made.MANUAL_DOWNLOAD_INSTRUCTIONS and manual_dir is None:
        raise DataError(
            f"{name} is not in {where} and must be downloaded by hand; put its archives into a folder and add"
            " --mode=prepare --manual_dir=FOLDER to this command"
        )
    print(f"preparing {name} in {where}", flush=True)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # a line for every retry
    downloader.MAX_RETRIES = 4  # the tenth is minutes away, without a network a useless wait
    try:
        made.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    except Exception as e:
        if made.data_path.exists():  # another trial of a sweep was first
            return builder(name, where)
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0][:200]
        raise DataError(f"{name} is not in {where} and could not be prepared ({reason}); where there is a network add"
                        " --mode=prepare to this command") from None  # fmt: skip
    return made


def complete(made: Any, name: str) -> None:
    """Raises DataError where files of a prepared set are missing."""
    missing = [p for s in made.info.splits.values() for p in s.filepaths if not p.exists()]
    if missing or not made.info.splits:
        what = f"{missing[0]} is missing" if missing else f"{made.data_path} holds no splits"
        raise DataError(f"{name} is only half prepared ({what}); remove {made.data_path} and prepare it again with"
                        " --mode=prepare")  # fmt: skip
