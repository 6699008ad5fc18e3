"""A trace of some steps of a run, by JAX's profiler: docs/speed.md says how to read it."""

from pathlib import Path
from typing import Any

import jax

WARM = 10  # steps before it begins: what is compiled, allocated or read ahead at first is over


class Trace:
    """Traces the first `steps` steps after step `start` + WARM into a folder; 0: none.

    The trace begins and ends between dispatches, with the device idle, so that it holds whole steps.
    """

    def __init__(self, folder: Path, steps: int, start: int):
        self.folder, self.steps, self.first = folder, steps, start + WARM
        self.begun = -1  # the step after which it began

    def watch(self, step: int, result: Any) -> None:
        """A dispatch whose last step is `step` is done when the device array `result` is there."""
        if self.steps and self.begun < 0 and step >= self.first:
            jax.block_until_ready(result)
            jax.profiler.start_trace(self.folder)
            self.begun = step
        elif self.steps and self.begun >= 0 and step >= self.begun + self.steps:
            jax.block_until_ready(result)
            self.close(step)

    def close(self, step: int = 0) -> None:
        """Writes what there is; the run may end before all the steps are there."""
        if not self.steps:
            return
        if self.begun >= 0:
            jax.profiler.stop_trace()
            what = f"steps {self.begun + 1} to {step}" if step else f"the steps from {self.begun + 1} on"
            print(f"trace of {what}: {self.folder}", flush=True)
        else:
            print(f"no trace: the run ended before step {self.first + 1}", flush=True)
        self.steps = 0
