"""Measures images/s in training and inference against PyTorch: same network, batch, precision and machine.

    python benchmarks/train.py [--nets=lenet5_modern,...] [--dtypes=float32,bfloat16] [--kinds=train,inference]
                               [--rounds=5] [--note=...]            or: make bench

A training step is forward, backward and SGD with momentum and weight decay, with data in memory. Our side is the step
of convnets/training/train_step.py, dispatched as in run.py. PyTorch runs eager and compiled (on a GPU with CUDA
graphs), with channels last and with autocast for bfloat16. Inference is the network alone, from images in memory to
scores; each batch finishes before the next is dispatched.

Each side is a separate process, and the sides take turns. Appends a line per case to results.jsonl: images/s of all
sides, peak memory, our ratio to the faster PyTorch side, and our shares of the machine's matrix product rate and of its
roofline (`least_seconds`).
"""

import argparse
import functools
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

from convnets.models.summary import summarize, summarize_trace, trace_layers
from convnets.training.optimizer import make_recipe
from convnets.training.state import create_state

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import compare
from configs import base

# (batch on CPUs, batch on GPUs)
NETS = {
    "lenet5_modern": (128, 1024), "resnet20_cifar": (128, 1024), "alexnet_owt": (32, 512), "vgg_d": (8, 128),
    "googlenet": (16, 256), "resnet18": (16, 256), "resnet50_v1_5": (16, 256),
}  # fmt: skip
KINDS, DTYPES = ("train", "inference"), ("float32", "bfloat16")
SIDES = ("ours", "torch", "torch_compiled")
SECONDS = 2.0  # per round
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}


def classes(net):
    return 10 if net.startswith("lenet") or net.endswith("_cifar") else 1000


def recipe(batch):
    options = {**base.get_config().optim, **SGD, "decay_multipliers": "*"}
    return make_recipe(**options, steps_per_epoch=1000, batch_size=batch)


