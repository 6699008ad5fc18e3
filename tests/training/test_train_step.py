import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from convnets import losses as loss_functions
from convnets import models
from convnets.augment import pipeline
from convnets.data import dataset, sampler, sources
from convnets.evaluation.evaluator import Evaluator
from convnets.layers import BatchNorm, Conv, Dense
from convnets.runtime import parallel
from convnets.runtime.arrays import name_leaves
from convnets.training import train_step
from convnets.training.state import create_state

pytestmark = pytest.mark.usefixtures("optimized")

N, BATCH = 37, 8
RNG = np.random.default_rng(0)
RESIDENT = {
    "images": RNG.integers(0, 255, (N, 28, 28, 1), dtype=np.uint8),
    "labels": RNG.integers(0, 10, N).astype(np.int32),
}
INFO = sources.Info("noise", "1", "test", N, 10, list("0123456789"), (28, 28, 1))
OPS = pipeline.parse("decode|distort(translate=2, shear=0.2)|pad(2)|value_range(-0.1, 1.175)")[1]
PLAIN = OPS[1:]


@pytest.fixture(params=["lenet5", "lenet5_modern"])
def network(request):
    return models.create(request.param, 10, "float32")


SGD = optax.sgd(0.01)  # the change of one step is proportional to the gradient


@functools.cache
def compiled(network, devices, per_dispatch=1):
    """Returns the step of a network on the first `devices` devices: one program for all tests."""
    loss = "rbf_map" if type(network).__name__ == "LeNet5" else "softmax"
    step = train_step.train_step(network, SGD, loss, OPS, 5)
    return parallel.parallel(step, train=True, steps=per_dispatch, devices=jax.devices()[:devices])


@functools.cache
def initial(network):
    return jax.device_get(create_state(network, SGD, 0))


def train(network, devices, count, per_dispatch=1):
    """Returns the final state and the losses of `count` steps on the first `devices` devices."""
    at, mapped = initial(network), compiled(network, devices, per_dispatch)
    batches, losses = list(sampler.training_schedule(N, BATCH, 5, 0, count)), []
    at, resident_arrays = (parallel.replicate(v, jax.devices()[:devices]) for v in (at, RESIDENT))
    for i in range(0, count, per_dispatch):
        at, sums = mapped(at, parallel.shard(batches[i : i + per_dispatch], devices), resident_arrays)
        losses += np.asarray(sums["loss"]).tolist()
    return jax.device_get(at), losses


def assert_close(a, b, tolerance):
    for (name, x), y in zip(name_leaves(a).items(), name_leaves(b).values(), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * np.abs(x).max(), err_msg=name)


def test_two_devices_give_the_gradients_of_one(network):
    one, losses = train(network, 1, 1)
    two, same = train(network, 2, 1)
    before = initial(network).params
    gradient = lambda after: jax.tree.map(lambda a, b: (a - b) / 0.01, after.params, before)  # noqa: E731
    assert losses == pytest.approx(same, rel=1e-6)
    for x, y in zip(jax.tree.leaves(gradient(one)), jax.tree.leaves(gradient(two)), strict=True):
        assert np.abs(x).max() > 0
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=2e-5 * np.abs(x).max() + 1e-5)


class Normed(nn.Module):
    ghost_batch: int
    input_shape = (32, 32, 1)

    @nn.compact
    def __call__(self, x, *, train=False):
        x = Conv(2, 8, 8, bias="none", name="conv1")(x)
        return Dense(10, name="out")(BatchNorm(ghost_batch=self.ghost_batch)(x, train=train).reshape(len(x), -1))


