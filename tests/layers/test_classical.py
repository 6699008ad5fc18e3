"""Layers of the classifiers that are fitted at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets.layers import classical, descriptors
from tests.conftest import products
from tests.layers.references import data


@pytest.mark.parametrize("k", [3, 101, 1001])
def test_a_majority_wins_although_its_neighbours_are_farther(k):
    few = k // 2  # of class 0, nearest to the origin; one more of class 1
    points = np.arange(1, k + 1, dtype=np.float32)[None] / k
    labels = (np.arange(k) >= few).astype(np.float32)
    params = {"kernel": points, "labels": labels}
    scores = classical.Nearest(k, k, 2).apply({"params": params}, jnp.zeros((1, 1)))
    assert scores.argmax() == 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_tie_goes_to_the_nearer_class(dtype):
    params = {"kernel": np.array([[3, 1, 2.0]], np.float32), "labels": np.array([0, 1, 2], np.float32)}
    scores = classical.Nearest(3, 3, 3).apply({"params": params}, jnp.zeros((1, 1), dtype))
    assert list(np.argsort(-scores[0])) == [1, 2, 0] and scores[0, 1] > scores[0, 2] > scores[0, 0]


def test_distances_of_bfloat16_inputs_are_computed_in_float32():
    x, points = jnp.asarray(data(5, 784), jnp.bfloat16), data(784, 20, seed=1)
    exact = np.square(np.asarray(x, np.float64)[:, :, None] - points[None]).sum(1)
    np.testing.assert_allclose(classical.squared_distances(x, points), exact, rtol=1e-4)


@pytest.mark.parametrize("layer", [classical.Nearest(9, 3, 3), classical.Gaussians(9), descriptors.Codebook(5)])
def test_distances_and_the_choice_of_the_nearest_are_not_rounded_on_accelerators(layer):
    """GPUs and TPUs compute matrix products in fewer bits unless told otherwise, so that a near tie could flip."""
    images = data(2, 24, 24, 3)
    variables = layer.init(jax.random.key(0), images)
    found = products(jax.make_jaxpr(layer.apply)(variables, images))[
        : 1 if isinstance(layer, classical.Nearest) else None
    ]
    assert found and set(found) == {(jax.lax.Precision.HIGHEST,) * 2}
