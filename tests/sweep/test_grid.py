"""Grids from flags: the rows that they make, what is refused, their summary, and the time left."""

import concurrent.futures
import json
import re
import time
from types import SimpleNamespace

import pytest

from convnets.errors import UsageError
from convnets.modes import sweep
from convnets.runtime import files
from convnets.sweep import grid, launcher, trials
from convnets.sweep.experiment import Claim, Experiment, Row, Scale
from convnets.sweep.launcher import estimate_left
from tests.conftest import ROOT
from tests.report.test_results import LINES, diverged, finished

SOURCE = f"{ROOT}/configs/lenet.py:mnist"


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("0.02,0.05", ["0.02", "0.05"]),
        (" 1 , 2 ", ["1", "2"]),
        ("decode|pad(2)|value_range(-0.1, 1.2),decode", ["decode|pad(2)|value_range(-0.1, 1.2)", "decode"]),
        ("multi_scale((1, 2), average='a, b'),single", ["multi_scale((1, 2), average='a, b')", "single"]),
        ('"*, */bias=2",""', ["*, */bias=2", ""]),
        ("'folder:a (b',folder:it's", ["folder:a (b", "folder:it's"]),
    ],
)
def test_a_comma_within_brackets_or_quotes_is_part_of_a_value(text, wanted):
    assert grid.split_values(text) == wanted


def test_a_grid_is_the_rows_of_an_experiment():
    """The axis of the figure is the leaf with the most numbers, and every other combination has its own line."""
    made = grid.make_experiment(
        SOURCE, ["optim.nesterov=True,False", "optim.lr=0.1,0.2,0.3"], ["--config.train.epochs=1"]
    )
    rows = made.cpu.rows
    assert [row.label for row in rows[:2]] == ["optim.nesterov=True, optim.lr=0.1", "optim.nesterov=True, optim.lr=0.2"]
    assert rows[-1].overrides == ("--config.optim.nesterov=False", "--config.optim.lr=0.3") and len(rows) == 6
    assert made.x == "optim.lr" and [(row.x, row.line) for row in rows[2:4]] == [
        (0.3, "optim.nesterov=True"), (0.1, "optim.nesterov=False")]  # fmt: skip
    (first, *_) = trials.plan_trials(made, "cpu", 2, ["--config.train.epochs=1"]).values()
    assert first.arguments == ["--config=configs/lenet.py:mnist", *rows[0].overrides, "--config.train.epochs=1",
                               "--config.train.seed=0"]  # fmt: skip


@pytest.mark.parametrize(
    "given, line",
    [
        (["optim.l=1,2"], "--grid: unknown config key 'optim.l'; did you mean 'optim.lr'?"),
        (["optim.lr=1,x"], "--grid: optim.lr: cannot read 'x' as float"),
        (["optim.lr=1,1.0"], "--grid: optim.lr: 1.0 is given twice"),
        (["optim.lr="], "--grid=optim.lr=: give LEAF=VALUE,VALUE,..., such as optim.lr=0.02,0.05"),
        (["optim.lr=1,,2"], '--grid: optim.lr: an empty value; write "" for an empty string'),
        (["data.train_ops=pad(2"], "--grid: data.train_ops: ')' is missing in pad(2"),
        (["optim.lr=1", "optim.lr=2"], "--grid: optim.lr is given twice"),
        (["train.epochs=1"], "--grid: train.epochs is set by --config.train.epochs too; leave out one of them"),
        (["train.seed=1"], "--grid: every row is run with the seeds 0, 1, ...; --seeds=N says with how many"),
        (["data.data_dir=a,b"], "--grid: data.data_dir says where the data are, and changes no result; take "
                                "--config.data.data_dir=DIR"),
        (["optim.momentum=2", "optim.lr=1,2"], "optim.momentum=2, optim.lr=1 and 1 more: optim.momentum is 2.0: it must be at "
                                               "least 0 and less than 1"),
    ],
)  # fmt: skip
def test_a_wrong_grid_is_one_line(given, line):
    with pytest.raises(UsageError) as e:
        extra = ["--config.train.epochs=1"]
        trials.plan_trials(grid.make_experiment(SOURCE, given, extra), "cpu", 1, extra)
    assert str(e.value) == line


