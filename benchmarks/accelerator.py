"""The hour of a GPU: everything worth measuring on one accelerator, in order of value, within a time limit.

    python benchmarks/accelerator.py [--seconds=840] [--only=NAME,...] [--workdir=runs/accelerator] [--pack=FOLDER]
                                     or: make accelerator

Each part is a command of its own with a time limit: run.py or a program of benchmarks/. A part that reaches its limit is
sent SIGTERM, on which run.py saves, and killed after GRACE seconds; the others go on. Every part appends a line to
WORKDIR/log.jsonl and to benchmarks/results.jsonl when it ends. A second call skips finished parts, resumes stopped ones,
and tries last what failed. docs/accelerators.md says what the parts cost, how to take them to a machine without a network,
and how to record the results.
"""

import argparse
import concurrent.futures
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import agreement, compare
from convnets.runtime import provenance

ROOT = Path(__file__).parent.parent
GRACE = 20.0  # seconds between SIGTERM and SIGKILL; a checkpoint takes one or two
LEAST = 20.0  # seconds below which no part is started
PIECE = 15 << 20  # bytes of a file that --pack writes
DEPTHS = {20: 600, 32: 600, 44: 600, 56: 900, 110: 1500}  # ResNets of He et al. 2015, table 6, and seconds for a run
SEEDS = 5
POPULATIONS = (1, 4, 8, 16)
NETS = ("resnet50_v1_5", "vgg_d", "alexnet_owt", "resnet20_cifar")
OTHERS = ("googlenet", "bn_inception", "lenet5_modern")  # networks of which only the gradients are checked
# Experiments at full size on CIFAR-10, short runs first.
ABLATIONS = ("bottleneck", "k33", "bn_lr", "columns", "relu_vs_tanh", "depth", "shortcuts", "residual")
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # several programs share the accelerator's memory
STOP = threading.Event()  # set by SIGTERM and Ctrl-C: what runs is stopped, and nothing else begins


class Part(NamedTuple):
    """One command: its name, its time limit in seconds, the arguments of Python, and what `--rehearse` adds to them."""

    name: str
    seconds: float
    arguments: tuple[str, ...]
    rehearsal: tuple[str, ...] = ()


def parts(workdir: Path, together: bool) -> list[tuple[int, list[Part]]]:
    """Returns the parts in order of value, in groups: (how many run at the same time, parts).

    Timings run alone. Trainings run several at a time, because compiling, testing and saving leave the accelerator idle.

    Args:
        together: whether more seeds of a network are trained as one program.
    """
    step = ("--config.train.epochs=0.0001", "--config.data.test_split=test[:500]")
    tiny = ("--nets=lenet5_modern", "--rounds=1")
    check, bench, seeds = (f"benchmarks/{name}.py" for name in ("agreement", "train", "seeds"))

    def agree(net: str) -> Part:
        twice = net if net in agreement.TWICE else ""
        small = ("--nets=lenet5_modern", "--batch=4", f"--twice={twice and 'lenet5_modern'}")
        return Part(f"agreement-{net}", 200, (check, f"--nets={net}", f"--twice={twice}"), small)

    def train(depth: int, seconds: float, name: str, *flags: str) -> Part:
        command = ("run.py", f"--config=configs/resnet_cifar.py:{depth}", *flags)
        return Part(name, seconds, command, (*step, "--config.evaluate.batch_size=50"))

    def one(depth: int, seconds: float, seed: int) -> Part:
        folder = workdir / f"resnet{depth}" / f"seed{seed}"
        return train(depth, seconds, f"resnet{depth}-seed{seed}", f"--config.train.seed={seed}", f"--workdir={folder}")

    more = [train(depth, 3 * seconds, f"resnet{depth}-seeds", f"--workdir={workdir / f'resnet{depth}'}", f"--seeds={SEEDS}")
            for depth, seconds in DEPTHS.items()] if together else [
            one(depth, seconds, seed) for depth, seconds in DEPTHS.items() for seed in range(1, SEEDS)]  # fmt: skip
    return [
        (4, [agree(net) for net in reversed(NETS)]),
        (3, [one(depth, seconds, 0) for depth, seconds in DEPTHS.items()]),
        (1, [Part(f"bench-{net}", 200, (bench, f"--nets={net}", "--dtypes=bfloat16", "--kinds=train", "--rounds=3"), tiny)
             for net in NETS]),
        (1, [Part(f"seeds-{n}", 150, (seeds, "--nets=resnet20_cifar", f"--seeds={n}", "--rounds=3"), (*tiny, "--steps=2"))
             for n in POPULATIONS]),
        (1 if together else 3, more),
        (3, [agree(net) for net in OTHERS]),
        (1, [Part(name, 600, ("run.py", "--mode=sweep", f"--experiment=experiments/{name}.py", "--size=full", "--seeds=1",
                              "--jobs=3", f"--workdir={workdir / name}"), step) for name in ABLATIONS]),
    ]  # fmt: skip


