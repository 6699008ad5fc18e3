"""Data sets as batches.

`stream` decodes during training. `resident` decodes a data set once and caches it as .npy, so the next run does not
import TensorFlow. It keeps the data in device memory, where a batch is a gather. Both loaders give the same examples in
the same order: the examples in a batch are a pure function of (seed, step).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from convnets.augment import host_ops, pipeline
from convnets.augment.statistics import Statistics, load_statistics, measure_statistics
from convnets.data import sources
from convnets.data.cache import (
    cache_dir,
    cached_path,
    decode_all,
    describe_calls,
    iterate_all,
    keep,
    load_decoded,
)
from convnets.data.sources import Info, Source
from convnets.data.tf_pipeline import AHEAD, POLICIES, Batch, Stream
from convnets.errors import CheckpointError, UsageError
from convnets.op_string import Call

LOADERS = ("resident", "stream")


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a data set with its augmentation.

    Attributes:
        resident_arrays: {'images': uint8 [n, h, w, c], 'labels': int32 [n]} if resident, else empty. They are passed to the
            compiled step with each batch.
        stream: yields the images if they are not resident.
        statistics: of the training set, if an operation needs them; `device_ops` already contain them.
        ops: the augmentation string.
        find: reopens the source of a resident split.
    """

    info: Info
    device_ops: list[Call]
    resident_arrays: dict[str, np.ndarray]
    stream: Stream | None = None
    statistics: Statistics | None = None
    ops: str = ""
    find: Callable[[], Source] | None = None

    def with_test_ops(self, ops: str) -> "Split":
        """Returns the same examples with another test-time augmentation string.

        Resident images are reused if the host operations are unchanged; otherwise images are streamed.
        """
        host, device = pipeline.parse(ops, test=True)
        changed: dict[str, Any] = {"ops": ops, "device_ops": pipeline.bind(device, self.statistics)}
        if host != pipeline.parse(self.ops, test=True)[0]:
            source = self.stream.source if self.stream else self.find and self.find()
            assert source
            stream = Stream(source, host)
            info = source.info._replace(image_shape=stream.shape)
            changed |= {"info": info, "resident_arrays": {}, "stream": stream}
        return dataclasses.replace(self, **changed)

    def images(self, index: np.ndarray) -> np.ndarray:
        """Returns the pixels of some examples, uint8 [n, h, w, c], after the host operations; reads no others."""
        if self.resident_arrays:
            return self.resident_arrays["images"][index]
        if not len(index):
            return np.empty((0, *self.info.image_shape), np.uint8)
        batch = {"index": index.astype(np.int32), "epoch": np.zeros(len(index), np.int32),
                 "mask": np.ones(len(index), np.float32)}  # fmt: skip
        return next(self.feed([batch]))["image"]

    def feed(self, schedule: Iterable[Batch], seed: int = 0) -> Iterator[Batch]:
        """Adds 'image' and 'label' to the batches of a schedule, unless the resident arrays already hold them.

        Args:
            seed: seeds the random host operations, together with epoch and index.
        """
        return iter(schedule) if self.stream is None else self.stream(schedule, seed)

    def memory(self, batch_size: int) -> str:
        """Returns one line on the memory that the loader will need."""
        if self.stream is None:
            size = sum(v.nbytes for v in self.resident_arrays.values())
            return f"{self.info.split} resident, {size / 2**20:,.1f} MiB on each device"
        decoded = batch_size * np.prod([n or 500 for n in self.info.image_shape])
        held = (AHEAD + 1) * decoded + (AHEAD + 1) * batch_size * 2**17  # an encoded photograph is about 110 kB
        return f"{self.info.split} streamed, about {held / 2**20:,.0f} MiB of memory for {AHEAD} batches ahead"


