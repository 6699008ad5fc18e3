"""Compares training several seeds in one program (run.py --seeds=N) with training them one after the other.

    python benchmarks/seeds.py [--nets=lenet5_modern] [--seeds=1,4,8,16] [--steps=64] [--rounds=5] [--note=...]
                               or: make bench-seeds

A seed is `steps` training steps with a batch of 128 resident images. A step is the one of
convnets/training/train_step.py, dispatched as in run.py. Each side is a separate process, and the sides take turns.
Appends a line per case to results.jsonl: seeds/s of both sides, and their ratio.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from convnets.training.optimizer import make_recipe
from convnets.training.state import create_state

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import compare
from configs import base

BATCH, IMAGES = 128, 10_000
SIDES = ("together", "one_by_one")


def serve(side, net, seeds, length):
    from convnets.runtime import environment

    environment.tune()
    import jax

    from convnets import models
    from convnets.data import sampler
    from convnets.runtime import parallel
    from convnets.training import train_step

    jax.config.update("jax_threefry_partitionable", True)
    model, device = models.create(net, 10, "float32"), jax.local_devices()[:1]
    recipe = make_recipe(**base.get_config().optim, steps_per_epoch=100, batch_size=BATCH)
    rng, count = np.random.default_rng(0), min(parallel.steps_per_dispatch(0), length)
    resident_arrays = parallel.replicate({"images": rng.integers(0, 255, (IMAGES, *model.input_shape), np.uint8),
                                 "labels": rng.integers(0, 10, IMAGES, np.int32)}, device)  # fmt: skip
    states = [jax.device_get(create_state(model, recipe.optimizer, s)) for s in range(seeds)]
    batches = [list(sampler.training_schedule(IMAGES, BATCH, s, 0, length)) for s in range(seeds)]

    numbers: range | tuple = ()
    if side == "together":
        numbers, states = range(seeds), [jax.tree.map(lambda *leaves: np.stack(leaves), *states)]
        batches = [[{k: np.stack([b[k] for b in own], axis=1) for k in own[0]} for own in zip(*batches, strict=True)]]
    # The program for seed 0 serves every single seed: another seed would cost the same.
    step = train_step.train_step(model, recipe.optimizer, "softmax", [], 0)
    step = parallel.parallel(step, train=True, steps=count, devices=device, seeds=numbers)

    def measure():
        began = time.perf_counter()
        for begin, own in zip(states, batches, strict=True):
            now = parallel.replicate(begin, device)
            for i in range(0, length - count + 1, count):
                now, sums = step(now, parallel.shard(own[i : i + count], 1), resident_arrays)
            jax.block_until_ready((now, sums))
        return {"seeds_per_second": seeds / (time.perf_counter() - began), "device": device[0].device_kind}

    measure()  # compiles
    compare.serve(measure)


def main():
    parser = compare.parser(__doc__, 5)
    parser.add_argument("--nets", default="lenet5_modern")
    parser.add_argument("--seeds", default="1,4,8,16")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.serve:
        side, net = flags.serve
        return serve(side, net, int(flags.seeds), flags.steps)
    from convnets.models import MODELS

    for net in compare.chosen(parser, "nets", flags.nets, MODELS):
        for seeds in flags.seeds.split(","):
            load, common = os.getloadavg()[0], (f"--seeds={seeds}", f"--steps={flags.steps}")
            answers = compare.race({side: (__file__, "--serve", side, net, *common) for side in SIDES}, flags.rounds)
            rates = {side: np.array([a["seeds_per_second"] for a in answers[side]]) for side in SIDES}
            ratio = rates["together"] / rates["one_by_one"]
            device = answers["together"][0]["device"]
            print(f"{net}, {seeds} seeds on {device}: {np.median(rates['together']):.3g} seeds/s together,"
                  f" {np.median(rates['one_by_one']):.3g} one by one: {np.median(ratio):.2f} times as fast")  # fmt: skip
            compare.record("seeds", net=net, seeds=int(seeds), steps=flags.steps, rounds=flags.rounds, device=device,
                         **{side: compare.spread(rate, 3) for side, rate in rates.items()},
                         ratio=compare.spread(ratio, 2), load_before=round(load, 1), note=flags.note)  # fmt: skip


if __name__ == "__main__":
    main()