def seeds_gain() -> bool:
    """Returns whether the newest measurement says that several seeds are faster as one program."""
    lines = [json.loads(line) for line in compare.RESULTS.read_text().splitlines()]
    found = [
        v for v in lines if v["benchmark"] == "seeds" and v["net"] == "resnet20_cifar" and v["seeds"] in POPULATIONS[1:]
    ]
    return bool(found) and found[-1]["ratio"]["median"] > 1


def run_part(part: Part, seconds: float, workdir: Path, rehearse: bool, device: str) -> dict:
    """Runs a part for at most `seconds`; appends its line to the log and returns it."""
    began, environment = time.time(), {**SHARED, "PYTHONUNBUFFERED": "1", **os.environ}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]  # a copied tree is not installed
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    command = [sys.executable, *part.arguments, *(part.rehearsal if rehearse else ())]
    print(f"{part.name}: at most {seconds:.0f} s", flush=True)
    with (workdir / f"{part.name}.txt").open("ab") as log:
        start = log.tell()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   start_new_session=True)  # fmt: skip
        while process.poll() is None and time.time() < began + seconds and not STOP.is_set():
            time.sleep(0.1)
        stopped = process.poll() is None
        if stopped:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        with contextlib.suppress(ProcessLookupError):  # it, or processes that it left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    said = (workdir / f"{part.name}.txt").read_bytes()[start:].decode(errors="replace").splitlines()
    state = "done" if process.returncode == 0 else "stopped" if stopped else "failed"
    took = {"part": part.name, "state": state, "rc": process.returncode, "seconds": round(time.time() - began, 1)}
    line = {**took, "last": [text[:200] for text in said if text.strip()][-5:], "commit": provenance.commit()}
    with (workdir / "log.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    compare.record("accelerator_part", **took, rehearsal=rehearse, device=device)
    print(f"{part.name}: {state} after {line['seconds']:.0f} s\n  " + "\n  ".join(line["last"]), flush=True)
    return line


def states(workdir: Path) -> dict[str, str]:
    """Returns the newest state of every part of the log."""
    path = workdir / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {line["part"]: line["state"] for line in map(json.loads, lines)}


def run_all(workdir: Path, seconds: float, only: list[str], rehearse: bool, device: str = "cpu") -> list[dict]:
    """Runs the parts that are not done, within `seconds`; returns their lines."""
    before, end, ran = states(workdir), time.monotonic() + seconds, []

    def attempt(part: Part) -> dict | None:
        left = 0 if STOP.is_set() else end - GRACE - time.monotonic()
        limit = left if rehearse else min(part.seconds, left)  # a CPU may be slow and busy
        return run_part(part, limit, workdir, rehearse, device) if left > LEAST else None

    for again in (False, True):  # what failed in an earlier call comes last
        for number in range(len(parts(workdir, False))):
            # Asked anew, because the benchmark of seeds is one of the parts. A rehearsal has the parts of both answers.
            answers = (True, False) if rehearse else (seeds_gain(),)
            (jobs, group), *others = (parts(workdir, together)[number] for together in answers)
            group = list(dict.fromkeys(group + [part for _, other in others for part in other]))
            due = [part for part in group if before.get(part.name) != "done" and (not only or part.name in only)
                   and (before.get(part.name) == "failed") == again]  # fmt: skip
            with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
                ran += filter(None, pool.map(attempt, due))
    return ran


def is_packed(path: Path, workdir: Path) -> bool:
    """Returns whether a file of the workdir is worth taking home: of a checkpoint only the newest of an unfinished run."""
    names = path.relative_to(workdir).parts
    if "checkpoints" not in names:
        return path.is_file() and path.suffix != ".png" and "events" not in names
    folder = workdir.joinpath(*names[: names.index("checkpoints")])
    steps = [int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit()]
    own = path.relative_to(folder / "checkpoints").parts[:1]
    return path.is_file() and own == (str(max(steps, default="")),) and not (folder / "result.json").exists()


def pack(workdir: Path, into: Path) -> None:
    """Writes WORKDIR and benchmarks/results.jsonl as accelerator.tgz.00, .01, ..., of at most PIECE bytes.

    `cat accelerator.tgz.* | tar xz` in the repository's root puts them in their places.
    """
    found = [path for path in sorted(workdir.rglob("*")) if is_packed(path, workdir)]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for path in (*found, compare.RESULTS):
            archive.add(path, path.relative_to(ROOT))
    content = buffer.getvalue()
    into.mkdir(parents=True, exist_ok=True)
    for number in range(-(-len(content) // PIECE)):
        (into / f"accelerator.tgz.{number:02}").write_bytes(content[number * PIECE : (number + 1) * PIECE])
    print(f"packed {len(found)} files, {len(content) / 1e6:.1f} MB, into {into}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=840, help="time limit of the whole call")
    parser.add_argument("--only", default="", help="names of parts; default: all")
    parser.add_argument("--workdir", type=Path, default=ROOT / "runs" / "accelerator")
    parser.add_argument(
        "--pack", type=Path, help="a folder to write the results into, for a machine that is given back"
    )
    parser.add_argument("--rehearse", action="store_true", help="cut every part to seconds, on a CPU")
    flags = parser.parse_args()
    groups = [group for together in (False, True) for _, group in parts(flags.workdir, together)]
    names = list(dict.fromkeys(part.name for group in groups for part in group))
    only = compare.chosen(parser, "only", flags.only, names) if flags.only else []
    code = "import jax; print(jax.devices()[0].device_kind)"
    device = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).stdout.strip()
    if not flags.rehearse and device in ("", "cpu"):
        parser.error("JAX finds no accelerator here; --rehearse runs every part cut down, on a CPU")
    workdir = flags.workdir.absolute()
    if flags.pack and not workdir.is_relative_to(ROOT):
        parser.error(f"--pack: the results are unpacked in {ROOT}, so --workdir has to lie there")
    workdir.mkdir(parents=True, exist_ok=True)
    if not re.fullmatch("[0-9a-f]{40}", provenance.commit()):
        print(f"note: the commit is '{provenance.commit()}': these runs cannot be recorded; commit first, or set"
              " CONVNETS_COMMIT in a copy without git", flush=True)  # fmt: skip
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: STOP.set())
    try:
        ran = run_all(workdir, flags.seconds, only, flags.rehearse, device)
    finally:
        if flags.pack:
            pack(workdir, flags.pack)
    known = states(workdir)
    print(", ".join(f"{name} {known[name]}" for name in names if name in known))
    return int(any(line["state"] == "failed" for line in ran))


if __name__ == "__main__":
    sys.exit(main())
