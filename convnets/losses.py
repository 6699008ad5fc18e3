"""Losses of scores [n, classes] against labels [n]; each returns one value per example, [n]."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax


def softmax(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the softmax cross-entropy, [n]."""
    return optax.softmax_cross_entropy_with_integer_labels(scores, labels)


def mse(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the mean squared error against +1 for the right class and -1 for the others (LeCun et al. 1989), [n]."""
    targets = 2 * jax.nn.one_hot(labels, scores.shape[1]) - 1
    return jnp.mean(jnp.square(scores - targets), axis=1)


def sse(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the sum of squared errors against +1 for the right class and -1 for the others, [n].

    Its second derivatives are those of convnets/training/curvature.py; `mse` has the same minimum.
    """
    return scores.shape[1] * mse(scores, labels)


def rbf_map(scores: jax.Array, labels: jax.Array, j: float = 1.0) -> jax.Array:
    """Returns eq. 9 of LeCun et al. 1998, [n]: y_d + log(exp(-j) + sum_i exp(-y_i)) with penalties y = -scores.

    This is a cross-entropy with an additional "rubbish" class of constant penalty j. The output for the right class
    must come near its code, not only nearer than the other classes.
    """
    rubbish = jnp.full_like(scores[:, :1], -j)
    return softmax(jnp.concatenate([scores, rubbish], axis=1), labels)


def least_squares(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns `mse`, [n], which convnets/training/closed_form.py minimizes in a single fit."""
    return mse(scores, labels)


def svm(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the one-vs-rest squared hinge loss, [n], which convnets/training/svm.py minimizes in a single fit."""
    targets = 2 * jax.nn.one_hot(labels, scores.shape[1]) - 1
    return jnp.sum(jnp.square(jax.nn.relu(1 - targets * scores)), axis=1)


LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    f.__name__: f for f in (softmax, mse, sse, rbf_map, least_squares, svm)
}
CLOSED_FORM = ("least_squares", "svm")  # losses without SGD: the network is fitted at once
NO_PROBABILITIES = ("mse", "sse", "least_squares", "svm")  # losses whose scores are not log-probabilities
