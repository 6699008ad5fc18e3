"""Atomic file writes, and a reader of JSON lines."""

import contextlib
import json
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convnets.errors import CheckpointError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Converts OSError to CheckpointError, naming the path and the free disk space."""
    try:
        yield
    except OSError as e:
        raise CheckpointError(f"{path} could not be written: {e.strerror}; {room(path)}") from e


def room(path: Path) -> str:
    return f"{shutil.disk_usage(path.parent).free:,} bytes are free there"


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as JSON atomically: a reader never sees a partial file.

    Raises:
        CheckpointError: the file cannot be written, for example because the disk is full.
    """
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically; raises as `write_json` does."""
    scratch = path.with_name(path.name + ".tmp")
    with writing(path):
        scratch.write_text(text)
        scratch.replace(path)


def read_lines(path: Path) -> list[dict[str, float]]:
    """Returns the lines of a metrics.jsonl, up to a line truncated by a crash; empty if the file is missing."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path that is renamed to `target` on success, so that `target` is always complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        yield folder / target.name
        with contextlib.suppress(OSError):  # another run has created it first
            (folder / target.name).rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def escape_unprintable(name: str) -> str:
    r"""Returns a file name as one line of text: line ends become \n, bytes that are not UTF-8 \udcXX."""
    controls = ("Cc", "Cs")  # Unicode's categories of control characters and of surrogates
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in controls else c for c in name)
