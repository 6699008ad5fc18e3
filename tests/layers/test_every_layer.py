"""Every layer: gradients against finite differences, dtypes, receptive fields."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets.layers import (
    LRN,
    RBF,
    Conv,
    Dense,
    Gain,
    LocalContrast,
    LocallyConnected,
    Pool,
    Subsample,
)
from convnets.models.summary import summarize
from tests.layers.references import NORMAL, data, gradients, run

LAYERS = {
    "conv": (Conv(3, 3, 2, 1, bias_init=NORMAL), (2, 5, 5, 2)),
    "conv with a border": (Conv(3, 3, 2, 2, pad_value=-1.0, bias="unit"), (1, 5, 5, 2)),
    "ceil conv": (Conv(2, 3, 2, ceil=True), (1, 6, 6, 2)),
    "grouped conv": (Conv(4, 3, groups=2), (1, 4, 4, 4)),
    "conv by a table": (Conv(2, 2, table=((0, 2), (1,))), (1, 3, 3, 3)),
    "local": (LocallyConnected(2, 3, 1, 1), (2, 3, 3, 2)),
    "dense": (Dense(3), (2, 4)),
    "subsample": (Subsample(), (1, 4, 4, 2)),
    "rbf": (RBF(np.sign(data(3, 4, seed=9))), (2, 4)),
    "gain": (Gain(bias=True), (2, 2, 2, 3)),
    "lrn": (LRN(size=3, alpha=0.5), (1, 2, 2, 4)),
    "lrn of groups": (LRN(size=3, alpha=0.5, groups=2), (1, 2, 2, 6)),
    "lrn within": (LRN(size=3, alpha=0.5, within=True, divide=True), (1, 3, 3, 2)),
    "contrast": (LocalContrast(3), (1, 5, 5, 2)),
    **{kind: (Pool(kind, 3, 2, 1, True), (1, 6, 6, 2)) for kind in ("max", "average", "l1", "l2")},
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradient(name):
    layer, shape = LAYERS[name]
    x, params = data(*shape), run(layer, data(*shape))[1]
    gradients(
        lambda *args: layer.apply({"params": args[0]} if params else {}, args[-1]), *([params] if params else []), x
    )


@pytest.mark.parametrize("name", [n for n in LAYERS if hasattr(LAYERS[n][0], "dtype")])
def test_layers_compute_in_their_dtype_and_keep_float32_parameters(name):
    layer, shape = LAYERS[name]
    half = layer.clone(dtype=jnp.bfloat16)
    y, variables = jax.eval_shape(lambda: half.init_with_output(jax.random.key(0), jnp.zeros(shape)))
    assert y.dtype == jnp.bfloat16
    assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(variables))


@pytest.mark.parametrize("name", ["conv", "conv with a border", "local", "dense", "subsample", "gain"])
def test_gradients_of_bfloat16_layers_are_float32_sums(name):
    """A sum of bfloat16 numbers in bfloat16 stops growing: 256 + 1 is 256."""
    layer, shape = LAYERS[name]
    x, params = np.abs(data(1000, *shape[1:])), run(layer, data(*shape))[1]

    def gradient(dtype):
        def total(params, weights):
            return jnp.sum(layer.clone(dtype=dtype).apply({"params": params}, x).astype(jnp.float32) * weights)

        weights = np.abs(data(*jax.eval_shape(lambda: layer.apply({"params": params}, x)).shape, seed=1))
        return jax.jit(jax.grad(total))(params, weights)

    for half, whole in zip(*(jax.tree.leaves(gradient(dtype)) for dtype in (jnp.bfloat16, jnp.float32)), strict=True):
        np.testing.assert_allclose(half, whole, rtol=0, atol=0.005 * np.abs(whole).max())


@pytest.mark.parametrize("name", [n for n in LAYERS if not hasattr(LAYERS[n][0], "dtype")])
def test_layers_without_weights_keep_the_dtype(name):
    layer, shape = LAYERS[name]
    assert jax.eval_shape(lambda: layer.apply({}, jnp.zeros(shape, jnp.bfloat16))).dtype == jnp.bfloat16


class Stack(nn.Module):
    parts: tuple[nn.Module, ...]

    @nn.compact
    def __call__(self, x, *, train=False):
        for part in self.parts:
            x = part(x)
        return x


@pytest.mark.parametrize(
    ("part", "field"),
    [(LRN(size=5), 1), (LRN(size=5, within=True), 5), (LocalContrast(9), 17), (LocallyConnected(2, 3), 3), (Gain(), 1)],
    ids=["lrn", "lrn within", "contrast", "local", "gain"],
)
def test_receptive_fields(part, field):
    (row,) = summarize(Stack((part.clone(name="part"),)), (20, 20, 3))
    assert row.receptive_field == field


def test_multiply_adds_of_unshared_weights_count_each_once():
    (row,) = summarize(Stack((LocallyConnected(32, 3, padding=1, name="local3"),)), (6, 6, 64))
    assert (row.parameters, row.multiply_adds) == (663552 + 1152, 663552)
