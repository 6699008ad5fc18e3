"""Pooling and subsampling compared with a plain NumPy version of their definition."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets import layers
from convnets.layers import (
    Pool,
    Subsample,
    cpu_kernels,
    pool,
)
from tests.layers.references import close, data, run


def pooled_axis(n, f, s, low, high, ceil):
    """Returns the start of each pooling window on `n` pixels, in image coordinates."""
    starts = [start for start in range(-low, n + high, s) if start + f <= n + high]
    if ceil and starts[-1] + f < n + high and starts[-1] + s < n:  # a last window may cross the edge, not start beyond
        starts.append(starts[-1] + s)
    return starts


def pooled(x, kind, f, s, padding, ceil, include):
    (low, high), (left, right) = padding
    n, h, w, c = x.shape
    rows, columns = pooled_axis(h, f[0], s[0], low, high, ceil), pooled_axis(w, f[1], s[1], left, right, ceil)
    y = np.zeros((n, len(rows), len(columns), c))
    for (i, a), (j, b) in itertools.product(enumerate(rows), enumerate(columns)):
        part = x[:, max(a, 0) : a + f[0], max(b, 0) : b + f[1]]
        size = (min(a + f[0], h + high) - a) * (min(b + f[1], w + right) - b) if include else part[0, :, :, 0].size
        y[:, i, j] = {
            "max": lambda p=part: p.max((1, 2)),
            "average": lambda p=part, size=size: p.sum((1, 2)) / size,
            "l1": lambda p=part: np.abs(p).sum((1, 2)),
            "l2": lambda p=part: np.sqrt((p**2).sum((1, 2))),
        }[kind]()
    return y


def test_subsample():
    x = data(2, 4, 6, 3)
    y, params = run(Subsample(), x)
    sums = x.reshape(2, 2, 2, 3, 2, 3).sum((2, 4))
    close(y, sums * params["coefficient"] + params["bias"])
    first = Subsample().init_with_output(jax.random.key(0), jnp.asarray(x))[0]
    close(np.asarray(first), sums / 4)


SLIDE = np.array([[1, 3, 2, 1], [2, 9, 1, 1], [1, 3, 2, 3], [5, 6, 1, 2]], np.float32)[None, :, :, None]


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("kind", ["max", "average", "l1", "l2"])
def test_pool(kind, ceil, include):
    geometries = [
        ((2, 2), (2, 2), ((0, 0), (0, 0))),
        ((3, 3), (2, 2), ((0, 0), (0, 0))),
        ((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((2, 2), (2, 2), ((1, 1), (1, 1))),  # with ceil the last column would start in the padding
        ((3, 2), (1, 3), ((2, 0), (0, 1))),
        ((2, 3), (3, 2), ((0, 1), (2, 2))),
    ]
    x = data(2, 6, 7, 2)
    for size, stride, padding in geometries:
        ours = pool(jnp.asarray(x), kind, size, stride, padding, ceil, include)
        close(np.asarray(ours), pooled(x, kind, size, stride, padding, ceil, include))


@pytest.mark.parametrize(
    ("n", "size", "stride", "padding", "floor", "ceil"),
    [
        (112, 3, 2, 0, 55, 56),  # GoogLeNet pool1
        (55, 3, 2, 0, 27, 27),  # AlexNet
        (24, 3, 2, 0, 11, 12),  # cuda-convnet
        (14, 5, 3, 0, 4, 4),  # GoogLeNet's auxiliary heads
        (4, 2, 2, 1, 3, 3),
        (5, 2, 2, 1, 3, 3),  # a fourth window would start at pixel 5, in the padding: Caffe drops it
        (112, 3, 2, 1, 56, 57),
    ],
)
def test_number_of_windows(n, size, stride, padding, floor, ceil):
    for rounding, expected in ((False, floor), (True, ceil)):
        assert layers.windows((1, n, n, 1), size, stride, padding, rounding)[0] == (expected, expected)


def test_the_example_of_the_lecture():
    close(np.asarray(Pool("max", 2, 2).apply({}, jnp.asarray(SLIDE)))[0, :, :, 0], np.array([[9, 2], [6, 3]]))
    average = Pool("average", 2, 2).apply({}, jnp.asarray(SLIDE))
    close(np.asarray(average)[0, :, :, 0], np.array([[3.75, 1.25], [3.75, 2]]))
    # The lecture gives 4 as the lower left average, which needs a 4 instead of the 3: (1 + 4 + 5 + 6) / 4.
    average = Pool("average", 2, 2).apply({}, jnp.asarray(SLIDE).at[0, 2, 1, 0].set(4))
    close(np.asarray(average)[0, :, :, 0], np.array([[3.75, 1.25], [4, 2]]))


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
@pytest.mark.parametrize("kind", ["average", "l1", "l2"])
def test_pooling_sums_in_float32(kind, platform):
    """A sum of bfloat16 numbers in bfloat16 stops growing: 256 + 1 is 256."""
    x = np.abs(data(1, 16, 16, 8)).astype(jnp.bfloat16)
    with cpu_kernels.compile_for(platform):
        found = jax.jit(lambda x: pool(x, kind, 16, 1))(x)
    exact = pool(x.astype(np.float32), kind, 16, 1)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(found, np.float32), exact, rtol=2**-8)


def test_pool_layer_hands_on_its_options():
    x = jnp.asarray(data(1, 6, 7, 2))
    options = ("average", 3, 2, 1, True, True)
    assert np.array_equal(Pool(*options).apply({}, x), pool(x, *options))


def test_an_l2_pooled_zero_has_the_gradient_zero():
    gradient = jax.grad(lambda x: jnp.sum(pool(x, "l2", 2, 2)))(jnp.zeros((1, 4, 4, 1)).at[0, 0, 0, 0].set(3.0))
    assert jnp.all(jnp.isfinite(gradient))
    assert gradient[0, 0, 0, 0] == 1
    assert gradient[0, 2, 2, 0] == 0


def test_a_maximum_shares_its_gradient_among_ties():
    gradient = jax.grad(lambda x: jnp.sum(pool(x, "max", (1, 2), (1, 2))))(jnp.zeros((1, 1, 2, 1)))
    assert gradient.ravel().tolist() == [0.5, 0.5]


def test_pool_explains_what_is_wrong():
    with pytest.raises(ValueError, match="'mean' is none of"):
        pool(jnp.zeros((1, 4, 4, 1)), "mean", 2, 2)
    with pytest.raises(ValueError, match="smaller than the pooling window"):
        pool(jnp.zeros((1, 4, 4, 1)), "max", 2, 2, 2)
