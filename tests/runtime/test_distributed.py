"""Process group settings within one process: flags, launchers, data shares. test_hosts.py uses real process groups."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from convnets.config import load_config
from convnets.data import dataset, sampler, sources
from convnets.errors import DataError, UsageError
from convnets.runtime import distributed, provenance
from convnets.training import network, validation
from tests.conftest import ROOT, run_here

LAUNCHERS = ("SLURM", "OMPI", "TPU", "KUBERNETES", "CUDA_VISIBLE")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in [n for n in os.environ if n.startswith(LAUNCHERS)]:
        monkeypatch.delenv(name)


def slurm(monkeypatch, **more):
    """Sets the environment variables of a task started by srun."""
    facts = {"JOB_ID": "7", "STEP_NODELIST": "a[1-2]", "NTASKS": "4", "PROCID": "1", "LOCALID": "1",
             "STEP_NUM_TASKS": "4", "STEP_NUM_NODES": "2"}  # fmt: skip
    for name, value in {**facts, **more}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)


@pytest.mark.parametrize("arguments, message", [
    (("manual", "", None, None), "--distributed=manual needs --coordinator_address, --num_processes, --process_id"),
    (("manual", "host", 2, 0), "--coordinator_address=host: give HOST:PORT"),
    (("manual", "host:1", 2, 2), "--process_id=2: the 2 processes count from 0 to 1"),
    (("auto", "", 2, None), "--num_processes: only with --distributed=manual"),
    (("off", "", None, 0, "0,x"), "--local_device_ids=0,x: all, auto, or numbers with commas"),
])  # fmt: skip
def test_wrong_flags(arguments, message):
    found = distributed.problems(*arguments)
    assert len(found) == 1 and message in found[0]
    assert not distributed.problems("manual", "[::1]:9", 2, 1) and not distributed.problems("auto", "", None, None)


def test_a_launcher_with_several_tasks_is_found_and_one_with_one_task_is_none(monkeypatch):
    assert not distributed.is_wanted("auto") and distributed.is_wanted("manual")
    slurm(monkeypatch)
    assert distributed.is_wanted("auto") and not distributed.is_wanted("off")
    slurm(monkeypatch, NTASKS="1")
    assert not distributed.is_wanted("auto")


def test_an_allocation_without_srun_is_an_error(monkeypatch):
    slurm(monkeypatch)
    monkeypatch.delenv("SLURM_STEP_NODELIST")
    found = distributed.problems("auto", "", None, None)
    assert len(found) == 1 and "for 4 tasks" in found[0] and "write srun before" in found[0]
    assert distributed.problems("off", "", None, None) == []


def test_which_accelerators_a_process_takes(monkeypatch):
    own = lambda: distributed._local_devices("auto", "auto")  # noqa: E731
    slurm(monkeypatch)
    assert own() is None  # two tasks per node: JAX gives each the device of its local rank
    assert distributed._local_devices("auto", "all") == [] and distributed._local_devices("auto", "0,2") == [0, 2]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")  # as set by Slurm
    assert own() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    slurm(monkeypatch, STEP_NUM_TASKS="2")
    assert own() == []  # one task per node


def test_several_processes_that_only_read_a_run_write_nothing(tmp_path, monkeypatch):
    import run

    marked = []
    monkeypatch.setattr(distributed, "check_same_folder", marked.append)
    monkeypatch.setattr(distributed, "start", lambda *_: None)
    monkeypatch.setattr(run, "run_mode", lambda _: None)
    meet = ("--distributed=manual", "--coordinator_address=localhost:1", "--num_processes=2", "--process_id=0")
    run_here("--mode=evaluate", f"--workdir={ROOT}/tests/golden/run", *meet)
    assert not marked
    run_here(f"--workdir={tmp_path}", *meet)
    assert marked == [tmp_path]


def others(monkeypatch, change):
    """Makes this process the first of two, of which the other has what `change` makes of the first one's values."""
    monkeypatch.setattr(
        distributed, "all_gather_json", lambda own: [json.loads(json.dumps(v)) for v in (own, change(own))]
    )


