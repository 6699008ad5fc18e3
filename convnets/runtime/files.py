"""Paths of the user, atomic file writes, and readers of JSON files that a power cut may have damaged."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from convnets.errors import CheckpointError, UsageError

IMAGE_FOLDER = "folder:"  # begins a data.name that is a folder of images
LEFT = 86400  # age in seconds of a scratch folder that a killed process has left; locks of another host may be unseen


def local_path(text: str | Path) -> Path:
    """Returns a path of the user as an absolute path, with the home folder in place of a leading `~`.

    Raises:
        UsageError: it is a URL, or there is no such home folder.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(text)):
        raise UsageError(f"{text} is a URL: give a path on this machine, such as a folder where the bucket is mounted")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise UsageError(
            f"{text}: there is no such home folder; write the path in full, or ./~ for that name"
        ) from None


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; False for a path that cannot be one."""
    with contextlib.suppress(OSError):  # a name that is too long, a folder that may not be read
        return Path(path).is_file()
    return False


def may_be_intact(e: BaseException) -> bool:
    """Whether what could not be read because of `e` may be intact: there is no permission or descriptor, or the disk fails."""
    missing = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
    return isinstance(e, OSError) and e.errno is not None and not isinstance(e, missing)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Converts OSError to CheckpointError, naming the path and the free disk space."""
    try:
        yield
    except OSError as e:
        raise CheckpointError(f"{path} could not be written: {e.strerror or e}; {room(path)}") from e


def room(path: Path) -> str:
    """Returns in words how much space is free where a file is to be written."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())  # its own may have been removed
    return f"{shutil.disk_usage(folder).free:,} bytes are free there"


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as JSON atomically: a reader never sees a partial file.

    Raises:
        CheckpointError: the file cannot be written, for example because the disk is full.
    """
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically; raises as `write_json` does."""
    with replacing(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yields a file that takes the place of `path` on success, so that a reader never sees a partial file.

    Of a link the file is replaced that it points to.

    Raises:
        CheckpointError: the file cannot be written, for example because the disk is full.
    """
    target = Path(os.path.realpath(path))
    scratch = target.with_name(f"{target.name}.{os.getpid()}.tmp")  # another process may write the same file
    with writing(path):
        try:
            with scratch.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # else a power cut may leave the new name with no content
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)


def evaluation_file(name: str = "") -> str:
    """Returns the file name of a run's test: 'evaluation.json', or 'evaluation-NAME.json'."""
    return f"evaluation{'-' * bool(name)}{name}.json"


def read_json(path: Path, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns the content of a run's JSON file.

    Args:
        missing: returned if there is no such file; None = raises FileNotFoundError.

    Raises:
        CheckpointError: the file is damaged, as a power cut may leave it; the message says what to do.
        FileNotFoundError: there is no such file, and nothing to return in its place.
    """
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict):
            return content
        reason = "it holds no JSON object"
    except FileNotFoundError:
        if missing is None:
            raise
        return missing
    except OSError as e:
        raise CheckpointError(f"{path} cannot be read: {e.strerror}") from None
    except ValueError as e:
        reason = f"{e}" if path.stat().st_size else "it is empty"
    raise CheckpointError(f"{path} is damaged: {reason}; remove it, and the command that wrote it writes it anew")


def read_lines(path: Path) -> list[dict[str, float]]:
    """Returns the lines of a metrics.jsonl in the order of their steps; empty if the file is missing.

    Leaves out lines that a crash has damaged or truncated.
    """
    lines: dict[float, dict[str, float]] = {}
    for text in path.read_bytes().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError, TypeError, KeyError):  # no JSON, no object, no step
            line = json.loads(text)
            lines[line["step"]] = line
    return [lines[step] for step in sorted(lines)]


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path that is renamed to `target` on success, so that `target` is always complete.

    It lies in a folder beside `target`. What a killed process left in such a folder is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    marks = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]}-"  # the name itself may be too long
    for left in target.parent.glob(f"{marks}*"):
        with contextlib.suppress(OSError):  # another process may be writing there, or remove it too
            if time.time() - left.stat().st_mtime > LEFT:
                with lock_folder(left, needed=True):
                    shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=marks, dir=target.parent))
    with lock_folder(folder), _removed(folder):
        yield folder / target.name
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())  # a power cut must not leave a complete name with half a content
        try:
            (folder / target.name).rename(target)
        except OSError:
            if not target.exists():  # else another run has created it first
                raise


@contextlib.contextmanager
def _removed(folder: Path) -> Iterator[None]:
    """Removes a folder at the end."""
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def lock_folder(folder: Path, needed: bool = False, wait: bool = False) -> Iterator[None]:
    """Locks a folder, for which it can wait.

    Raises:
        OSError: the lock is needed, and another process has it or folders have none (NFS).
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            if needed:
                raise
        yield
    finally:
        os.close(descriptor)


def escape_unprintable(name: str) -> str:
    r"""Returns a file name as one line of text: line ends become \n, bytes that are not UTF-8 \udcXX."""
    controls = ("Cc", "Cs")  # Unicode's categories of control characters and of surrogates
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in controls else c for c in name)
