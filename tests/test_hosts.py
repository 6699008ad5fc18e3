"""Process groups of two real processes: training, testing, and what one does if the other is stopped, killed or wrong.

Both processes run on this machine and use gloo collectives, like all CPU processes.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from convnets.training.checkpoint import Checkpoints
from tests.conftest import ROOT
from tests.processes import arrays, end, lines, reach

# The timeout is for a busy machine; on an idle one the whole file takes four minutes.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(900), pytest.mark.usefixtures("optimized")]

# LeNet-5 on scikit-learn's digits.
LENET = ("--config=configs/lenet.py:digits", "--config.optim.lr=0.003", "--config.train.epochs=1.5",
         "--config.train.batch_size=48", "--config.train.log_every_steps=3", "--config.checkpoint.every_steps=12",
         "--config.checkpoint.keep=3")  # fmt: skip
TOTAL = 45
SILENCE = 10  # seconds of silence until a process counts as dead


def environment(devices: int) -> dict[str, str]:
    # XLA divides sums among its threads: as many as cores or devices, whichever are more. NPROC makes it two on one core, too.
    return {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu", "NPROC": "2"}


@pytest.fixture
def launch():
    """Returns a function that starts processes; they are killed when the test ends."""
    started: list[subprocess.Popen] = []

    def start(command, count=1, devices=1, own=lambda process: ()):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        for p in range(count):
            meet = [f"--coordinator_address={address}", f"--num_processes={count}", f"--process_id={p}",
                    "--distributed=manual", f"--peer_timeout={SILENCE}"] if count > 1 else []  # fmt: skip
            started.append(subprocess.Popen([sys.executable, *command, *meet, *own(p)], cwd=ROOT, text=True,
                                            env=environment(devices), stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE))  # fmt: skip
        return started[-count:]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def train(workdir, *more):
    return ["run.py", *LENET, *([f"--workdir={workdir}"] if workdir else []), *more]


def end_all(processes, code=0) -> list[tuple[str, str]]:
    """Waits for all processes and returns their outputs."""
    return [end(process, code) for process in processes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Returns the workdir of an uninterrupted run of one process with two devices."""
    workdir = tmp_path_factory.mktemp("whole")
    end(subprocess.Popen([sys.executable, *train(workdir)], cwd=ROOT, text=True, env=environment(2),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE))  # fmt: skip
    return workdir


def assert_bits(workdir: Path, whole: Path) -> None:
    """Asserts that the last checkpoints are bitwise identical and that the metric logs are equal.

    The test loss is summed over devices, then batches, then processes; its rounding differs, so 1e-6 is allowed.
    """
    ours, theirs = arrays(workdir), arrays(whole)
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[k], theirs[k]) for k in ours)
    for a, b in zip(lines(workdir), lines(whole), strict=True):
        assert a.pop("test_loss", 0) == pytest.approx(b.pop("test_loss", 0), rel=1e-6)
        assert a == b


def test_two_processes_train_to_the_bits_of_one(whole, tmp_path, launch):
    """The mean of two gradients does not depend on their order, so two processes of one device equal one of two."""
    (out, _), _ = end_all(launch(train(tmp_path), 2))
    assert "45 steps on 2 x cpu" in out and re.search(r"process 1: \S+, devices \[\d+\]\n", out)
    assert_bits(tmp_path, whole)
    result, expected = (json.loads((w / "result.json").read_text()) for w in (tmp_path, whole))
    assert all(result[k] == expected[k] for k in ("num_examples", "top1_error", "top5_error", "steps"))
    assert json.loads((tmp_path / "manifest.json").read_text())["device"]["count"] == 2
    assert not list(tmp_path.glob(".process0*")) and (tmp_path / "mistakes.png").exists()


def test_two_processes_of_two_devices_are_one_of_four_up_to_rounding(tmp_path, launch):
    """Gloo sums four gradients in another order than one process: 1e-6 of the largest entry after three steps."""
    short = ("--config.train.epochs=0.1", "--config.train.batch_size=48")
    for count, devices in ((1, 4), (2, 2)):
        end_all(launch(train(tmp_path / str(count), *short), count, devices))
    one, two = arrays(tmp_path / "1"), arrays(tmp_path / "2")
    assert int(one["step"]) == 3 and any(not np.array_equal(one[k], two[k]) for k in one)
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-6 * np.abs(one[name]).max(), err_msg=name)


