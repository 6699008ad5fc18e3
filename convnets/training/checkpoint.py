"""Orbax checkpoints of named NumPy arrays, independent of devices.

Names, shapes and types are checked against the program that restores them.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from convnets.errors import CheckpointError, first_line
from convnets.runtime import distributed
from convnets.runtime.arrays import list_differences, name_leaves, show_differences
from convnets.runtime.files import may_be_intact, room
from convnets.training.state import TrainState

CHECKSUMS = "crc32c"  # key in the facts: checksum of every array, as it was in memory


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: the checkpoint folder; created with the first checkpoint.
        keep: number of newest checkpoints to keep.
    """

    def __init__(self, directory: Path, keep: int = 2):
        self.directory, self.keep = directory.absolute(), keep

    def steps(self) -> list[int]:
        """Returns the steps with a complete checkpoint, in ascending order."""
        if not self.directory.exists():
            return []
        names = (p.name for p in self.directory.iterdir() if p.is_dir())
        return sorted(int(n) for n in names if n.isdigit() and ocp.is_orbax_checkpoint(self.directory / n))

    def save(self, state: TrainState, **facts: Any) -> None:
        """Writes the state under its step, with `facts` as JSON metadata; then removes the oldest beyond `keep`.

        Raises:
            CheckpointError: the write failed. Earlier checkpoints are unchanged.
        """
        arrays = name_leaves(jax.device_get(state))
        facts = {**facts, CHECKSUMS: {name: checksum(array) for name, array in arrays.items()}}
        try:
            self._set_aside(self.directory / str(int(state.step)))
            self.directory.mkdir(parents=True, exist_ok=True)
            with self._open(writing=True) as files:
                files.save(int(state.step), arrays, force=True, custom_metadata=facts)
        except Exception as e:
            step, left = int(state.step), room(self.directory)
            raise CheckpointError(f"{self.directory}: step {step} could not be written: {_reason(e)}; {left}") from e

    def is_readable(self, step: int) -> bool:
        """Returns whether there is a checkpoint of that step that is not damaged."""
        try:
            return step in self.steps() and bool(self._read(step))
        except Exception:  # orbax raises many exception types
            return False

    def forget(self, after: int) -> None:
        """Removes the checkpoints after step `after`."""
        for step in self.steps():
            if step > after:
                shutil.rmtree(self.directory / str(step))

    def restore(self, target: TrainState, part: bool = False) -> tuple[TrainState, dict[str, Any]] | None:
        """Returns the newest readable checkpoint as a state like `target`, with its facts; None if there is none.

        A damaged checkpoint is reported, and the previous one is used instead. With `part`, the
        checkpoint's optimizer state is neither compared nor restored; the target's must hold no arrays.

        Raises:
            CheckpointError: no checkpoint can be read, or one not now; or names, shapes or types differ from the target's.
        """
        steps, damaged = self.steps(), []
        for step in reversed(steps):
            try:
                arrays, facts = self._read(step)
            except Exception as e:  # orbax raises many exception types
                _check_access(self.directory / str(step), e)
                damaged.append(f"{self.directory / str(step)} is damaged: {_reason(e)}")
                print(damaged[-1], flush=True)
                continue
            if part:
                arrays = {k: v for k, v in arrays.items() if not k.startswith("opt_state/")}
            return unflatten(arrays, target, str(self.directory / str(step))), facts
        if damaged:
            raise CheckpointError(f"no checkpoint in {self.directory} can be read; {damaged[0]}")
        return None

    def _set_aside(self, there: Path) -> None:
        """Renames an existing checkpoint folder to NAME.damaged.

        A run that restored the checkpoint before a damaged one reaches the damaged one's step again.
        """
        if distributed.is_main() and there.exists():
            aside = there.with_name(f"{there.name}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            there.rename(aside)

    def _read(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the arrays and facts of a checkpoint.

        The checksums are compared because orbax itself does not detect a flipped bit in an array.
        """
        for path in (self.directory / str(step)).rglob("*_METADATA"):
            try:
                json.loads(path.read_bytes())
            except ValueError as e:
                raise ValueError(f"{path.name}: {e}") from None
        with self._open() as files:
            arrays, facts = files.load(step), files.metadata(step).custom_metadata
        if not facts:
            raise ValueError("_CHECKPOINT_METADATA is lost")
        for name, value in facts.pop(CHECKSUMS, {}).items():  # checkpoints of earlier versions have no checksums
            if name not in arrays or checksum(arrays[name]) != value:
                raise ValueError(f"{name} is not what was saved: its checksum differs")
        return arrays, facts

    @contextlib.contextmanager
    def _open(self, writing: bool = False) -> Iterator[Any]:
        """Opens orbax's checkpointer; only a run that saves may remove the temporary folders of an interrupted save."""
        latest = ocp.training.preservation_policies.LatestN(self.keep)
        with plain_path(self.directory) as path, ocp.training.Checkpointer(
            path, preservation_policy=latest, cleanup_tmp_directories=writing
        ) as files:  # fmt: skip
            yield files


@contextlib.contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """Yields a path to a folder that orbax and TensorStore take literally: a link to it if its own path is not plain.

    They read `[` as a pattern, `gs:` as a URL, a backslash as a separator, and fail for names that are not UTF-8.
    """
    is_plain = re.compile(r"[\w ./=,+@-]*", re.ASCII).fullmatch
    if is_plain(str(folder)):
        yield folder
        return
    own = tempfile.gettempdir()  # of TMPDIR, which need not be plain either
    with tempfile.TemporaryDirectory(prefix="convnets-", dir=own if is_plain(own) else "/tmp") as scratch:
        link = Path(scratch, "checkpoints")
        link.symlink_to(folder, target_is_directory=True)
        yield link


def checksum(array: Any) -> int:
    """Returns the CRC-32C of an array's bytes."""
    return google_crc32c.value(np.ascontiguousarray(array).tobytes())


def _check_access(folder: Path, e: Exception) -> None:
    """Raises CheckpointError if a checkpoint that orbax could not read may be intact: a damaged one is replaced later."""
    cause = _root(e)
    try:
        if may_be_intact(cause):
            raise cause
        for parent, _, names in os.walk(folder, onerror=_raise):  # TensorStore's errors have no types
            for name in names:
                with Path(parent, name).open("rb") as file:
                    while file.read(2**24):
                        pass
    except OSError as failure:
        if may_be_intact(failure):
            raise CheckpointError(f"{folder} cannot be read now: {first_line(failure)}") from None


def _raise(e: OSError) -> None:
    raise e


def _root(e: BaseException) -> BaseException:
    """Returns an exception's root cause."""
    while cause := e.__cause__ or (None if e.__suppress_context__ else e.__context__):
        e = cause
    return e


def _reason(e: BaseException) -> str:
    """Returns the first line of the message of the exception's root cause."""
    return first_line(_root(e)).partition(" [tensorstore_spec")[0][:300]


def unflatten(arrays: dict[str, np.ndarray], target: TrainState, where: str) -> TrainState:
    """Returns a state with the structure of `target` and the values of `arrays`.

    Orbax itself accepts wrong shapes and casts types silently.

    Raises:
        CheckpointError: names, shapes or types differ; the message lists up to five differences.
    """

    def compare(found: Any, like: Any) -> str:
        theirs, ours = (f"{a.dtype}{list(a.shape)}" for a in (found, like))
        return f"{theirs}, {ours} wanted" if theirs != ours else ""

    wanted = name_leaves(target)
    if differences := list_differences(arrays, wanted, compare):
        raise CheckpointError(f"{where} does not fit this program: {show_differences(differences)}")
    return jax.tree.unflatten(jax.tree.structure(target), [arrays[name] for name in wanted])
