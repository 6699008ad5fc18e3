"""The distributions of initial weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets import layers


@pytest.mark.parametrize(
    ("init", "limit", "std"),
    [
        (layers.uniform_fan_in(2.4), 2.4 / 50, 2.4 / 50 / np.sqrt(3)),
        (layers.uniform_fan_in(2.4, root=True), 2.4 / np.sqrt(50), 2.4 / np.sqrt(150)),
        (layers.caffe_xavier(), np.sqrt(3 / 50), np.sqrt(1 / 50)),
        (layers.glorot(), np.sqrt(6 / (50 + 25 * 400)), np.sqrt(2 / (50 + 25 * 400))),
        (layers.he_normal(), None, np.sqrt(2 / 50)),
        (layers.normal(0.01), None, 0.01),
    ],
    ids=["fan in", "root fan in", "caffe xavier", "glorot", "he", "normal"],
)
def test_initializer(init, limit, std):
    values = np.asarray(init(jax.random.key(0), (5, 5, 2, 400), jnp.float32))  # fan-in 50, fan-out 25 * 400
    assert abs(values.mean()) < 0.03 * std
    np.testing.assert_allclose(values.std(), std, rtol=0.02)
    if limit:
        assert 0.99 * limit < np.abs(values).max() <= limit * (1 + 1e-6)
    else:
        assert np.abs(values).max() > 3.5 * std  # a normal distribution without truncation


def test_constant_initializer():
    values = layers.constant(0.1)(jax.random.key(0), (3,), jnp.float32)
    assert np.array_equal(values, np.full(3, 0.1, np.float32))
