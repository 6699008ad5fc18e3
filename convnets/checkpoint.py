"""Checkpoints through orbax: NumPy arrays by name, free of devices, checked against the program that reads them."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from convnets import logs
from convnets.errors import CheckpointError
from convnets.state import TrainState

SHOWN = 5  # differences listed in an error


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: where they lie; made when the first is written.
        keep: how many of the newest stay.
    """

    def __init__(self, directory: Path, keep: int = 2):
        self.directory, self.keep = directory.absolute(), keep

    def steps(self) -> list[int]:
        """Steps with a complete checkpoint, ascending."""
        if not self.directory.exists():
            return []
        names = (p.name for p in self.directory.iterdir() if p.is_dir())
        return sorted(int(n) for n in names if n.isdigit() and ocp.is_orbax_checkpoint(self.directory / n))

    def save(self, state: TrainState, **facts: Any) -> None:
        """Writes the state under its step, with JSON `facts` beside it; then removes what is beyond `keep`.

        Raises:
            CheckpointError: it could not be written. Earlier checkpoints are as they were.
        """
        try:
            with self._open() as files:
                files.save(int(state.step), flatten(jax.device_get(state)), force=True, custom_metadata=facts)
        except Exception as e:
            reason, room = (str(e).strip().splitlines() or [type(e).__name__])[0], logs.room(self.directory)
            text = f"{self.directory}: step {int(state.step)} could not be written: {reason}; {room}"
            raise CheckpointError(text) from e

    def restore(self, target: TrainState, part: bool = False) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest checkpoint that can be read, as a state like `target`, with its facts; None where there is none.

        A damaged checkpoint is reported and the one before it is used. With `part`, the optimiser's state is left out:
        it is not compared, and the target's is returned.

        Raises:
            CheckpointError: none can be read, or names, shapes or types differ from the target's.
        """
        steps, damaged = self.steps(), []
        for step in reversed(steps):
            try:
                with self._open() as files:
                    arrays = files.load(step)
                    facts = files.metadata(step).custom_metadata or {}
            except Exception as e:  # orbax raises many kinds
                reason = (str(e).strip().splitlines() or [type(e).__name__])[0][:200]
                damaged.append(f"{self.directory / str(step)} is damaged: {reason}")
                print(damaged[-1], flush=True)
                continue
            if part:
                arrays = {k: v for k, v in arrays.items() if not k.startswith("opt_state/")}
            return unflatten(arrays, target, str(self.directory / str(step))), facts
        if damaged:
            raise CheckpointError(f"no checkpoint in {self.directory} can be read; {damaged[0]}")
        return None

    def _open(self):
        latest = ocp.training.preservation_policies.LatestN(self.keep)
        return ocp.training.Checkpointer(self.directory, preservation_policy=latest, cleanup_tmp_directories=True)


def flatten(state: TrainState) -> dict[str, Any]:
    """{'params/C1/kernel': leaf, ...}, in the order of the leaves."""
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in
            jax.tree_util.tree_leaves_with_path(state)}  # fmt: skip


def unflatten(arrays: dict[str, np.ndarray], target: TrainState, where: str) -> TrainState:
    """The state with the structure of `target` and the values of `arrays`.

    Raises:
        CheckpointError: lists up to five differences. Orbax itself takes wrong shapes and casts types in silence.
    """
    wanted = flatten(target)
    facts = lambda a: f"{a.dtype}{list(a.shape)}"  # noqa: E731
    differences = [f"{k} is missing" for k in wanted if k not in arrays]
    differences += [f"{k} is not wanted" for k in arrays if k not in wanted]
    differences += [
        f"{k} is {facts(arrays[k])}, {facts(v)} wanted"
        for k, v in wanted.items()
        if k in arrays and facts(arrays[k]) != facts(v)
    ]
    if differences:
        more = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise CheckpointError(f"{where} does not fit this program: {'; '.join(differences[:SHOWN])}{more}")
    return jax.tree.unflatten(jax.tree.structure(target), [arrays[name] for name in wanted])
