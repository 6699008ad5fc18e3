"""Run lock: one run per workdir, who holds it, and whether that process is alive."""

import json
import os
import subprocess
import sys
import time

import pytest

from convnets.errors import UsageError
from convnets.runtime import run_lock
from tests.conftest import ROOT

HOLD = "import sys, time; from convnets.runtime import run_lock; from pathlib import Path\nwith run_lock.hold(Path(sys.argv[1])): print(1, flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path):
    """Yields another process that holds the lock of the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_second_is_refused_by_name_and_a_dead_one_forgotten_at_once(tmp_path, holder):
    with (
        pytest.raises(UsageError, match=rf"in use by process {holder.pid} on {os.uname().nodename}, which began \d s"),
        run_lock.hold(tmp_path),
    ):
        pass
    holder.kill()
    holder.wait()
    began = time.monotonic()
    with run_lock.hold(tmp_path):
        assert json.loads((tmp_path / run_lock.NAME).read_text())["pid"] == os.getpid()
    assert time.monotonic() - began < 1 and (tmp_path / run_lock.NAME).read_text() == ""


def elsewhere(beat=1.0):
    return json.dumps({"host": "elsewhere", "pid": 7, "began": time.time() - 100, "beat": beat})


def test_one_on_another_host_that_no_longer_beats_is_taken_over(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_lock, "STALE", 0.3)
    monkeypatch.setattr(run_lock, "BEAT", 0.1)
    (tmp_path / run_lock.NAME).write_text(elsewhere())
    with run_lock.hold(tmp_path):
        time.sleep(0.3)
        content = json.loads((tmp_path / run_lock.NAME).read_text())
        assert content["pid"] == os.getpid() and content["beat"] > content["began"] + 0.1
    assert "in use by process 7 on elsewhere, which began 100 s ago; waiting" in capsys.readouterr().out


def test_one_on_another_host_that_beats_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "BEAT", 0.1)
    (tmp_path / run_lock.NAME).write_text(elsewhere())
    monkeypatch.setattr(run_lock.time, "sleep", lambda _: (tmp_path / run_lock.NAME).write_text(elsewhere(2.0)))
    with pytest.raises(UsageError, match="in use by process 7 on elsewhere, which began 100 s ago; wait for it"):
        run_lock.hold(tmp_path).__enter__()


def test_a_lock_is_the_groups_if_the_umask_says_so_and_one_that_cannot_be_opened_is_one_line(tmp_path):
    before = os.umask(0o002)
    try:
        with run_lock.hold(tmp_path):
            assert (tmp_path / run_lock.NAME).stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)
    (tmp_path / "other" / run_lock.NAME).mkdir(parents=True)
    with pytest.raises(UsageError, match=r"other cannot be locked: lock\.json: Is a directory$"):
        run_lock.hold(tmp_path / "other").__enter__()
