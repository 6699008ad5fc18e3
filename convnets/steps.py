"""The training and evaluation steps, and `parallel`, the only place that says pmap, pmean, scan and vmap."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util
from jax import lax

from convnets import augment, kernels, metrics
from convnets.language import Call
from convnets.state import TrainState

AXIS = "devices"
AUXILIARY = 0.3  # weight of each auxiliary classifier's loss (Szegedy et al. 2014, section 5)


def softmax(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of the softmax, [n]."""
    return optax.softmax_cross_entropy_with_integer_labels(scores, labels)


def mse(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean squared error against +1 for the right class and -1 for the others (LeCun et al. 1989), [n]."""
    targets = 2 * jax.nn.one_hot(labels, scores.shape[1]) - 1
    return jnp.mean(jnp.square(scores - targets), axis=1)


def map(scores: jax.Array, labels: jax.Array, j: float = 1.0) -> jax.Array:
    """Eq. 9 of LeCun et al. 1998, [n]: y_d + log(exp(-j) + sum_i exp(-y_i)) with penalties y = -scores.

    That is a cross-entropy with one more class, the rubbish, of constant penalty j: the right class must come near its
    code, not only nearer than the others.
    """
    rubbish = jnp.full_like(scores[:, :1], -j)
    return softmax(jnp.concatenate([scores, rubbish], axis=1), labels)


def svm(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Squared hinge of each class against the others, [n]: what convnets/fitting.py makes small, at once."""
    targets = 2 * jax.nn.one_hot(labels, scores.shape[1]) - 1
    return jnp.sum(jnp.square(jax.nn.relu(1 - targets * scores)), axis=1)


LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {f.__name__: f for f in (softmax, mse, map, svm)}
NO_PROBABILITIES = ("mse", "svm")  # scores that are no logarithms of probabilities


def fetch(batch: dict[str, jax.Array], constants: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Images and labels of a batch, gathered from device memory where they are resident."""
    if constants:
        return constants["images"][batch["index"]], constants["labels"][batch["index"]]
    return batch["image"], batch["label"]


def ascend(grads: Any, reinforcement: Any) -> Any:
    """Gradients with minus the reinforcement in the place of those of the arrays that have one.

    So a layer that learns without a gradient (convnets/cells.py) gives a direction and the recipe the rates.
    """
    own = traverse_util.flatten_dict(reinforcement)
    return traverse_util.unflatten_dict(traverse_util.flatten_dict(grads) | {k: -v for k, v in own.items()})


def train_step(
    model: nn.Module, optimizer: optax.GradientTransformation, loss: str, ops: list[Call], seed: int,
    average: Callable[[jax.Array], jax.Array] | None = None,
):  # fmt: skip
    """The step (state, batch, constants) -> (state, sums) on one device's share of a batch.

    `average` is that of `optim.Recipe`. The step takes another `seed` as its fourth argument, which may be an array.

    A network that returns (scores, {name: scores of an auxiliary classifier}) in training has their losses added to what
    is minimised; the reported loss is the main one.
    """
    loss_fn, optimizer = LOSSES[loss], optax.with_extra_args_support(optimizer)

    def step(state: TrainState, batch, constants, seed=seed):
        images, labels = fetch(batch, constants)
        images = augment.apply(ops, augment.example_keys(seed, batch["epoch"], batch["index"]), images)
        dropout = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), state.step), lax.axis_index(AXIS))

        def objective(params):
            variables = {**state.variables, "params": params}
            output, changed = model.apply(variables, images, train=True, mutable=["batch_stats", "reinforcement"],
                                          rngs={"dropout": dropout})  # fmt: skip
            scores, heads = output if isinstance(output, tuple) else (output, {})
            scores = scores.astype(jnp.float32)
            losses = loss_fn(scores, labels)
            extra = sum(jnp.mean(loss_fn(head.astype(jnp.float32), labels)) for head in heads.values())
            return jnp.mean(losses) + AUXILIARY * extra, (scores, losses, changed)

        grads, (scores, losses, changed) = jax.grad(objective, has_aux=True)(state.params)
        grads = ascend(grads, changed.get("reinforcement", {}))
        grads, stats = lax.pmean((grads, changed.get("batch_stats", {})), AXIS)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, scale=state.scale)
        params = optax.apply_updates(state.params, updates)
        state = state.replace(step=state.step + 1, params=params, batch_stats=stats, opt_state=opt_state)
        if average:
            weight = average(state.step)
            state = state.replace(average=jax.tree.map(lambda a, p: a + weight * (p - a), state.average, params))
        return state, lax.psum(metrics.measure(scores, labels, losses, batch["mask"]), AXIS)

    return step


def eval_step(model: nn.Module, loss: str, ops: list[Call], average: str = "softmax"):
    """The step (state, batch, constants) -> (sums, scores [n, classes]) without augmentation's randomness.

    Where a network gives a map of scores, [n, h, w, classes], its mean over space is taken first (Simonyan & Zisserman
    2015, section 3.2); then the views of an image are averaged, as metrics.average says.
    """

    def step(state: TrainState, batch, constants):
        images, labels = fetch(batch, constants)
        scores = model.apply(state.variables, augment.apply(ops, None, images), train=False)
        scores = jnp.asarray(scores, jnp.float32)
        scores = jnp.mean(scores, axis=(1, 2)) if scores.ndim == 4 else scores
        scores = metrics.average(scores.reshape(len(labels), -1, scores.shape[-1]), average)
        sums = metrics.measure(scores, labels, LOSSES[loss](scores, labels), batch["mask"])
        return lax.psum(sums, AXIS), scores

    return step


def input_step(model: nn.Module, layer: str, ops: list[Call], seed: int):
    """The step (state, batch, constants) -> (count, (what goes into a layer [n, ...], labels [n])) of training images."""

    def step(state: TrainState, batch, constants):
        images, labels = fetch(batch, constants)
        images = augment.apply(ops, augment.example_keys(seed, batch["epoch"], batch["index"]), images)
        found: list[jax.Array] = []

        def intercept(call, args, kwargs, context):
            found.extend(args[:1] if context.module.path == tuple(layer.split("/")) else ())
            return call(*args, **kwargs)

        with nn.intercept_methods(intercept):
            model.apply(state.variables, images, train=False)
        return lax.psum(jnp.sum(batch["mask"]), AXIS), (found[0], labels)

    return step


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
        with kernels.compile_for(devices[0].platform):
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
