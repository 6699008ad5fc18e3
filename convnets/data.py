"""Data sets as batches.

`stream` decodes while training. `resident` decodes a data set once, caches it as .npy (the next run does not import
TensorFlow) and keeps it in device memory, where a batch is a gather. Both give the same examples in the same order:
which examples make up a batch is a pure function of (seed, step).
"""

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from convnets import augment, pixels, sources, views
from convnets.errors import UsageError
from convnets.language import Call
from convnets.sources import Info, Source
from convnets.stream import AHEAD, POLICIES, Batch, Stream

LOADERS = ("resident", "stream")
__all__ = ["LOADERS", "POLICIES", "Batch", "Info", "Split", "make"]


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a data set with its augmentation.

    Attributes:
        constants: {'images': uint8 [n, h, w, c], 'labels': int32 [n]} where resident, else empty. They go to the
            compiled step beside each batch.
        stream: gives the images where they are not resident.
        statistics: of the training set, where an operation wants them; the operations hold them already.
        ops: the augmentation string.
        find: opens the source of a resident split again.
    """

    info: Info
    device_ops: list[Call]
    constants: dict[str, np.ndarray]
    stream: Stream | None = None
    statistics: pixels.Statistics | None = None
    ops: str = ""
    find: Callable[[], Source] | None = None

    def through(self, ops: str) -> "Split":
        """The same examples through another test string.

        Images in memory serve again where the host operations are the same; where not, images are streamed.
        """
        host, device = augment.parse(ops, test=True)
        changed: dict[str, Any] = {"ops": ops, "device_ops": augment.bind(device, self.statistics)}
        if host != augment.parse(self.ops, test=True)[0]:
            source = self.stream.source if self.stream else self.find and self.find()
            assert source
            stream = Stream(source, host)
            info = source.info._replace(image_shape=stream.shape)
            changed |= {"info": info, "constants": {}, "stream": stream}
        return dataclasses.replace(self, **changed)

    def feed(self, schedule: Iterable[Batch], seed: int = 0) -> Iterator[Batch]:
        """Adds 'image' and 'label' to the batches of a schedule, unless the constants hold them already.

        Args:
            seed: of the random host operations, together with epoch and index.
        """
        return iter(schedule) if self.stream is None else self.stream(schedule, seed)

    def memory(self, batch_size: int) -> str:
        """What the loader will take."""
        if self.stream is None:
            size = sum(v.nbytes for v in self.constants.values())
            return f"{self.info.split} resident, {size / 2**20:,.1f} MiB on each device"
        decoded = batch_size * np.prod([n or 500 for n in self.info.image_shape])
        held = (AHEAD + 1) * decoded + (AHEAD + 1) * batch_size * 2**17  # an encoded photograph is about 110 kB
        return f"{self.info.split} streamed, about {held / 2**20:,.0f} MiB of memory for {AHEAD} batches ahead"


def make(
    name: str, data_dir: str, loader: str, train_split: str, test_split: str, train_ops: str, test_ops: str,
    on_error: str,
) -> tuple[Split, Split]:  # fmt: skip
    """Train and test split of the data set `name`, of TFDS or 'folder:PATH'.

    Args:
        data_dir: where prepared data sets lie; '' is TFDS's own default. What is not there is downloaded and prepared.
        loader: 'resident' or 'stream'.
        train_ops, test_ops: augmentation strings.
        on_error: what to do with a training image that cannot be decoded: 'error' or 'skip'. A test image is an error.

    Raises:
        DataError: the data set is not there, is damaged, or cannot be prepared; tells the command that prepares it.
    """
    train = _split(name, data_dir, loader, train_split, train_ops, False, on_error)
    test = _split(name, data_dir, loader, test_split, test_ops, True, "error")
    if not augment.needs_statistics(train.device_ops + test.device_ops):
        return train, test
    # Not of the test string: a run must mean the same colour, whatever way it is tested.
    host = [views.still(c) for c in operations(train_ops, loader, False)[0]]
    found = statistics(train, sources.digest(name, data_dir, train_split, _facts(host)), host)
    train, test = (
        dataclasses.replace(s, device_ops=augment.bind(s.device_ops, found), statistics=found) for s in (train, test)
    )
    return train, test


def operations(text: str, loader: str, test: bool) -> tuple[list[Call], list[Call]]:
    """Host and device operations of an augmentation string.

    Raises:
        UsageError: from `augment.parse`, or a resident set, which is decoded once, with random host operations.
    """
    host, device = augment.parse(text, test)
    chance = [c.name for c in host if views.is_random(c)]
    if chance and loader == "resident":
        raise UsageError(
            f"augmentation '{text}': '{chance[0]}' differs every time, and data.loader=resident decodes once; take stream"
        )
    return host, device


def statistics(train: Split, digest: str | None, host: list[Call]) -> pixels.Statistics:
    """Of the images of a training split, where nothing is left to chance; kept in the cache."""
    kept = cache_dir() / "statistics" / f"{digest}.npz"
    if kept.exists():
        return pixels.Statistics(**np.load(kept))
    if train.stream is None:
        found = pixels.measure([train.constants["images"]])
    else:
        stream = Stream(train.stream.source, host, train.stream.on_error)
        found = pixels.measure(_everything(stream, "statistics", lambda batch: batch["image"]))
    with _appears(kept) as scratch:
        np.savez(scratch, **found._asdict())
    return found


# Schedules: which examples make up a batch --------------------------------------------------------------------------


def training_schedule(
    num_examples: int, batch_size: int, seed: int, start: int, stop: int, process: int = 0, processes: int = 1,
    reshuffle: bool = True,
) -> Iterator[Batch]:  # fmt: skip
    """Batches of steps `start` to `stop`: {'index', 'epoch'} (int32) and 'mask' (float32, all ones).

    The examples are one endless sequence, a new permutation every epoch, cut into equal batches. So each epoch shows
    each example exactly once, no batch is short and none is dropped; a batch may reach into the next epoch. With
    several processes each takes its slice of every batch. Without `reshuffle` all epochs have the order of the first, and
    where the batch divides the examples the same batches.
    """
    share = batch_size // processes
    epochs: dict[int, np.ndarray] = {}
    for step in range(start, stop):
        position = step * batch_size + process * share + np.arange(share)
        epoch, place = position // num_examples, position % num_examples
        index = np.empty(share, np.int32)
        for e in np.unique(epoch).tolist():
            if e not in epochs:  # the one before may still be needed, older ones never
                order = np.random.Generator(np.random.Philox(key=[seed, e if reshuffle else 0])).permutation(
                    num_examples
                )
                epochs = {k: v for k, v in epochs.items() if k == e - 1} | {e: order}
            index[epoch == e] = epochs[e][place[epoch == e]]
        yield {"index": index, "epoch": epoch.astype(np.int32), "mask": np.ones(share, np.float32)}


def evaluation_schedule(num_examples: int, batch_size: int, process: int = 0, processes: int = 1) -> Iterator[Batch]:
    """Every example exactly once, in order; the last batch is filled up with examples of mask 0.

    With several processes each takes its own part of the split, `batch_size` at a time.
    """
    first, stop = (num_examples * p // processes for p in (process, process + 1))
    for start in range(first, stop, batch_size):
        index = start + np.arange(batch_size)
        mask = index < stop
        index = np.where(mask, index, 0).astype(np.int32)
        yield {"index": index, "epoch": np.zeros(batch_size, np.int32), "mask": mask.astype(np.float32)}


# Where a split comes from -------------------------------------------------------------------------------------------


def cache_dir() -> Path:
    """CONVNETS_CACHE, or convnets/ in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "convnets"
    return Path(os.environ.get("CONVNETS_CACHE", default)).expanduser().absolute()