def ours(kind, net, dtype, batch=0, count=1, steps=0):
    """Returns (run_steps, images per dispatch, peak); run_steps(n) runs n dispatches and waits, peak() returns MiB.

    Args:
        batch: total batch size of all devices; 0 = the one in NETS.
        count: number of devices.
        steps: training steps of a dispatch; 0 = the platform's default.
    """
    from convnets.runtime import environment

    environment.tune(dtype=dtype)
    import jax

    from convnets import models
    from convnets.runtime import parallel
    from convnets.training import train_step

    jax.config.update("jax_threefry_partitionable", True)
    devices = jax.local_devices()[:count]
    device = devices[0]
    model = models.create(net, classes(net), dtype)
    batch = batch or NETS[net][device.platform != "cpu"]
    optimizer = recipe(batch).optimizer
    rng = np.random.default_rng(0)
    several = parallel.steps_per_dispatch(steps) if kind == "train" else 1
    one = {"image": rng.standard_normal((batch, *model.input_shape), np.float32),
           "label": rng.integers(0, classes(net), batch), "mask": np.ones(batch, np.float32),
           "epoch": np.zeros(batch, np.int32), "index": np.arange(batch, dtype=np.int32)}  # fmt: skip
    resident_arrays = parallel.replicate({"images": one.pop("image"), "labels": one.pop("label")}, devices)
    feed = jax.device_put(parallel.shard([one] * several, count))
    now = parallel.replicate(create_state(model, optimizer, 0), devices)
    if kind == "train":
        step = parallel.parallel(train_step.train_step(model, optimizer, "softmax", [], 0), train=True,
                              steps=several, devices=devices)  # fmt: skip
        held = [now]

        def run_steps(n):
            for _ in range(n):
                held[0], _ = step(held[0], feed, resident_arrays)
            jax.block_until_ready(held[0])
    else:
        forward = jax.jit(lambda variables, images: model.apply(variables, images, train=False))

        def run_steps(n):
            for _ in range(n):
                jax.block_until_ready(forward(now.variables, resident_arrays["images"]))

    def peak():
        statistics = device.memory_stats() or {}
        return statistics.get("peak_bytes_in_use", 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 2**20

    return run_steps, batch * several, peak


def torch(kind, net, dtype, compiled, batch=0):
    """Returns the same as `ours`, for PyTorch."""
    import torch
    from torch.nn.functional import cross_entropy

    from benchmarks.torch_nets import NETS as NETWORKS
    from convnets import models

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as in JAX
    network = NETWORKS[net]().to(device, memory_format=torch.channels_last).train(kind == "train")
    optimizer = torch.optim.SGD(network.parameters(), **SGD)
    batch = batch or NETS[net][device != "cpu"]
    image = torch.randn(batch, *np.roll(models.create(net, classes(net), dtype).input_shape, 1), device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    label = torch.randint(0, classes(net), (batch,), device=device)
    cast = functools.partial(torch.autocast, device, torch.bfloat16, enabled=dtype == "bfloat16")
    if compiled:
        network = torch.compile(network, mode="reduce-overhead" if device == "cuda" else None)

    def train():
        with cast():
            output = network(image)
            scores, heads = output if isinstance(output, tuple) else (output, [])
            loss = cross_entropy(scores, label) + 0.3 * sum(cross_entropy(head, label) for head in heads)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    @torch.inference_mode()
    def infer():
        with cast():
            network(image)

    def several(n):
        for i in range(n):
            train() if kind == "train" else infer()
            if device == "cuda" and (kind == "inference" or i == n - 1):
                torch.cuda.synchronize()

    def peak():
        own = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return (torch.cuda.max_memory_allocated() if device == "cuda" else own) / 2**20

    return several, batch, peak


def leave_out(side):
    """Sets up a variant side of benchmarks/parts.py: restores the default of JAX or glibc, or uses the ONEDNN flags."""
    import jax

    from convnets.layers import cpu_kernels
    from convnets.runtime import environment

    if "plain_relu" in side:
        cpu_kernels._relu = jax.nn.relu
    if "own_memory" in side:
        environment.keep_memory = lambda: None
    if "no_flags" in side:
        environment.CPU_FLAGS = ()
    if "onednn" in side:
        os.environ["XLA_FLAGS"] = environment.ONEDNN


def serve(side, kind, net, dtype, batch="0", devices="1", steps="0"):
    if side.startswith("ours"):
        leave_out(side)
        run_steps, images, peak = ours(kind, net, dtype, int(batch), int(devices), int(steps))
    else:
        run_steps, images, peak = torch(kind, net, dtype, "compiled" in side, int(batch))
    for _ in range(4):
        run_steps(1)  # the first step compiles; memory grows over two or three steps
    began = time.perf_counter()
    run_steps(1)
    count = max(1, round(SECONDS / (time.perf_counter() - began)))

    def measure():
        began, cpu = time.perf_counter(), time.process_time()
        run_steps(count)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        return {"images_per_second": images * count / took, "cpu_ms": 1e3 * cpu / (images * count), "peak_mib": peak()}

    compare.serve(measure)


def limits(dtype):
    """Returns the GFLOP/s of a large matrix product, the GB/s of a large copy, and the device.

    A subprocess frees its memory and the GPU.
    """
    code = (
        "import time, jax, jax.numpy as jnp\n"
        f"n = 2048 if jax.default_backend() == 'cpu' else 8192\na = jax.random.normal(jax.random.key(0), (n, n), '{dtype}')\n"
        "f = jax.jit(lambda a: jnp.matmul(a, a, preferred_element_type=jnp.float32))\n"
        "g, b = jax.jit(lambda b: b + 1), jnp.zeros(16 * n * n, 'float32')\n"
        "def measure(f, a):\n    f(a).block_until_ready()\n    t = time.perf_counter()\n    for _ in range(10): y = f(a)\n"
        "    y.block_until_ready()\n    return (time.perf_counter() - t) / 10\n"
        "least = lambda *case: min(measure(*case) for _ in range(5))\n"
        "print(2 * n**3 / least(f, a) / 1e9, 2 * b.nbytes / least(g, b) / 1e9, jax.devices()[0].device_kind, sep='\\n')"
    )
    import subprocess

    products, copies, device = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()[-3:]
    return float(products), float(copies), device


def least_seconds(model, dtype, batch, products, copies):
    """Returns the roofline's time of a forward pass; a training step takes three times as long.

    It is the sum over the layers with products of the larger of two times: arithmetic at the rate of `products` GFLOP/s,
    and the layer's input, weights and output moved once at `copies` GB/s. All other operations count as free.
    """
    trace = trace_layers(model)
    seconds, width = 0.0, 2 if dtype == "bfloat16" else 4
    for layer, traced in zip(summarize_trace(trace), trace.layers, strict=True):
        if layer.multiply_adds:
            moved = width * (batch * (np.prod(traced.input) + np.prod(layer.output)) + layer.parameters)
            seconds += max(2 * batch * layer.multiply_adds / products, moved / copies) / 1e9
    return float(seconds)


def main():
    parser = compare.parser(__doc__, 5)
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.serve:
        return serve(*flags.serve.split(":"))
    nets, dtypes, kinds = (compare.chosen(parser, option, getattr(flags, option), known) for option, known in
                           (("nets", NETS), ("dtypes", DTYPES), ("kinds", KINDS)))  # fmt: skip
    from convnets import models

    for dtype in dtypes:
        rate, copies, device = limits(dtype)
        print(f"{device}: a matrix product in {dtype} reaches {rate:,.0f} GFLOP/s, a copy {copies:,.0f} GB/s")
        for net in nets:
            model = models.create(net, classes(net), dtype)
            macs = sum(layer.multiply_adds for layer in summarize(model))
            for kind in kinds:
                load = round(os.getloadavg()[0], 1)
                commands = {side: [__file__, f"--serve={side}:{kind}:{net}:{dtype}"] for side in SIDES}
                found = compare.race(commands, flags.rounds)
                speeds = {side: np.array([a["images_per_second"] for a in v]) for side, v in found.items()}
                if len(speeds) < 2 or "ours" not in speeds:
                    raise SystemExit(
                        f"{net}: only {', '.join(speeds) or 'neither side'} ran; there is nothing to compare"
                    )
                best = max((s for s in speeds if s != "ours"), key=lambda s: np.median(speeds[s]))
                ratio = speeds["ours"] / speeds[best]
                batch, passes = NETS[net][device != "cpu"], 3 if kind == "train" else 1
                share = 2 * macs * passes * np.median(speeds["ours"]) / (rate * 1e9)
                least = passes * least_seconds(model, dtype, batch, rate, copies)
                roofline = least * np.median(speeds["ours"]) / batch
                print(f"{net:16} {dtype:9} {kind:10} " + ", ".join(f"{s} {np.median(v):,.1f}" for s, v in speeds.items())
                      + f" images/s; {np.median(ratio):.2f} of {best}, {100 * share:.0f} % of the products' rate,"
                      f" {100 * roofline:.0f} % of the roofline", flush=True)  # fmt: skip
                facts = {side: {"images_per_second": compare.spread(speeds[side]),
                                **{k: round(float(np.median([a[k] for a in v])), 3) for k in ("cpu_ms", "peak_mib")}}
                         for side, v in found.items()}  # fmt: skip
                compare.record(kind, net=net, dtype=dtype, batch=batch, device=device, **facts,
                             ratio=compare.spread(ratio, 2), beside=best, gflops_of_products=round(rate),
                             gbs_of_copies=round(copies), share_of_products=round(float(share), 3),
                             share_of_roofline=round(float(roofline), 3), rounds=flags.rounds, load_before=load,
                             note=flags.note)  # fmt: skip


if __name__ == "__main__":
    main()
