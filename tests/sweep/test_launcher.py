"""End-to-end sweeps with real launcher, worker and run processes, killed midway."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from convnets.errors import UsageError
from convnets.runtime import files
from convnets.sweep import trials, worker
from convnets.sweep.experiment import RUNNABLE, check_experiment, load_experiments
from convnets.sweep.launcher import StatusTable, _local
from tests.conftest import ROOT, run_here
from tests.report.test_results import finished

SMALL = ("--config.train.epochs=1", "--config.train.batch_size=48", "--config.checkpoint.every_steps=4",
         "--config.train.log_every_steps=1", "--config.train.eval_every_epochs=0")  # fmt: skip
EXPERIMENT = """
from convnets.sweep import Claim, Experiment, Row, Scale, Evaluation
def row(label, *overrides, **kwargs):
    return Row(label, "configs/lenet.py:digits", overrides=({small}, *overrides), **kwargs)
EXPERIMENT = Experiment("tiny", "test_error", cpu=Scale(rows=[{rows}], seeds=1))
"""


def experiment(folder: Path, *rows: str) -> Path:
    path = folder / "tiny.py"
    path.write_text(EXPERIMENT.format(small=", ".join(map(repr, SMALL)), rows=", ".join(f"row({r})" for r in rows)))
    return path


def launch(path: Path, workdir: Path, *arguments: str) -> subprocess.Popen:
    """Starts a launcher in its own process group, so that it can be killed with its children."""
    command = [sys.executable, "run.py", "--mode=sweep", f"--experiment={path}", f"--workdir={workdir}", *arguments]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, start_new_session=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def wait_for(found, process: subprocess.Popen, seconds: float = 200):
    """Polls `found` until it returns something true, and returns that."""
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end and process.poll() is None, process.communicate()
        time.sleep(0.01)
    return result


def folders(workdir: Path) -> dict[str, Path]:
    """Returns the trial folders by label."""
    return {trials.read_trial(path.parent).label: path.parent for path in workdir.glob("*/trial.json")}


def log(folder: Path) -> str:
    return (folder / "log.txt").read_text() if (folder / "log.txt").exists() else ""


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_19_killed_and_started_again_a_sweep_repeats_nothing_and_shows_each_state(tmp_path):
    path = experiment(tmp_path, "'first', tests={'half': Evaluation(('--config.data.test_split=test[:50%]',))}",
                      "'crashes', '--config.data.test_ops=decode'", "'second', '--config.optim.lr=0.002'",
                      "'diverges', '--config.optim.lr=1e38'")  # fmt: skip
    workdir = tmp_path / "sweep"
    launcher = launch(path, workdir)
    wait_for(lambda: "steps on" in log(folders(workdir).get("first", tmp_path)), launcher)
    launcher.kill()  # its worker continues; the next launcher waits for it and starts no other
    launcher.communicate()
    own = folders(workdir)
    assert trials.status(own["first"])["state"] == "running"

    launcher = launch(path, workdir)
    wait_for(lambda: (own["second"] / "checkpoints" / "4").exists(), launcher)
    os.killpg(launcher.pid, signal.SIGKILL)  # kills the whole process group
    launcher.communicate()
    now = lambda: [trials.status(own[n])["state"] for n in ("first", "crashes", "second", "diverges")]  # noqa: E731
    end = time.monotonic() + 20
    while "running" in now() and time.monotonic() < end:  # a killed process takes a moment to disappear
        time.sleep(0.05)
    assert now() == ["done", "failed", "pending", "pending"]
    before = {name: (own["first"] / name).stat().st_mtime_ns for name in ("result.json", "evaluation-half.json")}

    launcher = launch(path, workdir, "--jobs=2")
    out, err = launcher.communicate(timeout=280)
    assert launcher.returncode == 1
    assert "4 trials" in out and "1 finished, 3 to run" in out, (out, err)
    assert log(own["first"]).count("steps on") == 1 and "resumed" not in log(own["first"])
    assert before == {name: (own["first"] / name).stat().st_mtime_ns for name in before}
    assert re.search(r"resumed at step \d+", log(own["second"]))
    shown, _, summary = out.partition("tiny: lower is better")
    table = {row: line for line in shown[shown.index("━") :].splitlines() for row in own if f"│ {row} " in line}
    states = {"first": "done", "second": "done", "diverges": "diverged", "crashes": "failed"}
    for row, state in states.items():
        assert f"│ {state} " in table[row], table[row]
    assert "test error (%): " in table["first"] and "the loss is not finite" in table["diverges"]
    assert "rc 2: error: data.test_ops gives" in table["crashes"]
    means = {line.split("│")[1].strip(): line for line in summary.splitlines() if "│" in line}
    assert "1 of 1" in means["first, half"] and "1 diverged" in means["diverges"] and "0 of 1" in means["crashes"]
    half = json.loads((own["first"] / "evaluation-half.json").read_text())
    assert half["num_examples"] == 180 and json.loads((own["first"] / "result.json").read_text())["num_examples"] == 360

    path = experiment(
        tmp_path, "'first'", "'second', '--config.optim.lr=0.002'", "'diverges', '--config.optim.lr=1e38'"
    )
    again = launch(path, workdir)
    out, err = again.communicate(timeout=100)
    assert again.returncode == 0 and "3 finished, 0 to run" in out, (out, err)  # divergence counts as a result


@pytest.mark.faults
def test_19_one_wrong_config_starts_nothing(tmp_path):
    path = experiment(tmp_path, "'good'", "'wrong', '--config.optim.lr=-1'", "'worse', '--config.loss=hinge'",
                      "'tested', tests={'t': Evaluation(('--config.evaluate.protocol=x',))}")  # fmt: skip
    sweep = ("--mode=sweep", f"--experiment={path}", f"--workdir={tmp_path / 'sweep'}")
    out, err = run_here(*sweep, code=2)
    lines = err.splitlines()
    assert not out and not (tmp_path / "sweep").exists()
    assert len(lines) == 3 and "error: wrong: optim.lr is -1.0" in lines[0] and "worse: loss is 'hinge'" in lines[1], (
        err
    )
    assert "tested, t: evaluate.protocol: unknown operation 'x'" in lines[2]
    assert "has no size 'full'" in run_here(*sweep, "--size=full", code=2)[1]


def test_print_shows_the_commands_of_what_is_missing(tmp_path):
    path = experiment(tmp_path, "'a', tests={'half': Evaluation(('--config.data.test_split=test[:50%]',))}")
    out, err = run_here("--mode=sweep", f"--experiment={path}", f"--workdir={tmp_path / 'sweep'}", "--launcher=print",
                        "--seeds=2", "--config.data.data_dir=here")  # fmt: skip
    train, test, other, _ = out.splitlines()
    assert train.startswith("python run.py --config=configs/lenet.py:digits --config.train.epochs=1 "), err
    assert f"--config.data.data_dir={ROOT / 'here'}" in train and "seed=0" in train and "seed=1" in other
    assert "--mode=evaluate" in test and test.endswith("--name=half '--config.data.test_split=test[:50%]'")
    assert not (tmp_path / "sweep").exists()


def test_a_trial_is_named_by_what_it_computes(tmp_path):
    load = lambda *rows: trials.load_experiment(str(experiment(tmp_path, *rows)), "cpu")  # noqa: E731
    plan = lambda *rows, extra=(): list(trials.plan_trials(load(*rows), "cpu", 2, extra))  # noqa: E731
    names = plan("'a'", "'b', '--config.optim.lr=0.1'")
    assert len(set(names)) == 4
    assert plan("'renamed', '--config.optim.lr=0.1'") == names[2:] == plan("'b', '--config.optim.lr=0.10'")
    assert plan("'a'", extra=["--config.data.data_dir=elsewhere"]) == names[:2]
    with pytest.raises(UsageError, match="two rows have the same label"):
        plan("'a'", "'a', '--config.optim.lr=0.1'")


def test_a_relative_path_is_where_the_user_is_and_not_where_the_workers_run(tmp_path, monkeypatch):
    path = experiment(tmp_path, "'a', '--config.model.init_from=a.safetensors'")
    monkeypatch.chdir(tmp_path)
    Path("a.safetensors").touch()
    planned = trials.plan_trials(
        trials.load_experiment(str(path), "cpu"), "cpu", 1, ["--config.data.name=folder:birds"]
    )
    (trial,) = planned.values()
    assert {f"--config.model.init_from={tmp_path}/a.safetensors", f"--config.data.name=folder:{tmp_path}/birds"} < set(
        trial.arguments
    )


def test_what_is_locked_runs_and_what_was_left_is_pending(tmp_path):
    (tmp_path / "status.json").write_text('{"state": "running"}')
    with (tmp_path / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert trials.status(tmp_path)["state"] == "running"
    assert trials.status(tmp_path)["state"] == "pending"


def test_a_trial_counts_the_time_of_all_its_sessions(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    files.write_json(tmp_path / "a" / "trial.json", trials.Trial("a", 0, [], {})._asdict())
    files.write_json(tmp_path / "a" / "status.json", {"state": "pending", "seconds": 100.0})
    monkeypatch.setattr(
        worker, "commands", lambda *_: [["python", "-c", "import time; time.sleep(0.3); raise SystemExit(75)"]]
    )
    with pytest.raises(SystemExit):
        worker.run_trial(tmp_path / "a")  # preempted
    stopped = trials.status(tmp_path / "a")
    assert stopped["state"] == "pending" and stopped["seconds"] > 100.2
    monkeypatch.setattr(worker, "commands", lambda *_: [["python", "-c", "import time; time.sleep(0.3)"]])
    assert worker.run_trial(tmp_path / "a") == 0
    done = trials.status(tmp_path / "a")
    assert done["state"] == "done" and stopped["seconds"] < done["seconds"] < stopped["seconds"] + 60
    monkeypatch.setattr(trials, "commands", lambda *_: [["a test that was added"]])
    trials.write_trials(tmp_path, {"a": trials.read_trial(tmp_path / "a")})
    assert trials.status(tmp_path / "a") == {"state": "pending", "seconds": done["seconds"]}


def test_the_display_reads_a_finished_trial_once(tmp_path, monkeypatch):
    for name, state in (("a", "done"), ("b", "pending")):
        (tmp_path / name).mkdir()
        files.write_json(tmp_path / name / "trial.json", trials.Trial(name, 0, [], {})._asdict())
        files.write_json(tmp_path / name / "status.json", {"state": state, "seconds": 1.0})
    described, read = [], []
    board = StatusTable([tmp_path / "a", tmp_path / "b"], 1, lambda folder: described.append(folder.name) or "1 %")
    monkeypatch.setattr(
        trials, "status", lambda folder, status=trials.status: read.append(folder.name) or status(folder)
    )
    for _ in range(3):
        board.show()
        board.table()
    assert (described, read) == (["a"], ["b"] * 3)


def test_two_rows_may_have_the_same_members(tmp_path):
    path = experiment(tmp_path, "'a'")
    text = path.read_text().replace("seeds=1", "seeds=2").replace("rows=[row('a')]", "rows=[A, *BOTH]")
    tests = "tests={'half': Evaluation(('--config.data.test_split=test[:50%]',))}"
    path.write_text(text.replace("EXPERIMENT =", f"A = row('a', {tests})\nBOTH = [Row(n, members=((A, 2),), **t) for n, t in"
                                 f" (('two', {{}}), ('two, half', dict({tests})))]\nEXPERIMENT ="))  # fmt: skip
    planned = trials.plan_trials(trials.load_experiment(str(path), "cpu"), "cpu", 2, [])
    (both,) = [trial for trial in planned.values() if trial.members]
    assert both.rows == ["two", "two, half"] and list(both.tests) == ["half"]


def test_a_test_that_is_added_later_is_all_that_is_run(tmp_path):
    add = "--config.data.test_ops=decode|resize(32)"
    finished(tmp_path / "a", tests={"shifted": ((add,), 12.0)})
    files.write_json(tmp_path / "a" / "status.json", {"state": "done"})
    trial = trials.Trial("a", 0, ["--config=configs/lenet.py:mnist"], {"shifted": [add]})
    trials.write_trials(tmp_path, {"a": trial})
    assert trials.commands(tmp_path / "a", trial) == [] and trials.status(tmp_path / "a")["state"] == "done"
    trial.tests["other"] = ["--config.evaluate.batch_size=7"]
    trials.write_trials(tmp_path, {"a": trial})
    assert [c[-2:] for c in trials.commands(tmp_path / "a", trial)] == [["--name=other", *trial.tests["other"]]]
    assert trials.status(tmp_path / "a")["state"] == "pending"


def test_jobs_share_the_cores_and_the_accelerators_memory(tmp_path, monkeypatch):
    started = []

    class Worker:
        def __init__(self, command, env, **_):
            started.append((Path(command[3]).name, command[4:], env.get("XLA_PYTHON_CLIENT_MEM_FRACTION")))
            self.lives = 2

        def poll(self):
            self.lives -= 1
            return None if self.lives else 0

    monkeypatch.setattr(subprocess, "Popen", Worker)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4}, raising=False)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    _local(tmp_path, folders, 2, [], lambda: None)
    assert started == [("a", ["0,1"], "0.450"), ("b", ["2,3"], "0.450"), ("c", ["0,1"], "0.450")]
    started.clear()
    _local(tmp_path, folders[:1], 1, [], lambda: None)
    assert started == [("a", [], None)]  # a single trial gets all cores and memory
    monkeypatch.setenv("XLA_CLIENT_MEM_FRACTION", "0.2")  # the newer name; jaxlib raises if both are set
    started.clear()
    _local(tmp_path, folders[:2], 2, [], lambda: None)
    assert [memory for *_, memory in started] == [None, None]


def test_seeds_begin_after_the_one_that_chose_the_recipe(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)  # a row's batch is a single image
    planned = trials.plan_trials(load_experiments()["lenet"], "full", None, []).values()
    assert sorted({trial.seed for trial in planned}) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", load_experiments())
def test_every_experiment_is_right(name, monkeypatch):
    """Uses one device, which divides every batch size: the neocognitron's batch is a single image."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    experiment = load_experiments()[name]
    assert check_experiment(experiment) == []
    for size in RUNNABLE:
        if getattr(experiment, size):
            found = trials.plan_trials(experiment, size, 1, [])
            rows = getattr(experiment, size).rows
            assert len(found) <= len(rows) + sum(n for row in rows for _, n in row.members)
