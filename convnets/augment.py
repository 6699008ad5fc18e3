"""The augmentation language: `decode|crop(24)|flip|subtract_mean`, read left to right.

Host operations (views.py) work on one encoded image with TensorFlow and end in uint8 pixels of fixed size. Device
operations (pixels.py) work on a batch of float32 pixels inside the compiled step. Each operation exists once.
"""

import inspect

import jax
import jax.numpy as jnp

from convnets import language
from convnets.errors import UsageError
from convnets.language import Call
from convnets.pixels import DEVICE, RANDOM, Statistics
from convnets.views import HOST


def parse(text: str, test: bool = False) -> tuple[list[Call], list[Call]]:
    """Host and device operations of `text`.

    Args:
        test: of test images, which must be the same every time.

    Raises:
        UsageError: an unknown operation, wrong arguments, no `decode` at the start, a host operation after a device
            operation, or a random one in a test.
    """
    calls = language.parse(text, {**HOST, **DEVICE}, skip=2)
    names = [c.name for c in calls]
    if names[:1] != ["decode"]:
        raise UsageError(f"augmentation '{text}' must begin with decode")
    host = [c for c in calls if c.name in HOST]
    if calls[: len(host)] != host:
        late = next(c.name for i, c in enumerate(calls) if c.name in HOST and i >= len(host))
        raise UsageError(f"augmentation '{text}': '{late}' works on the host: put it before the device operations")
    chance = [n for n in names if n in RANDOM]
    if test and chance:
        raise UsageError(f"augmentation '{text}': '{chance[0]}' is random; a test shows every image the same way")
    return host, calls[len(host) :]


def needs_statistics(calls: list[Call]) -> bool:
    """Whether an operation wants the statistics of the training set."""
    return any("statistics" in inspect.signature(c.function).parameters for c in calls)


def bind(calls: list[Call], statistics: Statistics | None) -> list[Call]:
    """The operations, those that want them with the statistics among their arguments."""
    return [
        c._replace(kwargs={**c.kwargs, "statistics": statistics}) if needs_statistics([c]) else c for c in calls
    ]  # fmt: skip


def apply(calls: list[Call], keys: jax.Array | None, images: jax.typing.ArrayLike) -> jax.Array:
    """Device operations on a batch: uint8 or float pixels [n, h, w, c], or [n, views, h, w, c], to float32.

    Args:
        keys: [n] typed PRNG keys; None where no operation is random.

    Returns:
        [n * views, h, w, c], the views of an image one after the other.
    """
    x = jnp.asarray(images, jnp.float32)
    x = x.reshape(-1, *x.shape[-3:])
    for position, call in enumerate(calls):
        own = None if keys is None else jax.vmap(lambda key, p=position: jax.random.fold_in(key, p))(keys)
        x = call(own, x)
    return x


def output_shape(calls: list[Call], image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """(views, h, w, c) that device operations make of an image of `image_shape`; nothing is computed."""
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)
    return jax.eval_shape(lambda k, x: apply(calls, k, x), keys, image).shape


def example_keys(seed: int, epoch: jax.Array, index: jax.Array) -> jax.Array:
    """[n] PRNG keys, each a pure function of (seed, epoch, example index)."""
    root = jax.random.key(seed)
    return jax.vmap(lambda e, i: jax.random.fold_in(jax.random.fold_in(root, e), i))(epoch, index)
