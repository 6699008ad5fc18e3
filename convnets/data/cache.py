"""The on-disk cache of decoded data sets."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from convnets.data import sources
from convnets.data.sampler import evaluation_schedule
from convnets.data.tf_pipeline import Batch, Stream
from convnets.op_string import Call
from convnets.runtime.files import atomic_path


def cache_dir() -> Path:
    """Returns the cache folder: CONVNETS_CACHE, or convnets/ in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "convnets"
    return Path(os.environ.get("CONVNETS_CACHE", default)).expanduser().absolute()


def describe_calls(calls: list[Call]) -> list:
    return [(c.name, c.kwargs) for c in calls]


def cached_path(name: str, data_dir: str, split: str, host: list[Call], on_error: str) -> Path | None:
    """Returns the cache folder of a decoded split, named after its inputs; None if the data set is missing.

    Does not import TensorFlow.
    """
    digest = sources.digest(name, data_dir, split, describe_calls(host), on_error)
    words = [Path(name).name if name.startswith("folder:") else name, split, digest]
    return (
        digest
        if digest is None
        else cache_dir() / "data" / "-".join(map(str, words)).replace("/", "-").replace(":", "-")
    )


def decode_all(stream: Stream, target: Path) -> None:
    """Decodes a whole split into .npy files; the target folder appears atomically, once complete."""
    info = stream.source.info._replace(image_shape=stream.shape)
    images = np.empty((info.num_examples, *stream.shape), np.uint8)
    labels = np.empty(info.num_examples, np.int32)
    done = 0
    for image, label in iterate_all(stream, "decoding", lambda batch: (batch["image"], batch["label"])):
        images[done : done + len(label)], labels[done : done + len(label)] = image, label
        done += len(label)
    with atomic_path(target) as scratch:
        scratch.mkdir()
        np.save(scratch / "images.npy", images)
        np.save(scratch / "labels.npy", labels)
        (scratch / "info.json").write_text(json.dumps(info._asdict()))


def iterate_all(stream: Stream, doing: str, part: Callable[[Batch], object]) -> Iterator:
    """Yields `part` of each batch, covering every example once; prints progress every 20 seconds."""
    info, said = stream.source.info, time.monotonic()
    size = min(info.num_examples, 1024)
    for number, batch in enumerate(stream(evaluation_schedule(info.num_examples, size)), 1):
        wanted = batch["mask"] > 0
        yield part({k: v if wanted.all() else v[wanted] for k, v in batch.items()})
        if time.monotonic() - said > 20:
            said = time.monotonic()
            print(f"{doing} {info.name} {info.split}: {number * size:,} of {info.num_examples:,}", flush=True)
