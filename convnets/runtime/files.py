"""Files that are written whole or not at all, and readers of JSON lines."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convnets.errors import CheckpointError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises CheckpointError with the path and the room that is left where it cannot be written, as on a full disk."""
    try:
        yield
    except OSError as e:
        raise CheckpointError(f"{path} could not be written: {e.strerror}; {room(path)}") from e


def room(path: Path) -> str:
    return f"{shutil.disk_usage(path.parent).free:,} bytes are free there"


def write_json(path: Path, content: Any) -> None:
    """All or nothing: a reader never sees half a file.

    Raises:
        CheckpointError: the disk is full, or the like.
    """
    text, scratch = json.dumps(content, indent=2) + "\n", path.with_name(path.name + ".tmp")
    with writing(path):
        scratch.write_text(text)
        scratch.replace(path)


def read_lines(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl; a last line cut short by a crash is left out."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes `target` at once and complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        yield folder / target.name
        with contextlib.suppress(OSError):  # another run was faster
            (folder / target.name).rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
