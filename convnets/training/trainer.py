"""The training loop, and `Run`, which trains and tests the network of a config in a workdir."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from convnets import models
from convnets.data import dataset, sampler, tf_pipeline
from convnets.errors import CheckpointError, UsageError
from convnets.evaluation import metrics
from convnets.evaluation.evaluator import Evaluated, Evaluator
from convnets.runtime import distributed, files, parallel
from convnets.runtime.preemption import Preemption
from convnets.runtime.profiler import Trace
from convnets.runtime.watchdog import Watchdog
from convnets.training import divergence, intervals, metric_log, svm, train_step
from convnets.training.checkpoint import Checkpoints
from convnets.training.network import Network, check_same_step, load_initial, result_of, split_problems
from convnets.training.optimizer import list_mismatches, make_recipe
from convnets.training.schedules import Errors
from convnets.training.state import TrainState, create_state


def fit(
    step: dict[int, Callable[..., Any]], state: TrainState, batches: Iterator[tf_pipeline.Batch], constants: Any, *,
    start: int, stop: int, pauses: Callable[[int], int], visit: Callable[[int, TrainState, list], TrainState],
    asked: Callable[[int], bool], watch: Callable[[int, Any], None],
) -> TrainState:  # fmt: skip
    """Runs steps `start` to `stop`.

    Args:
        step: compiled training steps, keyed by the number of steps per dispatch; must contain 1.
        pauses: maps a step to the next step after it at which `visit` is called.
        visit: called with the step, the state, and the device sums of the steps since the last visit; returns the
            state to continue with. Nothing else waits for the device.
        asked: called after every dispatch with its last step; True stops early.
        watch: called after every dispatch with its last step and a device array that is ready when the dispatch ends.
    """
    devices, position, sums = jax.local_device_count(), start, []
    while position < stop:
        pause = min(pauses(position), stop)
        while position < pause:
            count = max(n for n in step if n <= pause - position)
            state, result = step[count](
                state, parallel.shard([next(batches) for _ in range(count)], devices), constants
            )
            sums.append(result)
            position += count
            watch(position, result["count"])
            if asked(position):
                pause = stop = position
        state = visit(position, state, sums)
        sums = []
    return state


class Run:
    """One run of a config in its workdir.

    Raises:
        DataError, UsageError: raised by the components that the config names.
    """

    def __init__(self, config: ConfigDict, workdir: Path):
        self.config = config
        self.model = models.create(**config.model)
        resumes = Checkpoints(workdir / "checkpoints").steps()
        self.initial = None if resumes else load_initial(config, self.model)  # before the data are decoded or measured
        self.train_split, self.test_split = distributed.main_first(lambda: dataset.load_splits(**config.data))
        self._check()
        self.batch_size = config.train.batch_size
        self.steps_per_epoch = self.train_split.info.num_examples / self.batch_size
        length = self.train_split.info.num_examples, self.batch_size
        self.total = intervals.count_steps(config.train.epochs, *length)
        self.test_interval = intervals.interval(config.train.eval_every_epochs, *length)
        self.recipe = make_recipe(**config.optim, steps_per_epoch=self.steps_per_epoch, batch_size=self.batch_size)
        test = functools.partial(Evaluator, self.model, config.loss, self.test_split)
        self.evaluator = test(**config.evaluate)
        single = config.evaluate.protocol == "single"  # tests during training use one view with any protocol
        self.quick = self.evaluator if single else test(**{**config.evaluate, "protocol": "single"})
        self.open(config, workdir)

    def open(self, config: ConfigDict, workdir: Path) -> None:
        """Attaches a config and its workdir; restores the newest checkpoint or initialises a new state.

        The config may differ from the current one only by its seed.
        """
        self.config, self.workdir, self.seed = config, workdir, config.train.seed
        self.checkpoints = Checkpoints(workdir / "checkpoints", config.checkpoint.keep)
        self.seconds = 0.0  # training time of all sessions
        self.sharing = 1  # number of runs that this program trains together; each counts an equal share of the time
        self.speeds: list[float] = []  # images/s between visits
        self.training_errors: list[float] = []  # since step 0; empty without a feedback schedule
        self.test_errors: list[float] = []
        self.tested: Evaluated | None = None  # the test after the last step, if it was by evaluate.protocol
        self.restore()

    def restore(self) -> None:
        """Restores the newest checkpoint, or initialises the state before the first step."""
        config, workdir = self.config, self.workdir
        self.state = create_state(self.model, self.recipe.optimizer, self.model.input_shape, self.seed,
                                   average=bool(self.recipe.average))  # fmt: skip
        restored = self.checkpoints.restore(self.state)
        check_same_step(workdir, int(restored[0].step) if restored else 0)
        self.notes = list_mismatches(config.optim.schedule, config.optim.average, config.train.epochs,
                                     1 / self.steps_per_epoch)  # fmt: skip
        if restored:
            self.state, self.seconds = restored[0], restored[1]["seconds"]
            self.notes += self._list_jumps(restored[1].get("epoch"))
        elif initial := self.initial or load_initial(config, self.model):
            own = lambda given, drawn: drawn if isinstance(given, jax.ShapeDtypeStruct) else given  # noqa: E731
            given = jax.tree.map(own, initial, self.state.variables)
            average = given["params"] if self.state.average else {}
            self.state = self.state.replace(params=given["params"], batch_stats=given["batch_stats"], average=average)

    def _list_jumps(self, saved: float | None) -> list[str]:
        """Returns a line if the restored step was in another epoch when it was saved; older checkpoints do not say it."""
        step = int(self.state.step)
        now = step / self.steps_per_epoch
        if saved is None or abs(now - saved) < 1e-4 * max(1, now):
            return []
        return [f"step {step:,} was epoch {saved:.2f} when it was saved and is epoch {now:.2f} now, because"
                f" train.batch_size or the number of training images changed; the schedule goes on at epoch {now:.2f}"]  # fmt: skip

    def _check(self) -> None:
        found = split_problems(self.config, self.model, self.train_split, "train_ops")
        found += split_problems(self.config, self.model, self.test_split, "test_ops")
        if self.config.train.batch_size > self.train_split.info.num_examples:
            found.append(
                f"train.batch_size is {self.config.train.batch_size}, "
                f"{self.train_split.info.name} has {self.train_split.info.num_examples} examples"
            )
        if found:
            raise UsageError("\n".join(dict.fromkeys(found)))

    @property
    def done(self) -> bool:
        return int(self.state.step) >= self.total

    def train(self, preemption: Preemption, step_timeout: float = 0, profile: int = 0) -> None:
        """Trains from the current state to the end.

        Args:
            step_timeout: seconds without a finished step after which the watchdog ends the process; 0 = never.
            profile: number of steps to trace with the profiler; 0 = none.

        Raises:
            Preempted: training stopped early, at a saved step.
        """
        if self.config.loss == "svm":
            return self.fit_at_once()
        start = int(self.state.step)
        self.begin(metric_log.Progress(self.total, start, self.batch_size))
        watchdog, trace = (
            Watchdog(step_timeout, start),
            Trace(self.workdir / "profile", profile if distributed.is_main() else 0, start),
        )

        def watch(step: int, result: Any) -> None:
            watchdog.watch(step, result)
            trace.watch(step, result)

        try:
            with preemption.steps():
                self.state = fit(
                    self.compile(), parallel.replicate(self.state), self.feed(start), self.constants(),
                    start=start, stop=self.total, pauses=self.next_pause, visit=self.visit, asked=preemption.asked,
                    watch=watch,
                )  # fmt: skip
                self.save_last(self.state)
            preemption.leave()
        finally:
            watchdog.close()
            trace.close()
            self.end()

    def compile(self, seeds: Sequence[int] = ()) -> dict[int, Callable[..., Any]]:
        """Returns the compiled training step, keyed by the number of steps per dispatch.

        Args:
            seeds: the seeds of a population; empty for a single run.
        """
        step = train_step.train_step(self.model, self.recipe.optimizer, self.config.loss, self.train_split.device_ops,
                                self.seed, self.recipe.average)  # fmt: skip
        several = parallel.steps_per_dispatch(self.config.train.steps_per_dispatch)
        return {n: parallel.parallel(step, train=True, steps=n, seeds=seeds) for n in {1, several}}

    def feed(self, start: int) -> Iterator[tf_pipeline.Batch]:
        """Returns the batches from step `start` to the end."""
        schedule = sampler.training_schedule(self.train_split.info.num_examples, self.batch_size, self.seed, start, self.total,
                                          distributed.process_index(), distributed.process_count(), self.config.train.reshuffle)  # fmt: skip
        return self.train_split.feed(schedule, self.seed)

    def constants(self) -> Any:
        return parallel.replicate(self.train_split.constants)

    def begin(self, progress: Any) -> None:
        """Prepares a series of visits; call it before the first visit, and `end` after the last."""
        start = int(self.state.step)
        if self.recipe.reaction:
            self.training_errors, self.test_errors = [], []
            self.state = self._react(self.state, self._logged(start))
        self.log = metric_log.Metrics(self.workdir, start) if distributed.is_main() else None
        self.progress, self.earlier = progress, self.seconds
        self.began = self.mark = time.monotonic()
        self.marked = start

    def end(self) -> None:
        self.progress.close()
        if self.log:
            self.log.close()

    def save_last(self, state: TrainState) -> None:
        """Saves the state of the last visit, unless that visit saved it."""
        if not self._saves(self.marked):
            self._save(state)

    def _spent(self) -> float:
        return self.earlier + (time.monotonic() - self.began) / self.sharing

    def fit_at_once(self) -> None:
        """Fits the layers that learn without gradients to the batches of all steps; here a step is one batch read."""
        began = time.monotonic()
        self.state, rows = svm.fit_closed_form(
            self.model, self.state, self.train_split, self.batch_size, self.seed, self.total
        )
        self.seconds = time.monotonic() - began
        self.speeds.append(self.total * self.batch_size / self.seconds)
        log = metric_log.Metrics(self.workdir, 0)
        log.write([{"step": n, "epoch": round(n / self.steps_per_epoch, 6), **row} for n, row in enumerate(rows, 1)])
        log.close()
        self.checkpoints.save(self.state, seconds=self.seconds)

    def _evaluates(self, step: int) -> bool:
        return step == self.total or intervals.is_due(step, self.test_interval)

    def _saves(self, step: int) -> bool:
        return step == self.total or intervals.is_due(step, self.config.checkpoint.every_steps)

    def next_pause(self, step: int) -> int:
        every = (self.config.train.log_every_steps, self.config.checkpoint.every_steps, self.test_interval)
        return min(self.total, *(intervals.next_due(step, n) for n in every if n))

    def _logged(self, start: int) -> list[dict[str, float]]:
        """Returns the metrics.jsonl lines of the steps up to `start`, from which feedback schedules resume."""
        path = self.workdir / "metrics.jsonl"
        lines = [line for line in files.read_lines(path) if line["step"] <= start]
        if len(lines) != start:
            raise CheckpointError(f"{path} holds {len(lines)} of the {start} steps up to the checkpoint; the schedule"
                                  f" '{self.config.optim.schedule}' needs all of them: begin again in another --workdir")  # fmt: skip
        return lines

    def _react(self, state: TrainState, rows: list[dict[str, float]]) -> TrainState:
        """Returns the state with the learning-rate factor for the steps after `rows`.

        The rows must follow the rows of the previous call.
        """
        assert self.recipe.reaction
        self.training_errors += [r["error"] for r in rows]
        self.test_errors += [r["test_error"] for r in rows if "test_error" in r]
        scale = self.recipe.reaction(Errors(self.training_errors, self.test_errors))
        return state.replace(scale=parallel.replicate(np.float32(scale)))

    def visit(self, step: int, state: TrainState, sums: list) -> TrainState:
        """Logs the steps since the last visit, and tests and saves if due; `fit` describes the arguments."""
        parts = jax.device_get(sums)
        now = time.monotonic()
        images = (step - self.marked) * self.batch_size * self.sharing
        self.speeds.append(images / (now - self.mark))
        rates = np.asarray(self.recipe.rate(np.arange(self.marked, step))) * np.asarray(state.scale)
        rows = []
        for at, rate, row in zip(
            range(self.marked + 1, step + 1),
            rates,
            ({k: v[n] for k, v in part.items()} for part in parts for n in range(len(part["count"]))),
            strict=True,
        ):
            summary = metrics.summarise(row)
            rows.append({"step": at, "epoch": round(at / self.steps_per_epoch, 6), "loss": summary["loss"],
                         "error": summary["top1_error"], "lr": float(rate)})  # fmt: skip
        divergence.check_losses(rows, self.checkpoints.steps())
        mean = {k: float(np.mean([r[k] for r in rows])) for k in ("loss", "error")}
        self.progress.update(step, step / self.steps_per_epoch, mean["loss"], mean["error"], images / (now - self.mark))
        hint = divergence.hint_at_stall(self.marked, step, self.steps_per_epoch, mean["loss"], self.config.loss,
                           self.config.model.num_classes)  # fmt: skip
        if hint:
            self.progress.say(hint)
        if self._evaluates(step):
            tested = self.quick(state.variables)
            self.tested, test = tested if step == self.total and self.quick is self.evaluator else None, tested.summary
            rows[-1] |= {"test_loss": test["loss"], "test_error": test["top1_error"]}
            self.progress.say(
                f"epoch {step / self.steps_per_epoch:.1f}  training loss {mean['loss']:.4f}"
                f"  test error {test['top1_error']:.2f} %"
            )
        if self.log:
            self.log.write(rows)
        if self.recipe.reaction:
            state = self._react(state, rows)
        if self._saves(step):
            self._save(state)
        self.seconds = self._spent()
        self.mark, self.marked = time.monotonic(), step
        return state

    def _save(self, state: TrainState) -> None:
        arrays = jax.device_get(state)
        divergence.check_state(arrays, self.checkpoints.steps())
        self.checkpoints.save(arrays, seconds=self._spent(), epoch=int(arrays.step) / self.steps_per_epoch)

    def test(self) -> tuple[dict[str, Any], Evaluated]:
        """Tests the trained network, unless the last step did; returns the content of result.json and the outcome."""
        network = Network(self.model, self.state.variables, int(self.state.step), self.seconds)
        speed = round(float(np.median(self.speeds)), 3) if self.speeds else None  # of this session
        tested = self.tested or self.evaluator(parallel.replicate(network.variables))
        return result_of(self.config, network, self.evaluator, tested.summary, speed), tested
