"""Weight initializers of the papers."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from convnets import op_string
from convnets.errors import UsageError

Init = Callable[..., jax.Array]  # (key, shape, dtype) -> array


def uniform_fan_in(scale: float, root: bool = False) -> Init:
    """Returns U(-scale/F, scale/F), F the fan-in (LeCun et al. 1989, 1998 with scale 2.4); with `root` F is its square root.

    The root is Karpathy's reading of the same sentence (lecun1989-repro).
    """

    def init(key, shape, dtype=jnp.float32):
        fan_in = np.prod(shape[:-1])
        limit = scale / (np.sqrt(fan_in) if root else fan_in)
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def he_normal(scale: float = 1.0) -> Init:
    """Returns N(0, 2/F) times `scale`, where F is the fan-in (He et al. 2015, Delving Deep into Rectifiers, eq. 10)."""
    init = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")
    return lambda *args: scale * init(*args)


def caffe_xavier() -> Init:
    """Returns U(-sqrt(3/F), sqrt(3/F)), where F is the fan-in.

    This is Caffe's 'xavier', which omits the fan-out of Glorot & Bengio 2010.
    """
    return jax.nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


def glorot() -> Init:
    """Returns U(-sqrt(6/(F + fan-out)), ...), where F is the fan-in (Glorot & Bengio 2010, eq. 16)."""
    return jax.nn.initializers.glorot_uniform()


def normal(stddev: float = 0.01) -> Init:
    """Returns N(0, stddev^2)."""
    return jax.nn.initializers.normal(stddev)


constant = jax.nn.initializers.constant


INITS: dict[str, Callable[..., Init]] = {
    "he": he_normal, "normal": normal, "glorot": glorot, "caffe": caffe_xavier, "lecun": uniform_fan_in,
    "lecun_root": functools.partial(uniform_fan_in, root=True),
}  # fmt: skip


def parse_initializer(text: str) -> Init:
    """Parses 'he(0.3)', 'normal(0.01)', 'glorot', 'caffe', 'lecun(2.4)' or 'lecun_root(2.4)'.

    Raises:
        UsageError: the text is none of these.
    """
    calls = op_string.parse(text, INITS)
    if len(calls) != 1:
        raise UsageError(f"init_weights '{text}': give one of {', '.join(INITS)}")
    return calls[0]()
