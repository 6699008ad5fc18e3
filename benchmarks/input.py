"""Measures input throughput from storage on two cores, against PyTorch's DataLoader with two workers.

    python benchmarks/input.py [--rounds=7] [--note=...]        or: make bench-input

ImageNet: decode, shorter side to [256, 480], crop 224, uint8 (the device flips and adds lighting). The reference does
the same with Pillow, like torchvision's transforms, and flips. It is measured once to uint8 and once to normalized
float32, like torchvision's own training. CIFAR-10: pad 4, crop, flip. MNIST: pad 2. For both, our side runs a compiled
step on resident images.

Each side is a separate process. The sides take turns, so that other load on the machine slows all of them equally.
Appends a line to results.jsonl: images/s (median, minimum and maximum of the rounds) and CPU time per image, which
depends little on other load.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import compare

OPS = {
    "imagenet": "decode|resize_short(256, 480)|crop(224)",
    "cifar": "decode|pad_crop(4)|flip",
    "mnist": "decode|pad(2)",
}
NAMES = {"imagenet": "imagenet2012", "cifar": "cifar10", "mnist": "mnist"}
BATCH = {"imagenet": 64, "cifar": 128, "mnist": 128}
IMAGES = {"imagenet": 1536, "cifar": 25600, "mnist": 25600}  # per round
SIDES = {
    "imagenet": ("ours", "torch_uint8", "torch_float32"),
    "cifar": ("ours", "torch_uint8"),
    "mnist": ("ours", "torch_uint8"),
}


def ours(task):
    """Yields training batches without end, from the input pipeline of training."""
    import jax

    from convnets.augment import pipeline
    from convnets.data import dataset, sampler

    test = "decode|resize_center_crop(224)" if task == "imagenet" else "decode"
    loader = "stream" if task == "imagenet" else "resident"
    name, test_split = NAMES[task], "validation" if task == "imagenet" else "test"
    split, _ = dataset.load_splits(name, str(compare.SHARED), loader, "train", test_split, OPS[task], test, "error")
    batches = split.feed(sampler.training_schedule(split.info.num_examples, BATCH[task], 0, 0, 1 << 40), 0)
    if task == "imagenet":
        yield from (batch["image"] for batch in batches)
    resident_arrays = jax.device_put(split.resident_arrays["images"])

    @jax.jit
    def step(images, epoch, index):
        return pipeline.apply(split.device_ops, pipeline.example_keys(0, epoch, index), images[index])

    for batch in batches:
        yield step(resident_arrays, batch["epoch"], batch["index"]).block_until_ready()


def torch_loader(task, kind):
    """Yields batches of a DataLoader without end; examples are held encoded in memory to measure its work alone."""
    import torch

    from convnets.data import dataset, sources

    if task == "imagenet":
        source = sources.find(NAMES[task], str(compare.SHARED), "train")
        encoded, _ = source.parse(np.arange(192), source.reader.read(np.arange(192)))
        examples = list(encoded.numpy())
    else:
        split, _ = dataset.load_splits(
            NAMES[task], str(compare.SHARED), "resident", "train", "test", "decode", "decode", "error"
        )
        examples = split.resident_arrays["images"]
    loader = torch.utils.data.DataLoader(
        Transformed(examples, task, kind), BATCH[task], shuffle=True, num_workers=2, drop_last=True,
        persistent_workers=True, multiprocessing_context="spawn",
    )  # fmt: skip
    while True:
        yield from loader


class Transformed:
    """Data set with torchvision's image transforms, written with Pillow."""

    def __init__(self, examples, task, kind):
        self.examples, self.task, self.kind = examples, task, kind

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        import io
        import random

        import torch
        from PIL import Image, ImageOps

        torch.set_num_threads(1)
        if self.task == "mnist":
            return torch.from_numpy(np.array(ImageOps.expand(Image.fromarray(self.examples[index][..., 0]), 2)))[None]
        if self.task == "imagenet":
            image = Image.open(io.BytesIO(self.examples[index])).convert("RGB")
            scale = random.randint(256, 480) / min(image.size)
            image = image.resize([max(256, int(n * scale)) for n in image.size], Image.Resampling.BILINEAR)
            size = 224
        else:
            image, size = ImageOps.expand(Image.fromarray(self.examples[index]), 4), 32
        left, top = (random.randint(0, n - size) for n in image.size)
        image = image.crop((left, top, left + size, top + size))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        if self.kind == "torch_uint8":
            return pixels
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        return (pixels.float() / 255 - mean[:, None, None]) / std[:, None, None]


def serve(task, side):
    batches = ours(task) if side == "ours" else torch_loader(task, side)
    count = IMAGES[task] // BATCH[task]
    for _ in range(count // 4 + 1):  # warm-up: start of the workers, compilation
        next(batches)

    def measure():
        began, cpu = time.perf_counter(), cpu_seconds()
        for _ in range(count):
            next(batches)
        took = time.perf_counter() - began
        return {"images_per_second": IMAGES[task] / took, "cpu_ms": 1000 * (cpu_seconds() - cpu) / IMAGES[task]}

    compare.serve(measure)


def cpu_seconds():
    """Returns the CPU time of this process and its workers in seconds."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    ticks = 0
    for pid in [own, *children]:
        ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def main():
    parser = compare.parser(__doc__, 7)
    parser.add_argument("--tasks", default=",".join(SIDES))
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    if flags.serve:
        return serve(*flags.serve.split(":"))
    for task in compare.chosen(parser, "tasks", flags.tasks, SIDES):
        load = round(os.getloadavg()[0], 1)
        found = compare.race({side: [__file__, f"--serve={task}:{side}"] for side in SIDES[task]}, flags.rounds)
        speeds = {side: np.array([a["images_per_second"] for a in v]) for side, v in found.items()}
        ratios = {side: compare.spread(speeds["ours"] / v, 2) for side, v in speeds.items() if side != "ours"}
        facts = {side: {"images_per_second": compare.spread(speeds[side]),
                        "cpu_ms": round(float(np.median([a["cpu_ms"] for a in v])), 3)} for side, v in found.items()}  # fmt: skip
        print(f"{task:9} " + ", ".join(f"{s} {np.median(v):,.0f}" for s, v in speeds.items()) + " images/s; ours "
              + ", ".join(f"{r['median']:.2f} x {s}" for s, r in ratios.items()), flush=True)  # fmt: skip
        compare.record("input", task=task, **facts, ratios=ratios, images_a_round=IMAGES[task], rounds=flags.rounds,
                     load_before=load, note=flags.note)  # fmt: skip


if __name__ == "__main__":
    main()
