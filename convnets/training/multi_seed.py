"""Runs that differ by their seed alone, trained as one program: the step is vmapped over them (steps.parallel).

Every member has a folder of its own with all that a run of its seed leaves there, and is that run to float tolerance: its
own initial weights, order of examples, augmentation and dropout. They share what a run has before its seed: the images in
device memory, the compiled programs, and every dispatch. Time that is spent together counts for each with its part.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from convnets.data import tf_pipeline
from convnets.errors import DivergedError
from convnets.runtime import parallel
from convnets.runtime.preemption import Preemption
from convnets.runtime.watchdog import Watchdog
from convnets.training import metric_log
from convnets.training.state import TrainState
from convnets.training.trainer import Run, fit


class Population:
    """The runs of configs that are equal but for the seed, in their folders.

    Attributes:
        diverged: what is said of each member whose training came to NaN. It is not visited any more; its last good
            checkpoint stays, and the others train on.
    """

    def __init__(self, configs: Sequence[ConfigDict], folders: Sequence[Path]):
        first = Run(configs[0], folders[0])
        self.members, self.diverged = [first], dict[Run, str]()
        for config, folder in zip(configs[1:], folders[1:], strict=True):
            member = copy.copy(first)
            member.open(config, folder)
            self.members.append(member)

    def train(self, preemption: Preemption, step_timeout: float = 0) -> None:
        """Trains all members to the end; those that are behind come up to the others first.

        Raises:
            Preempted: stopped on the way, at a step that is saved.
        """
        self._meet()
        while left := [m for m in self.members if not m.done and m not in self.diverged]:
            at = min(int(m.state.step) for m in left)
            group = [m for m in left if int(m.state.step) == at]
            stop = min([int(m.state.step) for m in left if m not in group], default=group[0].total)
            self._train(group, stop, preemption, step_timeout)

    def _meet(self) -> None:
        """A program that was killed while it saved left some members a checkpoint ahead: they go back to the others'."""
        left = [m for m in self.members if not m.done]
        last = min((int(m.state.step) for m in left), default=0)
        for member in left:
            if int(member.state.step) > last and last in member.checkpoints.steps():
                member.checkpoints.forget(last)
                member.restore()

    def _train(self, group: list[Run], stop: int, preemption: Preemption, step_timeout: float) -> None:
        first, start = group[0], int(group[0].state.step)
        progress, watchdog = metric_log.Progress(stop, start, first.batch_size), Watchdog(step_timeout, start)
        apart = jax.jit(lambda state: [jax.tree.map(lambda v, i=i: v[i], state) for i in range(len(group))])

        def visit(step: int, state: TrainState, sums: list) -> TrainState:
            parts, states = jax.device_get(sums), apart(state)
            for i, member in enumerate(group):
                own = [{key: value[:, i] for key, value in part.items()} for part in parts]
                states[i] = self._ask(member, member.visit, step, states[i], own) or states[i]
            voices = [m.progress.last for m in group if m not in self.diverged]
            if not voices:
                raise DivergedError("all members diverged")
            progress.update(step, *np.mean(voices, axis=0)[1:])
            if not first.recipe.reaction:
                return state
            return state.replace(scale=parallel.replicate(np.stack([np.asarray(s.scale) for s in states])))

        for member in group:
            member.sharing = len(group)
            member.begin(MemberProgress(progress, f"seed {member.seed}: "))
        together = jax.tree.map(lambda *v: np.stack(v), *(jax.device_get(m.state) for m in group))
        try:
            with preemption.steps():
                together = fit(
                    first.compile([m.seed for m in group]), parallel.replicate(together), _batches(group, start),
                    first.constants(), start=start, stop=stop, pauses=first.next_pause, visit=visit,
                    asked=preemption.asked, watch=watchdog.watch,
                )  # fmt: skip
                for member, state in zip(group, apart(together), strict=True):
                    member.state = state
                    self._ask(member, member.save_last, state)
            preemption.leave()
        finally:
            watchdog.close()
            for member in group:
                member.end()
            progress.close()

    def _ask(self, member: Run, what: Callable[..., Any], *arguments: Any) -> Any:
        """What a member answers; None where it has diverged."""
        if member in self.diverged:
            return None
        try:
            return what(*arguments)
        except DivergedError as e:
            self.diverged[member] = f"seed {member.seed}: {e}"
            member.progress.say(f"diverged: {e}")
            return None


def _batches(group: Sequence[Run], start: int) -> Iterator[tf_pipeline.Batch]:
    """The members' batches side by side, [n, members]."""
    for own in zip(*(member.feed(start) for member in group), strict=True):
        yield {key: np.stack([batch[key] for batch in own], axis=1) for key in own[0]}


class MemberProgress:
    """A member's part in the progress of all."""

    def __init__(self, progress: metric_log.Progress, name: str):
        self.progress, self.name = progress, name
        self.last: tuple[float, ...] = ()

    def update(self, *numbers: float) -> None:
        self.last = numbers

    def say(self, text: str) -> None:
        self.progress.say(self.name + text)

    def close(self) -> None:
        """The progress is the population's to close."""
