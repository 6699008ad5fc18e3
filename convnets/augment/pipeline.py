"""The augmentation language: `decode|crop(24)|flip|subtract_mean`, read left to right.

Host operations (augment/host_ops.py) turn one encoded image into uint8 pixels of fixed size, with TensorFlow. Device
operations (augment/device_ops.py) act on a batch of float32 pixels inside the compiled step. Only crop, center and five_crop
exist on both sides.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from convnets import op_string
from convnets.augment import host_ops
from convnets.augment.device_ops import DEVICE
from convnets.augment.host_ops import HOST
from convnets.augment.op import Op, is_true
from convnets.augment.statistics import Statistics
from convnets.errors import UsageError
from convnets.op_string import Call

OPS = {name: op.function for name, op in (DEVICE | HOST).items()}


def parse(text: str, test: bool = False) -> tuple[list[Call], list[Call]]:
    """Parses `text` into host and device operations.

    The operations crop, center and five_crop exist on both sides. They run on the host while the image size still varies,
    i.e. after resize_short or crop_to_multiple. Once the size is fixed, they run on the device.

    Args:
        test: True for test images, which must look the same every time and may be shown in several views.

    Raises:
        UsageError: an unknown operation, wrong arguments, no `decode` at the start, a host operation after a device
            operation, images of varying size, a random operation at test time, or several views in training.
    """
    calls = parse_calls(text)
    host: list[Call] = []
    varies = False
    for call in calls:
        if call.name not in HOST or (call.name in DEVICE and not varies):
            break
        host.append(call)
        varies = HOST[call.name].size in ("varies", "dense") or (varies and HOST[call.name].size != "fixed")
    device = calls[len(host) :]
    late = next((c.name for c in device if c.name not in DEVICE), None)
    if late:
        raise UsageError(f"augmentation '{text}': '{late}' works on the host: put it before the device operations")
    try:
        host_ops.check(host)
    except UsageError as e:
        raise UsageError(f"augmentation '{text}': {e}") from None
    if varies and not (test and HOST[host[-1].name].size == "dense"):
        example = "center(224)" if test else "crop(224)"
        raise UsageError(
            f"augmentation '{text}': the images keep different sizes after '{host[-1].name}'; add {example}"
        )
    chance = [c.name for c in host if is_random(c, HOST)] + [c.name for c in device if is_random(c, DEVICE)]
    if test and chance:
        raise UsageError(f"augmentation '{text}': '{chance[0]}' is random; a test shows every image the same way")
    several = [c.name for c in calls if (DEVICE | HOST)[c.name].views]
    if several and not test:
        raise UsageError(f"augmentation '{text}': '{several[0]}' gives several views of an image, which is for tests")
    scaled = next((i for i, c in enumerate(device) if DEVICE[c.name].scales), len(device))
    if measured := next((c.name for c in device[scaled + 1 :] if _wants_statistics(c)), None):
        raise UsageError(f"augmentation '{text}': '{measured}' takes statistics of pixels from 0 to 255: put it in front"
                         f" of '{device[scaled].name}', or give it numbers")  # fmt: skip
    return host, [c._replace(function=DEVICE[c.name].function) for c in device]


def parse_calls(text: str) -> list[Call]:
    """Parses `text` into operations, not yet separated into host and device operations.

    Raises:
        UsageError: an unknown operation, wrong arguments, or no `decode` at the start.
    """
    calls = op_string.parse(text, OPS, skip=2)
    if not calls or calls[0].name != "decode":
        raise UsageError(f"augmentation '{text}' must begin with decode")
    return calls


def only_for_protocols(name: str) -> bool:
    """Returns whether an operation gives several views or a varying size, so that only a test protocol may add it."""
    op = (DEVICE | HOST)[name]
    return op.views or op.size == "dense"


def is_random(call: Call, table: Mapping[str, Op]) -> bool:
    """Returns whether an operation of HOST or DEVICE draws at random."""
    return is_true(table[call.name].random, call.kwargs)


def needs_statistics(calls: list[Call]) -> bool:
    """Returns whether any device operation needs training-set statistics that its arguments do not give."""
    return any(_wants_statistics(c) for c in calls)


def bind(calls: list[Call], statistics: Statistics | None) -> list[Call]:
    """Adds `statistics` to the arguments of the operations that need it; returns all operations."""
    return [
        c._replace(kwargs={**c.kwargs, "statistics": statistics}) if _wants_statistics(c) else c for c in calls
    ]  # fmt: skip


def _wants_statistics(call: Call) -> bool:
    return is_true(DEVICE[call.name].statistics, call.kwargs)


def apply(calls: list[Call], keys: jax.Array | None, images: jax.typing.ArrayLike) -> jax.Array:
    """Applies device operations to uint8 or float pixels [n, h, w, c] or [n, views, h, w, c]; the result is float32.

    Args:
        keys: [n] typed PRNG keys; None if no operation is random.

    Returns:
        [n * views, h, w, c]; the views of an image are consecutive.
    """
    x = jnp.asarray(images, jnp.float32)
    x = x.reshape(-1, *x.shape[-3:])
    for position, call in enumerate(calls):
        own = None if keys is None else jax.vmap(lambda key, p=position: jax.random.fold_in(key, p))(keys)
        x = call(own, x)
    return x


def output_shape(calls: list[Call], image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the (views, h, w, c) that device operations make of one image, by shape inference alone.

    Args:
        image_shape: shape after the host operations. None marks a varying size; h and w of the result are then
            meaningless.
    """
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    image = jax.ShapeDtypeStruct((1, *(n or 1 for n in image_shape)), jnp.uint8)
    return jax.eval_shape(lambda k, x: apply(calls, k, x), keys, image).shape


def example_keys(seed: int | jax.Array, epoch: jax.Array, index: jax.Array) -> jax.Array:
    """Returns [n] PRNG keys, each a pure function of (seed, epoch, example index)."""
    root = jax.random.key(seed)
    return jax.vmap(lambda e, i: jax.random.fold_in(jax.random.fold_in(root, e), i))(epoch, index)
