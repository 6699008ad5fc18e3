"""Measures each form of cpu_convolution.py and cpu_kernels.py against the plain formulation: forward pass and gradients.

    python benchmarks/kernels.py [--rounds=9] [--note=...]        or: make bench-kernels

Each dtype has a process of its own, with run.py's XLA flags for it. The shapes come from the papers' networks, with
batches that fit into memory. The two sides take turns, so that other load on the machine slows both equally. Appends a
line to results.jsonl with the milliseconds of both sides for every shape. The line also has their ratios in wall time
and in CPU time, which depends little on other load. A form is kept if the median ratio of its shapes in CPU time is at
least 1.1.
"""

import argparse
import functools
import os
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import compare, train

KEPT = 1.1
# form: {layer: (image side, channels, features, kernel, stride, padding, groups, batch)}
CONVOLUTIONS = {
    "groups": {
        "AlexNet conv2": (27, 96, 256, 5, 1, 2, 2, 16),
        "AlexNet conv4": (13, 384, 384, 3, 1, 1, 2, 16),
    },
    "whole map": {
        "AlexNet fc6": (6, 256, 4096, 6, 1, 0, 1, 32),
        "VGG fc6": (7, 512, 4096, 7, 1, 0, 1, 8),
        "LeNet-5 C5": (5, 16, 120, 5, 1, 0, 1, 128),
    },
    "bands": {
        "LeNet-5 C1": (32, 1, 6, 5, 1, 0, 1, 128),
        "LeNet-5 C3": (14, 6, 16, 5, 1, 0, 1, 128),
    },
    "strided 1 x 1": {
        "ResNet-18 res3a_branch1": (56, 64, 128, 1, 2, 0, 1, 16),
        "ResNet-50 res3a_branch1": (56, 256, 512, 1, 2, 0, 1, 16),
        "ResNet-50 res5a_branch1": (14, 1024, 2048, 1, 2, 0, 1, 16),
    },
    "mirrored": {
        "ResNet-20 res2a_branch2b": (32, 16, 16, 3, 1, 1, 1, 128),
        "ResNet-20 res4a_branch2b": (8, 64, 64, 3, 1, 1, 1, 128),
        "VGG conv2_2": (112, 128, 128, 3, 1, 1, 1, 8),
        "VGG conv4_2": (28, 512, 512, 3, 1, 1, 1, 8),
        "ResNet-18 conv3_2": (28, 128, 128, 3, 1, 1, 1, 16),
        "ResNet-50 res4b_branch2b": (14, 256, 256, 3, 1, 1, 1, 16),
        "ResNet-50 res4a_branch2b": (28, 256, 256, 3, 2, 1, 1, 16),
        "ResNet-50 res5b_branch2b": (7, 512, 512, 3, 1, 1, 1, 16),
        "GoogLeNet inception_4e/3x3": (14, 160, 320, 3, 1, 1, 1, 16),
    },
}
# Forms that apply to one dtype only; the other dtype uses the plain formulation.
ONLY = {
    **dict.fromkeys(("channel sums", "pairs", "product"), "float32"),
    **dict.fromkeys(("mirrored", "pooling", "strided 1 x 1"), "bfloat16"),
}
# {layer: shape of the input}, or the shapes of the two operands; POOLS: also kind, size, stride and padding
BIASES = {"VGG conv1_1": (8, 224, 224, 64), "AlexNet conv1": (32, 55, 55, 96)}
POOLS = {
    "GoogLeNet inception_4a/pool": ((16, 14, 14, 480), "max", 3, 1, 1),
    "ResNet's pool1": ((16, 112, 112, 64), "max", 3, 2, 1),
    "VGG pool2": ((8, 112, 112, 128), "max", 2, 2, 0),
    "LeNet-5 as an average": ((128, 28, 28, 6), "average", 2, 2, 0),
}
LRN = {"GoogLeNet norm2": (16, 56, 56, 192), "AlexNet norm1": (32, 55, 55, 96)}
BATCH_NORM = {
    "ResNet-20, first stage": (128, 32, 32, 16),
    "ResNet-20, last stage": (128, 8, 8, 64),
    "ResNet-50 bn2a_branch2c": (8, 56, 56, 256),
    "ResNet-50 bn4a_branch2c": (8, 14, 14, 1024),
}
# Stages of three residual blocks: the input shape.
BLOCKS = {"ResNet-20, first stage": (128, 32, 32, 16), "ResNet-18 conv2_x": (8, 56, 56, 64)}
PRODUCTS = {"AlexNet fc6": ((32, 9216), (9216, 4096)), "VGG fc7": ((32, 4096), (4096, 4096))}
BANDS = {"LeNet-5 C1": ((128, 32, 32, 1), (5, 5, 1, 6)), "LeNet-5 C3": ((128, 14, 14, 6), (5, 5, 6, 16))}
PAIRS = {"LeNet-1 H3": ((128, 12, 12, 4), (5, 5, 4, 12)), "LeNet-5 C3": ((128, 14, 14, 6), (5, 5, 6, 16))}


