"""The sweep on a real Slurm, which tests/slurm/start.sh starts; skipped, saying why, where there is none."""

import importlib.util
import json
import shutil
import subprocess

import pytest

from convnets import trials
from tests.test_sweep import experiment, folders, launch, log, wait_for


def missing() -> str:
    """Why there is no Slurm to test with; '' where there is one."""
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
    """Slurm's name of each trial's job."""
    path = workdir / "slurm.json"
    return json.loads(path.read_text()) if path.exists() else {}


def test_an_array_of_jobs_with_a_requeue_and_a_killed_launcher_in_the_middle(tmp_path):
    path = experiment(tmp_path, "'first', tests={'half': Test(('--config.data.test_split=test[:50%]',))}",
                      "'diverges', '--config.optim.lr=1e38'")  # fmt: skip
    workdir = tmp_path / "sweep"
    launcher = launch(path, workdir, "--launcher=slurm", "--jobs=2")
    wait_for(lambda: len(jobs(workdir)) == 2, launcher)
    launcher.kill()  # the jobs are Slurm's now
    launcher.communicate()
    before, own = jobs(workdir), folders(workdir)
    assert len({job.split("_")[0] for job in before.values()}) == 1  # one array

    launcher = launch(path, workdir, "--launcher=slurm", "--jobs=2")
    job = before[own["first"].name]
    wait_for(lambda: (own["first"] / "checkpoints" / "4").exists(), launcher)
    subprocess.run(["scontrol", "requeue", job], check=True)
    wait_for(lambda: trials.status(own["first"])["state"] == "pending", launcher)
    begin = ["scontrol", "update", f"jobid={job}", "starttime=now"]  # Slurm itself would wait two minutes
    wait_for(lambda: subprocess.run(begin, capture_output=True).returncode == 0, launcher)
    out, err = launcher.communicate(timeout=300)

    assert launcher.returncode == 0 and "1 diverged, 1 done" in out, (out, err)
    assert jobs(workdir) == before  # nothing was submitted again
    assert "resumed at step" in log(own["first"]) and (own["first"] / "evaluation-half.json").exists()
    assert "the loss is not finite" in out
