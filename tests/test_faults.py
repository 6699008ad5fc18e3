"""The faults of docs/reliability.md, each done to a real run.py: killed, starved, mistyped, two at once.

A test's name begins with the table's row. Rows that the ordinary suite tests are named at the end of that table.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from convnets.checkpoint import Checkpoints
from convnets.errors import Preempted
from tests.conftest import ROOT

pytestmark = pytest.mark.faults

# LeNet-1989 is the smallest network: 9,760 weights and images of 16 x 16.
TINY = ("--config=configs/lenet.py:lenet1989", "--config.data.name=digits", "--config.train.log_every_steps=3",
        "--config.train.batch_size=48", "--config.train.epochs=10", "--config.checkpoint.every_steps=20",
        "--config.train.eval_every_epochs=4")  # fmt: skip
TOTAL = 300  # steps


def start(*arguments, devices: int = 1, **environment: str) -> subprocess.Popen:
    own = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu", **environment}
    return subprocess.Popen([sys.executable, "run.py", *map(str, arguments)], cwd=ROOT, env=own, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def end(process: subprocess.Popen, code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, (process.returncode, out, err)
    return out, err


def run(*arguments, code: int = 0, **kwargs) -> tuple[str, str]:
    return end(start(*arguments, **kwargs), code)


def lines(workdir: Path) -> list[dict]:
    path = workdir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def reach(process: subprocess.Popen, workdir: Path, step: int) -> None:
    """Waits until a run has logged a step."""
    path = workdir / "metrics.jsonl"
    while not path.exists() or path.read_text().count("\n") < step:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


def arrays(workdir: Path) -> dict[str, np.ndarray]:
    checkpoints = Checkpoints(workdir / "checkpoints")
    with checkpoints._open() as files:
        return files.load(checkpoints.steps()[-1])


def assert_same(workdir: Path, whole: Path) -> None:
    """The same parameters, statistics and momenta to the bit, and the same log with every step once."""
    ours, theirs = arrays(workdir), arrays(whole)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert np.array_equal(ours[name], theirs[name]), name
    assert (workdir / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nothing was done to."""
    workdir = tmp_path_factory.mktemp("whole")
    run(*TINY, f"--workdir={workdir}")
    return workdir


def test_02_sigterm_saves_and_resumes_where_it_was(whole, tmp_path):
    process = start(*TINY, f"--workdir={tmp_path}")
    reach(process, tmp_path, 7)
    process.send_signal(signal.SIGTERM)
    _, err = end(process, Preempted.code)
    assert err.splitlines()[-1] == "preempted and saved; the same command resumes"
    (step,) = Checkpoints(tmp_path / "checkpoints").steps()[-1:]
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, step + 1))
    assert 7 <= step < TOTAL
    out, _ = run(*TINY, f"--workdir={tmp_path}")
    assert f"resumed at step {step}" in out
    assert_same(tmp_path, whole)
