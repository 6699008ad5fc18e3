"""Breaks the CPU time of a training step down into the convolutions of the network and the rest.

    python benchmarks/parts.py [--nets=resnet20_cifar,resnet50_v1_5] [--dtypes=float32,bfloat16] [--rounds=5] [--note=...]
                               or: make bench-parts

The whole step is the training step of benchmarks/train.py. It is also measured in four variants: with jax.nn.relu
instead of cpu_kernels.relu, with the C library's default allocator settings, without run.py's XLA flags, and with
oneDNN's custom calls, which bfloat16 has where the processor has units for it. Inference on the same number of images is measured too. Then every
convolution runs alone on random arrays of its shapes: forward, gradient of its input, gradient of its weights.

All times are CPU time, which other load on the machine changes least. The remainder is batch normalization,
activations, pooling, the optimizer and cache misses between the parts. Appends a line per network and dtype to
results.jsonl.
"""

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import compare, train

STEP = "ours:train"
WHOLE = {"the step with jax.nn.relu": "ours_plain_relu:train",
         "the step with the C library's allocator": "ours_own_memory:train",
         "the step without run.py's XLA flags": "ours_no_flags:train",
         "the step with oneDNN's custom calls": "ours_onednn:train", "inference": "ours:inference"}  # fmt: skip
PARTS = ("forward", "gradients of inputs", "gradients of weights")


def convolutions(net, batch):
    """Counts the convolutions by (shape of x, features, kernel, stride, padding, groups), including 1 x 1."""
    from convnets import layers, models
    from convnets.models.summary import trace_layers

    model = models.create(net, train.classes(net), "float32")
    traced = [t for t in trace_layers(model).layers if isinstance(t.module, layers.Conv)]
    return Counter(((batch, *t.input), t.module.features, *map(layers.pair, (t.module.kernel, t.module.stride)),
                    layers.pads(t.module.padding), t.module.groups) for t in traced)  # fmt: skip


def cpu_ms(function, *arguments):
    import jax

    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*arguments))
    took = []
    for _ in range(5):
        began = time.process_time()
        jax.block_until_ready(compiled(*arguments))
        took.append(1e3 * (time.process_time() - began))
    return float(np.median(took))


def part(dtype, x_shape, features, kernel, stride, padding, groups, wants_input):
    """Returns (multiply-adds, CPU ms) of one convolution, each over PARTS; images need no input gradient."""
    import jax
    import jax.numpy as jnp

    from convnets.layers import cpu_convolution

    rng = np.random.default_rng(0)
    shapes = x_shape, (*kernel, x_shape[3] // groups, features)
    x, kernel = (jnp.asarray(rng.standard_normal(s, np.float32)) for s in shapes)
    x = x.astype(dtype)  # the parameters stay float32
    convolve = lambda x, kernel: cpu_convolution.conv(x, kernel, stride, padding, groups)  # noqa: E731
    y = jax.jit(convolve)(x, kernel)
    of_x = lambda x, k, g: jax.vjp(lambda x: convolve(x, k), x)[1](g)  # noqa: E731
    of_kernel = lambda x, k, g: jax.vjp(lambda k: convolve(x, k), k)[1](g)  # noqa: E731
    macs = y.size * int(np.prod(kernel.shape[:3]))
    times = (
        cpu_ms(convolve, x, kernel),
        cpu_ms(of_x, x, kernel, y) if wants_input else 0.0,
        cpu_ms(of_kernel, x, kernel, y),
    )
    return (macs, macs * wants_input, macs), times


def convolve_alone(net, dtype):
    """Returns the multiply-adds and the CPU milliseconds of all convolutions of a step, two lists over PARTS."""
    from convnets.runtime import environment

    environment.tune(dtype=dtype)
    found = np.zeros((2, len(PARTS)))
    for (x, *rest), count in convolutions(net, train.NETS[net][0]).items():
        found += count * np.array(part(dtype, x, *rest, wants_input=x[3] > 3))
    return found.tolist()


def main():
    parser = compare.parser(__doc__, 5)
    parser.add_argument("--convolve", default="", help=argparse.SUPPRESS)
    parser.add_argument("--nets", default="resnet20_cifar,resnet50_v1_5")
    parser.add_argument("--dtypes", default=",".join(train.DTYPES))
    flags = parser.parse_args()
    if flags.convolve:
        return compare.serve(lambda: convolve_alone(*flags.convolve.split(":")))
    nets = compare.chosen(parser, "nets", flags.nets, train.NETS)
    dtypes = compare.chosen(parser, "dtypes", flags.dtypes, train.DTYPES)
    for dtype in dtypes:
        rate, _, device = train.limits(dtype)
        for net in nets:
            take_apart(net, dtype, flags, device=device, gflops_of_products=round(rate))


def take_apart(net, dtype, flags, **facts):
    load, batch = round(os.getloadavg()[0], 1), train.NETS[net][0]
    commands = {side: [train.__file__, f"--serve={side}:{net}:{dtype}"] for side in (STEP, *WHOLE.values())}
    whole = {side: batch * float(np.median([a["cpu_ms"] for a in answers]))
             for side, answers in compare.race(commands, flags.rounds).items()}  # fmt: skip
    step = whole[STEP]
    [[macs, times]] = compare.race({"parts": [__file__, f"--convolve={net}:{dtype}"]}, 1)["parts"]
    found = {f"convolutions, {name}": {"cpu_ms": round(t, 1), "gflops": round(2 * m / t / 1e6 * compare.cores())}
             for name, m, t in zip(PARTS, macs, times, strict=True)}  # fmt: skip
    found["all else"] = {"cpu_ms": round(step - sum(times), 1)}
    found |= {name: {"cpu_ms": round(whole[side], 1)} for name, side in WHOLE.items()}
    print(f"{net}, {dtype}: {step:,.0f} ms of CPU time a step")
    for name, p in found.items():
        rate = f", {p['gflops']} GFLOP/s" if "gflops" in p else ""
        print(f"    {name:45} {p['cpu_ms']:8,.0f} ms{rate}", flush=True)
    compare.record("parts", net=net, dtype=dtype, batch=batch, step_cpu_ms=round(step, 1), parts=found, rounds=flags.rounds,
                 load_before=load, note=flags.note, **facts)  # fmt: skip


if __name__ == "__main__":
    main()
