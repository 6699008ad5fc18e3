"""Rows 1, 2, 16, 17, 20 and 24 of docs/reliability.md: runs that are killed, interrupted, moved, and started twice.

The number in a test's name is its row. The table also says which tests cover the other rows.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import run_here
from tests.processes import (
    IMAGES,
    NET,
    TINY,
    TOTAL,
    assert_same,
    digest,
    end,
    lines,
    logged,
    preempt,
    reach,
    run,
    start,
    steps,
    train_undisturbed,
    until,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800), pytest.mark.usefixtures("optimized")]  # hundreds of steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return train_undisturbed(tmp_path_factory.mktemp("whole"))


def test_promise_1_the_same_command_gives_the_same_bits(whole, tmp_path):
    """The flag --deterministic is for GPUs and changes nothing on CPUs."""
    run(*TINY, f"--workdir={tmp_path}", "--deterministic")
    assert_same(tmp_path, whole)


def kill(process: subprocess.Popen, workdir: Path, count: int, in_a_save: bool) -> bool:
    """Kills a run at least `count` steps after it resumes; `in_a_save` waits for the next save first.

    Returns True if a half-written checkpoint was left behind.
    """
    files = lambda folder: [p.name for p in (workdir / folder).glob("*")]  # noqa: E731
    half = lambda: any("tmp" in name for name in files("checkpoints"))  # noqa: E731
    sessions, goal = len(files("events")), max(steps(workdir), default=0) + count
    until(process, lambda: len(files("events")) > sessions and logged(workdir) >= goal and (half() or not in_a_save))
    process.kill()
    out, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, (out, err)
    return half()


def test_01_killed_25_times_it_is_the_run_never_stopped(tmp_path):
    """Each kill comes 0 to 30 steps after the run resumed, or in the middle of the next save."""
    batch, devices, period = random.choice([24, 48, 96]), random.choice([1, 2]), random.randint(5, 25)
    print(f"batch {batch}, {devices} devices, a checkpoint every {period} steps")
    config = (*NET, f"--config.train.batch_size={batch}", f"--config.checkpoint.every_steps={period}",
              f"--config.train.epochs={599.5 * batch / IMAGES}", "--config.train.eval_every_epochs=0")  # fmt: skip
    workdir, half = tmp_path / "killed", []

    @settings(max_examples=25, deadline=None, database=None, phases=[Phase.generate])
    @given(count=st.integers(0, 30), in_a_save=st.booleans())
    def kill_once(count, in_a_save):
        half.append(kill(start(*config, f"--workdir={workdir}", devices=devices), workdir, count, in_a_save))

    kill_once()
    assert len(half) == 25 and any(half)  # all 25 kills happened, some of them during a save
    run(*config, f"--workdir={workdir}", devices=devices)
    run(*config, f"--workdir={tmp_path / 'whole'}", devices=devices)
    assert_same(workdir, tmp_path / "whole")
    assert [line["step"] for line in lines(workdir)] == list(range(1, 601))
    assert all(p.name.isdigit() for p in (workdir / "checkpoints").iterdir())  # half-written checkpoints were removed


def test_02_sigterm_saves_and_resumes_where_it_was(whole, tmp_path):
    step = preempt(tmp_path, 7)
    assert 7 <= step < TOTAL and logged(tmp_path) == step
    out, _ = run(*TINY, f"--workdir={tmp_path}")
    assert f"resumed at step {step}" in out and "note: resumed with" not in out
    assert_same(tmp_path, whole)


# One step takes half a minute on two cores.
SLOW = ("--config=configs/ablation.py:mnist10k", "--config.data.name=digits", "--config.data.train_split=train",
        "--config.data.train_ops=decode|resize(28)", "--config.data.test_ops=decode|resize(28)",
        "--config.model.layers=conv(512, 3)|relu|conv(512, 3)|relu|conv(512, 3)|max(2)|out")  # fmt: skip


def test_02_a_second_sigterm_ends_it_at_once(tmp_path):
    process = start(*SLOW, f"--workdir={tmp_path}")
    assert until(process, lambda: (tmp_path / "events").exists())
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    time.sleep(2)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert time.monotonic() - began < 1 and process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)


def test_16_saved_on_2_devices_it_resumes_on_1_and_4(tmp_path):
    """The example order does not depend on the device count, so the losses of all steps agree up to rounding.

    A low learning rate keeps the rounding small. Losses of neighbouring batches differ by about 10 %.
    """
    slow = "--config.optim.lr=0.001"
    run(*TINY, slow, f"--workdir={tmp_path / 'whole'}")
    step = preempt(tmp_path / "2", 7, slow, devices=2)
    wanted = [line["loss"] for line in lines(tmp_path / "whole")]
    for devices in (1, 4):
        workdir = tmp_path / f"2 and {devices}"
        shutil.copytree(tmp_path / "2", workdir)
        out, _ = run(*TINY, slow, f"--workdir={workdir}", devices=devices)
        assert f"{TOTAL} steps on {devices} x " in out and f"resumed at step {step}" in out
        assert f"(devices: 2 x cpu, now {devices} x cpu): its rounding" in out
        np.testing.assert_allclose([line["loss"] for line in lines(workdir)], wanted, rtol=1e-4)


def test_16_resumed_past_its_end_it_is_refused(whole, tmp_path):
    """Its result would be called one of 5 epochs."""
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    _, err = run_here(*TINY, "--config.train.epochs=5", f"--workdir={workdir}", "--allow_config_change", code=2)
    assert "is at step 300, and with the changed config (train.epochs: 10.0 -> 5.0) it ends at step 150" in err
    assert digest(workdir) == digest(whole)


def test_17_a_second_run_in_the_folder_is_refused_and_a_killed_one_replaced(whole, tmp_path):
    first = start(*TINY, f"--workdir={tmp_path}")
    reach(first, tmp_path, 1)
    first.send_signal(signal.SIGSTOP)  # stays alive but makes no progress
    _, err = run(*TINY, f"--workdir={tmp_path}", code=2)
    (line,) = err.splitlines()
    assert f"is in use by process {first.pid} on {os.uname().nodename}, which began " in line
    first.kill()
    first.communicate()
    run(*TINY, f"--workdir={tmp_path}")
    assert_same(tmp_path, whole)


def test_20_a_long_run_needs_no_more_in_the_end_than_in_the_beginning(tmp_path):
    """Memory, file descriptors and threads do not grow over 2,000 steps with 20 tests and 20 saves."""
    process = start(*NET, "--config.train.batch_size=48", f"--config.train.epochs={1999.5 * 48 / IMAGES}",
                    f"--config.train.eval_every_epochs={100 * 48 / IMAGES}", "--config.checkpoint.every_steps=100",
                    f"--workdir={tmp_path}")  # fmt: skip
    seen = []  # (step, resident MB, file descriptors, threads)
    while process.poll() is None:
        with contextlib.suppress(OSError, KeyError):  # the process may end during the reading
            own = Path("/proc", str(process.pid))
            status = dict(line.split(":", 1) for line in (own / "status").read_text().splitlines())
            row = (int(status["VmRSS"].split()[0]) / 1000, len(list((own / "fd").iterdir())), int(status["Threads"]))
            if logged(tmp_path) > (seen[-1][0] if seen else 0):
                seen.append((logged(tmp_path), *row))
        time.sleep(0.01)
    end(process)
    late = np.array([row for row in seen if row[0] > 500])
    assert len(late) > 50
    memory, descriptors, threads = np.polyfit(late[:, 0], late[:, 1:], 1)[0] * 100
    assert memory < 1, f"{memory:.2f} MB per 100 steps"
    # Every 100 steps have one test and one save, so a leak in either has a slope of 1. A slope is fitted because single
    # readings do not compare: a save needs more of both for a while, and thread pools fill when first used.
    assert descriptors < 0.25 and threads < 0.25, f"{descriptors:.2f} descriptors, {threads:.2f} threads per 100 steps"
    assert steps(tmp_path) == [1900, 2000] and logged(tmp_path) == 2000
    assert len(list((tmp_path / "events").iterdir())) == 1


def test_24_any_test_interval_ends_and_another_batch_size_is_said_to_move_the_epoch(tmp_path):
    """These intervals are no whole number of steps; the first one stopped after a step, the second never ended one."""
    steps_of = (*NET, "--config.train.eval_every_epochs=0.01", "--config.checkpoint.every_steps=3")
    for number, change in ((5, ("30", "0.1")), (10, ("60", "0.4"))):
        batch, epochs = (f"--config.train.{k}={v}" for k, v in zip(("batch_size", "epochs"), change, strict=True))
        out, _ = run_here(*steps_of, batch, epochs, f"--workdir={tmp_path}", "--allow_config_change")
        assert logged(tmp_path) == number == json.loads((tmp_path / "result.json").read_text())["steps"]
    assert "note: step 5 was epoch 0.10 when it was saved and is epoch 0.21 now, because train.batch_size or" in out