def test_ghost_batches_of_one_device_are_the_batches_of_two():
    (one, losses), (two, same) = train(Normed(BATCH // 2), 1, 3), train(Normed(0), 2, 3)
    assert losses == pytest.approx(same, rel=1e-5)
    assert_close(one, two, 1e-4)
    assert losses != pytest.approx(train(Normed(0), 1, 3)[1], rel=1e-3)


class Headed(nn.Module):
    input_shape = (32, 32, 1)

    @nn.compact
    def __call__(self, x, *, train=False):
        x = x.reshape(len(x), -1)
        scores, head = Dense(10, name="out")(x), Dense(10, name="head")(x)
        return (scores, {"head": head}) if train else scores


def test_the_loss_of_a_head_has_weight_three_tenths():
    """Szegedy et al. 2014, section 5. Weights of 0 in both layers would have equal gradients of their losses."""
    model = Headed()
    state = jax.device_get(create_state(model, SGD, 0))
    state = state.replace(params=jax.tree.map(np.zeros_like, state.params))
    step = parallel.parallel(train_step.train_step(model, SGD, "softmax", PLAIN, 5), train=True)
    batch = next(sampler.training_schedule(N, BATCH, 5, 0, 1))
    after, sums = step(parallel.replicate(state), parallel.shard([batch], 2), parallel.replicate(RESIDENT))
    head, out = (jax.device_get(after.params)[layer]["kernel"] for layer in ("head", "out"))
    assert np.abs(out).max() > 0
    np.testing.assert_allclose(head, 0.3 * out, rtol=1e-4, atol=1e-8)
    assert np.asarray(sums["loss"]).sum() == pytest.approx(BATCH * np.log(10), rel=1e-5)  # the main classifier's alone


def test_curvature_is_of_the_whole_batch_and_of_the_units_that_learn(network):
    """LeNet-5 learns the squared error of the units in front of its RBF layer."""
    model = models.create("lenet5", 10, "float32")
    watcher = optax.GradientTransformationExtraArgs(
        optax.init_empty_state, lambda updates, state, params, *, curvature, **_: (curvature(params), state))  # fmt: skip
    state = jax.device_get(create_state(model, watcher, 0))
    step = parallel.parallel(train_step.train_step(model, watcher, "rbf_map", PLAIN, 5), train=True)
    batch = next(sampler.training_schedule(N, 4, 5, 0, 1))
    after, _ = step(parallel.replicate(state), parallel.shard([batch], 2), parallel.replicate(RESIDENT))
    x = pipeline.apply(PLAIN, None, RESIDENT["images"][batch["index"]])
    _, sown = model.apply(state.variables, x, train=False, mutable="outputs")
    units = sown["outputs"]["OUT"]["units"][0] / 1.7159  # tanh(2a / 3)
    change = after.params["F6"]["bias"] - state.params["F6"]["bias"]
    np.testing.assert_allclose(change, np.mean(2 * (1.7159 * 2 / 3 * (1 - units**2)) ** 2, axis=0), rtol=1e-3)


def test_several_steps_in_a_dispatch_are_the_same_steps(network):
    single, losses = train(network, 2, 4)
    several, same = train(network, 2, 4, per_dispatch=2)
    assert losses == pytest.approx(same, rel=1e-5) and int(several.step) == 4
    assert_close(single, several, 1e-5)


def test_several_steps_of_a_population_in_a_dispatch_are_the_same_steps():
    """Accelerators run several steps per dispatch."""
    model = models.create("stack", 10, "float32", layers="conv(4, 3)|relu|norm|dropout(0.5)|out", side=8)
    ops, optimizer, seeds = pipeline.parse("decode|value_range(0.0, 1.0)|pad_crop(1)|flip")[1], optax.sgd(0.1), (3, 4)
    resident_arrays = parallel.replicate({"images": RESIDENT["images"][:, :8, :8], "labels": RESIDENT["labels"]})
    members = [jax.device_get(create_state(model, optimizer, seed)) for seed in seeds]
    start = jax.tree.map(lambda *leaves: np.stack(leaves), *members)
    orders = [sampler.training_schedule(N, 4, seed, 0, 2) for seed in seeds]
    batches = [{k: np.stack([b[k] for b in own], axis=1) for k in own[0]} for own in zip(*orders, strict=True)]
    step = train_step.train_step(model, optimizer, "softmax", ops, 0)
    once, twice = (parallel.parallel(step, train=True, steps=n, seeds=seeds) for n in (1, 2))
    now, losses = parallel.replicate(start), []
    for batch in batches:
        now, sums = once(now, parallel.shard([batch], 2), resident_arrays)
        losses.append(np.asarray(sums["loss"])[0])
    after, sums = twice(parallel.replicate(start), parallel.shard(batches, 2), resident_arrays)
    np.testing.assert_allclose(sums["loss"], losses, rtol=1e-5)
    assert after.step.tolist() == [2, 2] and losses[0][0] != losses[0][1]
    assert_close(jax.device_get(now), jax.device_get(after), 1e-5)


def test_the_state_is_donated_and_has_no_device_axis(network):
    at = parallel.replicate(create_state(network, SGD, 0))
    before = jax.tree.map(jnp.shape, at.params)
    after, _ = compiled(network, 2)(
        at, parallel.shard([next(sampler.training_schedule(N, BATCH, 5, 0, 1))], 2), parallel.replicate(RESIDENT)
    )
    assert jax.tree.map(jnp.shape, after.params) == before
    assert all(v.is_deleted() for v in jax.tree.leaves(at.params))


@pytest.mark.parametrize("batch_size", [1, 7, 36, 37, 64])
def test_evaluation_counts_exactly_n_for_any_batch(batch_size):
    network = models.create("lenet5_modern", 10, "float32")
    at = parallel.replicate(create_state(network, optax.identity(), 0).variables)
    split = dataset.Split(INFO, PLAIN, RESIDENT, ops="decode")
    summary, scores, _ = Evaluator(network, "softmax", split, protocol="single", batch_size=batch_size)(at)
    assert summary["num_examples"] == N and scores.shape == (N, 10)
    expected = network.apply(at, pipeline.apply(PLAIN, None, RESIDENT["images"]), train=False)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    wrong = np.argmax(expected, 1) != RESIDENT["labels"]
    assert summary["top1_error"] == pytest.approx(100 * wrong.mean())


def test_losses_by_hand():
    scores, labels = jnp.array([[-3.0, -1.0, -7.0]]), jnp.array([1])
    y = np.array([3.0, 1.0, 7.0])
    assert float(loss_functions.softmax(scores, labels)[0]) == pytest.approx(1 + np.log(np.exp(-y).sum()), rel=1e-6)
    assert float(loss_functions.rbf_map(scores, labels)[0]) == pytest.approx(
        1 + np.log(np.exp(-1) + np.exp(-y).sum()), rel=1e-6
    )
    assert float(loss_functions.mse(scores, labels)[0]) == pytest.approx((4 + 4 + 36) / 3)


def test_cpus_run_one_step_a_dispatch_unless_more_are_asked_for():
    assert (parallel.steps_per_dispatch(0), parallel.steps_per_dispatch(8)) == (1, 8)