def test_a_finished_grid_is_summed_up_in_a_table_a_file_and_a_figure(tmp_path, monkeypatch, capsys):
    """A diverged run counts with the error of chance, as in the report, and its row is never the best."""
    errors = {"0.01": (92.0, 93.0), "0.02": (91.5, 92.5), "0.05": (0.5, None)}

    def run(planned, workdir, *_):
        for folder in trials.write_trials(workdir, planned):
            trial = trials.read_trial(folder)
            lr = trial.label.split("=")[1].split(",")[0]
            error = errors[lr][trial.seed]
            state = "done" if error else "diverged"
            (finished(folder, seed=trial.seed, error=error, lines=LINES) if error else diverged(folder, trial.seed))
            files.write_json(folder / "status.json", {"state": state, "seconds": 60.0})
        return 0

    monkeypatch.setattr(launcher, "run_trials", run)
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", lambda *_: concurrent.futures.ThreadPoolExecutor(1))
    given = SimpleNamespace(mode="sweep", grid=["optim.lr=0.01,0.02,0.05", "loss=mse"], experiment=None, size="cpu", seeds=2,
                            launcher="local", jobs=1, slurm=[])  # fmt: skip
    assert sweep.sweep(given, SOURCE, tmp_path, []) == 0
    out = capsys.readouterr().out
    rows = {lr: next(line for line in out.splitlines() if f"optim.lr={lr}" in line) for lr in errors}
    assert "92.50 ± 0.71" in rows["0.01"] and "best" not in rows["0.01"]
    assert "92.00 ± 0.71" in rows["0.02"] and "best" in rows["0.02"] and "2 of 2" in rows["0.02"]
    assert "45.25 ± 63.29" in rows["0.05"] and "1 diverged" in rows["0.05"] and "2 of 2" in rows["0.05"]
    kept = json.loads((tmp_path / "summary.json").read_text())
    assert kept["best"] == ["optim.lr=0.02, loss=mse"] and kept["rows"][0]["values"] == {"0": 92.0, "1": 93.0}
    assert (tmp_path / "summary.png").stat().st_size > 5000


def test_a_sweep_of_an_experiment_prints_the_verdict_on_each_claim(tmp_path, monkeypatch, capsys):
    """The claims' own metric is judged, and a claim without a finished run is left out."""
    errors = {"a": (2.0, 2.1, 2.2), "b": (4.0, 4.1, 4.2), "c": (None,) * 3, "d": (3.0, None, None),
              "e": ("diverged",) * 3}  # fmt: skip
    claims = [Claim("a beats b", "", better="a", worse="b"), Claim("b beats a", "", better="b", worse="a"),
              Claim("a beats c", "", better="a", worse="c"), Claim("a beats d", "", better="a", worse="d")]  # fmt: skip
    claims = [claim._replace(metric="test_error") for claim in claims]
    claims.append(
        Claim("e takes no more steps", "", better="a", worse="e", within=50.0, metric="steps_to_train_error(50)")
    )
    rows = [Row(x, SOURCE, overrides=(f"--config.optim.lr=0.0{n}",)) for n, x in enumerate(errors, 1)]
    experiment = Experiment("T", "train_error", cpu=Scale(rows, claims))

    def run(planned, workdir, *_):
        for folder in trials.write_trials(workdir, planned):
            trial = trials.read_trial(folder)
            error = errors[trial.label.split(",")[0]][trial.seed]
            if error == "diverged":
                diverged(folder, trial.seed)
            elif error:
                finished(folder, seed=trial.seed, error=error, lines=LINES)
                files.write_json(folder / "status.json", {"state": "done", "seconds": 60.0})
        return 0

    monkeypatch.setattr(launcher, "run_trials", run)
    monkeypatch.setattr(trials, "load_experiment", lambda *_: experiment)
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", lambda *_: concurrent.futures.ThreadPoolExecutor(1))
    given = SimpleNamespace(
        mode="sweep", grid=[], experiment="t.py", size="cpu", seeds=3, launcher="local", jobs=1, slurm=[]
    )
    assert sweep.sweep(given, SOURCE, tmp_path, []) == 0
    lines = capsys.readouterr().out.splitlines()
    found = {claim.text: next((line for line in lines if claim.text in line), "") for claim in claims}
    assert "not resolved" in found["e takes no more steps"]  # a run that diverged may need any number
    assert re.search(r"not resolved: a verdict\s+needs 3 runs a row", found["a beats d"])
    assert "+2.00 [+1.77, +2.23]" in found["a beats b"] and " reproduced" in found["a beats b"]
    assert "-2.00" in found["b beats a"] and "not reproduced" in found["b beats a"] and not found["a beats c"]


def test_the_time_left_is_that_of_the_rows_finished_trials():
    done = lambda seconds: {"state": "done", "seconds": seconds}  # noqa: E731
    statuses = [("slow", done(100.0)), ("fast", done(10.0)), ("slow", {"state": "pending"}), ("fast", {"state": "pending"}),
                ("new", {"state": "pending"}), ("slow", {"state": "failed"})]  # fmt: skip
    assert estimate_left(statuses, 1) == 100 + 10 + 55
    assert estimate_left(statuses, 2) == 100  # no shorter than the longest
    running = ("slow", {"state": "running", "began": time.time() - 30})
    assert estimate_left([*statuses[:2], running], 4) == pytest.approx(70, abs=5)
    assert estimate_left(statuses[2:], 1) is None and estimate_left(statuses[:2], 1) == 0


@pytest.mark.parametrize("metric, text", [("test_error", "test error (%): 1.50"), ("train_loss", "training loss: 0.75"),
                                          ("steps_to_train_loss(0.6, 0.1)", "steps to a training loss of 0.6: 2")])  # fmt: skip
def test_a_finished_trial_is_shown_with_the_metric_of_its_experiment(metric, text, tmp_path):
    lines = [{"step": n, "epoch": n / 2, "loss": 1 / n, "error": 50.0} for n in (1, 2)]
    assert sweep._describe_result(metric, finished(tmp_path, lines=lines)) == text
    (tmp_path / "metrics.jsonl").write_text("")
    assert sweep._describe_result("train_loss", tmp_path) == ""
