"""Data parallelism: the only file that says pmap, scan and vmap."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from convnets.layers import cpu_kernels

AXIS = "devices"


def steps_per_dispatch(requested: int) -> int:
    """How many steps one dispatch runs; 0 asks for the platform's best.

    Several in a scan keep small networks from waiting for Python on accelerators. XLA's CPU backend runs a convolution
    inside a loop on one thread: 3 to 27 times slower, so there it is always one.
    """
    return 1 if jax.default_backend() == "cpu" else requested or 16


def parallel(
    step: Callable[..., Any],
    *,
    train: bool,
    steps: int = 1,
    devices: list[Any] | None = None,
    seeds: Sequence[int] = (),
) -> Callable[..., Any]:
    """`step` on `devices`: where they are not given, training on those of all processes, a test on one's own.

    So every process can test its part of a split at its own pace. State and constants are the same on every device and
    have no device axis, before or after; the state of a training step is donated. Batches come as
    [devices * steps * n, ...] host arrays (see `shard`), of the local devices alone. What a training step returns besides
    is stacked to [steps].

    Args:
        seeds: a training step is that of a population, whose members differ by these. The state is [members, ...],
            batches are [devices * steps * n, members, ...], and what is returned besides is [steps, members].
    """
    step = for_devices(step, devices or jax.devices())
    common: dict[str, Any] = {"axis_name": AXIS, "in_axes": (None, 0, None), "devices": devices}
    if not train:
        common["devices"] = devices or jax.local_devices()
        return jax.pmap(step, out_axes=(None, 0), **common)
    one, members = step, np.asarray(seeds, np.uint32)

    def population(state, batch, constants):
        return jax.vmap(one, in_axes=(0, 1, None, 0))(state, batch, constants, members)

    step = population if seeds else one

    def several(state, batches, constants):
        return lax.scan(lambda s, b: step(s, b, constants), state, batches)

    def single(state, batch, constants):
        state, sums = step(state, batch, constants)
        return state, jax.tree.map(lambda v: v[None], sums)

    return jax.pmap(several if steps > 1 else single, out_axes=None, donate_argnums=0, **common)


def for_devices(step: Callable[..., Any], devices: Sequence[Any]) -> Callable[..., Any]:
    """`step`, traced for the platform of `devices`, which may be another than JAX's default."""

    @functools.wraps(step)
    def traced(*arguments):
        with cpu_kernels.compile_for(devices[0].platform):
            return step(*arguments)

    return traced


def ahead_of_time(step: Callable[..., Any], *, train: bool, device: Any = None) -> Any:
    """`step` on one device as `jax.jit` has it, to lower, export and compile; batches are [n, ...], without an axis of devices.

    Args:
        device: one that need not be here, as of `jax.experimental.topologies`. None: the platform is that of
            `kernels.compile_for`.
    """
    whole, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(AXIS)
    mesh = jax.sharding.Mesh(np.array([device or jax.devices()[0]]), (AXIS,))
    run = jax.shard_map(
        for_devices(step, [device]) if device else step, mesh=mesh, in_specs=(whole, split, whole),
        out_specs=(whole, whole if train else split), check_vma=False,
    )  # fmt: skip
    return jax.jit(run, donate_argnums=(0,) if train else ())


def shard(batches: list[dict[str, np.ndarray]], devices: int) -> dict[str, np.ndarray]:
    """One or several batches {key: [n, ...]} to {key: [devices, (steps,) n / devices, ...]}."""
    split = [{k: v.reshape(devices, -1, *v.shape[1:]) for k, v in b.items()} for b in batches]
    return split[0] if len(split) == 1 else {k: np.stack([b[k] for b in split], axis=1) for k in split[0]}


def replicate(tree: Any, devices: list[Any] | None = None) -> Any:
    """Arrays that every one of `devices` (all local ones where they are not given) holds a copy of."""
    mesh = jax.sharding.Mesh(devices or jax.local_devices(), (AXIS,))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
