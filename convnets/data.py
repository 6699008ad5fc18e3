"""Data sets through TensorFlow Datasets, as batches.

`stream` decodes with tf.data while training. `resident` decodes a data set once, caches it as .npy (the next run does
not import TensorFlow) and keeps it in device memory, where a batch is a gather. Both give the same examples in the same
order: which examples make up a batch is a pure function of (seed, step).
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from convnets import augment, pixels
from convnets.errors import DataError, UsageError
from convnets.language import Call

LOADERS = ("resident", "stream")
Batch = dict[str, np.ndarray]


class Info(NamedTuple):
    """Facts of one split; `image_shape` is (height, width, channels) after the host operations."""

    name: str
    version: str
    split: str
    num_examples: int
    num_classes: int
    label_names: list[str]
    image_shape: tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a data set with its augmentation.

    Attributes:
        constants: {'images': uint8 [n, h, w, c], 'labels': int32 [n]} where resident, else empty. They go to the
            compiled step beside each batch.
        statistics: of the training set, where an operation wants them; the operations hold them already.
    """

    info: Info
    device_ops: list[Call]
    constants: dict[str, np.ndarray]
    source: Any = None
    statistics: pixels.Statistics | None = None

    def feed(self, schedule: Iterable[Batch], seed: int = 0) -> Iterator[Batch]:
        """Adds 'image' and 'label' to the batches of a schedule, unless the constants hold them already.

        Args:
            seed: of the random host operations, together with epoch and index.
        """
        return iter(schedule) if self.constants else _stream(self.source, schedule, seed)


def make(
    name: str, data_dir: str, loader: str, train_split: str, test_split: str, train_ops: str, test_ops: str
) -> tuple[Split, Split]:
    """Train and test split of the TFDS data set `name`.

    Args:
        data_dir: where prepared data sets lie; '' is TFDS's own default. What is not there is downloaded and prepared.
        loader: 'resident' or 'stream'.
        train_ops, test_ops: augmentation strings.

    Raises:
        DataError: the data set is not there, is damaged, or cannot be prepared; tells the command that prepares it.
    """
    train = _split(name, data_dir, loader, train_split, train_ops, test=False)
    test = _split(name, data_dir, loader, test_split, test_ops, test=True)
    if not augment.needs_statistics(train.device_ops + test.device_ops):
        return train, test
    found = statistics(train)
    train, test = (
        dataclasses.replace(s, device_ops=augment.bind(s.device_ops, found), statistics=found) for s in (train, test)
    )
    return train, test


def statistics(train: Split) -> pixels.Statistics:
    """Of the images of a training split after its host operations."""
    if not train.constants:
        raise UsageError("statistics of the training set need data.loader=resident")
    return pixels.measure([train.constants["images"]])


# Schedules: which examples make up a batch --------------------------------------------------------------------------


def training_schedule(
    num_examples: int, batch_size: int, seed: int, start: int, stop: int, process: int = 0, processes: int = 1
) -> Iterator[Batch]:
    """Batches of steps `start` to `stop`: {'index', 'epoch'} (int32) and 'mask' (float32, all ones).

    The examples are one endless sequence, a new permutation every epoch, cut into equal batches. So each epoch shows
    each example exactly once, no batch is short and none is dropped; a batch may reach into the next epoch. With
    several processes each takes its slice of every batch.
    """
    share = batch_size // processes
    epochs: dict[int, np.ndarray] = {}
    for step in range(start, stop):
        position = step * batch_size + process * share + np.arange(share)
        epoch, place = position // num_examples, position % num_examples
        index = np.empty(share, np.int32)
        for e in np.unique(epoch).tolist():
            if e not in epochs:  # the one before may still be needed, older ones never
                order = np.random.Generator(np.random.Philox(key=[seed, e])).permutation(num_examples)
                epochs = {k: v for k, v in epochs.items() if k == e - 1} | {e: order}
            index[epoch == e] = epochs[e][place[epoch == e]]
        yield {"index": index, "epoch": epoch.astype(np.int32), "mask": np.ones(share, np.float32)}


