"""A profiler that fails; tests/test_run.py traces a run."""

import jax
import pytest

from convnets.runtime.profiler import WARM, StepTrace


@pytest.mark.parametrize("part", ["start_trace", "stop_trace"])
def test_a_profiler_that_fails_costs_the_run_one_line(tmp_path, monkeypatch, capsys, part):
    def fail(*_):
        raise RuntimeError("only one profile at a time\ntrace")

    for name in ("start_trace", "stop_trace"):
        monkeypatch.setattr(jax.profiler, name, fail if name == part else lambda *_: None)
    trace = StepTrace(tmp_path, 2, 0)
    for step in range(WARM + 5):
        trace.watch(step, 0)
    trace.close()
    assert capsys.readouterr().out == "warning: no trace: only one profile at a time\n"
