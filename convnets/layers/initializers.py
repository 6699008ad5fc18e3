"""Weight initializers of the papers."""

import jax
import jax.numpy as jnp
import numpy as np

from convnets.layers.normalization import Init


def uniform_fan_in(scale: float) -> Init:
    """Returns U(-scale/F, scale/F), where F is the fan-in (LeCun et al. 1989, 1998 with scale 2.4)."""

    def init(key, shape, dtype=jnp.float32):
        limit = scale / np.prod(shape[:-1])
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def uniform_root_fan_in(scale: float) -> Init:
    """Returns U(-scale/sqrt(F), scale/sqrt(F)): Karpathy's reading of the same sentence (lecun1989-repro)."""

    def init(key, shape, dtype=jnp.float32):
        limit = scale / np.sqrt(np.prod(shape[:-1]))
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def he_normal() -> Init:
    """Returns N(0, 2/F), where F is the fan-in (He et al. 2015, Delving Deep into Rectifiers, eq. 10)."""
    return jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def caffe_xavier() -> Init:
    """Returns U(-sqrt(3/F), sqrt(3/F)), where F is the fan-in.

    This is Caffe's 'xavier', which omits the fan-out of Glorot & Bengio 2010.
    """
    return jax.nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


glorot = jax.nn.initializers.glorot_uniform  # U(-sqrt(6/(F + fan-out)), ...), Glorot & Bengio 2010, eq. 16
normal = jax.nn.initializers.normal  # normal(std): N(0, std^2)
constant = jax.nn.initializers.constant
