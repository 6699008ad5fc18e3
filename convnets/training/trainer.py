"""The training loop, and `Run`, which trains and tests the network of a config in a workdir."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from convnets.data import tf_pipeline
from convnets.errors import CheckpointError
from convnets.evaluation import metrics
from convnets.evaluation.evaluator import Evaluated
from convnets.losses import CLOSED_FORM
from convnets.runtime import distributed, files, parallel
from convnets.runtime.preemption import Preemption
from convnets.runtime.profiler import Trace
from convnets.runtime.watchdog import Watchdog
from convnets.training import closed_form, divergence, intervals, metric_log
from convnets.training.checkpoint import Checkpoints
from convnets.training.components import Components
from convnets.training.network import Network, check_same_step, load_initial, result_of
from convnets.training.optimizer import list_mismatches
from convnets.training.schedules import Errors
from convnets.training.state import TrainState, create_state


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
    seed, average = components.config.train.seed, bool(components.recipe.average)
    state = create_state(
        components.model, components.recipe.optimizer, components.model.input_shape, seed, average=average
    )

    def on_event(step: int, state: TrainState, sums: list) -> TrainState:
        if watch and step in (0, *marks):
            watch(step, state.variables)
        return state

    state = train_loop(
        components.compile(seed), parallel.replicate(on_event(0, state, [])), components.feed(seed, 0),
        components.resident_arrays(), start=0, stop=components.total,
        next_event=lambda step: min((mark for mark in marks if mark > step), default=components.total),
        on_event=on_event, should_stop=lambda step: False, on_dispatch=lambda step, result: None,
    )  # fmt: skip
    return state.variables


class Run:
    """A run of a config in its workdir: its state, checkpoints, logs and tests.

    Args:
        components: of a config that differs only by its seed; None = built from `config`.
    """

    def __init__(self, config: ConfigDict, workdir: Path, components: Components | None = None):
        self.checkpoints = Checkpoints(workdir / "checkpoints", config.checkpoint.keep)
        self.components = components or Components(config, resumes=bool(self.checkpoints.steps()))
        self.config, self.workdir, self.seed = config, workdir, config.train.seed
        self.seconds = 0.0  # training time of all sessions
        self.sharing = 1  # number of runs that this program trains together; each counts an equal share of the time
        self.speeds: list[float] = []  # images/s between events
        self.training_errors: list[float] = []  # since step 0; empty without a feedback schedule
        self.test_errors: list[float] = []
        self.tested: Evaluated | None = None  # the test after the last step, if it was by evaluate.protocol
        self.restore()

    def restore(self) -> None:
        """Restores the newest checkpoint, or initialises the state before the first step."""
        config, workdir = self.config, self.workdir
        self.state = create_state(self.components.model, self.components.recipe.optimizer, self.components.model.input_shape, self.seed,
                                   average=bool(self.components.recipe.average))  # fmt: skip
        restored = self.checkpoints.restore(self.state)
        check_same_step(workdir, int(restored[0].step) if restored else 0)
        self.notes = list_mismatches(config.optim.schedule, config.optim.average, config.train.epochs,
                                     1 / self.components.steps_per_epoch)  # fmt: skip
        if restored:
            self.state, self.seconds = restored[0], restored[1]["seconds"]
            self.notes += self._list_jumps(restored[1].get("epoch"))
        elif initial := self.components.initial or load_initial(config, self.components.model):
            own = lambda given, drawn: drawn if isinstance(given, jax.ShapeDtypeStruct) else given  # noqa: E731
            given = jax.tree.map(own, initial, self.state.variables)
            average = given["params"] if self.state.average else {}
            self.state = self.state.replace(params=given["params"], batch_stats=given["batch_stats"], average=average)

    def _list_jumps(self, saved: float | None) -> list[str]:
        """Returns a line if the restored step was in another epoch when it was saved; older checkpoints do not say it."""
        step = int(self.state.step)
        now = step / self.components.steps_per_epoch
        if saved is None or abs(now - saved) < 1e-4 * max(1, now):
            return []
        return [f"step {step:,} was epoch {saved:.2f} when it was saved and is epoch {now:.2f} now, because"
                f" train.batch_size or the number of training images changed; the schedule goes on at epoch {now:.2f}"]  # fmt: skip

    @property
    def done(self) -> bool:
        """Whether all steps are trained."""
        return int(self.state.step) >= self.components.total

    def train(self, preemption: Preemption, step_timeout: float = 0, profile: int = 0) -> None:
        """Trains from the current state to the end.

        Args:
            step_timeout: seconds without a finished step after which the watchdog ends the process; 0 = never.
            profile: number of steps to trace with the profiler; 0 = none.

        Raises:
            Preempted: training stopped early, at a saved step.
        """
        if self.config.loss in CLOSED_FORM:
            return self.fit_at_once()
        start = int(self.state.step)
        self.start_logging(metric_log.TrainingProgress(self.components.total, start))
        watchdog, trace = (
            Watchdog(step_timeout, start),
            Trace(self.workdir / "profile", profile if distributed.is_main() else 0, start),
        )

        def on_dispatch(step: int, result: Any) -> None:
            watchdog.watch(step, result)
            trace.watch(step, result)

        try:
            with preemption.steps():
                self.state = train_loop(
                    self.components.compile(self.seed), parallel.replicate(self.state), self.feed(start),
                    self.components.resident_arrays(), start=start, stop=self.components.total,
                    next_event=self.next_event, on_event=self.on_event, should_stop=preemption.asked,
                    on_dispatch=on_dispatch,
                )  # fmt: skip
                self.save_last(self.state)
            preemption.leave()
        finally:
            watchdog.close()
            trace.close()
            self.stop_logging()

    def feed(self, start: int) -> Iterator[tf_pipeline.Batch]:
        """Returns the training batches from a step on."""
        return self.components.feed(self.seed, start)

    def start_logging(self, progress: Any) -> None:
        """Opens the logs; call it before the first event, and `stop_logging` after the last."""
        start = int(self.state.step)
        if self.components.recipe.reaction:
            self.training_errors, self.test_errors = [], []
            self.state = self._apply_feedback(self.state, self._logged(start))
        self.log = metric_log.Metrics(self.workdir, start) if distributed.is_main() else None
        self.progress, self.earlier = progress, self.seconds
        self.began = self.mark = time.monotonic()
        self.marked = start

    def stop_logging(self) -> None:
        """Ends the progress bar and closes the logs."""
        self.progress.close()
        if self.log:
            self.log.close()

    def save_last(self, state: TrainState) -> None:
        """Saves the state of the last event, unless that event saved it."""
        if not self._saves(self.marked):
            self._save(state)

    def _spent(self) -> float:
        return self.earlier + (time.monotonic() - self.began) / self.sharing

    def fit_at_once(self) -> None:
        """Fits the layers that learn without gradients to the batches of all steps; here a step is one batch read."""
        began = time.monotonic()
        self.state, rows = closed_form.fit_closed_form(
            self.components.model,
            self.config.loss,
            self.state,
            self.components.train_split,
            self.components.batch_size,
            self.seed,
            self.components.total,
        )
        self.seconds = time.monotonic() - began
        self.speeds.append(self.components.total * self.components.batch_size / self.seconds)
        log = metric_log.Metrics(self.workdir, 0)
        log.write(
            [
                {"step": n, "epoch": round(n / self.components.steps_per_epoch, 6), **row}
                for n, row in enumerate(rows, 1)
            ]
        )
        log.close()
        self.checkpoints.save(self.state, seconds=self.seconds)

    def _evaluates(self, step: int) -> bool:
        return step == self.components.total or intervals.is_due(step, self.components.test_interval)

    def _saves(self, step: int) -> bool:
        return step == self.components.total or intervals.is_due(step, self.config.checkpoint.every_steps)

    def next_event(self, step: int) -> int:
        """Returns the next step at which something is due: a log line, a checkpoint, a test or the end."""
        every = (self.config.train.log_every_steps, self.config.checkpoint.every_steps, self.components.test_interval)
        return min(self.components.total, *(intervals.next_due(step, n) for n in every if n))

    def _logged(self, start: int) -> list[dict[str, float]]:
        """Returns the metrics.jsonl lines of the steps up to `start`, from which feedback schedules resume."""
        path = self.workdir / "metrics.jsonl"
        lines = [line for line in files.read_lines(path) if line["step"] <= start]
        if len(lines) != start:
            raise CheckpointError(f"{path} holds {len(lines)} of the {start} steps up to the checkpoint; the schedule"
                                  f" '{self.config.optim.schedule}' needs all of them: begin again in another --workdir")  # fmt: skip
        return lines

    def _apply_feedback(self, state: TrainState, rows: list[dict[str, float]]) -> TrainState:
        """Returns the state with the learning-rate factor for the steps after `rows`.

        The rows must follow the rows of the previous call.
        """
        assert self.components.recipe.reaction
        self.training_errors += [r["error"] for r in rows]
        self.test_errors += [r["test_error"] for r in rows if "test_error" in r]
        scale = self.components.recipe.reaction(Errors(self.training_errors, self.test_errors))
        return state.replace(scale=parallel.replicate(np.float32(scale)))

    def on_event(self, step: int, state: TrainState, sums: list) -> TrainState:
        """Logs the steps since the last event, and tests and saves if due; `train_loop` describes the arguments."""
        parts = jax.device_get(sums)
        now = time.monotonic()
        images = (step - self.marked) * self.components.batch_size * self.sharing
        self.speeds.append(images / (now - self.mark))
        rates = np.asarray(self.components.recipe.rate(np.arange(self.marked, step))) * np.asarray(state.scale)
        rows = []
        for at, rate, row in zip(
            range(self.marked + 1, step + 1),
            rates,
            ({k: v[n] for k, v in part.items()} for part in parts for n in range(len(part["count"]))),
            strict=True,
        ):
            summary = metrics.summarise(row)
            rows.append({"step": at, "epoch": round(at / self.components.steps_per_epoch, 6), "loss": summary["loss"],
                         "error": summary["top1_error"], "lr": float(rate)})  # fmt: skip
        divergence.check_losses(rows, self.checkpoints.steps)
        mean = {k: float(np.mean([r[k] for r in rows])) for k in ("loss", "error")}
        self.progress.update_step(
            step, step / self.components.steps_per_epoch, mean["loss"], mean["error"], images / (now - self.mark)
        )
        hint = divergence.hint_at_stall(self.marked, step, self.components.steps_per_epoch, mean["loss"], self.config.loss,
                           self.config.model.num_classes)  # fmt: skip
        if hint:
            self.progress.say(hint)
        if self._evaluates(step):
            tested = self.components.quick(state.variables)
            self.tested, test = (
                tested
                if step == self.components.total and self.components.quick is self.components.evaluator
                else None,
                tested.summary,
            )
            rows[-1] |= {"test_loss": test["loss"], "test_error": test["top1_error"]}
            self.progress.say(
                f"epoch {step / self.components.steps_per_epoch:.1f}  training loss {mean['loss']:.4f}"
                f"  test error {test['top1_error']:.2f} %"
            )
        if self.log:
            self.log.write(rows)
        if self.components.recipe.reaction:
            state = self._apply_feedback(state, rows)
        if self._saves(step):
            self._save(state)
        self.seconds = self._spent()
        self.mark, self.marked = time.monotonic(), step
        return state

    def _save(self, state: TrainState) -> None:
        arrays = jax.device_get(state)
        divergence.check_state(arrays, self.checkpoints.steps)
        self.checkpoints.save(arrays, seconds=self._spent(), epoch=int(arrays.step) / self.components.steps_per_epoch)

    def test(self) -> tuple[dict[str, Any], Evaluated]:
        """Tests the trained network, unless the last step did; returns the content of result.json and the outcome."""
        network = Network(self.components.model, self.state.variables, int(self.state.step), self.seconds)
        speed = round(float(np.median(self.speeds)), 3) if self.speeds else None  # of this session
        tested = self.tested or self.components.evaluator(parallel.replicate(network.variables))
        return result_of(self.config, network, self.components.evaluator, tested.summary, speed), tested
