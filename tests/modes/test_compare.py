"""Runs side by side: finished, unfinished and oddly named ones, which are only read."""

import json

from convnets.modes import compare
from tests.processes import digest
from tests.report.test_results import LINES, finished


def test_what_differs_is_shown_and_nothing_is_written_to_the_runs(tmp_path, capsys):
    first = finished(tmp_path / "a", error=1.5, lines=LINES)
    second = finished(tmp_path / "[red], b", error=2.25, lr=0.02, seed=1, lines=LINES)
    third = finished(tmp_path / "_c", lines=LINES[:12])
    (third / "result.json").unlink()
    for folder in (first, second):
        result = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps(result | {"parameters": 60000, "images_per_second": 123.4}))
    before, out = digest(tmp_path), tmp_path / "out"
    out.mkdir()
    compare.compare([first, second, third, first], out)
    said = capsys.readouterr().out
    lines = {line.split("│")[1].strip(): line for line in said.splitlines() if "│" in line}
    assert [w.strip() for w in lines["optim.lr"].split("│")[2:5]] == ["0.01", "0.02", "0.01"] and "train.seed" in lines
    assert "data.data_dir" not in lines and "loss" not in lines
    assert "1.50 %" in lines["a"] and "60,000" in lines["a"] and "123" in lines["a"] and "2.25 %" in lines["[red], b"]
    assert "55.00 % so far" in lines["_c"] and "unfinished" in lines["_c"]
    kept = json.loads((out / "compare.json").read_text())
    assert kept["config"]["optim.lr"] == [0.01, 0.02, 0.01] and len(kept["runs"]) == 3
    assert (out / "compare.png").stat().st_size > 5000
    for path in out.iterdir():
        path.unlink()
    out.rmdir()
    assert digest(tmp_path) == before
