import json

import pytest

from convnets import report
from convnets.errors import UsageError
from tests.conftest import ROOT


def finished(folder, commit="a" * 40, seed=0, error=1.5, lr=0.01, counted=9):
    """A folder like a finished run's."""
    from convnets import validate

    config, _ = validate.load("configs/lenet.py:mnist", [f"--config.train.seed={seed}", f"--config.optim.lr={lr}"])
    result = {"config": config.to_dict(), "dataset": "mnist:3", "protocol": "single", "num_examples": counted, "split_examples": 9, "seed": seed,
              "top1_error": error, "seconds": 7.0, "commit": commit}  # fmt: skip
    manifest = {"command": "python run.py --config=configs/lenet.py:mnist --workdir=x", "commit": commit,
                "device": {"kind": "cpu", "count": 1, "platform": "cpu"}}  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.jsonl")
    monkeypatch.chdir(ROOT)
    return tmp_path


def test_the_readme_is_up_to_date():
    text = (ROOT / "README.md").read_text()
    assert report.readme(text) == text, "run: python run.py --mode=report"


def test_a_recorded_run_tells_how_to_repeat_it(results):
    entry = report.record(finished(results / "run", seed=2, lr=0.5))
    assert (
        entry["command"] == "python run.py --config=configs/lenet.py:mnist --config.optim.lr=0.5 --config.train.seed=2"
    )
    assert entry["overrides"] == ["--config.optim.lr=0.5"]


def test_a_run_is_recorded_once_and_only_of_committed_code(results):
    run = finished(results / "run")
    assert report.add([run]) == 1 and report.add([run]) == 0 and len(report.read()) == 1
    with pytest.raises(UsageError, match="only runs of one commit"):
        report.add([finished(results / "dirty", commit="a" * 40 + "+changes")])
    with pytest.raises(UsageError, match="holds no finished run"):
        report.add([results])


def test_a_run_tested_on_a_part_of_its_split_is_refused(results):
    with pytest.raises(UsageError, match="tested on 8 of the 9 examples"):
        report.add([finished(results / "part", counted=8)])


def test_the_table_has_mean_spread_and_n_of_the_newest_commit(results):
    rows = [report.Row("net", "configs/lenet.py:mnist", 0.95, "fig. 9"), report.Row("other", "x.py:y", None, "")]
    report.add([finished(results / "old", commit="b" * 40, error=9.0)])
    report.add([finished(results / f"{s}", seed=s, error=1.0 + s / 10) for s in range(3)])
    report.add([finished(results / "tuned", lr=0.5, error=0.1)])  # another recipe: not this row's
    table = report.table(rows, report.read())
    assert "**1.10** ± 0.10 (3) | +0.15 | 7 s, 1 x cpu | aaaaaaa |" in table[2] and "0.95 (fig. 9)" in table[2]
    assert "not run: `python run.py --config=x.py:y`" in table[3]
