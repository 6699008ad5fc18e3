"""The training step on one device's share of a batch."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from jax import lax

from convnets.augment import pipeline
from convnets.data.dataset import fetch
from convnets.evaluation import metrics
from convnets.losses import LOSSES
from convnets.op_string import Call
from convnets.runtime.parallel import AXIS
from convnets.training.curvature import curvature_of
from convnets.training.state import TrainState

AUXILIARY = 0.3  # weight of each auxiliary classifier's loss (Szegedy et al. 2014, section 5)


def ascend(grads: Any, reinforcement: Any) -> Any:
    """Replaces the gradients of arrays that have a reinforcement by minus that reinforcement.

    A layer that learns without a gradient (convnets/layers/neocognitron.py) thus supplies the direction, and the recipe
    the learning rates.
    """
    own = traverse_util.flatten_dict(reinforcement)
    return traverse_util.unflatten_dict(traverse_util.flatten_dict(grads) | {k: -v for k, v in own.items()})


def train_step(
    model: nn.Module, optimizer: optax.GradientTransformation, loss: str, ops: list[Call], seed: int,
    average: Callable[[jax.Array], jax.Array] | None = None,
):  # fmt: skip
    """Returns the step (state, batch, resident_arrays) -> (state, sums) on one device's share of a batch.

    The step accepts another `seed`, possibly an array, as an optional fourth argument.

    In training, a network may return (scores, {name: scores of an auxiliary classifier}). The auxiliary losses are then
    added to the objective; the reported loss is the main classifier's.

    Args:
        average: `Recipe.average` of convnets/training/optimizer.py.
    """
    loss_fn, optimizer = LOSSES[loss], optax.with_extra_args_support(optimizer)

    def step(state: TrainState, batch, resident_arrays, seed=seed):
        images, labels = fetch(batch, resident_arrays)
        images = pipeline.apply(ops, pipeline.example_keys(seed, batch["epoch"], batch["index"]), images)
        dropout = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), state.step), lax.axis_index(AXIS))

        def objective(params):
            variables = {**state.variables, "params": params}
            output, changed = model.apply(variables, images, train=True, mutable=["batch_stats", "reinforcement"],
                                          rngs={"dropout": dropout})  # fmt: skip
            scores, heads = output if isinstance(output, tuple) else (output, {})
            scores = scores.astype(jnp.float32)
            losses = loss_fn(scores, labels)
            extra = sum(jnp.mean(loss_fn(head.astype(jnp.float32), labels)) for head in heads.values())
            return jnp.mean(losses) + AUXILIARY * extra, (scores, losses, changed)

        grads, (scores, losses, changed) = jax.grad(objective, has_aux=True)(state.params)
        grads = ascend(grads, changed.get("reinforcement", {}))
        grads, stats = lax.pmean((grads, changed.get("batch_stats", {})), AXIS)

        own = curvature_of(model, state.variables, images)
        updates, opt_state = optimizer.update(
            grads,
            state.opt_state,
            state.params,
            scale=state.scale,
            curvature=lambda params: lax.pmean(own(params), AXIS),
        )
        params = optax.apply_updates(state.params, updates)
        state = state.replace(step=state.step + 1, params=params, batch_stats=stats, opt_state=opt_state)
        if average:
            weight = average(state.step)
            state = state.replace(average=jax.tree.map(lambda a, p: a + weight * (p - a), state.average, params))
        return state, lax.psum(metrics.measure(scores, labels, losses, batch["mask"]), AXIS)

    return step