def load_splits(
    name: str, data_dir: str, loader: str, train_split: str, test_split: str, train_ops: str, test_ops: str,
    on_error: str,
) -> tuple[Split, Split]:  # fmt: skip
    """Loads the train and test splits of the data set `name`, from TFDS or 'folder:PATH'.

    Args:
        data_dir: folder of prepared data sets; '' is TFDS's default. A missing data set is downloaded and prepared.
        loader: 'resident' or 'stream'.
        train_ops, test_ops: augmentation strings.
        on_error: 'error' or 'skip' training images that cannot be decoded; for test images it is always 'error'.

    Raises:
        DataError: the data set is missing, damaged, or cannot be prepared; the message names the command to prepare it.
    """
    train = _split(name, data_dir, loader, train_split, train_ops, False, on_error)
    test = _split(name, data_dir, loader, test_split, test_ops, True, "error")
    if not pipeline.needs_statistics(train.device_ops + test.device_ops):
        return train, test
    # Measured with the training string only: the mean must not depend on the test-time augmentation.
    host = [host_ops.remove_chance(c) for c in parse_operations(train_ops, loader, False)[0]]
    found = load_or_measure_statistics(train, sources.digest(name, data_dir, train_split, describe_calls(host)), host)
    train, test = (
        dataclasses.replace(s, device_ops=pipeline.bind(s.device_ops, found), statistics=found) for s in (train, test)
    )
    return train, test


def load_test_split(statistics: Statistics | None = None, **section: Any) -> Split:
    """Loads the test split alone.

    Args:
        statistics: of the training set. If an operation needs them and they are missing, the training split is opened.
        section: the arguments of `load_splits`.

    Raises:
        DataError: as `load_splits` does.
    """
    name, data_dir, loader = section["name"], section["data_dir"], section["loader"]
    test = _split(name, data_dir, loader, section["test_split"], section["test_ops"], True, "error")
    if not pipeline.needs_statistics(test.device_ops):
        return dataclasses.replace(test, statistics=statistics)  # another test string may need them
    if statistics is None:
        return load_splits(**section)[1]
    return dataclasses.replace(test, device_ops=pipeline.bind(test.device_ops, statistics), statistics=statistics)


def parse_operations(text: str, loader: str, test: bool) -> tuple[list[Call], list[Call]]:
    """Parses an augmentation string into host and device operations.

    Raises:
        UsageError: from `pipeline.parse`, or random host operations with the resident loader, which decodes only once.
    """
    host, device = pipeline.parse(text, test)
    chance = [c.name for c in host if pipeline.is_random(c, host_ops.HOST)]
    if chance and loader == "resident":
        raise UsageError(
            f"augmentation '{text}': '{chance[0]}' differs every time, and data.loader=resident decodes once; take stream"
        )
    return host, device


def load_or_measure_statistics(train: Split, digest: str | None, host: list[Call]) -> Statistics:
    """Returns the statistics of a training split, measured without random operations and cached on disk."""
    kept = cache_dir() / "statistics" / f"{digest}.npz" if digest else None  # None: only the decoded images are there
    if kept and kept.exists():
        try:
            return load_statistics(kept)
        except CheckpointError as e:
            print(f"{str(e).partition(';')[0]}; measured again", flush=True)
    if train.stream is None:
        found = measure_statistics([train.resident_arrays["images"]])
    else:
        stream = Stream(train.stream.source, host, train.stream.on_error)
        found = measure_statistics(iterate_all(stream, "statistics of", lambda batch: batch["image"]))
    if kept:
        keep(kept, lambda scratch: np.savez(scratch, **found._asdict()))
    return found


def _split(name: str, data_dir: str, loader: str, split: str, ops: str, test: bool, on_error: str) -> Split:
    for key, value, choices in (("loader", loader, LOADERS), ("on_error", on_error, POLICIES)):
        if value not in choices:
            raise UsageError(f"data.{key} is '{value}': choose one of {', '.join(choices)}")
    host, device = parse_operations(ops, loader, test)
    if loader == "stream":
        stream = Stream(sources.find(name, data_dir, split), host, on_error)
        return Split(stream.source.info._replace(image_shape=stream.shape), device, {}, stream, ops=ops)
    cached = cached_path(name, data_dir, split, host, on_error)
    found = load_decoded(cached) if cached else None
    if found is None:
        source = sources.find(name, data_dir, split)  # may prepare the data set first
        cached = cached_path(name, data_dir, split, host, on_error)  # None: TFDS keeps it under another name
        found = decode_all(Stream(source, host, on_error), cached)
    info, resident_arrays = found
    return Split(info, device, resident_arrays, ops=ops, find=functools.partial(sources.find, name, data_dir, split))


def fetch(batch: dict[str, jax.Array], resident_arrays: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Returns the images, [n, h, w, c] or [n, views, h, w, c], and labels, int32 [n], of a batch.

    Resident images are gathered from device memory.
    """
    if resident_arrays:
        return resident_arrays["images"][batch["index"]], resident_arrays["labels"][batch["index"]]
    return batch["image"], batch["label"]