def pooled(x, widened, *window):
    """Pools x with (`widened`) or without the float32 widening of CPUs."""
    from convnets.layers import cpu_kernels, pooling

    with mock.patch.object(cpu_kernels, "on_cpu", lambda: widened):
        return pooling.pool(x, *window)


def neighbours(x, roots):
    """Applies LRN with the power from square roots, as on CPUs (`roots`), or with the plain power."""
    from convnets import layers
    from convnets.layers import cpu_kernels

    with mock.patch.object(cpu_kernels, "on_cpu", lambda: roots):
        return layers.LRN().apply({}, x)


def multiplied(product, *arguments):
    """Convolves in bands with `product` as the matrix product; its cost depends on how it treats the three axes."""
    from convnets.layers import cpu_convolution, cpu_kernels

    with mock.patch.object(cpu_kernels, "matmul", product):
        return cpu_convolution.conv(*arguments)


def unit(x, w):
    """Applies a convolution and batch normalization."""
    from convnets.layers import cpu_convolution, cpu_kernels

    edge, one, zero = w.shape[0] // 2, np.ones(w.shape[-1], np.float32), np.zeros(w.shape[-1], np.float32)
    return cpu_kernels.normalize(cpu_convolution.conv(x, w, (1, 1), ((edge, edge), (edge, edge))), one, zero, 1e-5)[0]


def blocks(relu, x, weights):
    """Runs residual blocks, one convolution per weight array; a form's cost depends on the operations before it."""
    for block in weights:
        y = x
        for n, w in enumerate(block):
            y = unit(relu(y) if n else y, w)
        x = relu(x + y)
    return x


