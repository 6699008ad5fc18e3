"""Every activation compared with its formula."""

import jax.numpy as jnp
import numpy as np
import pytest

from convnets.layers import (
    ACTIVATIONS,
)
from tests.layers.references import close, data, gradients

FORMULAS = {
    "identity": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    "scaled_tanh": lambda x: 1.7159 * np.tanh(2 / 3 * x),
    "relu": lambda x: np.where(x > 0, x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "abs": lambda x: np.where(x > 0, x, -x),
}


def test_every_activation_has_a_formula():
    assert sorted(FORMULAS) == sorted(ACTIVATIONS)


@pytest.mark.parametrize("name", FORMULAS)
def test_activation(name):
    x = 2 * data(3, 5)
    close(np.asarray(ACTIVATIONS[name](jnp.asarray(x))), FORMULAS[name](x))
    gradients(ACTIVATIONS[name], x)


def test_scaled_tanh_keeps_one():
    np.testing.assert_allclose(ACTIVATIONS["scaled_tanh"](jnp.asarray([1.0, -1.0])), [1, -1], atol=1e-4)
