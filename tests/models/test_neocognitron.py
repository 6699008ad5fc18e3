"""The neocognitron compared with its paper's equations, computed in NumPy cell by cell."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from convnets import models
from convnets.errors import UsageError
from convnets.layers.neocognitron import CCells, SCells, fading, representatives
from convnets.models.summary import variable_shapes
from convnets.runtime import parallel
from convnets.training import train_step
from convnets.training.optimizer import make_recipe
from convnets.training.state import create_state

RNG = np.random.default_rng(0)


def s_layer(planes=3, r=4.0, padding=1, column=3):
    return SCells(planes, r, 0.8, jax.nn.initializers.uniform(0.1), column, size=3, padding=padding)


def learned(layer, u, b=0.5):
    """Returns variables with a nonzero inhibition."""
    variables = jax.jit(layer.init)(jax.random.key(0), u)
    return {"params": {**variables["params"], "b": jnp.full(layer.planes, b, jnp.float32)}}


def by_hand(u, a, b, r, rate, padding):
    """Computes S-cells [h, w, planes] and V-cells [h, w] of one image [h, w, c] by the paper's sums, cell by cell."""
    size, below = a.shape[0], u.shape[2]
    c = np.array([[rate ** np.hypot(y - size // 2, x - size // 2) for x in range(size)] for y in range(size)])
    c = c / (c.sum() * below)
    padded = np.pad(u.astype(np.float64), ((padding, padding), (padding, padding), (0, 0)))
    h, w = (n - size + 1 for n in padded.shape[:2])
    s, v = np.zeros((h, w, a.shape[3])), np.zeros((h, w))
    for y in range(h):
        for x in range(w):
            seen = padded[y : y + size, x : x + size]
            v[y, x] = np.sqrt(np.sum(c[..., None] * seen**2))
            for plane in range(a.shape[3]):
                excited = 1 + np.sum(a[..., plane] * seen)
                inhibited = 1 + 2 * r / (1 + r) * b[plane] * v[y, x]
                s[y, x, plane] = r * max(excited / inhibited - 1, 0)
    return s, v, c, padded


def test_s_cells_are_the_papers_equation():
    layer, u = s_layer(), RNG.random((2, 6, 6, 2), np.float32)
    variables = learned(layer, u)
    params = jax.tree.map(np.asarray, variables["params"])
    ours = np.asarray(jax.jit(layer.apply)(variables, u))
    theirs = np.stack([by_hand(image, params["a"], params["b"], 4.0, 0.8, 1)[0] for image in u])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert 0.2 < np.mean(theirs > 0) < 0.98  # some cells are silent, some are not


def test_c_cells_are_the_papers_equation():
    layer, u = CCells(0.9, 16.0, 0.5, 3, 2, ((1, 2), (1, 2))), RNG.random((1, 6, 6, 4), np.float32)
    ours = np.asarray(jax.jit(layer.apply)({}, u))
    d, padded = fading(3, 0.9, 16.0)[..., 0, 0], np.pad(u[0], ((1, 2), (1, 2), (0, 0)))
    assert d.sum() == pytest.approx(16) and d[1, 1] > d[0, 1] > d[0, 0] and d[0, 1] == d[1, 2]
    assert ours.shape == (1, 4, 4, 4)
    for y in range(4):
        for x in range(4):
            excited = [np.sum(d * padded[2 * y : 2 * y + 3, 2 * x : 2 * x + 3, k]) for k in range(4)]
            raw = [max((1 + e) / (1 + np.mean(excited)) - 1, 0) for e in excited]
            np.testing.assert_allclose(ours[0, y, x], [v / (0.5 + v) for v in raw], rtol=1e-4, atol=1e-6)


def columns(u, side):
    """Applies the paper's rule literally: maps [h, w, planes] to the set of representatives (y, x, plane)."""
    h, w, planes = u.shape
    candidates = set()
    for top in range(h - side + 1):
        for left in range(w - side + 1):
            cells = [(u[y, x, k], -y, -x, -k) for y in range(top, top + side) for x in range(left, left + side)
                     for k in range(planes)]  # fmt: skip
            best = max(cells)
            if best[0] > 0:
                candidates.add(best)
    return {tuple(-v for v in max(c for c in candidates if c[3] == -k)[1:])
            for k in range(planes) if any(c[3] == -k for c in candidates)}  # fmt: skip


@pytest.mark.parametrize(("side", "shape"), [(5, (8, 8, 6)), (2, (2, 2, 4)), (3, (5, 7, 4))])
def test_representatives_follow_the_rule_of_s_columns(side, shape):
    u = RNG.random((4, *shape)).astype(np.float32)
    u[1] *= RNG.random(shape) < 0.05  # mostly silent
    u[2] = np.round(u[2], 1)  # with ties
    u[3] = 0
    chosen = np.asarray(jax.jit(representatives, static_argnums=1)(jnp.asarray(u), side))
    assert chosen.sum((1, 2)).max() <= 1  # at most one in a plane
    for image, marks in zip(u, chosen, strict=True):
        assert {tuple(v) for v in np.argwhere(marks)} == columns(image, side)
    assert not chosen[3].any() and chosen[0].any()
    if shape[:2] == (2, 2):  # one column covers the whole layer
        assert chosen[0].sum() == 1


def test_reinforcement_is_what_representatives_see():
    layer, u = s_layer(planes=8, column=5), RNG.random((2, 6, 6, 2), np.float32)
    variables = learned(layer, u, b=0.1)
    s, changed = jax.jit(functools.partial(layer.apply, mutable=["reinforcement"]))(variables, u)
    found, params = changed["reinforcement"], jax.tree.map(np.asarray, variables["params"])
    chosen = np.asarray(jax.jit(representatives, static_argnums=1)(s, 5))
    a, b = np.zeros_like(params["a"]), np.zeros(8)
    for image, marks in zip(u, chosen, strict=True):
        _, v, c, padded = by_hand(image, params["a"], params["b"], 4.0, 0.8, 1)
        for y, x, plane in np.argwhere(marks):
            a[..., plane] += c[..., None] * padded[y : y + 3, x : x + 3] / 2  # a mean over two images
            b[plane] += v[y, x] / 2 / 2
    np.testing.assert_allclose(found["a"], a, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["b"], b, rtol=1e-4, atol=1e-6)
    idle = ~chosen.any((0, 1, 2))
    assert idle.any() and not np.asarray(found["a"])[..., idle].any() and not np.asarray(found["b"])[idle].any()
    assert "reinforcement" not in jax.eval_shape(layer.init, jax.random.key(0), u)


RATES = "US1/*, US2/*=16, US3/*=16, readout/*=0.5"


def one_step(images, labels, rates=RATES):
    """Returns the parameters before and after one ordinary training step."""
    model = models.create("neocognitron", 5, "float32")
    options = {**base.get_config().optim, "lr": 1.0, "momentum": 0.0, "lr_multipliers": rates}
    recipe = make_recipe(**options, steps_per_epoch=5.0, batch_size=1)
    before = create_state(model, recipe.optimizer, 0)
    step = parallel.parallel(
        train_step.train_step(model, recipe.optimizer, "softmax", [], 0), train=True, devices=jax.devices()[:1]
    )
    n = len(images)
    batch = {"index": np.arange(n, dtype=np.int32), "epoch": np.zeros(n, np.int32), "mask": np.ones(n, np.float32)}
    resident_arrays = {"images": images, "labels": np.asarray(labels, np.int32)}
    params = jax.device_get(before.params)
    after, _ = step(before, parallel.shard([batch], 1), resident_arrays)
    return model, params, jax.device_get(after.params)


def test_a_step_reinforces_and_leaves_the_others_alone():
    image = np.zeros((1, 16, 16, 1), np.float32)
    image[0, 3:13, 7] = 1
    model, before, after = one_step(image, [3])
    reinforce = jax.jit(functools.partial(model.apply, train=True, mutable=["reinforcement"]))
    _, changed = reinforce({"params": before}, image)
    for layer, q in (("US1", 1), ("US2", 16), ("US3", 16)):
        own = changed["reinforcement"][layer]
        for name in ("a", "b"):
            np.testing.assert_allclose(after[layer][name], before[layer][name] + q * own[name], rtol=1e-5, atol=1e-9)
        moved = np.any(after[layer]["a"] != before[layer]["a"], axis=(0, 1, 2))
        assert 0 < moved.sum() < 24 and np.array_equal(moved, after[layer]["b"] > before[layer]["b"])
    (row,) = np.argwhere(np.any(after["readout"]["kernel"][0, 0] != 0, axis=1))  # only the winner's row
    assert np.argmax(after["readout"]["kernel"][0, 0, row[0]]) == 3
    assert not np.any(jax.jit(model.apply)({"params": after}, np.zeros_like(image)))  # no response gives no class


def test_a_shift_by_one_shifts_s1_by_one():
    model = models.create("neocognitron", 5, "float32")
    image = np.zeros((1, 16, 16, 1), np.float32)
    image[0, 4:11, 5:11, 0] = RNG.random((7, 6)) < 0.5
    variables = jax.jit(model.init)(jax.random.key(0), image)
    first = jax.jit(functools.partial(model.apply, capture_intermediates=lambda m, _: m.name == "US1"))
    s1, moved = (first(variables, x)[1]["intermediates"]["US1"]["__call__"][0]
                 for x in (image, np.roll(image, (1, -1), (1, 2))))  # fmt: skip
    assert np.asarray(s1).any()
    np.testing.assert_array_equal(np.asarray(moved), np.roll(s1, (1, -1), (1, 2)))


def test_plastic_synapses_have_no_gradient_and_are_29472():
    model = models.create("neocognitron", 5, "float32")
    image = RNG.random((2, 16, 16, 1), np.float32)
    params = jax.jit(model.init)(jax.random.key(0), image)["params"]
    plastic = {k: v for k, v in params.items() if k != "readout"}
    assert sum(v.size for v in jax.tree.leaves(plastic)) == 29472
    gradients = jax.jit(jax.grad(lambda p: jnp.sum(model.apply({"params": p}, image)[:, 0])))(params)
    assert not any(np.any(v) for v in jax.tree.leaves({k: v for k, v in gradients.items() if k != "readout"}))
    assert np.any(gradients["readout"]["kernel"])


def test_the_readout_of_a_layer_sees_all_its_cells():
    for read, cells in (("UC1", 2400), ("UC2", 864), ("UC3", 24)):
        model = models.create("neocognitron", 10, "float32", read=read)
        assert np.prod(variable_shapes(model)["params"]["readout"]["kernel"].shape) == cells * 10
    with pytest.raises(UsageError, match="did you mean 'UC3'"):
        model = models.create("neocognitron", 10, "float32", read="UC4")
        variable_shapes(model)