def _facts(calls: list[Call]) -> list:
    return [(c.name, c.kwargs) for c in calls]


def _split(name: str, data_dir: str, loader: str, split: str, ops: str, test: bool, on_error: str) -> Split:
    for key, value, choices in (("loader", loader, LOADERS), ("on_error", on_error, POLICIES)):
        if value not in choices:
            raise UsageError(f"data.{key} is '{value}': choose one of {', '.join(choices)}")
    host, device = operations(ops, loader, test)
    if loader == "stream":
        stream = Stream(sources.find(name, data_dir, split), host, on_error)
        return Split(stream.source.info._replace(image_shape=stream.shape), device, {}, stream, ops=ops)
    cached = _cached(name, data_dir, split, host, on_error)
    if cached is None or not cached.exists():
        source = sources.find(name, data_dir, split)  # may prepare the data set first
        cached = _cached(name, data_dir, split, host, on_error)
        assert cached is not None
        _decode_all(Stream(source, host, on_error), cached)
    facts = json.loads((cached / "info.json").read_text())
    info = Info(**{**facts, "image_shape": tuple(facts["image_shape"])})
    constants = {key: np.load(cached / f"{key}.npy") for key in ("images", "labels")}
    return Split(info, device, constants, ops=ops, find=functools.partial(sources.find, name, data_dir, split))


def _cached(name: str, data_dir: str, split: str, host: list[Call], on_error: str) -> Path | None:
    """Where the decoded split is cached: named by what it was made from, found without TensorFlow."""
    digest = sources.digest(name, data_dir, split, _facts(host), on_error)
    words = [Path(name).name if name.startswith("folder:") else name, split, digest]
    return (
        digest
        if digest is None
        else cache_dir() / "data" / "-".join(map(str, words)).replace("/", "-").replace(":", "-")
    )


def _decode_all(stream: Stream, target: Path) -> None:
    """Decodes a whole split into .npy files; the folder appears at once and complete."""
    info = stream.source.info._replace(image_shape=stream.shape)
    images = np.empty((info.num_examples, *stream.shape), np.uint8)
    labels = np.empty(info.num_examples, np.int32)
    done = 0
    for image, label in _everything(stream, "decoding", lambda batch: (batch["image"], batch["label"])):
        images[done : done + len(label)], labels[done : done + len(label)] = image, label
        done += len(label)
    with _appears(target) as scratch:
        scratch.mkdir()
        np.save(scratch / "images.npy", images)
        np.save(scratch / "labels.npy", labels)
        (scratch / "info.json").write_text(json.dumps(info._asdict()))


def _everything(stream: Stream, doing: str, part: Callable[[Batch], object]) -> Iterator:
    """`part` of batches that show every example once; says from time to time how far it is."""
    info, said = stream.source.info, time.monotonic()
    size = min(info.num_examples, 1024)
    for number, batch in enumerate(stream(evaluation_schedule(info.num_examples, size)), 1):
        wanted = batch["mask"] > 0
        yield part({k: v if wanted.all() else v[wanted] for k, v in batch.items()})
        if time.monotonic() - said > 20:
            said = time.monotonic()
            print(f"{doing} {info.name} {info.split}: {number * size:,} of {info.num_examples:,}", flush=True)


@contextlib.contextmanager
def _appears(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes `target` at once and complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        yield folder / target.name
        with contextlib.suppress(OSError):  # another run was faster
            (folder / target.name).rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