def evaluation_schedule(num_examples: int, batch_size: int) -> Iterator[Batch]:
    """Every example exactly once, in order; the last batch is filled up with examples of mask 0."""
    for start in range(0, num_examples, batch_size):
        index = start + np.arange(batch_size)
        mask = index < num_examples
        index = np.where(mask, index, 0).astype(np.int32)
        yield {"index": index, "epoch": np.zeros(batch_size, np.int32), "mask": mask.astype(np.float32)}


# Where a split comes from -------------------------------------------------------------------------------------------


def cache_dir() -> Path:
    """CONVNETS_CACHE, or convnets/ in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "convnets"
    return Path(os.environ.get("CONVNETS_CACHE", default)).expanduser().absolute()


def _split(name, data_dir, loader, split, ops, test) -> Split:
    if loader not in LOADERS:
        raise UsageError(f"data.loader is '{loader}': choose one of {', '.join(LOADERS)}")
    host_ops, device_ops = augment.parse(ops, test)
    directory = Path(data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser().absolute()
    if loader == "stream":
        source = _Source(name, directory, split, host_ops)
        return Split(source.info, device_ops, {}, source)
    cached = _cached(name, directory, split, host_ops)
    if cached is None or not cached.exists():
        source = _Source(name, directory, split, host_ops)  # may prepare the data set first
        cached = _cached(name, directory, split, host_ops)
        assert cached is not None
        _decode_all(source, cached)
    facts = json.loads((cached / "info.json").read_text())
    info = Info(**{**facts, "image_shape": tuple(facts["image_shape"])})
    return Split(info, device_ops, {key: np.load(cached / f"{key}.npy") for key in ("images", "labels")})


def _cached(name: str, directory: Path, split: str, host_ops: list[Call]) -> Path | None:
    """Where the decoded split is cached: named by what it was made from, found without TensorFlow."""
    version = _version_dir(directory / name.replace(":", "/"))
    if version is None:
        return None
    files = sorted((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in version.iterdir())
    made_from = [files, split, [(c.name, c.kwargs) for c in host_ops]]
    digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]
    return cache_dir() / "data" / f"{name.replace('/', '-').replace(':', '-')}-{split.replace('/', '-')}-{digest}"


def _version_dir(path: Path) -> Path | None:
    if (path / "dataset_info.json").exists():
        return path
    found = [p.parent for p in path.glob("*/dataset_info.json")]
    number = lambda p: [int(n) if n.isdigit() else -1 for n in p.name.split(".")]  # noqa: E731
    return max(found, key=number, default=None)


def _decode_all(source: "_Source", target: Path) -> None:
    """Decodes a whole split into .npy files; the folder appears at once and complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    parts = list(_stream(source, evaluation_schedule(source.info.num_examples, 1024)))
    keep = np.concatenate([p["mask"] for p in parts]) > 0
    scratch = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        for key, part in (("images", "image"), ("labels", "label")):
            np.save(scratch / f"{key}.npy", np.concatenate([p[part] for p in parts])[keep])
        (scratch / "info.json").write_text(json.dumps(source.info._asdict()))
        with contextlib.suppress(OSError):  # another run was faster
            scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Source:
    """A prepared TFDS split: its records and how to decode one. Imports TensorFlow."""

    def __init__(self, name: str, directory: Path, split: str, host_ops: list[Call]):
        from convnets.records import Records

        builder = _builder(name, directory)
        try:
            facts = builder.info.splits[split]
        except (KeyError, ValueError):
            raise DataError(f"{name} has no split '{split}'; it has {', '.join(builder.info.splits)}") from None
        if builder.info.file_format.value != "tfrecord":
            raise DataError(f"{name} is stored as {builder.info.file_format.value}; only tfrecord can be read")
        keys = builder.info.supervised_keys
        if not keys or not hasattr(builder.info.features[keys[1]], "num_classes"):
            raise DataError(f"{name} is not a classification data set: it has no (image, label) pair")
        self.image_key, self.label_key = keys
        self.features, self.host_ops = builder.info.features, host_ops
        self.records = Records(
            (f.filename, f.take if f.take >= 0 else f.examples_in_shard - f.skip, f.skip)
            for f in facts.file_instructions
        )
        if len(self.records) != facts.num_examples:
            raise DataError(f"{name}: {len(self.records)} records found, {facts.num_examples} expected")
        label = self.features[self.label_key]
        shape = tuple(self.decode(self.records.read(np.array([0]))[0])["image"].shape)
        self.info = Info(builder.name, str(builder.version), split, facts.num_examples, label.num_classes,
                         list(label.names), shape)  # fmt: skip

    def decode(self, record) -> dict:
        """One serialized example to {'image': uint8 [h, w, c], 'label': int32} through the host operations."""
        import tensorflow as tf
        import tensorflow_datasets as tfds

        image = self.features[self.image_key]
        example = self.features.deserialize_example(record, decoders={self.image_key: tfds.decode.SkipDecoding()})
        pixels = example[self.image_key]
        for call in self.host_ops:
            extra = {"channels": image.shape[-1]} if call.name == "decode" else {}
            pixels = call.function(pixels, **extra, **call.kwargs)
        return {"image": pixels, "label": tf.cast(example[self.label_key], tf.int32)}


