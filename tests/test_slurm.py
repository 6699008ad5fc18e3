"""A sweep and a two-process run on a real Slurm, started by tests/slurm/start.sh; skipped where there is none."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convnets.sweep import trials
from tests.conftest import ROOT
from tests.sweep.test_launcher import experiment, folders, launch, log, wait_for


def missing() -> str:
    """Returns why Slurm is not available, or '' if it is."""
    if importlib.util.find_spec("submitit") is None:
        return "submitit is not installed: pip install -e '.[sweep]'"
    if shutil.which("sinfo") is None:
        return "Slurm is not installed: tests/slurm/start.sh"
    answer = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True)
    return (
        "" if answer.returncode == 0 and answer.stdout.strip() else "no Slurm answers: tests/slurm/start.sh starts one"
    )


pytestmark = [pytest.mark.skipif(bool(missing()), reason=missing()), pytest.mark.timeout(600)]


def jobs(workdir) -> dict[str, str]:
    """Returns the Slurm job id of each trial."""
    path = workdir / "slurm.json"
    return json.loads(path.read_text()) if path.exists() else {}


def test_an_array_of_jobs_with_a_requeue_and_a_killed_launcher_in_the_middle(tmp_path):
    path = experiment(tmp_path, "'first', tests={'half': Evaluation(('--config.data.test_split=test[:50%]',))}",
                      "'diverges', '--config.optim.lr=1e38'")  # fmt: skip
    workdir = tmp_path / "sweep"
    launcher = launch(path, workdir, "--launcher=slurm", "--jobs=2")
    wait_for(lambda: len(jobs(workdir)) == 2, launcher)
    launcher.kill()  # Slurm keeps the jobs
    launcher.communicate()
    before, own = jobs(workdir), folders(workdir)
    assert len({job.split("_")[0] for job in before.values()}) == 1  # all in one job array

    launcher = launch(path, workdir, "--launcher=slurm", "--jobs=2")
    job = before[own["first"].name]
    wait_for(lambda: (own["first"] / "checkpoints" / "4").exists(), launcher)
    subprocess.run(["scontrol", "requeue", job], check=True)
    wait_for(lambda: trials.status(own["first"])["state"] == "pending", launcher)
    begin = ["scontrol", "update", f"jobid={job}", "starttime=now"]  # otherwise Slurm waits two minutes
    wait_for(lambda: subprocess.run(begin, capture_output=True).returncode == 0, launcher)
    out, err = launcher.communicate(timeout=300)

    assert launcher.returncode == 0 and "1 diverged, 1 done" in out, (out, err)
    assert jobs(workdir) == before  # nothing was resubmitted
    assert "resumed at step" in log(own["first"]) and (own["first"] / "evaluation-half.json").exists()
    assert "the loss is not finite" in out


def test_a_job_of_two_processes_saves_sends_itself_back_and_ends(tmp_path):
    """Runs docs/slurm/node.sbatch with both processes on one node and sends SIGTERM, as at the time limit."""
    log, lines = tmp_path / "log", tmp_path / "run" / "metrics.jsonl"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "JAX_PLATFORMS": "cpu"}
    options = ["--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1", "--gres=none", f"--output={log}"]
    run = ["--config=configs/lenet.py:digits", "--config.train.epochs=3", "--config.train.batch_size=48",
           "--config.optim.lr=0.003", "--config.train.log_every_steps=3", f"--workdir={tmp_path / 'run'}"]  # fmt: skip
    script = [str(ROOT / "docs/slurm/node.sbatch"), *run]
    job = subprocess.run(["sbatch", "--parsable", *options, *script], cwd=ROOT, env=environment, check=True,
                         capture_output=True, text=True).stdout.strip()  # fmt: skip

    def wait(condition):
        until = time.monotonic() + 400
        while not condition():
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)

    state = lambda: subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True).stdout  # noqa: E731
    try:
        wait(lambda: lines.exists() and lines.read_text().count("\n") >= 5)
        subprocess.run(["scancel", "--signal=TERM", job], check=True)
        wait(lambda: "Restarts=1" in state())
        saved = lines.read_text().count("\n")
        time.sleep(5)  # slurmd treats a job restarted within the second it ended as revoked
        begin = ["scontrol", "update", f"jobid={job}", "starttime=now"]  # otherwise Slurm waits two minutes
        wait(lambda: subprocess.run(begin, capture_output=True).returncode == 0)
        wait(lambda: "JobState=COMPLETED" in state())
    finally:
        subprocess.run(["scancel", job], capture_output=True)
    said = log.read_text()
    assert said.count("90 steps on 2 x cpu") == 2 and f"resumed at step {saved}\n" in said
    assert said.count("preempted and saved") == 1 and saved < 90
    assert [json.loads(line)["step"] for line in lines.read_text().splitlines()] == list(range(1, 91))
