"""The on-disk cache of decoded data sets. A cache that is damaged is made anew; one that cannot be written is not used.

A cache that cannot be read for lack of memory or permission raises DataError and is kept.
"""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from convnets.data import sources
from convnets.data.sampler import evaluation_schedule
from convnets.data.sources import Info
from convnets.data.tf_pipeline import Batch, Stream
from convnets.errors import DataError, first_line
from convnets.op_string import Call
from convnets.runtime.files import IMAGE_FOLDER, atomic_path, local_path, may_be_intact
from convnets.runtime.progress import Progress

TOO_LARGE = "take data.loader=stream, which holds no whole split in memory"
NOTED = set[Path]()  # cache folders that were reported as not writable


def cache_dir() -> Path:
    """Returns the cache folder: CONVNETS_CACHE, or convnets/ in the user's cache folder."""
    if own := os.environ.get("CONVNETS_CACHE"):
        return local_path(own)
    return local_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "convnets"


def keep(target: Path, write: Callable[[Path], object]) -> bool:
    """Calls `write` to create a file or folder of the cache; a cache that cannot be written costs one line.

    Returns whether it was written.
    """
    try:
        with atomic_path(target) as scratch:
            write(scratch)
    except OSError as e:
        if (folder := cache_dir()) not in NOTED:
            NOTED.add(folder)
            print(f"note: nothing is kept in the cache {folder}: {e.strerror or e}; CONVNETS_CACHE names another folder",
                  flush=True)  # fmt: skip
        return False
    return True


def describe_calls(calls: list[Call]) -> list:
    """Returns operations as a list for JSON, from which a cache's name is computed."""
    return [(c.name, c.kwargs) for c in calls]


def cached_path(name: str, data_dir: str, split: str, host: list[Call], on_error: str) -> Path | None:
    """Returns the cache folder of a decoded split, named after its inputs.

    If a TFDS data set is missing, returns the newest folder that was decoded from one of its name in the same way, so
    that the cache alone can be moved to a machine without TensorFlow. None if there is no such folder.

    Does not import TensorFlow.
    """
    made_with = json.dumps([name, split, describe_calls(host), on_error])
    words = f"{Path(name).name if name.startswith(IMAGE_FOLDER) else name}-{split}"[:50]  # a file name has 255 bytes
    stem = f"{words}-{hashlib.sha256(made_with.encode()).hexdigest()[:8]}-".replace("/", "-").replace(":", "-")
    folder, digest = cache_dir() / "data", sources.digest(name, data_dir, split)
    if digest is not None:
        return folder / f"{stem}{digest}"
    found = [] if name.startswith(IMAGE_FOLDER) else [p.parent for p in folder.glob(f"{glob.escape(stem)}*/info.json")]
    newest = max(found, key=lambda p: p.stat().st_mtime, default=None)
    if newest:
        print(f"note: {name} is not in {sources.directory(data_dir)}; its decoded images are in {newest}", flush=True)
    return newest


def load_decoded(folder: Path) -> tuple[Info, dict[str, np.ndarray]] | None:
    """Returns the facts and the arrays of a decoded split; None if the cache does not hold it intact.

    Raises:
        DataError: they cannot be read although they may be intact: for lack of memory or of permission, for example.
    """
    if not folder.exists():
        return None
    try:
        facts = json.loads((folder / "info.json").read_bytes())
        names = sources.name_classes(facts["name"], facts["label_names"])
        info = Info(**{**facts, "image_shape": tuple(facts["image_shape"]), "label_names": names})
        images, labels = (np.load(folder / f"{key}.npy") for key in ("images", "labels"))
        if images.shape != (info.num_examples, *info.image_shape) or labels.shape != (info.num_examples,):
            raise ValueError("the arrays do not have the shapes that info.json has")
    except MemoryError as e:
        raise DataError(f"{folder} does not fit into memory ({first_line(e)}); {TOO_LARGE}") from None
    except Exception as e:  # NumPy raises many exception types
        if may_be_intact(e):
            raise DataError(f"{folder} cannot be read: {first_line(e)}; delete it, or set CONVNETS_CACHE") from None
        print(f"{folder} is damaged ({first_line(e)}); the images are decoded again", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return info, {"images": images, "labels": labels}


def decode_all(stream: Stream, target: Path | None) -> tuple[Info, dict[str, np.ndarray]]:
    """Decodes a whole split; keeps it in the cache as the folder `target`, if given, which appears once it is complete.

    Raises:
        DataError: the split does not fit into memory.
    """
    info = stream.source.info._replace(image_shape=stream.shape)
    try:
        images = np.empty((info.num_examples, *stream.shape), np.uint8)
    except MemoryError as e:
        raise DataError(f"{info.name} does not fit into memory ({first_line(e)}); {TOO_LARGE}") from None
    labels = np.empty(info.num_examples, np.int32)
    done = 0
    for image, label in iterate_all(stream, "decoding", lambda batch: (batch["image"], batch["label"])):
        images[done : done + len(label)], labels[done : done + len(label)] = image, label
        done += len(label)

    def write(folder: Path) -> None:
        folder.mkdir()
        np.save(folder / "images.npy", images)
        np.save(folder / "labels.npy", labels)
        (folder / "info.json").write_text(json.dumps(info._asdict()))

    if target:
        keep(target, write)
    return info, {"images": images, "labels": labels}


def iterate_all(stream: Stream, doing: str, part: Callable[[Batch], object]) -> Iterator:
    """Yields `part` of each batch, covering every example once, and shows the progress."""
    info = stream.source.info
    size = min(info.num_examples, 1024)
    with Progress(f"{doing} {info.name} {info.split}:", info.num_examples, "images") as progress:
        for batch in stream(evaluation_schedule(info.num_examples, size)):
            wanted = batch["mask"] > 0
            yield part({k: v if wanted.all() else v[wanted] for k, v in batch.items()})
            progress.advance(int(wanted.sum()))
