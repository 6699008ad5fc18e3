"""Error rates and loss as {sum, count} pairs: adding them is merging, exact for any batch or device count."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def measure(scores: jax.Array, labels: jax.Array, losses: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """Sums over the examples whose mask is 1.

    Args:
        scores: [n, classes]; the largest wins.
        labels: [n] integers.
        losses: [n].
        mask: [n], 1 for an example that counts and 0 for one that only fills the batch.

    Returns:
        {'count', 'loss', 'top1', 'top5'}: the number of examples, the sum of their losses, and how many have the right
        class not among the first one or five. A class that ties with the right one ranks before it, so a constant
        output is never right by luck.
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


def summarise(sums: dict) -> dict[str, float]:
    """{'loss', 'top1_error', 'top5_error', 'num_examples'} from (added) sums; errors in percent."""
    count = float(sums["count"])
    return {
        "loss": float(sums["loss"]) / count,
        "top1_error": 100 * float(sums["top1"]) / count,
        "top5_error": 100 * float(sums["top5"]) / count,
        "num_examples": round(count),
    }


def add(total: dict, sums: dict) -> dict:
    """Adds on the host, in float64; the total begins as {}."""
    return {k: total.get(k, 0.0) + np.float64(v) for k, v in sums.items()}


def _softmax(scores: jax.Array) -> jax.Array:
    """The logarithm of the mean probability, which cannot underflow."""
    return jax.nn.logsumexp(jax.nn.log_softmax(scores), axis=1) - math.log(scores.shape[1])


AVERAGES: dict[str, Callable[[jax.Array], jax.Array]] = {"softmax": _softmax, "score": lambda s: jnp.mean(s, axis=1)}


def average(scores: jax.Array, kind: str) -> jax.Array:
    """Scores [n, k, classes] of k views (or passes, or networks) of each example to scores [n, classes].

    Args:
        kind: 'softmax' gives the logarithm of the mean of the k probabilities, 'score' the mean of the k scores. One
            alone stays as it is.
    """
    return AVERAGES[kind](scores) if scores.shape[1] > 1 else scores[:, 0]
