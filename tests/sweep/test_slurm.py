"""The Slurm launcher's jobs and its wait for them; tests/test_slurm.py runs sweeps under Slurm."""

import os
import subprocess

import pytest

from convnets.errors import UsageError
from convnets.sweep import slurm
from tests.conftest import ROOT


def test_a_slurm_that_does_not_answer_for_a_while_ends_no_sweep(monkeypatch):
    answers: list[set[str] | None] = []

    def queue():
        if answer := answers.pop(0):
            return answer - {"none"}
        raise UsageError("timed out")

    monkeypatch.setattr(slurm, "_queue", queue)
    monkeypatch.setattr(slurm, "POLL", 0.01)
    answers += [{"7_0"}, None, None, {"7_0"}, {"none"}]
    slurm._wait({"7_0"}, lambda: None)
    assert not answers
    monkeypatch.setattr(slurm, "PATIENCE", 0.0)
    answers += [{"7_0"}, None, None]
    with pytest.raises(UsageError, match="timed out"):
        slurm._wait({"7_0"}, lambda: None)


@pytest.mark.parametrize("own, wanted", [("", f"{ROOT}"), ("/a:/b", f"{ROOT}:/a:/b")])
def test_a_job_keeps_the_python_path_of_the_user(own, wanted):
    command = ["bash", "-c", f"{slurm.SETUP}; echo $PYTHONPATH"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": own}, capture_output=True, text=True, check=True)
    assert done.stdout == f"{wanted}\n"