def test_row_3_sigterm_to_one_of_two_saves_both_at_the_same_step(whole, tmp_path, launch):
    both = launch(train(tmp_path), 2)
    reach(both[0], tmp_path, 14)
    both[1].send_signal(signal.SIGTERM)
    (_, err), (_, other) = end_all(both, 75)
    assert "preempted and saved" in err and "preempted" not in other
    step = Checkpoints(tmp_path / "checkpoints").steps()[-1]
    assert 14 < step < TOTAL and len(lines(tmp_path)) == step  # every step up to the stop is logged
    out, _ = end(launch(train(tmp_path), 1, devices=2)[0])  # one process resumes the run of two
    assert f"resumed at step {step}" in out
    assert_bits(tmp_path, whole)


@pytest.mark.parametrize("victim", [0, 1])
def test_row_4_a_killed_process_ends_the_other_and_is_named(whole, tmp_path, launch, victim):
    both = launch(train(tmp_path), 2)
    reach(both[0], tmp_path, 14)
    both[victim].kill()
    began = time.monotonic()
    _, err = both[1 - victim].communicate(timeout=10 * SILENCE)
    took = time.monotonic() - began
    assert both[1 - victim].returncode in (1, -signal.SIGABRT)
    # Our message, or JAX's if JAX notices first: 'tasks are unhealthy', 'the leader task was preempted/died'.
    named = ["process 0 of 2 does not answer|leader task was preempted/died",
             "process 1 of 2 does not answer|unhealthy [^\n]*\n1\n"]  # fmt: skip
    assert re.search(named[victim], err), err
    assert took < 3 * SILENCE, took
    if victim == 1:
        (out, _), _ = end_all(launch(train(tmp_path), 2))
        assert "resumed at step 12" in out
        assert_bits(tmp_path, whole)


def test_row_5_a_stuck_process_sets_off_the_watchdog_of_the_other(tmp_path, launch):
    # A stopped process sends no heartbeats. Compilation counts towards the time, and JAX may notice first.
    both = launch(train(tmp_path), 2, own=lambda p: ["--step_timeout=40", "--peer_timeout=300"])
    reach(both[0], tmp_path, 14)
    both[1].send_signal(signal.SIGSTOP)
    _, err = end(both[0], 1)
    assert "Thread 0x" in err and "in train_loop" in err  # the stack shows where it waited
    assert re.search(r"error: process 0 of 2, on \S+: no step was finished for 40 s after step \d+", err)
    assert "error: process 1 of 2 does not answer" in err


def test_row_9_two_workdirs_are_no_shared_one(tmp_path, launch):
    both = launch(train(""), 2, own=lambda p: [f"--workdir={tmp_path / str(p)}"])
    (out, err), (_, other) = end_all(both, 2)
    assert err.count("error:") == 1 and other == "" and "steps on" not in out
    for p in (0, 1):
        assert f"{tmp_path / str(p)} on {socket.gethostname()} (process {p})" in err
        assert not list((tmp_path / str(p)).iterdir())


def test_what_all_find_is_said_once_and_what_one_finds_with_its_name(tmp_path, launch):
    both = launch(train(tmp_path, "--config.train.batch_size=50"), 2, devices=2)
    (_, err), (_, other) = end_all(both, 2)
    assert err == "error: train.batch_size is 50: it must be divisible by the 4 devices, like 48 or 52\n" and not other
    both = launch(train(tmp_path), 2, own=lambda p: ["--config.optim.lr=0.01"] * p)
    (_, err), (_, other) = end_all(both, 2)
    assert err.startswith("error: process 1 differs from process 0: optim.lr: 0.003 -> 0.01; ") and not other
    (tmp_path / "digits" / "1.0.0").mkdir(parents=True)
    both = launch(
        train(tmp_path, "--config.data.loader=stream"), 2, own=lambda p: [f"--config.data.data_dir={tmp_path}"] * p
    )
    (_, other), (_, err) = end_all(both, 3)
    assert re.search(r"error: process 1 of 2, on \S+: digits is only half prepared", err) and "error:" not in other