def _stream(source: _Source, schedule: Iterable[Batch], seed: int = 0) -> Iterator[Batch]:
    """Batches with 'image' and 'label', read and decoded ahead of time by tf.data."""
    import tensorflow as tf

    first, schedule = _peek(schedule)
    if first is None:
        return
    failure: list[DataError] = []

    def read(index):
        try:
            return source.records.read(index)
        except DataError as e:  # tf.data would bury it in a trace of its own
            failure.append(e)
            raise

    def example(batch):
        record = batch.pop("record")
        return {**batch, **source.decode(record)}

    signature = {k: tf.TensorSpec(v.shape, v.dtype) for k, v in first.items()}
    size = len(first["index"])
    stream = (
        tf.data.Dataset.from_generator(lambda: schedule, output_signature=signature)
        .map(lambda b: {**b, "record": tf.ensure_shape(tf.numpy_function(read, [b["index"]], tf.string), [size])})
        .unbatch()
        .map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )
    try:
        yield from stream.as_numpy_iterator()
    except tf.errors.OpError as e:
        raise failure[0] if failure else DataError(f"{source.info.name}: {e.message.splitlines()[0]}") from None


def _peek(iterable):
    iterator = iter(iterable)
    for first in iterator:
        return first, (item for part in ([first], iterator) for item in part)
    return None, iter(())


def _builder(name: str, directory: Path):
    """The prepared TFDS builder `name`; downloads and prepares it where that is possible."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # announces itself on the terminal; nothing here needs it
    import tensorflow as tf
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    tf.config.set_visible_devices([], "GPU")  # the accelerator is JAX's
    if name.split(":")[0] == "digits":
        import convnets.digits  # noqa: F401  registers the builder
    try:
        builder = tfds.builder(name, data_dir=directory)
    except (tfds.core.DatasetNotFoundError, tfds.core.registered.DatasetNotFoundError):
        raise DataError(f"TFDS knows no data set '{name}'; its catalog lists the image classification sets") from None
    prepare = f"tfds build {name} --data_dir={directory}"
    if not builder.data_path.exists():
        manual = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
        if manual:
            raise DataError(
                f"{name} is not in {directory} and must be downloaded by hand; put its archives into a folder and run:"
                f" {prepare} --manual_dir=FOLDER"
            )
        print(f"preparing {name} in {directory}", flush=True)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # a line for every retry
        downloader.MAX_RETRIES = 4  # the tenth is minutes away, without a network a useless wait
        try:
            builder.download_and_prepare()
        except Exception as e:
            if builder.data_path.exists():  # another trial of a sweep was first
                return _builder(name, directory)
            reason = (str(e).strip().splitlines() or [type(e).__name__])[0][:200]
            raise DataError(f"{name} is not in {directory} and could not be prepared ({reason}); where there is a "
                            f"network run: {prepare}") from None  # fmt: skip
    missing = [p for s in builder.info.splits.values() for p in s.filepaths if not p.exists()]
    if missing or not builder.info.splits:
        what = f"{missing[0]} is missing" if missing else f"{builder.data_path} holds no splits"
        raise DataError(f"{name} is only half prepared ({what}); remove {builder.data_path} and run: {prepare}")
    return builder
