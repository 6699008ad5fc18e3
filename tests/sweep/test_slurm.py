"""The Slurm launcher's wait for its jobs; tests/test_slurm.py runs sweeps under Slurm."""

import pytest

from convnets.errors import UsageError
from convnets.sweep import slurm


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
