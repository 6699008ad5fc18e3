"""Initial weights as the papers draw them."""

import jax
import jax.numpy as jnp
import numpy as np

# Pooling, normalization, the neocognitron's cells and what is made by hand have files of their own; every layer is
# found here.
from convnets.layers.descriptors import HOG, SIFT, Codebook, Pyramid  # noqa: F401  # noqa: F401
from convnets.layers.neocognitron import CCells, SCells  # noqa: F401  # noqa: F401
from convnets.layers.normalization import LRN, BatchNorm, Init, LocalContrast  # noqa: F401  # noqa: F401
from convnets.layers.pooling import Padding, Pair, Pool, pads, pair, pool, windows  # noqa: F401  # noqa: F401

# Initialisers -------------------------------------------------------------------------------------------------------


def uniform_fan_in(scale: float) -> Init:
    """U(-scale/F, scale/F), F the fan-in (LeCun et al. 1989, 1998 with scale 2.4)."""

    def init(key, shape, dtype=jnp.float32):
        limit = scale / np.prod(shape[:-1])
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def uniform_root_fan_in(scale: float) -> Init:
    """U(-scale/sqrt(F), scale/sqrt(F)): Karpathy's reading of the same sentence (lecun1989-repro)."""

    def init(key, shape, dtype=jnp.float32):
        limit = scale / np.sqrt(np.prod(shape[:-1]))
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def he_normal() -> Init:
    """N(0, 2/F), F the fan-in (He et al. 2015, Delving Deep into Rectifiers, eq. 10)."""
    return jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def caffe_xavier() -> Init:
    """U(-sqrt(3/F), sqrt(3/F)), F the fan-in: Caffe's 'xavier', without the fan-out of Glorot & Bengio 2010."""
    return jax.nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


glorot = jax.nn.initializers.glorot_uniform  # U(-sqrt(6/(F + fan-out)), ...), Glorot & Bengio 2010, eq. 16
normal = jax.nn.initializers.normal  # normal(std): N(0, std^2)
constant = jax.nn.initializers.constant
