"""Device steps with train=False: class scores (logits) of test images, and outputs or layer inputs of given images."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from convnets.augment import pipeline
from convnets.data.dataset import fetch
from convnets.evaluation import metrics
from convnets.losses import LOSSES
from convnets.models.summary import capture
from convnets.op_string import Call
from convnets.runtime.parallel import AXIS


def eval_step(model: nn.Module, loss: str, ops: list[Call], average: str = "softmax"):
    """Returns the step (variables, batch, resident_arrays) -> (sums, scores [n, classes]), without random augmentation.

    A score map [n, h, w, classes] is first averaged over space (Simonyan & Zisserman 2015, section 3.2). Then
    `metrics.average` averages the views of each image.
    """

    def step(variables: dict[str, Any], batch, resident_arrays):
        images, labels = fetch(batch, resident_arrays)
        scores = model.apply(variables, pipeline.apply(ops, None, images), train=False)
        scores = jnp.asarray(scores, jnp.float32)
        scores = jnp.mean(scores, axis=(1, 2)) if scores.ndim == 4 else scores
        scores = metrics.average(scores.reshape(len(labels), -1, scores.shape[-1]), average)
        sums = metrics.measure(scores, labels, LOSSES[loss](scores, labels), batch["mask"])
        return lax.psum(sums, AXIS), scores

    return step


def forward_step(look: Callable[[Any, jax.Array], jax.Array], ops: list[Call], seed: int):
    """Returns the step (variables, batch, resident_arrays) -> (count, (look(variables, images) [n, ...], labels [n])).

    Images are augmented as in training, including random operations.
    """

    def step(variables, batch, resident_arrays):
        images, labels = fetch(batch, resident_arrays)
        images = pipeline.apply(ops, pipeline.example_keys(seed, batch["epoch"], batch["index"]), images)
        return lax.psum(jnp.sum(batch["mask"]), AXIS), (look(variables, images), labels)

    return step


def layer_input_step(model: nn.Module, layer: str, ops: list[Call], seed: int):
    """Returns the `forward_step` to the inputs of a layer; the network runs with train=False."""
    return forward_step(lambda variables, images: capture(model, variables, images)[layer][0], ops, seed)
