"""What the benchmarks share: sides that take turns, each a process of its own, and the line that is kept of them.

A busy machine hurts all sides alike, so ratios within a run mean something and absolute times are context only.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
SHARED = Path(os.environ.get("CONVNETS_SHARED", HERE.parent.parent / "shared")) / "tfds"
UNITS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")  # instructions for products, the fastest first


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """With what every benchmark is told."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--note", default="", help="what else the machine was doing")
    return made


def chosen(parser: argparse.ArgumentParser, option: str, names: str, known: Iterable[str]) -> list[str]:
    """The names of a list with commas; one that is not known ends the program with a line that lists those that are."""
    for name in names.split(","):
        if name not in known:
            parser.error(f"--{option}: {name} is none of {', '.join(known)}")
    return names.split(",")


def race(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Any]]:
    """What each side answered in every round, {side: [rounds]}; a side is the arguments of a Python process that serves.

    One that ends before it is ready gets no turns and is left out.
    """
    processes = {
        side: subprocess.Popen([sys.executable, *command], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for side, command in commands.items()
    }
    try:
        for side, process in list(processes.items()):
            line = "\n"
            while line and line.strip() != "ready":
                line = process.stdout.readline()
            if not line:
                print(f"{side} did not start", file=sys.stderr)
                del processes[side]
        answers: dict[str, list[Any]] = {side: [] for side in processes}
        for _ in range(rounds):
            for side, process in processes.items():
                process.stdin.write("\n")
                process.stdin.flush()
                answers[side].append(json.loads(process.stdout.readline()))
        return answers
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def serve(measure: Callable[[], Any]) -> None:
    """Answers every line of standard input with what `measure` gives, until there are no more."""
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)


def cores() -> int:
    return len(os.sched_getaffinity(0))


def processor() -> str:
    """Its name, and the widest of UNITS that it has."""
    info = Path("/proc/cpuinfo")
    facts = dict(re.findall(r"^(\S.*?)\s*: (.*)$", info.read_text(), re.MULTILINE)) if info.exists() else {}
    units = [unit for unit in UNITS if unit in facts.get("flags", "").split()]
    return ", ".join([facts.get("model name", platform.machine()), *units[:1]])


def spread(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    middle, least, most = np.median(values), np.min(values), np.max(values)
    return {"median": round(float(middle), digits), "least": round(float(least), digits),
            "most": round(float(most), digits)}  # fmt: skip


def record(benchmark: str, **facts: Any) -> None:
    """Appends a line to results.jsonl, with the code, the versions and the machine that it is of."""
    from convnets.runtime import provenance

    line = {"benchmark": benchmark, **facts, "cores": cores(), "processor": processor(), "commit": provenance.commit(),
            "versions": provenance.versions()}  # fmt: skip
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")
