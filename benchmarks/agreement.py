"""Checks training steps on an accelerator: loss and gradients against the CPU's, and --deterministic twice.

    python benchmarks/agreement.py [--nets=resnet20_cifar,...] [--twice=resnet20_cifar,...] [--batch=8]

The reference is the step of convnets/training/train_step.py on the CPU in float32. Compared with it are, on the
accelerator, float32 with exact products, float32 by default (TF32 on NVIDIA GPUs) and bfloat16; and bfloat16 on the CPU,
whose error is the yardstick for the last two. An error is ||g - reference|| / ||reference|| over all gradients.

For --twice, two processes with run.py's --deterministic train a network for some steps, and their bits are compared.
Appends a line per network to results.jsonl; the exit code is 1 if a limit was exceeded.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import compare

NETS = ("resnet20_cifar", "alexnet_owt", "resnet50_v1_5", "vgg_a", "googlenet", "bn_inception", "lenet5_modern")
TWICE = ("resnet20_cifar", "alexnet_owt")
STEPS = 16  # of a network that is trained twice
EXACT = 1e-3  # largest error of gradients in float32 with exact products: the order of sums differs
FLOOR = 1e-2  # an error of this size is rounding in bfloat16, even if the CPU's is smaller
CASES = {  # name: (platform, compute dtype, precision of products)
    "reference": ("cpu", "float32", "highest"), "cpu_bfloat16": ("cpu", "bfloat16", "default"),
    "float32_exact": ("", "float32", "highest"), "float32": ("", "float32", "default"),
    "bfloat16": ("", "bfloat16", "default"),
}  # fmt: skip


def run_steps(net, dtype, device, batch, optimizer, count=1):
    """Returns the state after `count` training steps on the same random images, and the mean loss of the last."""
    import jax

    from convnets import models
    from convnets.runtime import parallel
    from convnets.training import train_step
    from convnets.training.state import create_state

    jax.config.update("jax_threefry_partitionable", True)
    model, rng = models.create(net, 10, dtype), np.random.default_rng(0)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):  # the same initial weights to the last bit
        state = jax.device_get(create_state(model, optimizer, 0))
    index = np.arange(batch, dtype=np.int32)
    feed = {"mask": np.ones(batch, np.float32), "epoch": np.zeros_like(index), "index": index}
    resident_arrays = {"images": rng.standard_normal((batch, *model.input_shape), np.float32),
                 "labels": rng.integers(0, 10, batch).astype(np.int32)}  # fmt: skip
    step = parallel.parallel(train_step.train_step(model, optimizer, "softmax", [], 0), train=True, devices=[device])
    state, resident_arrays = parallel.replicate(state, [device]), parallel.replicate(resident_arrays, [device])
    for _ in range(count):
        state, sums = step(state, parallel.shard([feed], 1), resident_arrays)
    sums = jax.device_get(sums)
    return jax.device_get(state), float(sums["loss"][0] / sums["count"][0])


def relative_error(found, wanted):
    """Returns ||found - wanted|| / ||wanted|| over all arrays of two trees; NaN if `found` holds one."""
    import jax

    pairs = [[np.asarray(v, np.float64) for v in pair]
             for pair in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)]  # fmt: skip
    return float(np.sqrt(sum(np.sum((f - w) ** 2) for f, w in pairs) / sum(np.sum(w**2) for _, w in pairs)))


def exceeded(errors):
    """Returns the names of the cases whose gradients are further from the reference than they may be."""
    yardstick = max(FLOOR, errors["cpu_bfloat16"])
    limits = {"float32_exact": EXACT, "float32": yardstick, "bfloat16": 2 * yardstick}
    return [name for name, limit in limits.items() if not errors[name] <= limit]  # NaN exceeds every limit


def compare_with_cpu(net, batch):
    """Returns {case: error of the gradients}, {case: loss} and the accelerator."""
    import jax
    import optax

    gradients, losses = {}, {}
    for case, (platform, dtype, precision) in CASES.items():
        device = (jax.local_devices(backend=platform) if platform else jax.local_devices())[0]
        with jax.default_matmul_precision(precision):
            state, losses[case] = run_steps(net, dtype, device, batch, optax.trace(0.0))  # its state is the gradients
        gradients[case] = state.opt_state.trace
    reference = gradients.pop("reference")
    return {case: relative_error(g, reference) for case, g in gradients.items()}, losses, device.device_kind


def digest(net, batch):
    """Returns a hash of the state after STEPS steps with momentum."""
    import jax
    import optax

    state, _ = run_steps(net, "float32", jax.local_devices()[0], batch, optax.sgd(0.01, 0.9), STEPS)
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state))).hexdigest()


def train_twice(net, batch):
    """Returns whether two processes that train a network with --deterministic at the same time end with equal bits."""
    command = [sys.executable, __file__, f"--digest={net}", f"--batch={batch}"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [process.communicate()[0].split()[-1:] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"{net} could not be trained with --deterministic")
    return ended[0] == ended[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--twice", default=",".join(TWICE))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--digest", default="", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    from convnets.models import MODELS
    from convnets.runtime import environment

    nets, twice = (compare.chosen(parser, option, names, MODELS) if (names := getattr(flags, option)) else []
                   for option in ("nets", "twice"))  # fmt: skip
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # two processes share the accelerator
    environment.tune(deterministic=bool(flags.digest))
    if flags.digest:
        return print(digest(flags.digest, flags.batch))
    equal = {net: train_twice(net, flags.batch) for net in twice}
    for net, same in equal.items():
        print(f"{net} with --deterministic, twice: bits {'equal' if same else 'NOT equal'}", flush=True)
    wrong = [net for net, same in equal.items() if not same]
    for net in nets:
        errors, losses, device = compare_with_cpu(net, flags.batch)
        beyond = exceeded(errors)
        print(f"{net:16} on {device}: gradients differ by " + ", ".join(f"{case} {e:.1e}" for case, e in errors.items())
              + (f"; TOO FAR: {', '.join(beyond)}" if beyond else ""), flush=True)  # fmt: skip
        compare.record("agreement", net=net, batch=flags.batch, device=device, errors=errors, losses=losses, beyond=beyond,
                       **({"deterministic": equal[net]} if net in equal else {}))  # fmt: skip
        wrong += beyond and [net]
    return sys.exit(int(bool(wrong)))


if __name__ == "__main__":
    main()
