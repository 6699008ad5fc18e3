"""Compiles training steps for a TPU without having one: compile time, memory and estimated step time.

    python benchmarks/tpu_compile.py [--nets=lenet5_modern,...] [--dtypes=bfloat16] [--note=...]       or: make bench-tpu

libtpu, from the extra `tpu`, compiles for a topology description without hardware. The step is the one of
benchmarks/train.py on one chip. The estimated time is the larger of XLA's FLOP count / the chip's peak FLOP/s and XLA's
byte count / the chip's memory bandwidth. Appends a line per case to results.jsonl.
"""

import os
import sys
import time
from pathlib import Path

from convnets.training.state import state_shapes

os.environ.update(JAX_PLATFORMS="cpu", TPU_SKIP_MDS_QUERY="1", TPU_WORKER_HOSTNAMES="localhost")
sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import compare, train

TOPOLOGY = "v5e:2x2"
PEAK, BANDWIDTH = 197e12, 819e9  # one v5e chip, by Google's specification: FLOP/s in bfloat16, bytes/s
BATCH = 128


def step_for(net, dtype, device):
    """Returns the training step of a network for one device, and the shapes of its arguments."""
    import jax
    import jax.numpy as jnp

    from convnets import models
    from convnets.layers import cpu_kernels
    from convnets.runtime import parallel
    from convnets.training import train_step

    model = models.create(net, train.classes(net), dtype)
    optimizer = train.recipe(BATCH).optimizer
    with cpu_kernels.compile_for(device.platform):
        shapes = state_shapes(model, optimizer)
    one = lambda dtype, *rest: jax.ShapeDtypeStruct((BATCH, *rest), dtype)  # noqa: E731
    batch = {"image": one(jnp.float32, *model.input_shape), "mask": one(jnp.float32),
             **{key: one(jnp.int32) for key in ("label", "epoch", "index")}}  # fmt: skip
    step = train_step.train_step(model, optimizer, "softmax", [], 0)
    return parallel.ahead_of_time(step, train=True, device=device), (shapes, batch, {})


def main():
    parser = compare.parser(__doc__, 1)
    parser.add_argument("--nets", default=",".join(train.NETS))
    parser.add_argument("--dtypes", default="bfloat16")
    flags = parser.parse_args()
    nets = compare.chosen(parser, "nets", flags.nets, train.NETS)
    dtypes = compare.chosen(parser, "dtypes", flags.dtypes, train.DTYPES)
    from jax.experimental import topologies

    device = topologies.get_topology_desc(TOPOLOGY, "tpu").devices[0]
    for dtype in dtypes:
        for net in nets:
            step, arguments = step_for(net, dtype, device)
            began = time.perf_counter()
            lowered = step.lower(*arguments)
            lower = time.perf_counter() - began
            compiled = lowered.compile()
            took = time.perf_counter() - began - lower
            memory, costs = compiled.memory_analysis(), compiled.cost_analysis()
            estimated = max(costs["flops"] / PEAK, costs["bytes accessed"] / BANDWIDTH)
            mib = {name: round(getattr(memory, f"{size}_size_in_bytes") / 2**20, 1)
                   for name, size in (("argument_mib", "argument"), ("temporary_mib", "temp"))}  # fmt: skip
            print(f"{net:16} {dtype:9} traced in {lower:5.1f} s, compiled in {took:6.1f} s, estimated {1e3 * estimated:.2f} ms a"
                  f" step, {sum(mib.values()):,.0f} MiB", flush=True)  # fmt: skip
            compare.record("compile", topology=TOPOLOGY, net=net, dtype=dtype, batch=BATCH, lower_s=round(lower, 1),
                         compile_s=round(took, 1), **mib, estimated_s=round(estimated, 6), flops=costs["flops"],
                         bytes_accessed=costs["bytes accessed"], note=flags.note)  # fmt: skip


if __name__ == "__main__":
    main()
