"""Fits networks without SGD, for the losses in CLOSED_FORM: each layer that learns is fitted to its inputs at once.

A layer is fitted by the entry of FITS with its name, without number. The layers go in the order of the network, so that
each is fitted to the outputs of the fitted layers before it. Other layers keep their initial weights.
"""

from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from convnets.data import sampler
from convnets.data.dataset import Split
from convnets.errors import UsageError
from convnets.evaluation import eval_step
from convnets.layers.classical import unit_length
from convnets.losses import LOSSES
from convnets.models.summary import summarize
from convnets.models.words import OUTPUTS
from convnets.runtime import distributed, parallel
from convnets.runtime.progress import Progress
from convnets.training import classical, svm
from convnets.training.state import TrainState

Batches = Iterator[tuple[np.ndarray, np.ndarray]]  # a layer's inputs [n, ...] and the labels [n]


def list_fitted(model: nn.Module, loss: str) -> list[str]:
    """Returns the names of the layers that are fitted, in their order.

    Raises:
        UsageError: the network has no output layer that can be fitted.
    """
    names = [row.name for row in summarize(model)]
    if not any(name in OUTPUTS for name in names):
        raise UsageError(f"loss={loss} fits the layer 'out'; the layers of this network are {', '.join(names)}")
    return [name for name in names if name.rstrip("0123456789") in FITS]


def fit_closed_form(
    model: nn.Module, loss: str, state: TrainState, split: Split, batch_size: int, seed: int, num_images: int
) -> tuple[TrainState, list[dict[str, float]]]:  # fmt: skip
    """Returns the state fitted to the first `num_images` images of training, and {'loss', 'error'} of each batch of them.

    The last batch may be short: no further images fill it.

    Raises:
        UsageError: no output layer can be fitted, there are too few or too many images, or several processes run.
    """
    if distributed.process_count() > 1:
        raise UsageError(f"loss={loss} is fitted by one process, which looks at all images")
    order = list_fitted(model, loss)
    devices, resident_arrays = jax.local_device_count(), parallel.replicate(split.resident_arrays)
    stop = -(-num_images // batch_size)

    def batches(step: Callable[..., Any], params: Any, what: str) -> Batches:
        variables = parallel.replicate(state.replace(params=params, average={}).variables)
        schedule = sampler.training_schedule(split.info.num_examples, batch_size, seed, 0, stop)
        with Progress(what, stop, "batches") as progress:
            for start, batch in zip(range(0, num_images, batch_size), split.feed(schedule, seed), strict=True):
                x, labels = jax.device_get(step(variables, parallel.shard([batch], devices), resident_arrays)[1])
                yield x.reshape(-1, *x.shape[2:])[: num_images - start], labels.reshape(-1)[: num_images - start]
                progress.advance()

    params = state.params
    for layer in order:
        look = parallel.parallel(eval_step.layer_input_step(model, layer, split.device_ops, seed), train=False)
        inputs = batches(look, params, f"inputs of the layer {layer}:")
        params = {**params, layer: FITS[layer.rstrip("0123456789")](inputs, params[layer], loss, seed)}
    scores_of = lambda variables, images: jnp.asarray(model.apply(variables, images, train=False), jnp.float32)  # noqa: E731
    judge = parallel.parallel(eval_step.forward_step(scores_of, split.device_ops, seed), train=False)
    rows = []
    for scores, labels in batches(judge, params, "training error:"):
        losses = np.asarray(LOSSES[loss](jnp.asarray(scores), jnp.asarray(labels)))
        wrong = np.argmax(scores, axis=1) != labels
        rows.append({"loss": float(losses.mean()), "error": 100 * float(wrong.mean())})
    return state.replace(step=np.int32(stop), params=params, average=params if state.average else {}), rows


# Fits: functions (batches, initial parameters of the layer, loss, seed) -> parameters --------------------------------


def fit_codebook(batches: Batches, params: Any, loss: str, seed: int) -> Any:
    """Returns the words of a codebook: centres of k-means."""
    return {"kernel": classical.codebook((x for x, _ in batches), params["kernel"].shape[1], seed)}


def fit_out(batches: Batches, params: Any, loss: str, seed: int) -> Any:
    """Returns a linear classifier, fitted as an SVM (loss `svm`) or by least squares."""
    features, labels = svm.gather_sparse(batches)
    classes = params["kernel"].shape[1]
    kernel, bias = svm.svm(features, labels, classes, seed) if loss == "svm" else \
        classical.least_squares(features, labels, classes)  # fmt: skip
    return {"kernel": kernel, "bias": bias}


def fit_pca(batches: Batches, params: Any, loss: str, seed: int) -> Any:
    """Returns the first principal components."""
    return {"kernel": classical.principal_components(gather(batches)[0], params["kernel"].shape[1])}


def fit_gaussians(batches: Batches, params: Any, loss: str, seed: int) -> Any:
    """Returns the centres of k-means within each class, and the width of the Gaussians around them."""
    centres, width = classical.centres_of_classes(*gather(batches), params["kernel"].shape[1], seed)
    return {"kernel": centres, "width": width}


def fit_pairs(batches: Batches, params: Any, loss: str, seed: int) -> Any:
    """Returns a linear classifier for each pair of classes, by least squares."""
    kernel, bias = classical.least_squares_of_pairs(*gather(batches), params["kernel"].shape[1])
    return {"kernel": kernel, "bias": bias}


def fit_nearest(batches: Batches, params: Any, loss: str, seed: int) -> Any:
    """Returns the training images with their labels, among which the nearest neighbours are searched."""
    x, labels = gather(batches)
    kept = np.full(_room("nearest", params["kernel"], x), -1, np.float32)
    kept[: len(x)] = labels
    return {"kernel": _columns(x, len(kept)), "labels": kept}


def fit_polynomial(batches: Batches, params: Any, loss: str, seed: int) -> Any:
    """Returns the training images with their weights in support vector machines with a polynomial kernel."""
    x, labels = gather(batches)
    room = _room("polynomial", params["kernel"], x)
    weights, bias = svm.polynomial_svm(x, labels, params["bias"].shape[0])
    padded = np.pad(weights, ((0, room - len(x)), (0, 0)))
    return {"kernel": _columns(unit_length(x), room), "weights": padded, "bias": bias}


def gather(batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    """Returns the inputs [n, d] and the labels [n] of all batches."""
    parts = [(x.reshape(len(x), -1), labels) for x, labels in batches]
    return np.concatenate([x for x, _ in parts]), np.concatenate([labels for _, labels in parts])


def _room(name: str, kernel: Any, x: np.ndarray) -> int:
    """Returns how many images a layer has room for; raises UsageError if there are more."""
    if len(x) > kernel.shape[1]:
        raise UsageError(f"model.layers: {name}({kernel.shape[1]}) is to hold the {len(x):,} training images")
    return kernel.shape[1]


def _columns(x: np.ndarray, room: int) -> np.ndarray:
    return np.pad(x.T, ((0, 0), (0, room - len(x)))).astype(np.float32)


FITS: dict[str, Callable[[Batches, Any, str, int], Any]] = {
    "codebook": fit_codebook, "pca": fit_pca, "gaussians": fit_gaussians, "out": fit_out, "nearest": fit_nearest,
    "pairs": fit_pairs, "polynomial": fit_polynomial,
}  # fmt: skip
