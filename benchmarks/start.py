"""Measures the seconds from the command to the end of the first training step, with cold and warm compilation caches.

    python benchmarks/start.py [--nets=lenet5,resnet50] [--rounds=3] [--note=...]        or: make bench-start

Our side is run.py on real data, from the start of Python to the first line of metrics.jsonl. It runs cold, with an
empty compilation cache, and then warm, with the cache of the cold run. The PyTorch sides, eager and compiled, import
torch, build the same network and take one step on random images. The compiled side runs with an empty and a full
compiler cache. The sides take turns. Appends a line per network to results.jsonl.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import compare

ROOT = Path(__file__).parent.parent
# arguments of run.py; for PyTorch the name of the network, the batch size and the image shape
NETS = {
    "lenet5": (("--config=configs/lenet.py:modern", "--config.train.batch_size=128"), "lenet5_modern", 128, (1, 32, 32)),
    "resnet50": (("--config=configs/resnet.py:50_v1_5", "--config.train.batch_size=16", "--config.data.test_split=validation[:16]"),
                 "resnet50_v1_5", 16, (3, 224, 224)),
}  # fmt: skip
SIDES = ("ours, cold", "ours, cached", "torch", "torch_compiled, cold", "torch_compiled, cached")


def first_step_of_torch(net, compiled, file):
    """Takes one training step as in a PyTorch tutorial, and writes the loss to a file when it is done."""
    import torch
    from torch.nn.functional import cross_entropy

    from benchmarks.torch_nets import NETS as NETWORKS

    _, name, batch, shape = NETS[net]
    network = NETWORKS[name]().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    step = torch.compile(network) if compiled else network
    loss = cross_entropy(step(torch.randn(batch, *shape)), torch.zeros(batch, dtype=torch.long))
    loss.backward()
    optimizer.step()
    Path(file).write_text(str(float(loss.detach())))


def seconds(net, side, caches):
    """Returns the seconds from the start of a process to the end of its first step."""
    cache = caches[side.split(",")[0]]
    if "cold" in side:
        caches[side.split(",")[0]] = cache = tempfile.mkdtemp(dir=caches["folder"])
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache, "TORCHINDUCTOR_CACHE_DIR": cache}
    workdir = Path(tempfile.mkdtemp(dir=caches["folder"]))
    done = workdir / "metrics.jsonl"  # has a line when the first step is done
    if side.startswith("ours"):
        command = ["run.py", *NETS[net][0], f"--config.data.data_dir={compare.SHARED}", "--config.train.log_every_steps=1",
                   f"--workdir={workdir}"]  # fmt: skip
    else:
        command = [__file__, f"--first={net}:{side}:{done}"]
    began = time.perf_counter()
    with (workdir / "out").open("w") as out:
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stdout=out, stderr=out)
        try:
            while not (done.exists() and done.stat().st_size):
                if process.poll() not in (None, 0):
                    raise RuntimeError((workdir / "out").read_text())
                time.sleep(0.005)
            return time.perf_counter() - began
        finally:
            process.kill()
            process.wait()


def main():
    parser = compare.parser(__doc__, 3)
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--first", default="", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.first:
        net, side, file = flags.first.split(":", 2)
        return first_step_of_torch(net, "compiled" in side, file)
    for net in compare.chosen(parser, "nets", flags.nets, NETS):
        load = round(os.getloadavg()[0], 1)
        with tempfile.TemporaryDirectory() as folder:
            caches = {"folder": folder, **dict.fromkeys(("ours", "torch", "torch_compiled"), folder)}
            seconds(net, "ours, cold", caches)  # decodes the data set; later runs reuse it
            found = {side: [] for side in SIDES}
            for _ in range(flags.rounds):
                for side in SIDES:
                    found[side].append(seconds(net, side, caches))
        print(f"{net:10} " + ", ".join(f"{s} {compare.spread(v)['median']} s" for s, v in found.items()), flush=True)
        compare.record("start", net=net, seconds={side: compare.spread(v) for side, v in found.items()}, rounds=flags.rounds,
                     load_before=load, note=flags.note)  # fmt: skip


if __name__ == "__main__":
    main()
