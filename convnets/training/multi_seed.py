"""Trains runs that differ only by seed as one program: the step is vmapped over them (convnets/runtime/parallel.py).

Every member has its own workdir with all the files of a single run of its seed. It equals that run to float tolerance:
initial weights, order of examples, augmentation and dropout are its own. The members share everything independent of
the seed: the images in device memory, the compiled programs, and every dispatch. Common time is divided equally.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from convnets.data import tf_pipeline
from convnets.errors import DivergedError
from convnets.runtime import files, parallel
from convnets.runtime.preemption import Preemption
from convnets.runtime.watchdog import Watchdog
from convnets.training import metric_log
from convnets.training.state import TrainState
from convnets.training.train_loop import train_loop
from convnets.training.trainer import Run


class Population:
    """Runs whose configs differ only by seed, each in its own workdir.

    Attributes:
        diverged: error message of each member whose training diverged. Its events are no longer handled; its last good
            checkpoint stays, and the others continue.
    """

    def __init__(self, configs: Sequence[ConfigDict], folders: Sequence[Path]):
        first = Run(configs[0], folders[0])
        self.members, self.diverged = [first], dict[Run, str]()
        for config, folder in zip(configs[1:], folders[1:], strict=True):
            self.members.append(Run(config, folder, first.components))

    def train(self, preemption: Preemption, step_timeout: float = 0) -> None:
        """Trains all members to the end; members that are behind first catch up with the others.

        Raises:
            Preempted: training stopped early, at a saved step.
        """
        self._meet()
        while left := [m for m in self.members if not m.done and m not in self.diverged]:
            at = min(int(m.state.step) for m in left)
            group = [m for m in left if int(m.state.step) == at]
            stop = min([int(m.state.step) for m in left if m not in group], default=group[0].components.total)
            with contextlib.suppress(DivergedError):  # of every member of the group; the others are still trained
                self._train(group, stop, preemption, step_timeout)

    def _meet(self) -> None:
        """Restores members that are ahead from the checkpoint of the step that all have reached.

        A program killed while saving leaves some members one checkpoint ahead.
        """
        left = [m for m in self.members if not m.done]
        last = min((int(m.state.step) for m in left), default=0)
        # The log of a member that was being tested or saved reaches the event before; that of one that diverged ends earlier.
        logged = max((_last_logged(m.workdir) for m in left if int(m.state.step) == last), default=0)
        for member in left:
            ahead = [step for step in member.checkpoints.steps() if step > last]
            if len(ahead) == 1 and ahead[0] <= member.next_event(logged) and member.checkpoints.is_readable(last):
                member.checkpoints.forget(last)
                member.restore()

    def _train(self, group: list[Run], stop: int, preemption: Preemption, step_timeout: float) -> None:
        first, start = group[0], int(group[0].state.step)
        progress, watchdog = metric_log.TrainingProgress(stop, start), Watchdog(step_timeout, start)
        apart = jax.jit(lambda state: [jax.tree.map(lambda v, i=i: v[i], state) for i in range(len(group))])

        def on_event(step: int, state: TrainState, sums: list) -> TrainState:
            parts, states = jax.device_get(sums), apart(state)
            began = time.monotonic()
            for i, member in enumerate(group):
                member.mark += time.monotonic() - began  # without the tests of the others
                own = [{key: value[:, i] for key, value in part.items()} for part in parts]
                states[i] = self._ask(member, member.on_event, step, states[i], own) or states[i]
            for member in group:
                member.mark = time.monotonic()
            latest = [m.progress.last for m in group if m not in self.diverged]
            if not latest:
                raise DivergedError("every member of the group")
            progress.update_step(step, *np.mean(latest, axis=0)[1:])
            if not first.components.recipe.feedback:
                return state
            return state.replace(scale=parallel.replicate(np.stack([np.asarray(s.scale) for s in states])))

        try:
            for member in group:
                member.sharing = len(group)
                member.start_logging(MemberProgress(progress, f"seed {member.seed}: "))
            together = jax.tree.map(lambda *v: np.stack(v), *(jax.device_get(m.state) for m in group))
            with preemption.steps():
                components = first.components
                together = train_loop(
                    components.compile(first.seed, [m.seed for m in group]), parallel.replicate(together), _batches(group, start),
                    components.resident_arrays(), start=start, stop=stop, next_event=first.next_event, on_event=on_event,
                    should_stop=preemption.should_stop, on_dispatch=watchdog.watch,
                )  # fmt: skip
                for member, state in zip(group, apart(together), strict=True):
                    member.state = state
                    self._ask(member, member.save_last, state)
            preemption.raise_if_preempted()
        finally:
            watchdog.close()
            for member in group:
                member.stop_logging()
            progress.close()

    def _ask(self, member: Run, what: Callable[..., Any], *arguments: Any) -> Any:
        """Calls `what` for a member and returns its result; returns None for a member that diverges or has diverged."""
        if member in self.diverged:
            return None
        try:
            return what(*arguments)
        except DivergedError as e:
            self.diverged[member] = f"seed {member.seed}: {e}"
            member.progress.say(f"diverged: {e}")
            return None


def _last_logged(workdir: Path) -> int:
    return max((int(line["step"]) for line in files.read_lines(workdir / "metrics.jsonl")), default=0)


def _batches(group: Sequence[Run], start: int) -> Iterator[tf_pipeline.Batch]:
    """Yields the members' batches stacked along axis 1, [n, members, ...]."""
    for own in zip(*(member.feed(start) for member in group), strict=True):
        yield {key: np.stack([batch[key] for batch in own], axis=1) for key in own[0]}


class MemberProgress:
    """One member's view of the shared progress: keeps its latest numbers and prefixes its messages."""

    def __init__(self, progress: metric_log.TrainingProgress, name: str):
        self.progress, self.name = progress, name
        self.last: tuple[float, ...] = ()

    def update_step(self, *numbers: float) -> None:
        """Keeps a step's metrics of this seed; the population shows the mean over its seeds."""
        self.last = numbers

    def say(self, text: str) -> None:
        """Prints a line that begins with the seed."""
        self.progress.say(self.name + text)
