"""The Slurm launcher: a sweep's trials as one job array, through submitit."""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from convnets.errors import UsageError
from convnets.runtime import files
from convnets.sweep import trials
from convnets.sweep.trials import ROOT

POLL = 1.0  # seconds between two looks at the queue
PATIENCE = 600.0  # seconds that a sweep waits for a Slurm that does not answer
# A job finds SlurmJob on the path, before what the user has there.
SETUP = f"export PYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}"


class SlurmJob:
    """Slurm job in submitit's format: runs a worker in a subprocess and is resubmitted after a timeout."""

    def __call__(self, folder: str) -> int:
        """Runs the trial of a folder in a process of its own; returns its exit code."""
        return subprocess.call([sys.executable, "-m", "convnets.sweep.worker", folder], cwd=ROOT)

    def checkpoint(self, folder: str) -> Any:
        """Returns the job that submitit submits again after it has stopped this one."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, folder)


def run_jobs(workdir: Path, todo: list[Path], jobs: int, options: Sequence[str], show: Callable[[], None]) -> None:
    """Submits one job array, `jobs` at a time, and waits until none of its jobs is in Slurm's queue.

    A requeued job resumes its trial. Jobs of an earlier launcher that are still pending or running are not resubmitted.

    Args:
        todo: folders of the trials.
        options: 'KEY=VALUE' options for sbatch.
        show: displays the states of the trials.

    Raises:
        UsageError: submitit or Slurm is missing, an option is wrong, or Slurm has not answered for PATIENCE seconds.
    """
    try:
        import submitit
    except ImportError:
        raise UsageError("--launcher=slurm needs submitit: pip install -e '.[sweep]'") from None
    wrong = [option for option in options if "=" not in option]
    if wrong:
        raise UsageError(f"--slurm={wrong[0]}: give KEY=VALUE, as in #SBATCH --KEY=VALUE")
    kept = workdir / "slurm.json"
    known = files.read_json(kept, {})
    alive = _queue()
    known = {name: job for name, job in known.items() if job in alive}
    new = [f for f in todo if f.name not in known]
    executor = submitit.SlurmExecutor(folder=workdir / "slurm", max_num_timeout=1000)
    given = dict(option.split("=", 1) for option in options)
    executor.update_parameters(
        job_name="sweep", array_parallelism=jobs, setup=[SETUP],
        time=given.pop("time", 24 * 60), additional_parameters={"requeue": True, **given},
    )  # fmt: skip
    submitted = executor.map_array(SlurmJob(), [str(f) for f in new]) if new else []
    known |= {f.name: job.job_id for f, job in zip(new, submitted, strict=True)}
    files.write_json(kept, known)
    _wait(set(known.values()), show)
    for folder in todo:
        if (status := trials.status(folder))["state"] == "pending":
            last = [f"job {known[folder.name]} ended without a word; see {workdir / 'slurm'}"]
            files.write_json(folder / "status.json", {**status, "state": "failed", "rc": None, "last": last})


def _wait(jobs: set[str], show: Callable[[], None]) -> None:
    """Waits until no job is in Slurm's queue.

    Raises:
        UsageError: Slurm has not answered for PATIENCE seconds.
    """
    answered = time.monotonic()
    while jobs:
        try:
            if not jobs & _queue():
                return
            answered = time.monotonic()
        except UsageError:  # a busy controller may not answer for a while
            if time.monotonic() - answered > PATIENCE:
                raise
        show()
        time.sleep(POLL)


def _queue() -> set[str]:
    """Returns the ids of the user's queued jobs, with array tasks listed individually, in submitit's format.

    Raises:
        UsageError: squeue is missing or fails.
    """
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--array", "--format=%i", "--me"], capture_output=True, text=True
        )
    except OSError as e:
        raise UsageError(f"--launcher=slurm: {e}") from None
    if done.returncode:
        raise UsageError(f"--launcher=slurm: {done.stderr.strip()}")
    return set(done.stdout.split())
