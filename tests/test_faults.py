"""Injects the faults of docs/reliability.md into real run.py processes: kills, full disks, damage, two runs at once.

The number in a test's name is its row in that table. The table also says which tests cover the other rows.
"""

import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from convnets.errors import Preempted
from convnets.runtime import run_lock
from convnets.training.checkpoint import Checkpoints
from tests.conftest import ROOT, run_here
from tests.training.test_checkpoint import harm

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800), pytest.mark.usefixtures("optimised")]  # hundreds of steps

# LeNet-1989 is the smallest network: 9,760 parameters and images of 16 x 16.
NET = ("--config=configs/lenet.py:lenet1989", "--config.data.name=digits", "--config.train.log_every_steps=3")
TINY = (*NET, "--config.train.batch_size=48", "--config.train.epochs=10", "--config.checkpoint.every_steps=20",
        "--config.train.eval_every_epochs=4")  # fmt: skip
TOTAL = 300  # steps
IMAGES = 1437


def start(*arguments, devices: int = 1, **kwargs) -> subprocess.Popen:
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen([sys.executable, str(ROOT / "run.py"), *map(str, arguments)], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **{"cwd": ROOT, **kwargs})  # fmt: skip


def end(process: subprocess.Popen, code: int = 0) -> tuple[str, str]:
    try:
        out, err = process.communicate(timeout=600)
    finally:
        process.kill()  # a hung process must not affect later tests
    assert process.returncode == code, (process.returncode, out, err)
    return out, err


def run(*arguments, code: int = 0, **kwargs) -> tuple[str, str]:
    return end(start(*arguments, **kwargs), code)


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Returns the workdir of an undisturbed run."""
    workdir = tmp_path_factory.mktemp("whole")
    run(*TINY, f"--workdir={workdir}")
    return workdir


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
    assert f"resumed at step {step}" in out
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


@pytest.mark.parametrize("how", ["flip", "truncate", "remove"])
def test_06_a_damaged_checkpoint_is_named_and_the_one_before_is_used(whole, tmp_path, how):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    (workdir / "result.json").unlink()
    last = workdir / "checkpoints" / str(TOTAL)
    if how == "truncate":
        harm(last / "state" / "_METADATA", how)
    else:
        harm(max((p for p in last.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size), how)
    out, _ = run(*TINY, f"--workdir={workdir}")
    assert f"{last} is damaged: " in out and "resumed at step 280" in out
    assert last.with_name(f"{TOTAL}.damaged").is_dir()  # the damaged checkpoint is kept under another name
    assert_same(workdir, whole)


def test_06_with_none_left_it_ends_and_touches_nothing(whole, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    (workdir / "result.json").unlink()
    for step in steps(workdir):
        harm(workdir / "checkpoints" / str(step) / "state" / "_METADATA", "truncate")
    before = digest(workdir)
    _, err = run_here(*TINY, f"--workdir={workdir}", code=5)
    assert f"error: no checkpoint in {workdir / 'checkpoints'} can be read" in err and "_METADATA" in err
    assert digest(workdir) == before


def test_07_a_checkpoint_of_another_network_is_refused(whole, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    before = digest(workdir / "checkpoints")
    for change, message in [
        (["--config.optim.momentum=0.9"], "trace/H1/bias is missing"),
        (["--config.model.name=lenet1", "--config.data.train_ops=decode|resize(28)",
          "--config.data.test_ops=decode|resize(28)"], "params/H1/bias is float32[8, 8, 12], float32[4] wanted; and 5 more"),
    ]:  # fmt: skip
        longer = "--config.train.epochs=20"  # so that something is left to train
        _, err = run_here(*TINY, longer, *change, f"--workdir={workdir}", "--allow_config_change", code=5)
        assert "does not fit this program: " in err and message in err and err.count("error: ") == 1, err
    assert digest(workdir / "checkpoints") == before


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


def full_disk(workdir: Path) -> Path:
    """Fills the disk up to the last 20 kB; returns the filler file."""
    with contextlib.suppress(OSError), (workdir / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    os.truncate(workdir / "filler", (workdir / "filler").stat().st_size - 5 * 4096)
    return workdir / "filler"


@pytest.mark.parametrize("how", ["full", "small files"])
def test_08_a_full_disk_ends_it_by_name_and_leaves_the_checkpoint_before(whole, tmp_path, how):
    """Either the file system is full (needs root), or the process's file size limit is below the largest array's
    23 kB: a checkpoint of 37 kB may be written in several files."""
    workdir = tmp_path / "run"
    with tmpfs(workdir) if how == "full" else contextlib.nullcontext():
        step = preempt(workdir, 7)
        before = digest(workdir / "checkpoints" / str(step))
        filler = full_disk(workdir) if how == "full" else workdir / "none"
        process = start(*TINY, f"--workdir={workdir}")
        if how == "small files":
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (15000, 15000))
        _, err = end(process, 5)
        (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert str(workdir) in line and "could not be written: " in line and line.endswith("bytes are free there"), err
        assert steps(workdir) == [step] and digest(workdir / "checkpoints" / str(step)) == before
        filler.unlink(missing_ok=True)
        run(*TINY, f"--workdir={workdir}")
        assert_same(workdir, whole)


def test_09_a_workdir_that_cannot_be_written_is_refused_before_anything_is_compiled(tmp_path):
    """Mounts the workdir read-only, because root ignores file permissions."""
    with tmpfs(tmp_path / "run", "ro"):
        _, err = run_here(*TINY, f"--workdir={tmp_path / 'run'}", code=2)
    assert err == f"error: --workdir={tmp_path / 'run'} cannot be written: Read-only file system\n"
    (tmp_path / "file").touch()
    _, err = run_here(*TINY, f"--workdir={tmp_path / 'file'}", code=2)
    assert err == f"error: --workdir={tmp_path / 'file'} is a file; give a folder\n"


def test_09_a_relative_workdir_is_one_too(tmp_path):
    """Orbax itself requires absolute paths."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    run(*TINY, "--config.train.epochs=0.2", "--workdir=a/b", cwd=tmp_path)
    assert steps(tmp_path / "a" / "b") == [6]


def test_10_divergence_is_found_and_never_saved(tmp_path):
    """The learning rate is infinite at step 31, the first of epoch 2: the loss is finite, the new state is not."""
    jumps = (*TINY, "--config.optim.schedule=table((1, 1e30))|table((1, 1e30))", "--config.train.log_every_steps=10",
             "--config.checkpoint.every_steps=1", f"--workdir={tmp_path}")  # fmt: skip
    _, err = run(*jumps, code=4)
    (last,) = steps(tmp_path)[-1:]
    assert last == 30 and "the last good checkpoint is step 30" in err and err.count("error: ") == 1, err
    assert "is not finite after step 31, whose loss still was" in err
    for step in steps(tmp_path):
        with Checkpoints(tmp_path / "checkpoints")._open() as files:
            assert all(np.isfinite(a).all() for a in files.load(step).values()), step
    assert run(*jumps, code=4)[1].splitlines()[-1] == err.splitlines()[-1]  # resuming gives the same error
    _, err = run_here(*jumps, "--config.checkpoint.every_steps=1000", "--allow_config_change", code=4)
    assert "the loss is not finite at step 32 (looked at steps 31 to 40); the last good checkpoint is step 30" in err


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
