"""What a config builds: the model, the data, the recipe and the evaluators."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from convnets import models
from convnets.data import dataset, sampler, tf_pipeline
from convnets.errors import UsageError
from convnets.evaluation.evaluator import Evaluator
from convnets.losses import CLOSED_FORM
from convnets.models.lenet import Boosted
from convnets.runtime import distributed, parallel
from convnets.training import intervals, train_step
from convnets.training.closed_form import list_fitted
from convnets.training.curvature import check_curvature
from convnets.training.network import check_same_data, load_initial, split_problems
from convnets.training.optimizer import make_recipe
from convnets.training.state import TrainState, check_network, create_state


class Components:
    """What a config builds. Runs whose configs differ only by seed share it.

    Args:
        resumes: whether the run continues from a checkpoint, so that `model.init_from` is not read.
        picked: training examples, int32 [n, 2]: (epoch whose augmentation they have, index); None for all of every epoch.

    Attributes:
        examples: number of training examples in a pass.
        initial: variables from `model.init_from`, or None.
        total: number of training steps.
        test_interval: steps between tests during training; 0 = only at the end.
        evaluator: tests by `evaluate.protocol`.
        quick: tests during training, with a single view; the same object as `evaluator` if that has one too.

    Raises:
        DataError, UsageError: raised by the components that the config names.
    """

    def __init__(self, config: ConfigDict, resumes: bool = False, picked: np.ndarray | None = None):
        self.config, self.picked = config, picked
        self.model = models.create(**config.model)
        self.initial = None
        if not resumes:  # before the data are decoded or measured
            optimizer = make_recipe(**config.optim, steps_per_epoch=1.0, batch_size=1).optimizer
            # The members of a boosted network have optimizers of their own.
            check_network(self.model, optax.identity() if isinstance(self.model, Boosted) else optimizer)
            if config.optim.damping and not isinstance(self.model, Boosted):
                check_curvature(self.model, config.loss)
            if config.loss in CLOSED_FORM:
                list_fitted(self.model, config.loss)
            self.initial = load_initial(config, self.model)
        self.train_split, self.test_split = distributed.main_first(lambda: dataset.load_splits(**config.data))
        check_same_data(self.train_split, self.test_split)
        self._check()
        self.batch_size = config.train.batch_size
        self.examples = self.train_split.info.num_examples if picked is None else len(picked)
        self.steps_per_epoch = self.examples / self.batch_size
        self.total = intervals.count_steps(config.train.epochs, self.examples, self.batch_size)
        self.test_interval = intervals.interval(config.train.eval_every_epochs, self.examples, self.batch_size)
        self.recipe = make_recipe(**config.optim, steps_per_epoch=self.steps_per_epoch, batch_size=self.batch_size)
        test = functools.partial(Evaluator, self.model, config.loss, self.test_split)
        self.evaluator = test(**config.evaluate)
        single = config.evaluate.protocol == "single"
        self.quick = self.evaluator if single else test(**{**config.evaluate, "protocol": "single"})

    def _check(self) -> None:
        found = split_problems(self.config, self.model, self.train_split, "train_ops")
        found += split_problems(self.config, self.model, self.test_split, "test_ops")
        if self.config.train.batch_size > self.train_split.info.num_examples:
            found.append(
                f"train.batch_size is {self.config.train.batch_size}, "
                f"{self.train_split.info.name} has {self.train_split.info.num_examples} examples: it may be no larger"
            )
        if found:
            raise UsageError("\n".join(dict.fromkeys(found)))

    def initial_state(self, seed: int) -> TrainState:
        """Draws the state before the first step; `model.init_from` replaces the variables that it gives."""
        average = bool(self.recipe.average)
        state = create_state(self.model, self.recipe.optimizer, seed, average=average)
        initial = self.initial or load_initial(self.config, self.model)
        if initial is None:
            return state
        own = lambda given, drawn: drawn if isinstance(given, jax.ShapeDtypeStruct) else given  # noqa: E731
        given = jax.tree.map(own, initial, state.variables)
        kept = jax.tree.map(np.array, given["params"]) if average else {}  # copies: a step donates both
        return state.replace(params=given["params"], batch_stats=given["batch_stats"], average=kept)

    def compile(self, seed: int, together: Sequence[int] = ()) -> dict[int, Callable[..., Any]]:
        """Returns the compiled training step, keyed by the number of steps per dispatch.

        Args:
            together: the seeds of runs that are trained as one program; empty for a single run.
        """
        config = self.config
        step = train_step.train_step(self.model, self.recipe.optimizer, config.loss, self.train_split.device_ops, seed,
                                     self.recipe.average)  # fmt: skip
        counts = {1, parallel.steps_per_dispatch(config.train.steps_per_dispatch)}
        return {n: parallel.parallel(step, train=True, steps=n, seeds=together) for n in counts}

    def feed(self, seed: int, start: int) -> Iterator[tf_pipeline.Batch]:
        """Returns the batches of the run of a seed, from step `start` to the end."""
        schedule = sampler.training_schedule(
            self.examples, self.batch_size, seed, start, self.total, distributed.process_index(),
            distributed.process_count(), self.config.train.reshuffle,
        )  # fmt: skip
        return self.train_split.feed(map(self._place, schedule), seed)

    def _place(self, batch: tf_pipeline.Batch) -> tf_pipeline.Batch:
        """Replaces positions in the list of picked examples by those examples."""
        if self.picked is None:
            return batch
        epoch, index = self.picked[batch["index"]].T
        return {**batch, "epoch": epoch, "index": index}

    def resident_arrays(self) -> Any:
        """Returns the training images and labels on every device; {} if they are streamed."""
        return parallel.replicate(self.train_split.resident_arrays)
