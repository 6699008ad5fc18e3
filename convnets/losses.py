"""Losses of scores [n, classes] against labels [n], one value per example."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax


def softmax(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of the softmax, [n]."""
    return optax.softmax_cross_entropy_with_integer_labels(scores, labels)


def mse(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean squared error against +1 for the right class and -1 for the others (LeCun et al. 1989), [n]."""
    targets = 2 * jax.nn.one_hot(labels, scores.shape[1]) - 1
    return jnp.mean(jnp.square(scores - targets), axis=1)


def map(scores: jax.Array, labels: jax.Array, j: float = 1.0) -> jax.Array:
    """Eq. 9 of LeCun et al. 1998, [n]: y_d + log(exp(-j) + sum_i exp(-y_i)) with penalties y = -scores.

    That is a cross-entropy with one more class, the rubbish, of constant penalty j: the right class must come near its
    code, not only nearer than the others.
    """
    rubbish = jnp.full_like(scores[:, :1], -j)
    return softmax(jnp.concatenate([scores, rubbish], axis=1), labels)


def svm(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Squared hinge of each class against the others, [n]: what convnets/training/svm.py makes small, at once."""
    targets = 2 * jax.nn.one_hot(labels, scores.shape[1]) - 1
    return jnp.sum(jnp.square(jax.nn.relu(1 - targets * scores)), axis=1)


LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {f.__name__: f for f in (softmax, mse, map, svm)}
NO_PROBABILITIES = ("mse", "svm")  # scores that are no logarithms of probabilities
