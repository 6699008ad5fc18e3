"""Recorded results: what is kept of a run, and which experiment row it belongs to."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from convnets.config import load_config
from convnets.errors import UsageError
from convnets.report import results
from convnets.sweep import metrics
from convnets.sweep.experiment import Claim, Evaluation, Experiment, Row, Scale, check_experiment
from convnets.sweep.metrics import RunRecord
from tests.conftest import ROOT


def finished(folder, commit="a" * 40, seed=0, error=1.5, lr=0.01, lines=(), tests=None, counted=10_000):
    """Makes a workdir like the one of a finished run."""
    arguments = [f"--config.train.seed={seed}", f"--config.optim.lr={lr}", "--config.data.data_dir=elsewhere"]
    config, _ = load_config("configs/lenet.py:mnist", arguments)
    result = {"config": config.to_dict(), "dataset": "mnist:3", "protocol": "single", "seed": seed,
              "split": "test", "num_examples": counted, "split_examples": 10_000,
              "top1_error": error, "top5_error": 0.0, "loss": 0.1, "steps": 20, "seconds": 7.0, "commit": commit,
              "versions": {}}  # fmt: skip
    manifest = {"command": "python run.py --config=configs/lenet.py:mnist --workdir=x", "commit": commit, "versions": {},
                "device": {"kind": "cpu", "count": 1, "platform": "cpu"},
                "dataset": {"name": "mnist", "version": "3", "num_examples": 60000}}  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, (overrides, value) in (tests or {}).items():
        tested, _ = load_config("configs/lenet.py:mnist", [*arguments, *overrides])
        content = {**result, "config": tested.to_dict(), "top1_error": value}
        (folder / f"evaluation-{name}.json").write_text(json.dumps(content))
    return folder


def diverged(folder, seed=0):
    finished(folder, seed=seed, lr=9.0)
    (folder / "result.json").unlink()
    status = {"state": "diverged", "rc": 4, "seconds": 3.0, "last": ["error: the loss is not finite at step 2"]}
    (folder / "status.json").write_text(json.dumps(status))
    return folder


# 2 epochs of 10 steps: the error falls from 100 % by 5 points a step, tests after each epoch.
LINES = [{"step": s, "epoch": s / 10, "loss": 1.0 / s, "error": 100.0 - 5 * s, "lr": 0.1} for s in range(1, 21)]
LINES[9] |= {"test_error": 55.0, "test_loss": 1.0}
LINES[19] |= {"test_error": 3.0, "test_loss": 0.1}
SHIFT = ("--config.data.test_ops=decode|resize(32)",)
ROW = Row("net", "configs/lenet.py:mnist", 0.95, "fig. 9", tests={"shifted": Evaluation(SHIFT)})
HOT = Row("hot", "configs/lenet.py:mnist", overrides=("--config.optim.lr=9.0",))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results.jsonl")
    monkeypatch.setattr(
        results, "load_experiments", lambda: {"x": Experiment("", "steps_to_train_error(50)", Scale([ROW, HOT]))}
    )
    monkeypatch.chdir(ROOT)
    results._wanted.cache_clear()
    yield tmp_path
    results._wanted.cache_clear()


def test_a_recorded_run_tells_how_to_repeat_it(place):
    entry = results.record(finished(place / "run", seed=2, lr=0.5))
    command = "python run.py --config=configs/lenet.py:mnist --config.optim.lr=0.5 --config.train.seed=2"
    assert entry["command"] == command and entry["overrides"] == ["--config.optim.lr=0.5"]


def test_a_run_is_recorded_once_and_only_of_committed_code(place):
    run = finished(place / "run")
    assert results.add_lines([run]) == 1 and results.add_lines([run]) == 0 and len(results.read_results()) == 1
    with pytest.raises(UsageError, match="only runs of one commit"):
        results.add_lines([finished(place / "dirty", commit="a" * 40 + "+changes")])
    with pytest.raises(UsageError, match="holds no finished run"):
        results.add_lines([place])


def test_two_that_record_at_once_lose_nothing(place):
    def keep(name):
        for i in range(20):
            results.keep_results([{"command": f"{name} {i}", "commit": "a", "protocol": "single"}])

    with ThreadPoolExecutor() as pool:
        list(pool.map(keep, "ab"))
    assert len(results.read_results()) == 40


def test_a_test_of_a_part_of_its_split_is_refused(place):
    with pytest.raises(UsageError, match="run was tested on 8 of the 10,000 examples of test"):
        results.add_lines([finished(place / "run", counted=8)])
    run = finished(place / "other", tests={"shift": ((), 3.0)})
    path = run / "evaluation-shift.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_examples": 10}))
    with pytest.raises(UsageError, match=r"evaluation-shift\.json was tested on 10 of the 10,000"):
        results.add_lines([run])


def test_a_run_keeps_a_short_curve_its_metrics_and_its_tests(place):
    run = finished(
        place / "run", lines=LINES, tests={"shifted": (SHIFT, 12.0), "old": (("--config.evaluate.batch_size=7",), 5)}
    )
    results.add_lines([run])
    entry = results.read_results()[0]
    assert entry["curve"] == [[1.0, 55.0, 72.5], [2.0, 3.0, 22.5]]
    # The mean of ten steps is first at most 50 at step 15: (100 - 5 s) for s from 6 to 15 has the mean 47.5.
    assert entry["metrics"] == {"steps_to_train_error(50)": 15.0}
    found = results.select_runs(ROW, results.read_results())
    assert results.measure_by_seed(ROW, "shifted", "test_error", found) == {0: 12.0}
    assert results.measure_by_seed(ROW, "", "steps_to_train_error(50)", found) == {0: 15.0}
    changed = ROW._replace(tests={"shifted": Evaluation(("--config.data.test_ops=decode",))})
    # That test was recorded with older flags.
    assert results.measure_by_seed(changed, "shifted", "test_error", found) == {}


def test_a_long_curve_is_thinned_and_keeps_its_end(place):
    lines = [{"step": s, "epoch": float(s), "loss": 1.0, "error": 1.0, "test_error": float(s)} for s in range(1, 508)]
    curve = results.record(finished(place / "run", lines=lines))["curve"]
    assert 40 < len(curve) <= 50 and curve[-1][:2] == [507.0, 507.0]


def test_a_diverged_trial_is_a_result_at_chance(place):
    folder = place / "sweep"
    folder.mkdir()
    (folder / "sweep.json").write_text("{}")
    diverged(folder / "a")
    finished(folder / "b", lr=9.0, seed=1, lines=LINES)
    (folder / "b" / "status.json").write_text('{"state": "done"}')
    (finished(folder / "c", lr=9.0, seed=2) / "status.json").write_text('{"state": "failed"}')
    assert results.add_lines([folder]) == 2
    found = results.select_runs(HOT, results.read_results())
    assert results.measure_by_seed(HOT, "", "test_error", found) == {0: 90.0, 1: 1.5}
    steps = results.measure_by_seed(HOT, "", "steps_to_train_error(50)", found)
    assert steps == {0: 75000, 1: 15.0}  # 0: all planned steps
    assert results.measure_by_seed(HOT, "", "test_loss", found) == {1: 0.1}
    assert results.measure_by_seed(HOT, "", "any_error", found) == {0: 100.0, 1: 100.0}
    assert metrics.any_error(RunRecord({"top1_error": 0.0})) == 0
    assert found[0]["wall"] == 3.0


def test_a_rows_runs_are_those_of_the_newest_commit(place):
    results.add_lines([finished(place / "old", commit="b" * 40, error=9.0)])
    results.add_lines(
        [finished(place / "new", seed=s) for s in range(1)] + [finished(place / "tuned", lr=0.5, error=0.1)]
    )
    assert [r["commit"][0] for r in results.select_runs(ROW, results.read_results())] == ["a"]
    spelled = ROW._replace(overrides=("--config.optim.lr=0.50",))
    assert [r["top1_error"] for r in results.select_runs(spelled, results.read_results())] == [0.1]


def test_seeds_that_chose_the_recipe_are_not_counted(place):
    results.add_lines([finished(place / str(seed), seed=seed) for seed in (0, 1, 2, 1000)])
    found = results.select_runs(ROW, results.read_results(), first_seed=1)
    assert [run["seed"] for run in found] == [1, 2]


def test_seeds_beyond_the_planned_ones_are_not_counted(place):
    select_planned = lambda: results.select_runs(ROW, results.read_results(), first_seed=1, planned=3)  # noqa: E731
    results.add_lines([finished(place / str(seed), seed=seed) for seed in range(6)])
    assert [run["seed"] for run in select_planned()] == [1, 2, 3]
    newer = [finished(place / f"new{seed}", seed=seed, commit="b" * 40) for seed in (7, 8)]
    results.add_lines(newer)  # of a newer commit, which another experiment needed
    assert [run["seed"] for run in select_planned()] == [1, 2, 3]
    results.add_lines(
        [finished(place / f"few{seed}", seed=seed, commit="c" * 40) for seed in (1, 2)]
    )  # fewer than planned
    assert [run["seed"] for run in select_planned()] == [1, 2, 3]


def test_the_same_network_trained_for_another_row_does_not_hide_a_rows_tests(place):
    other = ROW._replace(tests={"turned": ROW.tests["shifted"]})
    results.add_lines(
        [finished(place / "old", commit="b" * 40, tests={"shifted": (ROW.tests["shifted"].overrides, 12.0)})]
    )
    results.add_lines([finished(place / "new", tests={"turned": (ROW.tests["shifted"].overrides, 34.0)})])
    for row, test, error in ((ROW, "shifted", 12.0), (other, "turned", 34.0)):
        found = results.select_runs(row, results.read_results())
        assert results.measure_by_seed(row, test, "test_error", found) == {0: error}
    plain = ROW._replace(tests={})
    assert [r["commit"][0] for r in results.select_runs(plain, results.read_results())] == ["a"]


@pytest.mark.parametrize(
    "metric, value",
    [
        ("test_error", 1.5),
        ("test_error_below(1.5)", 1.5),
        ("best_test_error", 3.0),
        ("train_error", 22.5),
        ("train_loss", sum(1 / s for s in range(11, 21)) / 10),
        ("steps_to_train_error(50, over=0.1)", 10),
        ("steps_to_train_error(-1)", 20),
        ("steps_to_train_loss(0.095, over=0.1)", 11),
        ("steps_to_test_error(55)", 10),
        ("steps_to_test_error(1)", 20),
        ("milliseconds_per_image", 400),
    ],
)
def test_metrics(metric, value):
    log = RunRecord({"top1_error": 1.5, "images_per_second": 2.5}, LINES)
    assert metrics.measure(metric, log) == pytest.approx(value)


def test_a_run_at_chance_has_no_error_of_what_it_learned():
    assert metrics.measure("test_error_below(50)", RunRecord({"top1_error": 88.7}, LINES)) is None
    assert metrics.measure_diverged("test_error_below(50)", {"top1_error": 90.0, "planned": 5}) is None


@pytest.mark.parametrize("metric", ["train_error", "train_loss", "steps_to_train_error(50)", "steps_to_train_loss(1)"])
def test_a_log_with_missing_lines_has_no_training_metric(metric):
    for lines in (LINES[10:], LINES[:5] + LINES[6:]):
        assert metrics.measure(metric, RunRecord({"top1_error": 1.5, "images_per_second": 2.5}, lines)) is None


def test_a_diverged_run_counts_with_the_steps_that_it_would_have_had():
    config = {"model": {"num_classes": 10}, "train": {"epochs": 0.07, "batch_size": 10}}
    assert metrics.count_diverged(config, 10_000)["planned"] == 70  # in floats 70.00000000000001, a step more


def test_a_wrong_experiment_is_named():
    claim = Claim("c", "", better="nobody", worse=("net", "shifted"), metric="train_error")
    experiment = Experiment("", "test_eror", Scale([ROW, ROW], [claim]), pilot=Scale([ROW]))
    text = "\n".join(check_experiment(experiment))
    for part in (
        "two rows have the same label",
        "names 'nobody'",
        "a test has no train_error",
        "did you mean 'test_error'",
        "pilot: first_seed is 0",
    ):
        assert part in text


def test_an_ensemble_is_recorded_with_its_members_and_matches_its_row(place):
    several = Row("two nets", members=((ROW, 2),), tests={"shifted": Evaluation((), 7.0, "fig. 9")})
    folders = [finished(place / f"m{seed}", seed=seed, tests={"shifted": (SHIFT, 12.0)}) for seed in (2, 3)]
    folder = place / "ensemble"
    folder.mkdir()
    for name, file in (("evaluation", "result"), ("evaluation-shifted", "evaluation-shifted")):
        tested = [{"workdir": str(f), **json.loads((f / f"{file}.json").read_text())} for f in folders]
        together = {**{k: v for k, v in tested[0].items() if k not in ("config", "seed", "workdir")}, "members": tested}
        (folder / f"{name}.json").write_text(json.dumps({**together, "top1_error": 1.0 if file == "result" else 8.0}))
    results.add_lines([*folders, folder])
    entry = results.read_results()[-1]
    assert entry["command"] == "python run.py --mode=evaluate --workdirs=m2,m3" and entry["wall"] == 0
    assert [(m["seed"], m["commit"]) for m in entry["members"]] == [(2, "a" * 40), (3, "a" * 40)]
    found = results.select_runs(several, results.read_results())
    assert results.measure_by_seed(several, "", "test_error", found) == {1: 1.0}  # the second ensemble: seeds 2 and 3
    again, none = (results.select_runs(several, results.read_results(), first_seed=seed) for seed in (2, 3))
    assert again == found and not none  # its members' seeds count, not its own
    assert results.select_runs(several, results.read_results(), first_seed=2, planned=1) == found
    assert not results.select_runs(several, results.read_results(), first_seed=0, planned=2)
    assert results.measure_by_seed(several, "shifted", "test_error", found) == {1: 8.0}
    assert not results.select_runs(several._replace(members=((ROW, 3),)), results.read_results())
    other = ROW._replace(tests={"shifted": Evaluation(("--config.data.test_ops=decode",))})
    assert results.measure_by_seed(several._replace(members=((other, 2),)), "shifted", "test_error", found) == {}


@pytest.mark.parametrize(
    "row, message",
    [
        (Row("e"), "'e' needs a config, or members alone"),
        (Row("e", "configs/lenet.py:mnist", members=((ROW, 2),)), "'e' needs a config, or members alone"),
        (Row("e", members=((ROW, 2),), tests={"ten": Evaluation()}), "'e': its member 'net' has no test 'ten'"),
    ],
)
def test_an_ensemble_that_is_none_is_explained(row, message):
    assert check_experiment(Experiment("", "test_error", Scale([row]))) == [f"cpu: {message}"]
