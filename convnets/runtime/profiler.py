"""Traces some steps of a run with JAX's profiler; docs/speed.md explains how to read the trace."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from convnets.errors import first_line

WARM = 10  # warm-up steps before the trace, so that it excludes compilation, first allocations and prefetching


class StepTrace:
    """Traces the first `steps` steps after step `start` + WARM into a folder; 0 = off.

    The trace begins and ends between dispatches, with the device idle, so it contains whole steps.
    """

    def __init__(self, folder: Path, steps: int, start: int):
        self.folder, self.steps, self.first = folder, steps, start + WARM
        self.begun = -1  # step after which the trace began; -1: not begun

    def watch(self, step: int, result: Any) -> None:
        """Starts or stops the trace after a dispatch, given its last step and one of its output arrays."""
        if self.steps and self.begun < 0 and step >= self.first:
            jax.block_until_ready(result)
            self.begun = step
            with self._guard():
                jax.profiler.start_trace(self.folder)
        elif self.steps and self.begun >= 0 and step >= self.begun + self.steps:
            jax.block_until_ready(result)
            self.close(step)

    def close(self, step: int = 0) -> None:
        """Writes the trace, even if the run ended before all steps were traced."""
        if not self.steps:
            return
        if self.begun >= 0:
            with self._guard():
                jax.profiler.stop_trace()
                what = f"steps {self.begun + 1} to {step}" if step else f"the steps from {self.begun + 1} on"
                print(f"trace of {what}: {self.folder}", flush=True)
        else:
            print(f"no trace: the run ended before step {self.first + 1}", flush=True)
        self.steps = 0

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Turns a failure of the profiler into one line of warning, so that the run goes on."""
        try:
            yield
        except Exception as e:  # RuntimeError, OSError
            self.steps = 0
            print(f"warning: no trace: {first_line(e)}", flush=True)
