"""Shared code of the benchmarks: sides that take turns, each in its own process, and the recorded result line.

Other load on the machine slows all sides equally. Ratios within a run are therefore meaningful; absolute times are only
context.
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
UNITS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")  # instruction sets for matrix products, fastest first


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """Returns a parser with the options common to all benchmarks."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--note", default="", help="what else the machine was doing")
    return made


def chosen(parser: argparse.ArgumentParser, option: str, names: str, known: Iterable[str]) -> list[str]:
    """Splits a comma-separated list of names; an unknown name ends the program with a list of the known ones."""
    for name in names.split(","):
        if name not in known:
            parser.error(f"--{option}: {name} is none of {', '.join(known)}")
    return names.split(",")


def race(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Any]]:
    """Runs the sides in turn and returns their answers, {side: [rounds]}.

    Sides that exit before they are ready are omitted from the result.

    Args:
        commands: arguments of one Python process per side, which must call `serve`.
        rounds: number of turns of each side.
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
    """Answers every line of standard input with the result of `measure` as JSON, until the input ends."""
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)


def cores() -> int:
    return len(os.sched_getaffinity(0))


def processor() -> str:
    """Returns the processor's name and the fastest of UNITS that it supports."""
    info = Path("/proc/cpuinfo")
    facts = dict(re.findall(r"^(\S.*?)\s*: (.*)$", info.read_text(), re.MULTILINE)) if info.exists() else {}
    units = [unit for unit in UNITS if unit in facts.get("flags", "").split()]
    return ", ".join([facts.get("model name", platform.machine()), *units[:1]])


def spread(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    middle, least, most = np.median(values), np.min(values), np.max(values)
    return {"median": round(float(middle), digits), "least": round(float(least), digits),
            "most": round(float(most), digits)}  # fmt: skip


def record(benchmark: str, **facts: Any) -> None:
    """Appends a line to results.jsonl with the facts, the commit, the library versions and the machine."""
    from convnets.runtime import provenance

    line = {"benchmark": benchmark, **facts, "cores": cores(), "processor": processor(), "commit": provenance.commit(),
            "versions": provenance.versions()}  # fmt: skip
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")
