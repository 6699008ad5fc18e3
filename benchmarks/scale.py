"""Measures how training throughput scales with batch size, depth, devices and steps per dispatch.

    python benchmarks/scale.py [--what=batch,depth,devices,dispatch] [--rounds=3] [--note=...]        or: make bench-scale

The steps are the ones of benchmarks/train.py in float32, with data in memory. Batch size and depth are compared with eager
PyTorch, several devices with one device (on a CPU they share the same cores), and 20 steps per dispatch with one step. For
seeds see benchmarks/seeds.py. Appends a line per case to results.jsonl.
"""

import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import compare

TRAIN = str(Path(__file__).parent / "train.py")
# (network, batch, devices, steps per dispatch) of each case; 0 steps = the platform's default
CASES = {
    "batch": [("resnet20_cifar", n, 1, 0) for n in (1, 8, 32, 128, 512)],
    "depth": [(f"resnet{n}_cifar", 128, 1, 0) for n in (20, 32, 44, 56, 110)],
    "devices": [("resnet20_cifar", 128, n, 0) for n in (1, 2)],
    "dispatch": [(net, n, 1, 20) for net in ("lenet1", "lenet5", "lenet5_modern") for n in (1, 128)],
}
BESIDE = {"devices": "one device", "dispatch": "one step"}  # else PyTorch


def main():
    parser = compare.parser(__doc__, 3)
    parser.add_argument("--what", default=",".join(CASES))
    flags = parser.parse_args()
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
    for what in compare.chosen(parser, "what", flags.what, CASES):
        for net, batch, devices, steps in CASES[what]:
            load = round(os.getloadavg()[0], 1)
            case = f"train:{net}:float32:{batch}"
            other = f"ours:{case}:1:1" if what in BESIDE else f"torch:{case}"
            commands = {"ours": [TRAIN, f"--serve=ours:{case}:{devices}:{steps}"], "other": [TRAIN, f"--serve={other}"]}
            found = compare.race(commands, flags.rounds)
            speeds = {side: np.array([a["images_per_second"] for a in v]) for side, v in found.items()}
            if len(speeds) < 2:
                raise SystemExit(f"{net}: only {', '.join(speeds) or 'neither side'} ran; there is nothing to compare")
            ratio = compare.spread(speeds["ours"] / speeds["other"], 2)
            beside = BESIDE.get(what, "torch")
            print(f"{what:8} {net:16} batch {batch:4}, {devices} devices: {np.median(speeds['ours']):8,.1f} images/s, "
                  f"{ratio['median']:.2f} of {beside}", flush=True)  # fmt: skip
            compare.record("scale", what=what, net=net, batch=batch, devices=devices, steps=steps, beside=beside,
                         images_per_second=compare.spread(speeds["ours"]), ratio=ratio,
                         cpu_ms=round(float(np.median([a["cpu_ms"] for a in found["ours"]])), 3), rounds=flags.rounds,
                         load_before=load, note=flags.note)  # fmt: skip


if __name__ == "__main__":
    main()
