"""Batch, local response and local contrast normalization compared with plain NumPy versions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets.errors import UsageError
from convnets.layers import (
    LRN,
    BatchNorm,
    LocalContrast,
)
from tests.layers.references import close, data, gradients, run


def test_batch_norm_in_training_and_test():
    x, layer = 3 * data(4, 2, 3, 5) + 1, BatchNorm(momentum=0.8, epsilon=0.1)
    params = {"scale": data(5, seed=1), "bias": data(5, seed=2)}
    before = {"mean": data(5, seed=3), "var": np.abs(data(5, seed=4))}
    variables = {"params": params, "batch_stats": before}
    flat = x.reshape(24, 5)

    def normalized(mean, var):
        return (x - mean) / np.sqrt(var + 0.1) * params["scale"] + params["bias"]

    y, changed = layer.apply(variables, jnp.asarray(x), train=True, mutable="batch_stats")
    close(np.asarray(y), normalized(flat.mean(0), flat.var(0)), 1e-4)
    after = changed["batch_stats"]
    close(np.asarray(after["mean"]), 0.8 * before["mean"] + 0.2 * flat.mean(0))
    close(np.asarray(after["var"]), 0.8 * before["var"] + 0.2 * flat.var(0, ddof=1))  # unbiased variance
    y, changed = layer.apply(variables, jnp.asarray(x), train=False, mutable="batch_stats")
    close(np.asarray(y), normalized(before["mean"], before["var"]), 1e-4)
    assert np.array_equal(changed["batch_stats"]["mean"], before["mean"])


@pytest.mark.parametrize("size", [2, 3, 9])
def test_a_ghost_batch_is_a_batch_of_its_own(size):
    """He et al. 2015 train with 256 examples on 8 GPUs, that is, with statistics of 32."""
    x, layer = 3 * data(6, 2, 3, 5) + data(6, 1, 1, 1, seed=2), BatchNorm(ghost_batch=size)
    variables = {"params": {"scale": data(5, seed=3), "bias": data(5, seed=4)},
                 "batch_stats": {"mean": data(5, seed=5), "var": np.abs(data(5, seed=6))}}  # fmt: skip

    def batch_norm(variables, x, layer=layer):
        return layer.apply(variables, x, train=True, mutable="batch_stats")

    def by_hand(variables, x):
        made = [batch_norm(variables, part, BatchNorm()) for part in jnp.split(x, 6 // min(size, 6))]
        return jnp.concatenate([y for y, _ in made]), jax.tree.map(lambda *v: sum(v) / len(v), *[s for _, s in made])

    for found, wanted in zip(
        *(jax.tree.leaves(f(variables, jnp.asarray(x))) for f in (batch_norm, by_hand)), strict=True
    ):
        close(np.asarray(found), wanted, 1e-4)
    weights = data(*x.shape, seed=7)
    ours, theirs = (jax.grad(lambda v, x, f=f: jnp.sum(f(v, x)[0] * weights), (0, 1), allow_int=True)(variables, jnp.asarray(x))
                    for f in (batch_norm, by_hand))  # fmt: skip
    for found, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        close(np.asarray(found), wanted, 1e-3)
    for wrong in (4, -1):
        with pytest.raises(
            UsageError, match=f"ghost_batch is {wrong}: it must be 0, or divide the 6 examples of a device"
        ):
            BatchNorm(ghost_batch=wrong).init(jax.random.key(0), jnp.asarray(x), train=True)


def test_batch_norm_couples_the_examples_of_a_batch():
    x, params = data(4, 3), {"scale": np.ones(3, np.float32), "bias": np.zeros(3, np.float32)}
    stats = {"mean": np.zeros(3, np.float32), "var": np.ones(3, np.float32)}

    def first(x, train):
        variables = {"params": params, "batch_stats": stats}
        return jnp.sum(BatchNorm().apply(variables, x, train=train, mutable="batch_stats")[0][0])

    assert np.any(jax.grad(first)(jnp.asarray(x), True)[1:] != 0)
    assert np.all(jax.grad(first)(jnp.asarray(x), False)[1:] == 0)


@pytest.mark.parametrize(("size", "divide"), [(5, False), (5, True), (4, True)])
def test_lrn_across_maps(size, divide):
    x = 3 * data(2, 2, 2, 7)
    y, _ = run(LRN(size=size, alpha=0.3, beta=0.6, k=1.5, divide=divide), x)
    reference = np.zeros_like(x)
    for i in range(7):
        squares = np.sum(x[..., max(i - size // 2, 0) : i - size // 2 + size] ** 2, axis=-1)
        reference[..., i] = x[..., i] / (1.5 + 0.3 / (size if divide else 1) * squares) ** 0.6
    close(y, reference)


def test_lrn_has_the_constants_of_the_paper():
    x = 30 * data(1, 1, 1, 5)
    squares = [np.sum(x[0, 0, 0, max(i - 2, 0) : i + 3] ** 2) for i in range(5)]
    close(run(LRN(), x)[0], x / (2 + 1e-4 * np.array(squares)) ** 0.75)


@pytest.mark.parametrize("divide", [False, True])
def test_lrn_within_a_map(divide):
    x = 3 * data(2, 4, 5, 2)
    y, _ = run(LRN(size=3, alpha=0.3, beta=0.6, k=1.5, divide=divide, within=True), x)
    reference = np.zeros_like(x)
    for i, j in np.ndindex(4, 5):
        squares = np.sum(x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2] ** 2, axis=(1, 2))
        reference[:, i, j] = x[:, i, j] / (1.5 + 0.3 / (9 if divide else 1) * squares) ** 0.6
    close(y, reference)


def test_lrn_of_groups_normalizes_each_alone():
    x, options = 3 * data(2, 2, 2, 12), {"size": 5, "alpha": 0.3, "k": 1.5, "divide": True}
    alone = [run(LRN(**options), x[..., k : k + 4])[0] for k in (0, 4, 8)]
    close(run(LRN(groups=3, **options), x)[0], np.concatenate(alone, -1))
    within = run(LRN(within=True, **options), x)[0]  # a map has no neighbours then
    np.testing.assert_array_equal(run(LRN(within=True, groups=3, **options), x)[0], within)
    with pytest.raises(ValueError, match="groups is 5: it must divide the 12 maps"):
        LRN(groups=5).apply({}, x)


def test_lrn_within_a_map_needs_maps():
    with pytest.raises(ValueError, match="needs maps"):
        LRN(within=True).apply({}, jnp.zeros((2, 4)))


@pytest.mark.parametrize("options", [{"momentum": 1.0}, {"momentum": -0.1}, {"epsilon": 0.0}, {"epsilon": -1.0}])
def test_numbers_that_make_no_batch_norm_are_refused(options):
    with pytest.raises(UsageError, match="momentum must be from 0 to below 1, epsilon above 0"):
        BatchNorm(**options).init(jax.random.key(0), jnp.zeros((2, 4)), train=False)


def test_lrn_damps_where_all_maps_are_high():
    alone, together = np.zeros((1, 1, 1, 5), np.float32), np.full((1, 1, 1, 5), 100, np.float32)
    alone[..., 2] = 100
    assert run(LRN(), together)[0][..., 2] < 0.6 * run(LRN(), alone)[0][..., 2]


def weighted_means(values, size):
    """Returns Gaussian-weighted means of [n, h, w, c] over windows and all maps, as [n, h, w, 1]."""
    n, h, w, c = values.shape
    means, half, std = np.zeros((n, h, w)), size // 2, size / 4
    for i, j in np.ndindex(h, w):
        total, weights = 0.0, 0.0
        for p, q in itertools.product(range(-half, half + 1), repeat=2):
            weight = np.exp(-(p**2 + q**2) / (2 * std**2))
            if 0 <= i + p < h and 0 <= j + q < w:
                total, weights = total + weight * values[:, i + p, j + q].sum(-1), weights + weight * c
        means[:, i, j] = total / weights
    return means[..., None]


@pytest.mark.parametrize("size", [5, 3])
def test_local_contrast(size):
    x = data(2, 6, 7, 3) + 1
    y, _ = run(LocalContrast(size), x)
    v = x - weighted_means(x, size)
    sigma = np.sqrt(weighted_means(v**2, size))
    close(y, v / np.maximum(sigma.mean((1, 2), keepdims=True), sigma), 1e-4)
    assert np.any(sigma < sigma.mean((1, 2), keepdims=True))  # both arguments of the maximum occur
    assert np.any(sigma > sigma.mean((1, 2), keepdims=True))


def test_local_contrast_is_blind_to_brightness_and_contrast():
    x = data(1, 12, 12, 2)
    close(run(LocalContrast(), 3 * x + 5)[0], run(LocalContrast(), x)[0], 1e-3)


def test_local_contrast_of_an_even_image_is_zero_with_finite_gradients():
    x = jnp.ones((1, 6, 6, 2))
    np.testing.assert_allclose(LocalContrast(5).apply({}, x), 0, atol=1e-2)
    assert jnp.all(jnp.isfinite(jax.grad(lambda x: jnp.sum(LocalContrast(5).apply({}, x)))(jnp.zeros((1, 6, 6, 2)))))
    with pytest.raises(ValueError, match="odd"):
        run(LocalContrast(4), np.ones((1, 6, 6, 2), np.float32))


def test_gradient_of_batch_norm():
    x, stats = data(6, 3), {"mean": np.zeros(3, np.float32), "var": np.ones(3, np.float32)}
    params = {"scale": data(3, seed=1), "bias": data(3, seed=2)}

    def normalized(params, x, train):
        variables = {"params": params, "batch_stats": stats}
        return BatchNorm().apply(variables, x, train=train, mutable="batch_stats")[0]

    gradients(lambda p, x: normalized(p, x, True), params, x)
    gradients(lambda p, x: normalized(p, x, False), params, x)
