import os
import subprocess
import sys

import pytest

from convnets.runtime import files
from convnets.training import metric_log
from tests.conftest import ROOT


def test_a_resumed_log_has_every_step_once(tmp_path):
    first = metric_log.Metrics(tmp_path, 0)
    first.write({"step": i, "epoch": i / 2, "loss": 1.0 / i} for i in range(1, 8))
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # a crash in the middle of a line
    second = metric_log.Metrics(tmp_path, 5)
    second.write({"step": i, "epoch": i / 2, "loss": 1.0 / i} for i in range(6, 9))
    second.close()
    lines = files.read_lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert lines[6]["loss"] == pytest.approx(1 / 7)


def test_tensorboards_writer_does_not_import_pytorch(tmp_path):
    """Importing PyTorch takes seconds; here a module named torch exits when it is imported."""
    (tmp_path / "torch.py").write_text("raise SystemExit('imported')")
    program = "import sys; from pathlib import Path; from convnets.training import metric_log; metric_log.Metrics(Path(sys.argv[1]), 0).close()"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environment, check=True)
    assert list((tmp_path / "events").iterdir())