def test_processes_that_do_not_meet_say_so(tmp_path, launch):
    own = lambda p: ["--num_processes=3", "--peer_timeout=2"]  # noqa: E731
    for _, err in end_all(launch(train(tmp_path), 2, own=own), 1):
        assert "the processes did not meet within 10 s at 127.0.0.1:" in err


EVALUATE = """
import json, sys
from absl import flags
from convnets.runtime import distributed
name, *rest = sys.argv
address, count, me = (a.partition("=")[2] for a in rest[:3]) if rest else ("", 1, 0)
distributed.start("manual" if rest else "off", address, int(count), int(me), "auto", 60)
import numpy as np
from tests.evaluation.test_evaluator import IMAGES, Tiny, scored, with_weights

network = with_weights(Tiny())
for protocol in ("single", "ten_crop|dense"):
    for n in (1, 7, 8, 9, 11):
        for batch in (1, 8):
            found, scores, _ = scored(network, "decode|center(8)", protocol, IMAGES[:n], batch)
            print(json.dumps([n, found, scores.tolist()]))
for kind in (np.float64, np.int32, bool):
    mine = np.arange(6 * distributed.process_index()).reshape(-1, 2, 3).astype(kind) / np.array(3).astype(kind)
    assert distributed.all_gather_rows(mine).shape == (sum(range(distributed.process_count())), 2, 3)
    if distributed.process_count() == 2:
        again = distributed.all_gather_rows(mine)
        assert distributed.process_index() == 0 or np.array_equal(again, mine) and again.dtype == mine.dtype
"""


def test_row_18_a_test_counts_each_example_once_for_any_number_of_processes(launch):
    """Takes test set sizes around the batch size of 8, odd ones too, so that some processes get no examples."""
    found = []
    for count in (1, 2):
        (out, _), *others = end_all(launch(["-c", EVALUATE], count))
        found.append([json.loads(line) for line in out.splitlines() if re.match(r"\[\d", line)])
        assert all(other == "" for other, _ in others)
    assert len(found[0]) == len(found[1]) == 20
    for (n, one, scores), (_, two, others) in zip(*found, strict=True):
        assert one["num_examples"] == two["num_examples"] == n
        assert (one["top1_error"], one["top5_error"]) == (two["top1_error"], two["top5_error"])
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
        np.testing.assert_allclose(scores, others, rtol=1e-5, atol=1e-6)


def test_row_18_a_run_is_tested_by_two_processes_as_by_one(whole, tmp_path, launch):
    """With batches of 8, a single example goes to one process, and so does the last of nine."""
    workdir, found = tmp_path / "run", {}
    shutil.copytree(whole, workdir)
    for size in (1, 9):
        for count in (1, 2):
            command = ["run.py", "--mode=evaluate", f"--workdir={workdir}", f"--name={count}",
                       f"--config.data.test_split=test[:{size}]", "--config.evaluate.batch_size=8"]  # fmt: skip
            end_all(launch(command, count))
            found[count] = json.loads((workdir / f"evaluation-{count}.json").read_text())
        one, two = found[1], found[2]
        assert one["num_examples"] == two["num_examples"] == size
        assert all(one[k] == two[k] for k in ("top1_error", "top5_error"))
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)


def test_row_16_a_checkpoint_is_free_of_devices_and_processes(whole, launch):
    """A checkpoint saved on two devices is tested by one process with one or four devices and by two processes."""
    expected = json.loads((whole / "result.json").read_text())
    for number, (count, devices) in enumerate([(1, 1), (1, 4), (2, 1)]):
        end_all(launch(["run.py", "--mode=evaluate", f"--workdir={whole}", f"--name=t{number}"], count, devices))
        result = json.loads((whole / f"evaluation-t{number}.json").read_text())
        assert (result["num_examples"], result["top1_error"]) == (360, expected["top1_error"])
        assert result["loss"] == pytest.approx(expected["loss"], rel=1e-6)
