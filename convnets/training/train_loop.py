"""The training loop, and training without a workdir."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from convnets.data import tf_pipeline
from convnets.runtime import parallel
from convnets.training.components import Components
from convnets.training.state import TrainState


def train_loop(
    step: dict[int, Callable[..., Any]], state: TrainState, batches: Iterator[tf_pipeline.Batch], resident_arrays: Any, *,
    start: int, stop: int, next_event: Callable[[int], int], on_event: Callable[[int, TrainState, list], TrainState],
    should_stop: Callable[[int], bool], on_dispatch: Callable[[int, Any], None],
) -> TrainState:  # fmt: skip
    """Runs steps `start` to `stop`.

    Args:
        step: compiled training steps, keyed by the number of steps per dispatch; must contain 1.
        next_event: maps a step to the next step after it at which `on_event` is called.
        on_event: called with the step, the state, and the device sums of the steps since the last event; returns the
            state to continue with. Nothing else waits for the device.
        should_stop: called after every dispatch with its last step; True stops early.
        on_dispatch: called after every dispatch with its last step and a device array that is ready when it ends.
    """
    devices, position, sums = jax.local_device_count(), start, []
    while position < stop:
        event = min(next_event(position), stop)
        while position < event:
            count = max(n for n in step if n <= event - position)
            group = parallel.shard([next(batches) for _ in range(count)], devices)
            state, result = step[count](state, group, resident_arrays)
            sums.append(result)
            position += count
            on_dispatch(position, result["count"])
            if should_stop(position):
                event = stop = position
        state = on_event(position, state, sums)
        sums = []
    return state


def train_in_memory(
    components: Components, watch: Callable[[int, dict[str, Any]], None] | None = None, marks: Sequence[int] = ()
) -> dict[str, Any]:
    """Trains a config without a workdir, by the same steps as a `Run`; returns the variables after the last step.

    Schedules that follow the errors are not applied.

    Args:
        watch: called with the step and the variables, before the first step and after each step of `marks`.
    """
    seed = components.config.train.seed

    def on_event(step: int, state: TrainState, sums: list) -> TrainState:
        if watch and step in (0, *marks):
            watch(step, state.variables)
        return state

    state = train_loop(
        components.compile(seed), parallel.replicate(on_event(0, components.initial_state(seed), [])), components.feed(seed, 0),
        components.resident_arrays(), start=0, stop=components.total,
        next_event=lambda step: min((mark for mark in marks if mark > step), default=components.total),
        on_event=on_event, should_stop=lambda step: False, on_dispatch=lambda step, result: None,
    )  # fmt: skip
    return state.variables
