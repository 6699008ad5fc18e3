"""Convolutions, locally connected and dense layers compared with plain NumPy versions of their definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets import layers
from convnets.layers import (
    RBF,
    Conv,
    Dense,
    Gain,
    LocallyConnected,
    initializers,
    pool,
)
from tests.layers.references import close, convolved, data, padded, run


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
