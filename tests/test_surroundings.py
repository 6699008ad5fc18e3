"""Rows 22 to 32 of docs/reliability.md on real runs: odd paths, lost files, signals, odd environments.

The number in a test's name is its row. The cases of each row are in the fast tests that the table names; here is one
run for each way in which it may meet them, in a process of its own where bits or the environment count.
"""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from PIL import Image

from convnets.errors import Preempted
from tests.conftest import ROOT, run_here
from tests.processes import NET, assert_same, digest, end, last_line, reach, run, start, steps, tmpfs

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900), pytest.mark.usefixtures("optimized")]

SHORT = (*NET, "--config.loss=softmax", "--config.train.batch_size=48", "--config.train.epochs=1")
ODD = "run [lr=0.1], #1 50% ü"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Returns the workdir of a finished run, with a name that is a pattern, a list and half a URL."""
    workdir = tmp_path_factory.mktemp("finished") / ODD
    run(*SHORT, f"--workdir={workdir}")
    return workdir


def test_22_and_23_who_only_reads_changes_nothing_in_a_folder_of_any_name(finished, tmp_path):
    """Another run is saving there: orbax's clean-up would remove its temporary folder."""
    half = finished / "checkpoints" / "40.orbax-checkpoint-tmp"
    half.mkdir()
    before = digest(finished)
    command = ["--mode=export", f"--workdir={finished}", "--weights=~/a.safetensors"]
    environment = {**os.environ, "HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "run.py", *command], cwd=ROOT, env=environment, check=True)
    assert digest(finished) == before and half.is_dir() and (tmp_path / "a.safetensors").exists()
    half.rmdir()


def test_22_and_23_runs_in_read_only_folders_are_read(finished, tmp_path):
    folder, picture, other = tmp_path / "run, 1", tmp_path / "a, b.png", tmp_path / "c.png"
    for path in (picture, other):
        Image.new("L", (16, 16), 3).save(path)
    with tmpfs(folder, "size=20m"):
        shutil.copytree(finished, folder, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        said, _ = run_here("--mode=predict", f"--workdir={folder}", f"--images={picture},{other}")
        assert "a, b.png" in said and "c.png" in said
        said, _ = run_here("--mode=evaluate", f"--workdirs={folder},{finished}")
        assert "average of 2" in said
        _, err = run_here("--mode=visualize", f"--workdir={folder}", code=2)
        assert f"draw elsewhere with --workdirs={folder} --workdir=FOLDER" in last_line(err)


@pytest.mark.parametrize("flag", ["--workdir=gs://bucket/run", "--workdir=file:///a"])
def test_23_a_url_is_refused_before_anything_is_made(flag, tmp_path):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    _, err = run(*SHORT, flag, code=2, cwd=tmp_path)
    assert "is a URL: give a path on this machine" in last_line(err)
    assert [p.name for p in tmp_path.iterdir()] == ["configs"]


def test_25_a_finished_run_without_checkpoints_is_trained_again_only_with_a_flag(finished, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    shutil.rmtree(workdir / "checkpoints")
    before = digest(workdir)
    _, err = run_here(*SHORT, f"--workdir={workdir}", code=2)
    assert "no checkpoint is left in its folder 'checkpoints'" in last_line(err) and digest(workdir) == before
    run(*SHORT, f"--workdir={workdir}", "--restart")
    assert_same(workdir, finished)


def test_25_a_damaged_file_of_a_run_is_named_and_made_anew(finished, tmp_path):
    """What the error says is done: the file is removed, and the command that wrote it is repeated."""
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    Image.new("L", (16, 16)).save(tmp_path / "a.png")
    train = (*SHORT, f"--workdir={workdir}")
    predict = ("--mode=predict", f"--workdir={workdir}", f"--images={tmp_path / 'a.png'}")
    for name, command in (("manifest.json", predict), ("config.json", train)):
        (workdir / name).write_bytes(b"")
        _, err = run_here(*command, code=5)
        assert last_line(err).startswith(f"error: {workdir / name} is damaged: it is empty; remove it")
        (workdir / name).unlink()
    (workdir / "result.json").write_bytes(b"")
    out, _ = run_here(*train)
    assert f"{workdir / 'result.json'} is damaged: it is empty; the network is tested again" in out
    assert all(json.loads((workdir / name).read_text()) for name in ("config.json", "manifest.json"))
    wanted, found = (json.loads((w / "result.json").read_text()) for w in (finished, workdir))
    assert found["top1_error"] == wanted["top1_error"]


def test_25_lost_lines_of_the_log_are_counted(finished, tmp_path):
    workdir = tmp_path / ODD
    shutil.copytree(finished, workdir)
    log = (workdir / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (workdir / "metrics.jsonl").write_bytes(b"".join([*log[:5], bytes(99) + b"\n", *log[8:], b'{"step": 31, \xff\xfe']))
    out, _ = run_here(*SHORT, "--config.train.epochs=2", f"--workdir={workdir}", "--allow_config_change")
    assert f"note: {workdir / 'metrics.jsonl'} holds 27 of the 30 steps so far" in out
    kept = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert kept == [1, 2, 3, 4, 5, *range(9, 61)]


def test_26_the_signals_of_a_scheduler_and_a_closed_terminal_preempt(tmp_path):
    long = (*SHORT, "--config.train.epochs=1000")
    numbers = (signal.SIGUSR2, signal.SIGHUP)  # the others: runtime/test_preemption.py
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests under nohup ignore it, and so would the runs
    started = [start(*long, f"--workdir={tmp_path / s.name}") for s in numbers]
    signal.signal(signal.SIGHUP, hangup)
    for number, process in zip(numbers, started, strict=True):
        reach(process, tmp_path / number.name, 3)
        process.send_signal(number)
    for number, process in zip(numbers, started, strict=True):
        _, err = end(process, Preempted.code)
        assert err.startswith(f"{number.name}: the step is finished and saved\n")
        assert err.endswith("preempted and saved; the same command resumes\n") and steps(tmp_path / number.name)


EMPTY = dict.fromkeys(["CONVNETS_CACHE", "XDG_CACHE_HOME", "TFDS_DATA_DIR"], "")
LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


@pytest.mark.parametrize(
    "variables, streams",
    [
        ({"CONVNETS_CACHE": "/proc/cache"}, ">&- 2>&- <&-"),
        ({**EMPTY, **LOCALE, "JAX_PLATFORMS": "CPU", "JAX_NUMPY_RANK_PROMOTION": "raise"}, "> /dev/full"),
    ],
    ids=["no output, no cache", "a full disk, empty variables, C locale, capitals"],
)
def test_27_a_run_is_finished_in_any_environment(variables, streams, tmp_path):
    here, workdir = tmp_path / "here", tmp_path / "caf\udce9 ü"
    here.mkdir()
    shutil.copytree(ROOT / "configs", here / "configs")
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "HOME": str(tmp_path / "home"),
        **variables,
        "RUN": str(workdir),
    }
    words = " ".join(f"'{word}'" for word in (sys.executable, ROOT / "run.py", *SHORT))
    done = subprocess.run(
        f'{words} --workdir="$RUN" {streams}', shell=True, cwd=here, env=environment, capture_output=True
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done
    assert json.loads((workdir / "result.json").read_text())["num_examples"] == 360
    assert [p.name for p in here.iterdir()] == ["configs"]


def test_27_a_device_that_is_not_there_is_one_line(tmp_path):
    process = subprocess.run([sys.executable, ROOT / "run.py", *SHORT, f"--workdir={tmp_path}"], cwd=ROOT, text=True,
                             env={**os.environ, "JAX_PLATFORMS": "cuda"}, capture_output=True)  # fmt: skip
    assert process.returncode == 2 and "JAX_PLATFORMS=cuda: there is no such device" in last_line(process.stderr)


def test_32_a_mistake_in_a_config_of_ones_own_is_one_line(tmp_path):
    (tmp_path / "mine.py").write_text("from configs import base\n\n\ndef get_config():\n    return base.get_confg()\n")
    _, err = run(f"--config={tmp_path / 'mine.py'}", f"--workdir={tmp_path / 'run'}", code=2)
    assert err == f"error: {tmp_path / 'mine.py'}, line 5: AttributeError: module 'configs.base' has no attribute 'get_confg'. Did you mean: 'get_config'?\n" or (
        f"error: {tmp_path / 'mine.py'}, line 5: AttributeError: module 'configs.base' has no attribute 'get_confg'\n" == err
    )  # fmt: skip


def test_32_flags_in_a_file_are_flags(finished, tmp_path):
    file, workdir = tmp_path / "flags", tmp_path / "run"
    file.write_text("# comment\n" + "\n".join(SHORT) + "\n")
    run(f"--flagfile={file}", f"--workdir={workdir}")
    assert_same(workdir, finished)
    assert "--config=configs/lenet.py:lenet1989" in json.loads((workdir / "manifest.json").read_text())["command"]
    file.write_text("--config.optim.lrr=1\n")
    _, err = run_here(f"--flagfile={file}", code=2)
    assert "did you mean 'optim.lr'?" in last_line(err)
    _, err = run_here("--flagfile=/nowhere", code=2)
    assert last_line(err).startswith("error: --flagfile: ")
