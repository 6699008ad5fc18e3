"""Runs of run.py in processes of their own: starting them, waiting, ending them, and what their folders hold.

`run_here` of conftest.py runs the same program in the process of the tests.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convnets.errors import Preempted
from convnets.runtime import run_lock
from convnets.training.checkpoint import Checkpoints
from tests.conftest import ROOT

# LeNet-1989 is the smallest network: 9,760 parameters and images of 16 x 16.
NET = ("--config=configs/lenet.py:lenet1989", "--config.data.name=digits", "--config.train.log_every_steps=3")
TINY = (*NET, "--config.train.batch_size=48", "--config.train.epochs=10", "--config.checkpoint.every_steps=20",
        "--config.train.eval_every_epochs=4")  # fmt: skip
TOTAL = 300  # steps
IMAGES = 1437


def start(*arguments, devices: int = 1, cwd: Path = ROOT, **environment: str) -> subprocess.Popen:
    """Starts run.py on so many CPU devices, with further variables of the environment."""
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu", **environment}
    return subprocess.Popen([sys.executable, str(ROOT / "run.py"), *map(str, arguments)], env=environment, text=True, cwd=cwd,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def end(process: subprocess.Popen, code: int = 0) -> tuple[str, str]:
    """Waits for the end of a process; returns what it wrote to standard output and error."""
    try:
        out, err = process.communicate(timeout=600)
    finally:
        process.kill()  # a hung process must not affect later tests
    assert process.returncode == code, (process.returncode, out, err)
    return out, err


def run(*arguments, code: int = 0, **kwargs) -> tuple[str, str]:
    """Starts run.py, see `start`, and waits for its end, see `end`."""
    return end(start(*arguments, **kwargs), code)


def train_undisturbed(workdir: Path) -> Path:
    """Trains the run of TINY to its end; returns its workdir."""
    run(*TINY, f"--workdir={workdir}")
    return workdir


def lines(workdir: Path) -> list[dict]:
    path = workdir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def logged(workdir: Path) -> int:
    """Returns the number of steps in metrics.jsonl."""
    path = workdir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def until(process: subprocess.Popen, found: Callable[[], object]) -> bool:
    """Polls until `found()` is true; returns False if the process ends first."""
    while not found():
        if process.poll() is not None:
            return False
        time.sleep(0.002)
    return True


def reach(process: subprocess.Popen, workdir: Path, step: int) -> None:
    """Waits until a run has logged `step` steps."""
    assert until(process, lambda: logged(workdir) >= step), process.communicate()


def steps(workdir: Path) -> list[int]:
    return Checkpoints(workdir / "checkpoints").steps()


def arrays(workdir: Path) -> dict[str, np.ndarray]:
    with Checkpoints(workdir / "checkpoints")._open() as files:
        return files.load(steps(workdir)[-1])


def assert_same(workdir: Path, whole: Path) -> None:
    """Asserts that the last checkpoints are bitwise identical and that the metric logs are equal."""
    ours, theirs = arrays(workdir), arrays(whole)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert np.array_equal(ours[name], theirs[name]), name
    assert (workdir / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


def digest(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != run_lock.NAME)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def preempt(workdir: Path, after: int, *arguments, **kwargs) -> int:
    """Starts a run, sends SIGTERM once it has logged step `after`, and returns the step it saved."""
    process = start(*TINY, *arguments, f"--workdir={workdir}", **kwargs)
    reach(process, workdir, after)
    process.send_signal(signal.SIGTERM)
    _, err = end(process, Preempted.code)
    assert err.splitlines()[-1] == "preempted and saved; the same command resumes"
    return steps(workdir)[-1]


@contextlib.contextmanager
def tmpfs(folder: Path, *options: str):
    """Mounts a 1 MiB tmpfs on `folder`, which needs root; skips the test if mounting fails."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(["size=1m", *options]), "tmpfs", str(folder)],
                             capture_output=True, text=True)  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"mounting is not possible here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def last_line(err: str) -> str:
    """Returns the only error line; it must be the last line, without a traceback."""
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err and err.splitlines()[-1] == line, err  # nor one from TensorFlow
    return line
