"""Rows 6 to 10 of docs/reliability.md: damaged checkpoints, full and read-only disks, states that are not finite.

The number in a test's name is its row.
"""

import contextlib
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

from convnets.training.checkpoint import Checkpoints
from tests.conftest import ROOT, run_here
from tests.processes import TINY, TOTAL, assert_same, digest, end, preempt, run, start, steps, tmpfs, train_undisturbed
from tests.training.test_checkpoint import harm

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800), pytest.mark.usefixtures("optimized")]  # hundreds of steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return train_undisturbed(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("how", ["flip", "truncate", "remove"])
def test_06_a_damaged_checkpoint_is_named_and_the_one_before_is_used(whole, tmp_path, how):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    (workdir / "result.json").unlink()
    last = workdir / "checkpoints" / str(TOTAL)
    if how == "truncate":
        harm(last / "state" / "_METADATA", how)
    else:
        harm(max((p for p in last.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size), how)
    out, _ = run(*TINY, f"--workdir={workdir}")
    assert f"{last} is damaged: " in out and "resumed at step 280" in out
    assert last.with_name(f"{TOTAL}.damaged").is_dir()  # the damaged checkpoint is kept under another name
    assert_same(workdir, whole)


def test_06_with_none_left_it_ends_and_touches_nothing(whole, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    (workdir / "result.json").unlink()
    for step in steps(workdir):
        harm(workdir / "checkpoints" / str(step) / "state" / "_METADATA", "truncate")
    before = digest(workdir)
    _, err = run_here(*TINY, f"--workdir={workdir}", code=5)
    assert f"error: no checkpoint in {workdir / 'checkpoints'} can be read" in err and "_METADATA" in err
    assert digest(workdir) == before


def test_07_a_checkpoint_of_another_network_is_refused(whole, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    before = digest(workdir)
    for change, message in [
        (["--config.optim.momentum=0.9"], "trace/H1/bias is missing"),
        (["--config.model.name=lenet1", "--config.data.train_ops=decode|resize(28)",
          "--config.data.test_ops=decode|resize(28)"], "params/H1/bias is float32[8, 8, 12], float32[4] wanted; and 5 more"),
    ]:  # fmt: skip
        longer = "--config.train.epochs=20"  # so that something is left to train
        _, err = run_here(*TINY, longer, *change, f"--workdir={workdir}", "--allow_config_change", code=5)
        assert "does not fit this program: " in err and message in err and err.count("error: ") == 1, err
    assert digest(workdir) == before


def full_disk(workdir: Path) -> Path:
    """Fills the disk up to the last 20 kB; returns the filler file."""
    with contextlib.suppress(OSError), (workdir / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    os.truncate(workdir / "filler", (workdir / "filler").stat().st_size - 5 * 4096)
    return workdir / "filler"


@pytest.mark.parametrize("how", ["full", "small files"])
def test_08_a_full_disk_ends_it_by_name_and_leaves_the_checkpoint_before(whole, tmp_path, how):
    """Either the file system is full (needs root), or the process's file size limit is below the largest array's
    23 kB: a checkpoint of 37 kB may be written in several files."""
    workdir = tmp_path / "run"
    with tmpfs(workdir) if how == "full" else contextlib.nullcontext():
        step = preempt(workdir, 7)
        before = digest(workdir / "checkpoints" / str(step))
        filler = full_disk(workdir) if how == "full" else workdir / "none"
        process = start(*TINY, f"--workdir={workdir}")
        if how == "small files":
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (15000, 15000))
        _, err = end(process, 5)
        (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert str(workdir) in line and "could not be written: " in line and line.endswith("bytes are free there"), err
        assert steps(workdir) == [step] and digest(workdir / "checkpoints" / str(step)) == before
        filler.unlink(missing_ok=True)
        run(*TINY, f"--workdir={workdir}")
        assert_same(workdir, whole)


def test_09_a_workdir_that_cannot_be_written_is_refused_before_anything_is_compiled(tmp_path):
    """Mounts the workdir read-only, because root ignores file permissions."""
    with tmpfs(tmp_path / "run", "ro"):
        _, err = run_here(*TINY, f"--workdir={tmp_path / 'run'}", code=2)
    assert err == f"error: --workdir={tmp_path / 'run'} cannot be written: Read-only file system\n"
    (tmp_path / "file").touch()
    _, err = run_here(*TINY, f"--workdir={tmp_path / 'file'}", code=2)
    assert err == f"error: --workdir={tmp_path / 'file'} is a file; give a folder\n"


def test_09_a_relative_workdir_is_one_too(tmp_path):
    """Orbax itself requires absolute paths."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    run(*TINY, "--config.train.epochs=0.2", "--workdir=a/b", cwd=tmp_path)
    assert steps(tmp_path / "a" / "b") == [6]


def test_10_divergence_is_found_and_never_saved(tmp_path):
    """The learning rate is infinite at step 31, the first of epoch 2: the loss is finite, the new state is not."""
    jumps = (*TINY, "--config.optim.schedule=table((1, 1e30))|table((1, 1e30))", "--config.train.log_every_steps=10",
             "--config.checkpoint.every_steps=1", f"--workdir={tmp_path}")  # fmt: skip
    _, err = run(*jumps, code=4)
    (last,) = steps(tmp_path)[-1:]
    assert last == 30 and "the last good checkpoint is step 30" in err and err.count("error: ") == 1, err
    assert "is not finite after step 31, whose loss still was" in err
    for step in steps(tmp_path):
        with Checkpoints(tmp_path / "checkpoints")._open() as files:
            assert all(np.isfinite(a).all() for a in files.load(step).values()), step
    assert run(*jumps, code=4)[1].splitlines()[-1] == err.splitlines()[-1]  # resuming gives the same error
    _, err = run_here(*jumps, "--config.checkpoint.every_steps=1000", "--allow_config_change", code=4)
    assert "the loss is not finite at step 32 (looked at steps 31 to 40); the last good checkpoint is step 30" in err
