"""Optimisers and learning-rate schedules as the papers state them: schedules in epochs, turned into steps here."""

import fnmatch
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
    return jnp.power(factor, jnp.sum(epoch[..., None] >= jnp.array(epochs, jnp.float32), axis=-1, dtype=jnp.float32))


def table(epoch: jax.Array, *rows: tuple[float, float]) -> jax.Array:
    """From each (epoch, factor) on, that factor; 1 before the first: 'table((2, 0.4), (5, 0.2))'."""
    starts, factors = jnp.array([r[0] for r in rows], jnp.float32), jnp.array([1, *(r[1] for r in rows)], jnp.float32)
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
    """The learning rate as a function of the step; raises as `factor` does."""
    of_epoch = factor(text)
    return lambda step: lr * of_epoch(jnp.asarray(step, jnp.float32) / steps_per_epoch)


def factor(text: str) -> Callable[[jax.Array], jax.Array]:
    """What a schedule string multiplies the base rate with, as a function of the epoch.

    Raises:
        UsageError: an unknown schedule or wrong arguments.
    """
    calls = language.parse(text, SCHEDULES, skip=1)

    def of_epoch(epoch):
        return math.prod((call(epoch) for call in calls), start=jnp.float32(1))

    try:
        jax.eval_shape(of_epoch, jax.ShapeDtypeStruct((), jnp.float32))
    except (TypeError, IndexError, ValueError):
        raise UsageError(f"'{text}': wrong kind of argument; convnets/optim.py has an example of each") from None
    return of_epoch


def multipliers(text: str) -> Callable[[Any], Any]:
    """What 'conv*/kernel, fc10/kernel=250, */bias=0' says of each parameter: a tree of factors like the parameters'.

    Each item is a pattern of 'layer/parameter' with a factor, 1 where none is given; `*` stands for anything. The last
    item that fits counts; what none fits has the factor 0.

    Raises:
        UsageError: a factor that is no number.
    """
    rules = []
    for item in filter(None, (i.strip() for i in text.split(","))):
        pattern, _, number = item.partition("=")
        try:
            rules.append((pattern.strip(), float(number or 1)))
        except ValueError:
            raise UsageError(f"'{item}': write pattern=number, for example fc10/kernel=250") from None

    def of(path: Any, _: Any) -> float:
        name = "/".join(p.key for p in path)
        return next((factor for pattern, factor in reversed(rules) if fnmatch.fnmatchcase(name, pattern)), 0.0)

    return lambda params: jax.tree_util.tree_map_with_path(of, params)


def scale_by(text: str) -> optax.GradientTransformation:
    """Updates times their multipliers."""
    tree = multipliers(text)
    return optax.stateless(lambda updates, params: jax.tree.map(lambda u, m: u * m, updates, tree(updates)))


def add_decay(rate: float, text: str) -> optax.GradientTransformation:
    """Gradients plus rate x multiplier x parameter."""
    tree = multipliers(text)

    def update(updates, params):
        return jax.tree.map(lambda u, p, m: u + rate * m * p, updates, params, tree(params))

    return optax.stateless(update)


def make(
    lr: float, schedule: Callable[[Any], jax.Array], momentum: float, nesterov: bool, weight_decay: float,
    decay: str, rates: str,
) -> optax.GradientTransformation:  # fmt: skip
    """Stochastic gradient descent with momentum in the papers' form, v <- m v - lr (g + d w); w <- w + v.

    The learning rate is inside the velocity (AlexNet section 5, cuda-convnet, Caffe), not outside it as in PyTorch; the
    two differ after each change of the rate.

    Args:
        decay: `multipliers` of weight_decay, '*/kernel' (kernels alone) or '*' (everything) in most papers.
        rates: `multipliers` of the learning rate; '' is 1 for all, '*, */bias=2' Caffe's and cuda-convnet's.
    """
    parts = [add_decay(weight_decay, decay)] if weight_decay else []
    parts += [scale_by(rates)] if rates else []
    parts += [optax.scale_by_learning_rate(schedule)]
    parts += [optax.trace(momentum, nesterov)] if momentum else []
    return optax.chain(*parts)
