"""Activation functions by name."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from convnets.layers.cpu_kernels import relu

# Pooling, normalization, the neocognitron's cells and what is made by hand have files of their own; every layer is
# found here.
from convnets.layers.descriptors import HOG, SIFT, Codebook, Pyramid  # noqa: F401  # noqa: F401
from convnets.layers.neocognitron import CCells, SCells  # noqa: F401  # noqa: F401
from convnets.layers.normalization import LRN, BatchNorm, Init, LocalContrast  # noqa: F401  # noqa: F401
from convnets.layers.pooling import Padding, Pair, Pool, pads, pair, pool, windows  # noqa: F401  # noqa: F401

# Activations --------------------------------------------------------------------------------------------------------


def scaled_tanh(x: jax.Array) -> jax.Array:
    """1.7159 tanh(2x/3), so that f(1) = 1 and f(-1) = -1 (LeCun et al. 1998, appendix A)."""
    return 1.7159 * jnp.tanh(x * (2 / 3))


ACTIVATIONS = {
    "identity": lambda x: x,
    "sigmoid": nn.sigmoid,
    "tanh": jnp.tanh,
    "scaled_tanh": scaled_tanh,
    "relu": relu,
    "leaky_relu": nn.leaky_relu,  # slope 0.01 below 0
    "abs": jnp.abs,  # the rectifier of Jarrett et al. 2009
}
