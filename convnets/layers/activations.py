"""Activation functions by name."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from convnets.layers.cpu_kernels import relu


def scaled_tanh(x: jax.Array) -> jax.Array:
    """Returns 1.7159 tanh(2x/3), so that f(1) = 1 and f(-1) = -1 (LeCun et al. 1998, appendix A)."""
    return 1.7159 * jnp.tanh(x * (2 / 3))


ACTIVATIONS = {
    "identity": lambda x: x,
    "sigmoid": nn.sigmoid,
    "tanh": jnp.tanh,
    "scaled_tanh": scaled_tanh,
    "relu": relu,
    "leaky_relu": nn.leaky_relu,  # slope 0.01 below 0
    "abs": jnp.abs,  # rectification of Jarrett et al. 2009
}
