"""Optimisers and learning-rate schedules as the papers state them: schedules in epochs, turned into steps here."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from convnets import language
from convnets.errors import UsageError

# Schedules: functions of the epoch (a real number) that give a factor of the base learning rate. In a schedule string
# the factors of all its parts are multiplied: 'warmup(5)|steps(0.1, 30, 60)'.


def constant(epoch: jax.Array) -> jax.Array:
    return jnp.ones_like(epoch)


def steps(epoch: jax.Array, factor: float, *epochs: float) -> jax.Array:
    """Times `factor` at each of `epochs`: 'steps(0.1, 82, 123)'."""
    return jnp.power(factor, jnp.sum(epoch[..., None] >= jnp.array(epochs), axis=-1, dtype=jnp.float32))


def table(epoch: jax.Array, *rows: tuple[float, float]) -> jax.Array:
    """From each (epoch, factor) on, that factor; 1 before the first: 'table((2, 0.4), (5, 0.2))'."""
    starts, factors = jnp.array([r[0] for r in rows]), jnp.array([1.0, *(r[1] for r in rows)])
    return factors[jnp.sum(epoch[..., None] >= starts, axis=-1)]


def exponential(epoch: jax.Array, factor: float, every: float) -> jax.Array:
    """Times `factor` after every `every` epochs, in jumps: GoogLeNet's 'exponential(0.96, 8)'."""
    return jnp.power(factor, jnp.floor(epoch / every))


def linear(epoch: jax.Array, end: float) -> jax.Array:
    """In a straight line from 1 to 0 at epoch `end`."""
    return jnp.clip(1 - epoch / end, 0, 1)


def cosine(epoch: jax.Array, end: float) -> jax.Array:
    """Half a cosine from 1 to 0 at epoch `end`."""
    return 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(epoch / end, 0, 1)))


def warmup(epoch: jax.Array, end: float) -> jax.Array:
    """In a straight line from 0 to 1 at epoch `end`, 1 from there on."""
    return jnp.clip(epoch / end, 0, 1)


SCHEDULES: dict[str, Callable[..., jax.Array]] = {
    f.__name__: f for f in (constant, steps, table, exponential, linear, cosine, warmup)
}


def schedule(text: str, lr: float, steps_per_epoch: float) -> Callable[[Any], jax.Array]:
    """The learning rate as a function of the step.

    Raises:
        UsageError: an unknown schedule or wrong arguments.
    """
    parts = parse_schedule(text)

    def rate(step):
        epoch = jnp.asarray(step, jnp.float32) / steps_per_epoch
        return lr * math.prod((call.function(epoch, *args) for call, args in parts), start=jnp.float32(1))

    return rate


def _swap(function, args, epoch):
    return function(epoch, *args)


def parse_schedule(text: str) -> list[tuple[language.Call, list[Any]]]:
    parts = []
    for call in language.parse(text, SCHEDULES, skip=1):
        args = [a for v in call.kwargs.values() for a in (v if isinstance(v, tuple) and call.name in VARIADIC else [v])]
        try:
            jax.eval_shape(functools.partial(_swap, call.function, args), jax.ShapeDtypeStruct((), jnp.float32))
        except (TypeError, IndexError, ValueError):
            raise UsageError(f"schedule '{text}': {call.name} cannot take {args}; see convnets/optim.py") from None
        parts.append((call, args))
    return parts


VARIADIC = ("steps", "table")

DECAYED = {"all": lambda name: True, "kernel": lambda name: name == "kernel"}


def make(
    lr: float, schedule: Callable[[Any], jax.Array], momentum: float, nesterov: bool, weight_decay: float,
    decay: str,
) -> optax.GradientTransformation:  # fmt: skip
    """Stochastic gradient descent with momentum in the papers' form, v <- m v - lr (g + d w); w <- w + v.

    The learning rate is inside the velocity (AlexNet section 5, cuda-convnet, Caffe), not outside it as in PyTorch; the
    two differ after each change of the rate.

    Args:
        decay: what weight decay applies to, 'all' parameters or only each 'kernel'.
    """
    mask = lambda params: jax.tree_util.tree_map_with_path(lambda p, _: DECAYED[decay](p[-1].key), params)  # noqa: E731
    parts = [optax.add_decayed_weights(weight_decay, mask)] if weight_decay else []
    parts += [optax.scale_by_learning_rate(schedule)]
    parts += [optax.trace(momentum, nesterov)] if momentum else []
    return optax.chain(*parts)