def cases(dtype):
    """Yields (form, layer, ours, plain, arguments); ours and plain are functions from arrays to one array."""
    import jax
    import jax.numpy as jnp

    from convnets.layers import cpu_convolution, cpu_kernels

    rng = np.random.default_rng(0)
    matmul = lambda x, w: x @ w.astype(x.dtype)  # noqa: E731
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape, np.float32), dtype)  # noqa: E731
    for form, shapes in CONVOLUTIONS.items():
        for where, (side, c, f, k, s, p, groups, n) in shapes.items():
            rest = ((s, s), ((p, p), (p, p)), groups)
            keep = jax.lax.stop_gradient if c == 1 else lambda x: x  # images need no gradient
            both = (cpu_convolution.conv, cpu_convolution.plain_conv)
            ours, plain = (lambda x, w, g=g, k=keep, r=rest: g(k(x), w, *r) for g in both)
            yield form, where, ours, plain, (draw(n, side, side, c), draw(k, k, c // groups, f))
    for where, (shape, *window) in POOLS.items():
        ours, wide = (lambda x, on=on, w=window: pooled(x, on, *w) for on in (True, False))
        yield "pooling", where, ours, wide, (draw(*shape),)
    for where, shape in BIASES.items():
        bias = jnp.zeros(shape[-1])
        yield "bias", where, cpu_kernels.add_bias, lambda x, b: x + b.astype(x.dtype), (draw(*shape), bias)
    stop = jax.lax.stop_gradient
    for where, shape in BATCH_NORM.items():
        both = (cpu_kernels.channel_sums, cpu_kernels.plain_channel_sums)
        # The layers that use them have gradients of their own, so that no gradient passes through the sums.
        ours, plain = (lambda x, y, g=g: g(stop(x) * stop(y)) for g in both)
        yield "channel sums", where, ours, plain, (draw(*shape), draw(*shape))
    for where, (a, b) in PAIRS.items():  # the form is of the forward pass
        both, edges = (cpu_convolution._pairs_conv, cpu_convolution.plain_conv), ((0, 0), (0, 0))
        ours, plain = (lambda x, w, g=g, e=edges: g(stop(x), stop(w), (1, 1), e) for g in both)
        yield "pairs", where, ours, plain, (draw(*a), draw(*b))
    for where, shape in LRN.items():
        ours, plain = (functools.partial(neighbours, roots=on) for on in (True, False))
        yield "roots", where, ours, plain, (draw(*shape),)
    for where, shape in BATCH_NORM.items():
        ours, plain = (
            lambda x, *a, g=g: g(x, *a, 1e-5)[0] for g in (cpu_kernels.normalize, cpu_kernels.plain_normalize)
        )
        yield "batch norm", where, ours, plain, (draw(*shape), jnp.ones(shape[-1]), jnp.zeros(shape[-1]))
    for where, shape in BLOCKS.items():
        ours, plain = (functools.partial(blocks, g) for g in (cpu_kernels.relu, jax.nn.relu))
        weights = [[0.1 * draw(3, 3, shape[-1], shape[-1]) for _ in range(2)] for _ in range(3)]
        yield "relu", where, ours, plain, (draw(*shape), weights)
    for where, (a, b) in PRODUCTS.items():
        yield "product", where, cpu_kernels.matmul, matmul, (draw(*a), draw(*b))
    for where, (x, w) in BANDS.items():
        both, rest = (cpu_kernels.matmul, matmul), ((1, 1), ((0, 0), (0, 0)))
        ours, plain = (lambda x, w, g=g, r=rest: multiplied(g, x, w, *r) for g in both)
        yield "product in bands", where, ours, plain, (draw(*x), draw(*w))


def programs(functions, arguments):
    """Compiles each function with the gradients of all its arguments, and runs it once."""
    import jax

    def program(function, g, *args):
        y, back = jax.vjp(function, *args)
        return y, back(g)

    y = jax.eval_shape(functions[0], *arguments)
    # The output gradient is random and an argument, since XLA would simplify the program for a constant one.
    g = jax.numpy.asarray(np.random.default_rng(1).standard_normal(y.shape, np.float32), y.dtype)
    found = [functools.partial(jax.jit(functools.partial(program, f)), g) for f in functions]
    for compiled in found:
        jax.block_until_ready(compiled(*arguments))
    return found


def measure(both, arguments, rounds):
    """Returns [2, sides, rounds]: wall time and CPU time in milliseconds."""
    import jax

    found = np.empty((2, len(both), rounds))
    for turn in range(rounds):
        for side, program in enumerate(both):
            began, cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(program(*arguments))
            found[:, side, turn] = 1e3 * (time.perf_counter() - began), 1e3 * (time.process_time() - cpu)
    return found


def ratios(dtype, rounds):
    """Measures all forms of a dtype in this process; returns {form: {layer: times and ratios}}."""
    from convnets.runtime import environment

    environment.tune(dtype=dtype)
    found = {}
    for form, where, ours, plain, arguments in cases(dtype):
        if ONLY.get(form, dtype) != dtype:
            continue
        times = measure(programs((ours, plain), arguments), arguments, rounds)
        took, ratio = np.median(times[0], axis=1), np.median(times[:, 1] / times[:, 0], axis=1)
        found.setdefault(f"{form}, {dtype}", {})[where] = {
            "ours_ms": round(took[0], 2), "plain_ms": round(took[1], 2),
            "ratio": round(ratio[0], 2), "ratio_of_cpu": round(ratio[1], 2),
        }  # fmt: skip
        print(f"{form:20} {where:30} {took[0]:8.2f} ms against {took[1]:8.2f}: {ratio[0]:5.2f} times as fast "
              f"({ratio[1]:.2f} in CPU time)", file=sys.stderr)  # fmt: skip
    return found


def main():
    parser = compare.parser(__doc__, 9)
    parser.add_argument("--dtype", choices=train.DTYPES, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.dtype:
        return compare.serve(lambda: ratios(flags.dtype, flags.rounds))
    load, found = round(os.getloadavg()[0], 1), {}
    for dtype in train.DTYPES:
        command = [__file__, f"--dtype={dtype}", f"--rounds={flags.rounds}"]
        found |= compare.race({dtype: command}, 1)[dtype][0]
    for form, shapes in found.items():
        middle = float(np.median([v["ratio_of_cpu"] for v in shapes.values()]))
        print(f"{form:20} {'kept' if middle >= KEPT else 'NOT WORTH IT'}: {middle:.2f} in the middle of its shapes")
    compare.record("kernels", forms=found, rounds=flags.rounds, load_before=load, note=flags.note)


if __name__ == "__main__":
    main()
