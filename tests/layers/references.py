"""Plain NumPy versions of the layers, and what the tests of all layers share."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

NORMAL = nn.initializers.normal(1.0)  # for biases too, so that a missing bias is noticed


def data(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def run(layer, x, **kwargs):
    """Returns (output, parameters) of `layer` on `x` as NumPy arrays; every parameter is random."""
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), jnp.asarray(x), **kwargs))
    flat, tree = jax.tree.flatten(shapes.get("params", {}))
    params = jax.tree.unflatten(tree, [data(*leaf.shape, seed=i + 1) for i, leaf in enumerate(flat)])
    return np.asarray(layer.apply({"params": params}, jnp.asarray(x), **kwargs)), params


def close(ours, theirs, tolerance=1e-5):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def gradients(function, *args):
    args = jax.tree.map(jnp.asarray, args)
    check_grads(function, args, order=1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=3e-3)  # eps is resolvable in float32


def padded(x, padding, value):
    (top, bottom), (left, right) = padding
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def convolved(x, kernel, stride=(1, 1), padding=((0, 0), (0, 0)), pad_value=0.0):
    """Convolves one output position at a time; the kernel is [kh, kw, c, features]."""
    x, (kh, kw), (sh, sw) = padded(x, padding, pad_value), kernel.shape[:2], stride
    h, w = (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1
    y = np.zeros((len(x), h, w, kernel.shape[3]))
    for i, j in itertools.product(range(h), range(w)):
        y[:, i, j] = np.einsum("nabc,abcf->nf", x[:, i * sh : i * sh + kh, j * sw : j * sw + kw], kernel)
    return y