def test_processes_of_different_commands_or_code_are_refused(monkeypatch):
    config, _ = load_config(ROOT / "configs/lenet.py:digits", [])
    monkeypatch.setattr(provenance, "commit", lambda: "abc")
    others(monkeypatch, lambda own: {**own, "data": {**own["data"], "data_dir": "elsewhere"}})
    validation.check_processes(config)
    others(monkeypatch, lambda own: {**own, "commit": "unknown"})
    validation.check_processes(config)
    others(monkeypatch, lambda own: {**own, "commit": "def", "optim": {**own["optim"], "lr": 0.5}})
    with pytest.raises(
        UsageError, match=r"^process 1 differs from process 0: commit: abc -> def; optim.lr: 0.005 -> 0.5; start"
    ):
        validation.check_processes(config)
    others(monkeypatch, lambda own: {**own, "devices": 1})
    with pytest.raises(UsageError, match=r"process 0: devices: 2 -> 1; .* as many devices$"):
        validation.check_processes(config)


def test_processes_with_different_data_are_refused(monkeypatch):
    split = dataset.Split(sources.Info("mnist", "3.0.1", "train", 60000, 10, [], (28, 28, 1)), [], {})
    others(monkeypatch, lambda own: own)
    network.check_same_data(split)
    others(monkeypatch, lambda own: own.replace("60,000", "59,999"))
    with pytest.raises(DataError, match=r"mnist:3.0.1, 60,000 images of train \| mnist:3.0.1, 59,999 images"):
        network.check_same_data(split)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_processes_share_a_test(n, count):
    parts = [b for p in range(count) for b in sampler.evaluation_schedule(n, 4, p, count)]
    assert np.concatenate([[], *(b["index"][b["mask"] > 0] for b in parts)]).tolist() == list(range(n))


def run(code: str) -> tuple[int, str, float]:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr, time.monotonic() - began


def test_the_watchdog_barks_at_a_step_that_does_not_end():
    code = """
import time
from convnets.runtime.watchdog import Watchdog
class Array:
    def __init__(self, ready): self.is_ready = lambda: ready
dog = Watchdog({seconds}, 3)
dog.watch(4, Array(True)); dog.watch(5, Array(False))
time.sleep({sleep})
{end}
"""
    rc, err, _ = run(code.format(seconds=0.3, sleep=30, end=""))
    assert rc == 1 and "no step was finished for 0.3 s after step 4" in err and "most recent call first" in err
    assert run(code.format(seconds=0, sleep=0.1, end="print(5 / 0)"))[0] == 1  # watchdog off; the 1 is from 5 / 0
    rc, err, _ = run(code.format(seconds=0.5, sleep=0.1, end="dog.close(); time.sleep(1.5)"))
    assert rc == 0 and not err


def test_a_config_is_checked_without_starting_a_device():
    """The process group must be initialized before JAX starts a device."""
    code = """
from jax._src import xla_bridge
from convnets.config import load_config
from convnets.training import validation
for source in ("configs/lenet.py:digits", "configs/vgg.py:D-jitter", "configs/resnet.py:50"):
    config, problems = load_config(source, ["--config.optim.average=ema(0.9)"])
    assert not problems and not validation.problems(config, devices=False), source
    assert not xla_bridge.backends_are_initialized(), source
"""
    assert run(code)[:2] == (0, "")


def test_a_reader_that_leaves_ends_all_processes():
    """Process 0 alone prints; the others would wait for it at the end, and it for them."""
    code = """
import os, runpy, sys
from convnets.runtime import distributed, watchdog
distributed._Group.count = 2
watchdog.fail = lambda code, text: (print(text, file=sys.stderr, flush=True), os._exit(code))
os.dup2(os.pipe()[1], 1)  # its reading end is closed in the next line
os.closerange(3, 100)
sys.argv = ["run.py", "--help"]
runpy.run_path("run.py", run_name="__main__")
"""
    assert run(code)[:2] == (1, "the reader of standard output has left\n")
