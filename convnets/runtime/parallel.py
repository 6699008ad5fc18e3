"""Data parallelism: the only module that calls pmap and lax.scan."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from convnets.layers import cpu_kernels

AXIS = "devices"


def steps_per_dispatch(requested: int) -> int:
    """Returns the number of steps per dispatch; `requested` = 0 selects the platform's default.

    A scan over several steps keeps small networks from waiting for Python. On CPUs the default is one step: XLA's CPU backend
    runs a convolution inside a loop on one thread, 3 to 27 times slower. Small networks that train on single examples do gain.
    """
    return requested or (1 if jax.default_backend() == "cpu" else 16)


def parallel(
    step: Callable[..., Any],
    *,
    train: bool,
    steps: int = 1,
    devices: list[Any] | None = None,
    seeds: Sequence[int] = (),
) -> Callable[..., Any]:
    """Compiles `step` for data parallelism over `devices`.

    State and resident arrays are replicated and have no device axis, as inputs or outputs; a training step donates its state.
    Batches are host arrays for the local devices only, [devices, (steps,) n, ...] (see `shard`). A training step stacks
    its second output, the sums, over steps: [steps].

    Args:
        devices: default: all devices of all processes for training, the local devices for a test. Each process can
            therefore test its part of a split independently.
        seeds: trains a population, one member per seed. The state is [members, ...], a batch
            [devices, (steps,) n, members, ...], and the sums are [steps, members].
    """
    step = for_devices(step, devices or jax.devices())
    common: dict[str, Any] = {"axis_name": AXIS, "in_axes": (None, 0, None), "devices": devices}
    if not train:
        common["devices"] = devices or jax.local_devices()
        return jax.pmap(step, out_axes=(None, 0), **common)
    one, members = step, np.asarray(seeds, np.uint32)

    def population(state, batch, resident_arrays):
        return jax.vmap(one, in_axes=(0, 1, None, 0))(state, batch, resident_arrays, members)

    step = population if seeds else one

    def several(state, batches, resident_arrays):
        return lax.scan(lambda s, b: step(s, b, resident_arrays), state, batches)

    def single(state, batch, resident_arrays):
        state, sums = step(state, batch, resident_arrays)
        return state, jax.tree.map(lambda v: v[None], sums)

    return jax.pmap(several if steps > 1 else single, out_axes=None, donate_argnums=0, **common)


def for_devices(step: Callable[..., Any], devices: Sequence[Any]) -> Callable[..., Any]:
    """Wraps `step` so that it is traced for the platform of `devices`, which may differ from JAX's default."""

    @functools.wraps(step)
    def traced(*arguments):
        with cpu_kernels.compile_for(devices[0].platform):
            return step(*arguments)

    return traced


def ahead_of_time(step: Callable[..., Any], *, train: bool, device: Any = None) -> Any:
    """Returns the single-device `step` as a `jax.jit` function to lower, export or compile.

    Batches are [n, ...], without a device axis.

    Args:
        device: target device, which may be absent, for example from `jax.experimental.topologies`. None: the platform
            set by `cpu_kernels.compile_for`.
    """
    whole, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(AXIS)
    mesh = jax.sharding.Mesh(np.array([device or jax.devices()[0]]), (AXIS,))
    run = jax.shard_map(
        for_devices(step, [device]) if device else step, mesh=mesh, in_specs=(whole, split, whole),
        out_specs=(whole, whole if train else split), check_vma=False,
    )  # fmt: skip
    return jax.jit(run, donate_argnums=(0,) if train else ())


def shard(batches: list[dict[str, np.ndarray]], devices: int) -> dict[str, np.ndarray]:
    """Reshapes one or several batches {key: [n, ...]} to {key: [devices, (steps,) n / devices, ...]}."""
    split = [{k: v.reshape(devices, -1, *v.shape[1:]) for k, v in b.items()} for b in batches]
    return split[0] if len(split) == 1 else {k: np.stack([b[k] for b in split], axis=1) for k in split[0]}


def replicate(tree: Any, devices: list[Any] | None = None) -> Any:
    """Copies the arrays of `tree` to each of `devices` (default: all local devices)."""
    mesh = jax.sharding.Mesh(devices or jax.local_devices(), (AXIS,))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
