"""CPU kernels compared with the plain formulations: values and all gradients, in float32 and bfloat16."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets.layers import cpu_convolution, cpu_kernels, pooling
from convnets.runtime import environment
from tests.conftest import ROOT

TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}
TYPES = pytest.mark.parametrize("dtype", list(TOLERANCE))


def draw(rng, shape, dtype, scale=1.0):
    """Draws numbers that bfloat16 represents exactly, so that both dtypes get the same input."""
    return jnp.asarray(rng.standard_normal(shape, np.float32) * scale, jnp.bfloat16).astype(dtype)


def compare(ours, plain, arguments, dtype, seed=1):
    """Asserts that values and gradients of `ours` in `dtype` match `plain` in float32 on the same numbers."""

    def run(function, *args):
        y, back = jax.vjp(function, *args)
        g = draw(np.random.default_rng(seed), y.shape, y.dtype)
        return y, *back(g)

    wide = [a.astype(jnp.float32) for a in arguments]
    found, wanted = jax.jit(functools.partial(run, ours))(*arguments), run(plain, *wide)
    for value, right in zip(found, wanted, strict=True):
        assert value.shape == right.shape
        error = np.abs(np.asarray(value, np.float32) - right).max() / max(np.abs(right).max(), 1e-30)
        assert error <= TOLERANCE[dtype], error
    assert [v.dtype for v in found[1:]] == [a.dtype for a in arguments]


CASES = {
    "3x3": ((9, 8), 5, 6, (3, 3), (1, 1), ((1, 1), (1, 1)), 1),
    "1x1": ((7, 6), 8, 5, (1, 1), (1, 1), ((0, 0), (0, 0)), 1),
    "1x1, stride 2, odd": ((7, 6), 8, 5, (1, 1), (2, 2), ((0, 0), (0, 0)), 1),
    "1x1, padded": ((7, 6), 8, 5, (1, 1), (1, 1), ((1, 1), (0, 2)), 1),
    "3x3, stride 2": ((9, 8), 5, 6, (3, 3), (2, 2), ((1, 1), (1, 1)), 1),
    "ResNet's stem": ((20, 18), 3, 4, (7, 7), (2, 2), ((3, 3), (3, 3)), 1),
    "whole map": ((5, 4), 40, 7, (5, 4), (1, 1), ((0, 0), (0, 0)), 1),
    "whole map, stride": ((5, 4), 40, 7, (5, 4), (2, 3), ((0, 0), (0, 0)), 1),
    "as large as the map, padded": ((5, 4), 40, 7, (5, 4), (2, 1), ((0, 1), (2, 0)), 1),
    "bands": ((9, 8), 6, 5, (5, 3), (1, 1), ((0, 0), (0, 0)), 1),
    "bands, no two edges alike": ((9, 8), 6, 5, (5, 3), (1, 1), ((2, 0), (1, 3)), 1),
    "bands, stride": ((9, 8), 6, 5, (3, 3), (2, 3), ((1, 1), (0, 2)), 1),
    "long rows": ((9, 46), 2, 5, (3, 3), (2, 3), ((1, 1), (0, 2)), 1),
    "odd stem": ((15, 12), 1, 4, (5, 3), (2, 2), ((1, 0), (2, 2)), 1),
    "stem that leaves a row out": ((14, 13), 3, 4, (3, 4), (2, 2), ((0, 0), (0, 0)), 1),
    "AlexNet's stem": ((35, 34), 3, 4, (11, 11), (4, 4), ((0, 0), (2, 1)), 1),
    "wide": ((6, 7), 96, 98, (3, 3), (1, 1), ((1, 1), (1, 1)), 1),
    "wide, no two edges alike": ((6, 7), 96, 98, (3, 5), (1, 1), ((2, 0), (1, 4)), 1),
    "wide, padded by more than the kernel": ((5, 4), 96, 98, (3, 2), (1, 1), ((1, 3), (2, 0)), 1),
    "wide, stride, rows left out": ((9, 10), 96, 98, (3, 3), (3, 4), ((0, 1), (1, 0)), 1),
    "wide, stride": ((8, 9), 96, 98, (3, 3), (2, 3), ((1, 1), (0, 1)), 1),
    "groups": ((9, 8), 6, 8, (5, 5), (1, 1), ((2, 2), (2, 2)), 2),
    "groups, stride": ((9, 8), 6, 9, (3, 3), (2, 2), ((1, 1), (1, 1)), 3),
}


@TYPES
@pytest.mark.parametrize("case", list(CASES))
def test_convolution(case, dtype):
    sides, channels, features, kernel, stride, padding, groups = CASES[case]
    rng = np.random.default_rng(0)
    x = draw(rng, (3, *sides, channels), dtype)
    w = draw(rng, (*kernel, channels // groups, features), dtype, scale=0.2)
    ours, plain = (functools.partial(f, stride=stride, padding=padding, groups=groups)
                   for f in (cpu_convolution.conv, cpu_convolution.plain_conv))  # fmt: skip
    with jax.default_matmul_precision("highest"):
        compare(ours, plain, (x, w), dtype)


@TYPES
@pytest.mark.parametrize("shape", [(6, 20), (2, 3, 4, 20), (30, 20)])
def test_product(shape, dtype):
    rng = np.random.default_rng(0)
    compare(cpu_kernels.matmul, jnp.matmul, (draw(rng, shape, dtype), draw(rng, (20, 7), dtype)), dtype)


def test_gradients_of_wider_weights_have_their_dtype():
    """With float32 parameters and bfloat16 computation, gradients are summed in float32. A product then rounds them once."""
    rng = np.random.default_rng(0)
    x = draw(rng, (2, 5, 5, 96), "bfloat16")
    for function, shape, rounded in (
        (lambda x, w: cpu_convolution.conv(x, w, (1, 1), ((1, 1), (1, 1))), (3, 3, 96, 96), True),
        (lambda x, w: cpu_convolution.conv(x, w, (1, 1), ((0, 0), (0, 0))), (1, 1, 96, 8), True),
        (cpu_kernels.matmul, (96, 8), True),
        (cpu_kernels.add_bias, (96,), False),
    ):
        y, back = jax.vjp(function, x, draw(rng, shape, "float32"))
        _, found = back(draw(rng, y.shape, "bfloat16"))
        assert y.dtype == jnp.bfloat16 and found.dtype == jnp.float32
        assert np.array_equal(found, found.astype(jnp.bfloat16)) == rounded


@TYPES
@pytest.mark.parametrize("kind", ["max", "average", "l1", "l2"])
def test_pooling(kind, dtype):
    pool = functools.partial(pooling.pool, kind=kind, size=3, stride=2, padding=1)
    x = jnp.asarray(np.random.default_rng(0).permutation(2 * 7 * 7 * 3).reshape(2, 7, 7, 3) % 251 + 1, dtype)
    compare(pool, pool, (x,), dtype)


@TYPES
@pytest.mark.parametrize("shape", [(128, 8, 8, 5), (7, 7, 7, 3), (11, 13, 2), (1, 4), (3,)])
def test_channel_sums(shape, dtype):
    """Row counts that have a divisor up to 8, and 143 = 11 x 13, which has none."""
    x = draw(np.random.default_rng(0), shape, dtype)
    compare(cpu_kernels.channel_sums, cpu_kernels.plain_channel_sums, (x,), "float32")


@TYPES
@pytest.mark.parametrize("shape", [(7,), (4, 5, 7)])
def test_bias(shape, dtype):
    rng = np.random.default_rng(0)
    compare(cpu_kernels.add_bias, jnp.add, (draw(rng, (300, 4, 5, 7), dtype), draw(rng, shape, dtype)), dtype)


@TYPES
def test_relu(dtype):
    x = draw(np.random.default_rng(0), (3, 4, 5, 6), dtype).at[0, 0].set(0)
    compare(cpu_kernels.relu, jax.nn.relu, (x,), dtype)
    odd = jnp.array([jnp.nan, -0.0, jnp.inf, -jnp.inf], dtype)
    np.testing.assert_array_equal(*(f(odd).astype(jnp.float32) for f in (cpu_kernels.relu, jax.nn.relu)))


@TYPES
@pytest.mark.parametrize("shape, mean", [((1, 4, 5, 6, 3), 0), ((2, 4, 5, 6, 3), 30), ((3, 12, 5), 1)])
def test_batch_normalization(shape, mean, dtype):
    rng = np.random.default_rng(0)
    x = draw(rng, shape, dtype, 2.0) + jnp.asarray(mean, dtype)
    scale, bias = (draw(rng, shape[-1:], "float32") for _ in range(2))
    ours, plain = (lambda *a, f=f: f(*a, 1e-5)[0] for f in (cpu_kernels.normalize, cpu_kernels.plain_normalize))
    compare(ours, plain, (x, scale, bias), dtype)
    for found, wanted in zip(cpu_kernels.normalize(x, scale, bias, 1e-5)[1:],
                             cpu_kernels.plain_normalize(x.astype(jnp.float32), scale, bias, 1e-5)[1:], strict=True):  # fmt: skip
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("exponent", [0.25, 0.5, 0.6, 0.75, 1.0])
def test_inverse_power(exponent):
    x = 0.5 + jnp.abs(draw(np.random.default_rng(0), (7, 20), "float32", scale=3.0))
    compare(lambda x: cpu_kernels.inverse_power(x, exponent), lambda x: x**-exponent, (x,), "float32")
    trace = jax.make_jaxpr(lambda x: cpu_kernels.inverse_power(x, exponent))(x)
    assert ("rsqrt" in str(trace)) == (exponent != 0.6)


def test_elsewhere_the_plain_form_is_taken(monkeypatch):
    """On accelerators, conv compiles to one convolution without the CPU formulations."""
    monkeypatch.setattr(cpu_kernels, "on_cpu", lambda: False)
    x, w = jnp.zeros((2, 8, 8, 4)), jnp.zeros((3, 3, 2, 6))
    trace = jax.make_jaxpr(lambda x, w: cpu_convolution.conv(x, w, (2, 2), ((1, 1), (1, 1)), 2))(x, w)
    assert [e.primitive.name for e in trace.eqns] == ["conv_general_dilated"]


@pytest.mark.parametrize("side, channels, features, size, padding, dtype", [
    (6, 256, 8, 6, 0, "float32"), (14, 6, 16, 5, 0, "float32"), (32, 1, 6, 5, 2, "bfloat16"),
])  # fmt: skip
def test_where_xla_convolves_slowly_products_do(side, channels, features, size, padding, dtype):
    """Matrix products replace slow XLA convolutions and their gradients, but only where they are faster."""

    def program(side, pad):
        def gradients(x, w):
            y, back = jax.vjp(lambda x, w: cpu_convolution.conv(x, w, (1, 1), ((pad, pad), (pad, pad))), x, w)
            return y, back(y)

        shapes = (2, side, side, channels), (size, size, channels, features)
        return jax.jit(gradients).lower(*map(jax.ShapeDtypeStruct, shapes, (dtype, "float32"))).as_text()

    found = program(side, padding)
    forward = channels == 6  # banded kernels on several channels: only the gradients are products
    assert found.count("stablehlo.dot_general") >= 3 - forward and found.count("stablehlo.convolution") == forward
    assert ("-> tensor<2x10x5x32xf32>" in found) == forward  # two neighbouring pixels at once, as 32 maps
    assert "stablehlo.convolution" in program(100, padding)


ONEDNN_CALLS = """if True:
    from convnets.runtime import environment
    environment.tune(dtype="bfloat16")
    import jax
    from convnets.layers import cpu_convolution
    kernel, stride, edge = {}
    def gradients(x, w):
        y, back = jax.vjp(lambda x, w: cpu_convolution.conv(x, w, (stride, stride), ((edge, edge), (edge, edge))), x, w)
        return y, back(y)
    shapes = (2, 32, 32, 16), (kernel, kernel, 16, 32)
    program = jax.jit(gradients).lower(*map(jax.ShapeDtypeStruct, shapes, ("bfloat16", "float32"))).compile()
    calls = [line for line in program.as_text().splitlines() if "__onednn$convolution" in line]
    print(sum("= (bf16[" in line for line in calls), len(calls))"""


@pytest.mark.skipif("avx512_bf16" not in environment.processor_flags(), reason="no bfloat16 units")
@pytest.mark.skipif(jax.__version_info__ < (0, 11), reason="jaxlib has no oneDNN")
@pytest.mark.parametrize("geometry, calls", [((3, 1, 1), 3), ((1, 1, 0), 3), ((1, 2, 0), 3), ((3, 2, 1), 2)])
def test_bfloat16_convolutions_are_computed_by_onednn(geometry, calls):
    """Forward pass and both gradients, all in bfloat16; oneDNN refuses the input gradient of a strided convolution."""
    command = [sys.executable, "-c", ONEDNN_CALLS.format(geometry)]
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS")}
    environment["JAX_PLATFORMS"] = "cpu"
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(calls)] * 2


@pytest.mark.parametrize("kind", ["max", "average", "l1", "l2"])
def test_bfloat16_is_pooled_in_float32(kind):
    trace = jax.make_jaxpr(lambda x: pooling.pool(x, kind, 2, 2, 0))(jnp.zeros((2, 4, 4, 3), jnp.bfloat16))
    first, *rest, last = trace.eqns
    assert first.outvars[0].aval.dtype == jnp.float32 and last.outvars[0].aval.dtype == jnp.bfloat16
    assert all(v.aval.dtype != jnp.bfloat16 for e in rest for v in e.outvars)
