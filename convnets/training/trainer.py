"""Trains and tests the network of a config in a workdir."""

import time
from collections.abc import Iterator
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
from convnets.runtime.profiler import StepTrace
from convnets.runtime.watchdog import Watchdog
from convnets.training import closed_form, divergence, intervals, metric_log
from convnets.training.checkpoint import Checkpoints
from convnets.training.components import Components
from convnets.training.curvature import count_first_steps
from convnets.training.network import Network, check_same_step, result_of
from convnets.training.optimizer import list_mismatches
from convnets.training.schedules import Errors
from convnets.training.state import TrainState, state_shapes
from convnets.training.train_loop import train_loop

BLOCK = 64  # steps whose learning rates are computed together: one small program, whatever the distance of events


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
        self._rate = jax.jit(self.components.recipe.rate)
        self.log: metric_log.Metrics | None = None
        self.tested: Evaluated | None = None  # the test after the last step, if it was by evaluate.protocol
        self.restore()

    def restore(self) -> None:
        """Restores the newest checkpoint, or initializes the state before the first step."""
        config, workdir = self.config, self.workdir
        model, recipe = self.components.model, self.components.recipe
        restored, steps = None, self.checkpoints.steps()
        check_same_step(workdir, [0, *steps][-1])
        if steps:
            restored = self.checkpoints.restore(state_shapes(model, recipe.optimizer, average=bool(recipe.average)))
        check_same_step(workdir, int(restored[0].step) if restored else 0)
        self.notes = list_mismatches(config.optim.schedule, config.optim.average, config.train.epochs,
                                     1 / self.components.steps_per_epoch)  # fmt: skip
        first = count_first_steps(self.components.steps_per_epoch, self.components.batch_size)
        if config.optim.damping and self.components.total < first:
            self.notes.append(f"optim.damping: no parameter changes in the first {first} steps, and these are all")
        if restored:
            self.state, self.seconds = restored[0], restored[1]["seconds"]
            if not recipe.feedback:  # the schedule that gave the factor may have been changed
                self.state = self.state.replace(scale=np.ones_like(self.state.scale))
            self.notes += self._list_jumps(restored[1].get("epoch"))
            return
        self.state = self.components.initial_state(self.seed)

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
        progress = metric_log.TrainingProgress(self.components.total, start)
        watchdog = Watchdog(step_timeout, start)
        trace = StepTrace(self.workdir / "profile", profile if distributed.is_main() else 0, start)

        def on_dispatch(step: int, result: Any) -> None:
            watchdog.watch(step, result)
            trace.watch(step, result)

        try:
            self.start_logging(progress)
            with preemption.steps():
                self.state = train_loop(
                    self.components.compile(self.seed), parallel.replicate(self.state), self.feed(start),
                    self.components.resident_arrays(), start=start, stop=self.components.total,
                    next_event=self.next_event, on_event=self.on_event, should_stop=preemption.should_stop,
                    on_dispatch=on_dispatch,
                )  # fmt: skip
                self.save_last(self.state)
            preemption.raise_if_preempted()
        finally:
            watchdog.close()
            trace.close()
            self.stop_logging()
            progress.close()

    def feed(self, start: int) -> Iterator[tf_pipeline.Batch]:
        """Returns the training batches from a step on."""
        return self.components.feed(self.seed, start)

    def start_logging(self, progress: Any) -> None:
        """Opens the logs; call it before the first event, and `stop_logging` after the last."""
        start = int(self.state.step)
        if self.components.recipe.feedback:
            self.training_errors, self.test_errors = [], []
            rows, last = self._logged(start), self._last_event(start)
            self._note_errors(rows[:last])
            self.state = self._apply_feedback(self.state)
            self._note_errors(rows[last:])
        self.log = metric_log.Metrics(self.workdir, start) if distributed.is_main() else None
        self.progress, self.earlier = progress, self.seconds
        self.began = self.mark = time.monotonic()
        self.marked = start

    def stop_logging(self) -> None:
        """Closes the logs, if they are open."""
        if self.log:
            self.log.close()
            self.log = None

    def save_last(self, state: TrainState) -> None:
        """Saves the state of the last event, unless that event saved it."""
        if not self._saves(self.marked):
            self._save(state)

    def _epoch(self, step: int) -> float:
        return round(step / self.components.steps_per_epoch, 6)

    def _spent(self) -> float:
        return self.earlier + (time.monotonic() - self.began) / self.sharing

    def fit_at_once(self) -> None:
        """Fits the layers that learn without gradients to the batches of all steps; here a step is one batch read."""
        began = time.monotonic()
        self.state, rows = closed_form.fit_closed_form(
            self.components.model, self.config.loss, self.state, self.components.train_split,
            self.components.batch_size, self.seed,
            intervals.count_images(self.config.train.epochs, self.components.examples),
        )  # fmt: skip
        self.seconds = time.monotonic() - began
        self.speeds.append(self.components.total * self.components.batch_size / self.seconds)
        log = metric_log.Metrics(self.workdir, 0)
        log.write([{"step": n, "epoch": self._epoch(n), **row} for n, row in enumerate(rows, 1)])
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

    def _last_event(self, step: int) -> int:
        """Returns the last step up to `step` at which something is due; 0 before the first.

        A run that is preempted stops at a step of its own, which an uninterrupted run does not notice.
        """
        return next((s for s in range(step, 0, -1) if self.next_event(s - 1) == s), 0)

    def _logged(self, start: int) -> list[dict[str, float]]:
        """Returns the metrics.jsonl lines of the steps up to `start`, from which feedback schedules resume."""
        path = self.workdir / "metrics.jsonl"
        lines = [line for line in files.read_lines(path) if line["step"] <= start]
        if len(lines) != start:
            raise CheckpointError(f"{path} holds {len(lines)} of the {start} steps up to the checkpoint; the schedule"
                                  f" '{self.config.optim.schedule}' needs all of them: begin again in another --workdir")  # fmt: skip
        return lines

    def _note_errors(self, rows: list[dict[str, float]]) -> None:
        """Adds the errors of the steps that follow the noted ones."""
        self.training_errors += [r["error"] for r in rows]
        self.test_errors += [r["test_error"] for r in rows if "test_error" in r]

    def _apply_feedback(self, state: TrainState) -> TrainState:
        """Returns the state with the learning-rate factor that follows from the noted errors."""
        assert self.components.recipe.feedback
        scale = self.components.recipe.feedback(Errors(self.training_errors, self.test_errors))
        return state.replace(scale=parallel.replicate(np.float32(scale)))

    def on_event(self, step: int, state: TrainState, sums: list) -> TrainState:
        """Logs the steps since the last event, and tests and saves if due; `train_loop` describes the arguments."""
        sums = jax.device_get(sums)
        now = time.monotonic()  # the steps have ended
        rows = self._list_rows(step, state, sums)
        speed = (step - self.marked) * self.components.batch_size * self.sharing / (now - self.mark)
        self.speeds.append(speed)
        divergence.check_losses(rows, self.checkpoints.steps)
        loss, error = (float(np.mean([row[key] for row in rows])) for key in ("loss", "error"))
        self.progress.update_step(step, rows[-1]["epoch"], loss, error, speed)
        hint = divergence.hint_at_stall(self.marked, step, self.components.steps_per_epoch, loss, self.config.loss,
                                        self.config.model.num_classes)  # fmt: skip
        if hint:
            self.progress.say(hint)
        if self._evaluates(step):
            tested = self.components.quick(state.variables)
            if step == self.components.total and self.components.quick is self.components.evaluator:
                self.tested = tested
            test_error = tested.summary["top1_error"]
            rows[-1] |= {"test_loss": tested.summary["loss"], "test_error": test_error}
            self.progress.say(f"epoch {rows[-1]['epoch']:.1f}  training loss {loss:.4f}  test error {test_error:.2f} %")
        if self.log:
            self.log.write(rows)
        if self.components.recipe.feedback:
            self._note_errors(rows)
            state = self._apply_feedback(state) if self._last_event(step) == step else state
        if self._saves(step):
            self._save(state)
        self.seconds = self._spent()
        self.mark, self.marked = time.monotonic(), step
        return state

    def _list_rows(self, step: int, state: TrainState, sums: list) -> list[dict[str, float]]:
        """Returns the metrics.jsonl lines of the steps since the last event; a sum has the shape [steps of a dispatch]."""
        rates = self._list_rates(self.marked, step) * np.asarray(state.scale)
        joined = {name: np.concatenate([part[name] for part in sums]) for name in sums[0]}
        rows = []
        for n, rate in enumerate(rates):
            at, mean = self.marked + 1 + n, metrics.summarize({name: values[n] for name, values in joined.items()})
            rows.append({"step": at, "epoch": self._epoch(at), "loss": mean["loss"], "error": mean["top1_error"],
                         "lr": float(rate)})  # fmt: skip
        return rows

    def _list_rates(self, start: int, stop: int) -> np.ndarray:
        """Returns the learning rates of steps `start` to `stop`, without the feedback factor."""
        first = start // BLOCK * BLOCK
        blocks = [self._rate(np.arange(n, n + BLOCK)) for n in range(first, stop, BLOCK)]
        return np.concatenate(blocks)[start - first : stop - first]

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
