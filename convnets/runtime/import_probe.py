"""Imports packages in other processes, since an import may fail, hang or end Python.

Needs nothing but the standard library.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PATIENCE = 180  # seconds for the packages to be imported
PROBE = """
import importlib, json, sys
def say(*words): print(json.dumps(words), file=out, flush=True)
out, sys.stdout = sys.stdout, sys.stderr
for name in sys.argv[1:]:
    say(name, "begins")
    try:
        module = importlib.import_module(name)
        if name == "jax":
            say("devices", *[[d.platform, d.device_kind] for d in module.devices()])
        say(name, "")
    except BaseException as e:
        say(name, type(e).__name__ + ": " + " ".join(str(e).split())[:160])
"""


def try_imports(groups: Sequence[Sequence[str]], folder: Path) -> tuple[list[str], list[list[str]]]:
    """Imports packages, each group in a process of its own, side by side.

    Args:
        folder: working directory of the processes, which comes first in the path of imports.

    Returns:
        a line for each package that fails, and [platform, kind] of each of JAX's devices.
    """
    failures: list[str] = []
    devices: list[list[str]] = []
    processes = [subprocess.Popen([sys.executable, "-c", PROBE, *group], stdout=subprocess.PIPE, cwd=folder,
                                  stderr=subprocess.DEVNULL, text=True) for group in groups if group]  # fmt: skip
    end = time.monotonic() + PATIENCE
    for process in processes:
        try:
            out, last = process.communicate(timeout=max(end - time.monotonic(), 0.1))[0], ""
        except subprocess.TimeoutExpired:
            process.kill()
            out, last = process.communicate()[0], f"no answer within {PATIENCE} s"
        open_name = ""
        for name, *words in map(json.loads, out.splitlines()):
            if name == "devices":
                devices = words
            elif words == ["begins"]:
                open_name = name
            else:
                open_name = ""
                failures += [f"import {name}: {words[0]}"] if words[0] else []
        if open_name:
            failures.append(f"import {open_name}: {last or f'ends Python with code {process.returncode}'}")
    return failures, devices
