"""Every layer compared with a plain NumPy version of its definition, and every gradient with finite differences."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from convnets import layers
from convnets.errors import UsageError
from convnets.layers import (
    ACTIVATIONS,
    LRN,
    RBF,
    BatchNorm,
    Conv,
    Dense,
    Gain,
    LocalContrast,
    LocallyConnected,
    Pool,
    Subsample,
    cpu_kernels,
    initializers,
    pool,
)
from convnets.models.summary import summarize

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


# References -----------------------------------------------------------------------------------------------------------


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


# Convolution ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "stride", "padding"),
    [
        ({}, (1, 1), ((0, 0), (0, 0))),
        ({"stride": 2, "padding": 1}, (2, 2), ((1, 1), (1, 1))),
        ({"stride": (1, 3), "padding": ((0, 2), (1, 0))}, (1, 3), ((0, 2), (1, 0))),
        ({"stride": 2, "padding": 2, "pad_value": -1.0}, (2, 2), ((2, 2), (2, 2))),
    ],
)
def test_conv(options, stride, padding):
    x = data(2, 7, 8, 3)
    y, params = run(Conv(4, (3, 2), **options), x)
    close(y, convolved(x, params["kernel"], stride, padding, options.get("pad_value", 0)) + params["bias"], 1e-4)


def test_conv_without_bias_and_with_one_a_unit():
    x = data(2, 5, 5, 3)
    y, params = run(Conv(4, 3, bias="none"), x)
    assert list(params) == ["kernel"]
    close(y, convolved(x, params["kernel"]), 1e-4)
    y, params = run(Conv(4, 3, bias="unit"), x)
    assert params["bias"].shape == (3, 3, 4)
    close(y, convolved(x, params["kernel"]) + params["bias"], 1e-4)


def test_grouped_convolution_is_two_separate_ones():
    x = data(2, 5, 5, 6)
    y, params = run(Conv(8, 3, padding=1, groups=2), x)
    kernel, bias = params["kernel"], params["bias"]
    assert kernel.shape == (3, 3, 3, 8)
    halves = [
        Conv(4, 3, padding=1).apply({"params": {"kernel": kernel[..., part], "bias": bias[part]}}, jnp.asarray(half))
        for half, part in ((x[..., :3], slice(0, 4)), (x[..., 3:], slice(4, 8)))
    ]
    close(y, np.concatenate(halves, -1))
    close(halves[1], convolved(x[..., 3:], kernel[..., 4:], padding=((1, 1), (1, 1))) + bias[4:], 1e-4)


def test_connection_table():
    x, table = data(2, 5, 5, 3), ((0, 2), (1,), (0, 1, 2))
    y, params = run(Conv(3, 3, table=table), x)
    kernel = params["kernel"]
    assert kernel.shape == (3, 3, 6)
    full, connections = np.zeros((3, 3, 3, 3)), iter(range(6))
    for feature, row in enumerate(table):
        for channel in row:
            full[:, :, channel, feature] = kernel[:, :, next(connections)]
    close(y, convolved(x, full) + params["bias"], 1e-4)
    with pytest.raises(ValueError, match="below 3"):
        run(Conv(1, 3, table=((3,),)), x)


@pytest.mark.parametrize(("n", "out", "overhang"), [(224, 55, 3), (227, 55, 0), (225, 55, 2), (228, 56, 3)])
def test_ceil_convolution_of_alexnet(n, out, overhang):
    assert layers.windows((1, n, n, 3), 11, 4, 0, True) == ((out, out), ((0, overhang), (0, overhang)))
    layer = Conv(1, 11, 4, ceil=True)
    y, _ = jax.eval_shape(lambda: layer.init_with_output(jax.random.key(0), jnp.zeros((1, n, n, 3))))
    assert y.shape == (1, out, out, 1)


def test_ceil_convolution():
    x = data(1, 8, 9, 2)
    y, params = run(Conv(3, 3, stride=(2, 4), ceil=True, pad_value=2.0), x)
    close(y, convolved(x, params["kernel"], (2, 4), ((0, 1), (0, 2)), 2.0) + params["bias"], 1e-4)
    assert run(Conv(3, 3, stride=(2, 4)), x)[0].shape == (1, 3, 2, 3)


def test_a_window_larger_than_the_image_is_an_error():
    with pytest.raises(ValueError, match="5 pixels does not fit on 3 pixels"):
        pool(jnp.zeros((1, 3, 3, 1)), "max", 5, 1)


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"stride": (2, 1), "padding": ((0, 1), (2, 0))}])
def test_locally_connected(options):
    x, layer = data(2, 5, 6, 3), LocallyConnected(4, (3, 2), **options)
    y, params = run(layer, x)
    kernel, (sh, sw) = params["kernel"], layers.pair(options.get("stride", 1))
    wide = padded(x, layers.pads(options.get("padding", 0)), 0)
    assert kernel.shape == (*y.shape[1:3], 3, 2, 3, 4)
    assert params["bias"].shape == y.shape[1:]
    for i, j in np.ndindex(y.shape[1:3]):
        window = wide[:, i * sh : i * sh + 3, j * sw : j * sw + 2]
        close(y[:, i, j], np.einsum("nabc,abcf->nf", window, kernel[i, j]) + params["bias"][i, j], 1e-4)


def test_local_and_shared_is_convolution():
    x, kernel, bias = data(2, 6, 6, 3), data(3, 3, 3, 4, seed=1), data(4, seed=2)
    shared = {"kernel": np.broadcast_to(kernel, (6, 6, 3, 3, 3, 4)), "bias": np.broadcast_to(bias, (6, 6, 4))}
    local = LocallyConnected(4, 3, padding=1).apply({"params": shared}, jnp.asarray(x))
    conv = Conv(4, 3, padding=1).apply({"params": {"kernel": kernel, "bias": bias}}, jnp.asarray(x))
    close(np.asarray(local), np.asarray(conv), 1e-4)


def test_locally_connected_draws_weights_by_the_fan_in_of_one_position():
    layer = LocallyConnected(32, 3, padding=1)
    kernel = layer.init(jax.random.key(0), jnp.zeros((1, 8, 8, 16)))["params"]["kernel"]
    stds = np.std(np.asarray(kernel), axis=(2, 3, 4, 5))  # one for each position
    np.testing.assert_allclose(stds, np.sqrt(2 / (9 * 16)), rtol=0.1)
    assert not np.allclose(kernel[0, 0], kernel[0, 1])


def test_locally_connected_draws_glorots_weights_by_the_fan_out_of_one_position():
    x = jnp.zeros((1, 12, 12, 8))
    std = lambda layer: float(np.std(layer.init(jax.random.key(0), x)["params"]["kernel"]))  # noqa: E731
    made = [std(kind(16, 5, kernel_init=initializers.glorot())) for kind in (Conv, LocallyConnected)]
    assert made == pytest.approx([np.sqrt(2 / (25 * 8 + 25 * 16))] * 2, rel=0.05)


def test_dense():
    x = data(2, 3, 5)
    y, params = run(Dense(4), x)
    close(y, x @ params["kernel"] + params["bias"])


def test_a_1x1_convolution_is_a_dense_layer_at_every_pixel():
    x, kernel, bias = data(2, 3, 3, 5), data(5, 4, seed=1), data(4, seed=2)
    conv = Conv(4, 1).apply({"params": {"kernel": kernel[None, None], "bias": bias}}, jnp.asarray(x))
    close(np.asarray(conv), x @ kernel + bias)


def test_subsample():
    x = data(2, 4, 6, 3)
    y, params = run(Subsample(), x)
    sums = x.reshape(2, 2, 2, 3, 2, 3).sum((2, 4))
    close(y, sums * params["coefficient"] + params["bias"])
    first = Subsample().init_with_output(jax.random.key(0), jnp.asarray(x))[0]
    close(np.asarray(first), sums / 4)


def test_rbf():
    x, codes = data(3, 5), np.sign(data(4, 5, seed=1))
    y, params = run(RBF(codes), x)
    assert not params
    close(y, -np.array([[np.sum((row - code) ** 2) for code in codes] for row in x]))


@pytest.mark.parametrize("bias", [False, True])
def test_gain(bias):
    x = data(2, 3, 3, 4)
    y, params = run(Gain(bias=bias), x)
    close(y, x * params["gain"] + params.get("bias", 0))
    close(np.asarray(Gain(bias=bias).init_with_output(jax.random.key(0), jnp.asarray(x))[0]), x)


# Activations ----------------------------------------------------------------------------------------------------------

FORMULAS = {
    "identity": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    "scaled_tanh": lambda x: 1.7159 * np.tanh(2 / 3 * x),
    "relu": lambda x: np.where(x > 0, x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "abs": lambda x: np.where(x > 0, x, -x),
}


def test_every_activation_has_a_formula():
    assert sorted(FORMULAS) == sorted(ACTIVATIONS)


@pytest.mark.parametrize("name", FORMULAS)
def test_activation(name):
    x = 2 * data(3, 5)
    close(np.asarray(ACTIVATIONS[name](jnp.asarray(x))), FORMULAS[name](x))
    gradients(ACTIVATIONS[name], x)


def test_scaled_tanh_keeps_one():
    np.testing.assert_allclose(ACTIVATIONS["scaled_tanh"](jnp.asarray([1.0, -1.0])), [1, -1], atol=1e-4)


# Normalization --------------------------------------------------------------------------------------------------------


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


def test_a_bias_is_one_of_three():
    for bias, shape in (("map", (3,)), ("unit", (4, 4, 3))):
        assert (
            jax.eval_shape(Conv(3, 3, bias=bias).init, jax.random.key(0), jnp.zeros((1, 6, 6, 2)))["params"][
                "bias"
            ].shape
            == shape
        )
    with pytest.raises(ValueError, match="bias is 'maps': it must be map, unit or none"):
        Conv(3, 3, bias="maps").init(jax.random.key(0), jnp.zeros((1, 6, 6, 2)))


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


def test_lrn_damps_where_all_maps_are_high():
    alone, together = np.zeros((1, 1, 1, 5), np.float32), np.full((1, 1, 1, 5), 100, np.float32)
    alone[..., 2] = 100
    assert run(LRN(), together)[0][..., 2] < 0.6 * run(LRN(), alone)[0][..., 2]


def weighted_means(values, size, std, border):
    """Returns Gaussian-weighted means of [n, h, w, c] over windows and all maps, as [n, h, w, 1]."""
    n, h, w, c = values.shape
    means, half = np.zeros((n, h, w)), size // 2
    for i, j in np.ndindex(h, w):
        total, weights, everything = 0.0, 0.0, 0.0
        for p, q in itertools.product(range(-half, half + 1), repeat=2):
            weight = np.exp(-(p**2 + q**2) / (2 * std**2))
            everything += weight * c
            if 0 <= i + p < h and 0 <= j + q < w:
                total, weights = total + weight * values[:, i + p, j + q].sum(-1), weights + weight * c
        means[:, i, j] = total / (weights if border == "renormalize" else everything)
    return means[..., None]


@pytest.mark.parametrize("border", ["renormalize", "zero"])
@pytest.mark.parametrize(("size", "std"), [(5, None), (3, 0.7)])
def test_local_contrast(border, size, std):
    x = data(2, 6, 7, 3) + 1
    y, _ = run(LocalContrast(size, std, border), x)
    v = x - weighted_means(x, size, std or size / 4, border)
    sigma = np.sqrt(weighted_means(v**2, size, std or size / 4, border))
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
    with pytest.raises(ValueError, match="border"):
        run(LocalContrast(border="mirror"), np.ones((1, 6, 6, 2), np.float32))
    with pytest.raises(ValueError, match="odd"):
        run(LocalContrast(4), np.ones((1, 6, 6, 2), np.float32))


# Pooling --------------------------------------------------------------------------------------------------------------

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


# Gradients ------------------------------------------------------------------------------------------------------------

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


def test_gradient_of_batch_norm():
    x, stats = data(6, 3), {"mean": np.zeros(3, np.float32), "var": np.ones(3, np.float32)}
    params = {"scale": data(3, seed=1), "bias": data(3, seed=2)}

    def normalized(params, x, train):
        variables = {"params": params, "batch_stats": stats}
        return BatchNorm().apply(variables, x, train=train, mutable="batch_stats")[0]

    gradients(lambda p, x: normalized(p, x, True), params, x)
    gradients(lambda p, x: normalized(p, x, False), params, x)


# Initialisers, dtypes, counts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("init", "limit", "std"),
    [
        (layers.uniform_fan_in(2.4), 2.4 / 50, 2.4 / 50 / np.sqrt(3)),
        (layers.uniform_root_fan_in(2.4), 2.4 / np.sqrt(50), 2.4 / np.sqrt(150)),
        (layers.caffe_xavier(), np.sqrt(3 / 50), np.sqrt(1 / 50)),
        (layers.glorot(), np.sqrt(6 / (50 + 25 * 400)), np.sqrt(2 / (50 + 25 * 400))),
        (layers.he_normal(), None, np.sqrt(2 / 50)),
        (layers.normal(0.01), None, 0.01),
    ],
    ids=["fan in", "root fan in", "caffe xavier", "glorot", "he", "normal"],
)
def test_initialiser(init, limit, std):
    values = np.asarray(init(jax.random.key(0), (5, 5, 2, 400), jnp.float32))  # fan-in 50, fan-out 25 * 400
    assert abs(values.mean()) < 0.03 * std
    np.testing.assert_allclose(values.std(), std, rtol=0.02)
    if limit:
        assert 0.99 * limit < np.abs(values).max() <= limit * (1 + 1e-6)
    else:
        assert np.abs(values).max() > 3.5 * std  # a normal distribution without truncation


def test_constant_initialiser():
    values = layers.constant(0.1)(jax.random.key(0), (3,), jnp.float32)
    assert np.array_equal(values, np.full(3, 0.1, np.float32))


@pytest.mark.parametrize("name", [n for n in LAYERS if hasattr(LAYERS[n][0], "dtype")])
def test_layers_compute_in_their_dtype_and_keep_float32_parameters(name):
    layer, shape = LAYERS[name]
    half = layer.clone(dtype=jnp.bfloat16)
    y, variables = jax.eval_shape(lambda: half.init_with_output(jax.random.key(0), jnp.zeros(shape)))
    assert y.dtype == jnp.bfloat16
    assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(variables))


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
