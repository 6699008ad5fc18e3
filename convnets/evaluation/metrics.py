"""Error rates and loss as sums with a count; sums add up exactly for any batch size or number of devices."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def measure(scores: jax.Array, labels: jax.Array, losses: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """Returns sums over the examples whose mask is 1.

    Args:
        scores: [n, classes]; the class with the largest score is predicted.
        labels: [n] integers.
        losses: [n].
        mask: [n], 1 for an example that counts and 0 for padding.

    Returns:
        {'count', 'loss', 'top1', 'top5'}: the number of examples, the sum of losses, and the numbers of top-1 and top-5
        errors. A class that ties with the correct class ranks before it, so a constant output never counts as correct.
    """
    right = jnp.take_along_axis(scores, labels[:, None], axis=1)
    others = jnp.arange(scores.shape[1])[None] != labels[:, None]
    # Written so that a NaN score counts as an error.
    rank = jnp.sum(~(scores < right) & others, axis=1)
    return {
        "count": jnp.sum(mask),
        "loss": jnp.sum(jnp.where(mask > 0, losses, 0)),
        "top1": jnp.sum(jnp.where(rank >= 1, mask, 0)),
        "top5": jnp.sum(jnp.where(rank >= 5, mask, 0)),
    }


def guess_classes(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the predicted classes, [n], of scores [n, classes]. As in the top-1 error, a tie with the correct class is wrong."""
    rows = np.arange(len(labels))
    others = np.array(scores)
    others[rows, labels] = -np.inf
    best = np.argmax(others, axis=1)
    return np.where(others[rows, best] < scores[rows, labels], labels, best)


def summarize(sums: dict) -> dict[str, float]:
    """Returns {'loss', 'top1_error', 'top5_error', 'num_examples'} from accumulated sums; errors in percent."""
    count = float(sums["count"])
    return {
        "loss": float(sums["loss"]) / count,
        "top1_error": 100 * float(sums["top1"]) / count,
        "top5_error": 100 * float(sums["top5"]) / count,
        "num_examples": round(count),
    }


def add(total: dict, sums: dict) -> dict:
    """Adds `sums` to `total` on the host, in float64; an empty total is {}."""
    return {k: total.get(k, 0.0) + np.float64(v) for k, v in sums.items()}


def _softmax(scores: jax.Array) -> jax.Array:
    """Returns the logarithm of the mean probability over axis 1; log-space avoids underflow."""
    return jax.nn.logsumexp(jax.nn.log_softmax(scores), axis=1) - math.log(scores.shape[1])


AVERAGES: dict[str, Callable[[jax.Array], jax.Array]] = {"softmax": _softmax, "score": lambda s: jnp.mean(s, axis=1)}


def average(scores: jax.Array, kind: str) -> jax.Array:
    """Averages scores [n, k, classes] over k views (or passes, or networks) to [n, classes].

    Args:
        kind: 'softmax' returns the logarithm of the mean of the k probabilities, 'score' the mean of the k scores. For
            k = 1 the scores are unchanged.
    """
    return AVERAGES[kind](scores) if scores.shape[1] > 1 else scores[:, 0]
