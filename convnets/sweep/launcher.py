"""Sweep launchers: run the trials of a sweep, every row with every seed.

`local` runs N trials in parallel on this machine, `slurm` submits a job array and waits for it, `print` prints the
commands. A launcher only starts workers (convnets/sweep/worker.py) and reads their files, so it may be killed and
restarted at any time. A restarted launcher skips finished trials, waits for running ones and resumes killed ones.
"""

import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from convnets.runtime import files, provenance
from convnets.runtime.distributed import signals_to_handle
from convnets.runtime.progress import clock
from convnets.sweep import slurm, trials
from convnets.sweep.trials import FINAL, ROOT, Trial

POLL = 0.2  # seconds after which the next trial begins, at the latest
REFRESH = 1.0  # seconds between two displays of the states: these cost milliseconds for hundreds of trials
MEMORY = 0.9  # fraction of an accelerator's memory, divided among the parallel trials
CONSOLE = Console(width=None if sys.stdout.isatty() else 160, markup=False, emoji=False)  # names are no markup


def run_trials(
    planned: Mapping[str, Trial], workdir: Path, launcher: str, jobs: int, options: Sequence[str], origin: dict[str, Any],
    describe_result: Callable[[Path], str]
) -> int:  # fmt: skip
    """Runs the unfinished trials of a sweep; returns 1 if a trial failed, else 0. A diverged trial is a result.

    Args:
        planned: the trials by id.
        workdir: folder of the sweep, with one subfolder per trial.
        launcher: local, slurm or print.
        jobs: number of trials in parallel.
        options: 'KEY=VALUE' options for sbatch.
        origin: what was asked for, for sweep.json.
        describe_result: returns what is shown of the finished trial of a folder.
    """
    if launcher == "print":
        return _print(workdir, planned)
    folders = trials.write_trials(workdir, planned)
    _note(workdir, {**origin, "commit": provenance.commit(), "trials": list(planned)})
    todo = [f for f in folders if trials.status(f)["state"] not in FINAL]
    print(f"{len(folders)} trials in {workdir}: {len(folders) - len(todo)} finished, {len(todo)} to run", flush=True)
    board = StatusTable(folders, jobs, describe_result)
    start = {"local": _local, "slurm": slurm.run_jobs}[launcher]
    with board:
        if runs := [f for f in todo if not planned[f.name].members]:
            start(workdir, runs, jobs, options, board.show)
        if ensembles := [f for f in todo if planned[f.name].members and _members_done(f, planned[f.name])]:
            start(workdir, ensembles, jobs, options, board.show)
        board.show()
    CONSOLE.print(board.table())
    return int(any(trials.status(f)["state"] not in FINAL for f in folders))


def _members_done(folder: Path, trial: Trial) -> bool:
    """Returns whether the members of an ensemble are done; else it has failed, until the sweep is run again."""
    states = {member: trials.status(folder.parent / member)["state"] for member in trial.members}
    last = [f"its member {member} is {state}" for member, state in states.items() if state != "done"]
    if last:
        files.write_json(folder / "status.json", {**trials.status(folder), "state": "failed", "rc": None, "last": last})
    return not last


def estimate_left(statuses: Sequence[tuple[str, dict[str, Any]]], jobs: int) -> float | None:
    """Returns the seconds until the trials of a sweep have ended; None before the first has finished.

    A trial is expected to take the mean time of its row's finished trials, or of all if there are none.

    Args:
        statuses: (row, status) of each trial.
        jobs: number of trials in parallel.
    """
    done: dict[str, list[float]] = {}
    for row, status in statuses:
        if status["state"] == "done" and "seconds" in status:
            done.setdefault(row, []).append(status["seconds"])
    if not done:
        return None
    of_all = statistics.fmean(seconds for own in done.values() for seconds in own)
    of_row = {row: statistics.fmean(own) for row, own in done.items()}
    left = []
    for row, status in statuses:
        if status["state"] in ("pending", "running"):
            running = status["state"] == "running" and "began" in status
            spent = time.time() - status["began"] if running else status.get("seconds", 0.0)
            left.append(max(of_row.get(row, of_all) - spent, 0.0))
    return max(sum(left) / min(jobs, len(left)), *left) if left else 0.0


class StatusTable:
    """Status display of the trials: a live table on a terminal, else one printed line per status change."""

    def __init__(self, folders: Sequence[Path], jobs: int, describe_result: Callable[[Path], str]):
        self.describe_result = describe_result
        self.folders, self.jobs = folders, jobs
        self.statuses = {f: trials.status(f) for f in folders}
        self.results = dict[Path, str]()  # of finished trials
        self.labels = {f: trials.read_trial(f) for f in folders}
        self.live = Live(console=CONSOLE, auto_refresh=False, transient=True) if CONSOLE.is_terminal else None

    def __enter__(self) -> "StatusTable":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live:
            self.live.stop()

    def show(self) -> None:
        """Shows the states of all trials: a table on a terminal, a line for each change in a log."""
        before = self.statuses
        # A sweep may have thousands of trials, of which few run: what is final is not read again.
        self.statuses = {f: s if s["state"] in FINAL else trials.status(f) for f, s in before.items()}
        ended, words = self._progress()
        if self.live:
            bar = ProgressBar(total=len(self.folders), completed=ended, width=24)
            self.live.update(Group(self.table(), Columns([bar, words])), refresh=True)
            return
        for folder, status in self.statuses.items():
            if status["state"] != before[folder]["state"]:
                trial = self.labels[folder]
                says = "" if status["state"] == "running" else self._says(folder, status)
                text = (folder.name, f"{trial.label}, seed {trial.seed}", status["state"], says)
                print("  ".join(filter(None, (*text, "" if status["state"] == "running" else words))), flush=True)

    def _progress(self) -> tuple[int, str]:
        """Returns the number of ended trials, and a text with it and the time left."""
        ended = sum(s["state"] in (*FINAL, "failed") for s in self.statuses.values())
        left = estimate_left([(self.labels[f].label, s) for f, s in self.statuses.items()], self.jobs)
        return ended, f"{ended} of {len(self.statuses)} trials" + (f", {clock(left)} left" if left else "")

    def table(self) -> Table:
        """Returns a table with one row per trial, of what `show` has read last.

        If the live table does not fit the terminal, running and failed trials come first and the rest is cut off.
        """
        counts = Counter(s["state"] for s in self.statuses.values())
        table = Table("trial", "row", "seed", "status", "time", "", title_justify="left",
                      title=", ".join(f"{n} {state}" for state, n in sorted(counts.items())))  # fmt: skip
        rank = {"running": 0, "failed": 1, "diverged": 2, "pending": 3, "done": 4}
        shown, room = list(self.folders), CONSOLE.height - 8
        if self.live and self.live.is_started and len(shown) > room:
            shown = sorted(shown, key=lambda f: rank[self.statuses[f]["state"]])[: max(room, 1)]
        for folder in shown:
            status, trial = self.statuses[folder], self.labels[folder]
            runs = status["state"] == "running" and "began" in status
            spent = time.time() - status["began"] if runs else status.get("seconds")
            seconds = "" if spent is None else f"{spent:.0f} s"
            table.add_row(
                folder.name, trial.label, str(trial.seed), status["state"], seconds, self._says(folder, status)
            )
        return table

    def _says(self, folder: Path, status: dict[str, Any]) -> str:
        """Returns a trial's result, its failure message, or the last line of its log while it runs."""
        if status["state"] == "running":
            log = folder / "log.txt"
            said = log.read_bytes()[-1000:].decode(errors="replace").split("\n") if log.exists() else []
            return next((line for line in reversed(said) if line.strip(" ┃│└┘┴━─")), "")[:120]
        if status["state"] == "done":
            if folder not in self.results:
                self.results[folder] = self.describe_result(folder)
            return self.results[folder]
        if status["state"] == "failed":
            return f"rc {status['rc']}: " + (status["last"][-1] if status["last"] else "") + f" ({folder / 'log.txt'})"
        return status["last"][-1] if status["state"] == "diverged" and status["last"] else ""


def _note(workdir: Path, facts: dict[str, Any]) -> None:
    """Writes sweep.json; prints a note if the sweep was begun at another commit, and keeps that commit."""
    path = workdir / "sweep.json"
    before = files.read_json(path, facts)
    if before["commit"] != facts["commit"]:
        print(f"note: trials of this sweep were begun at commit {before['commit'][:7]}, the code is {facts['commit'][:7]}"
              " now; a row's results are taken from one commit")  # fmt: skip
    files.write_json(path, {**facts, "commit": before["commit"]})


def _print(workdir: Path, planned: Mapping[str, Trial]) -> int:
    for name, trial in planned.items():
        for command in trials.commands(workdir / name, trial):
            print(shlex.join(command))
    return 0


def _local(workdir: Path, todo: list[Path], jobs: int, options: Sequence[str], show: Callable[[], None]) -> None:
    """Runs `jobs` workers in parallel, each with its share of the CPU cores and of the accelerator's memory."""
    every = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    share = max(len(every) // jobs, 1)
    # A trial is one process, even inside a multi-task allocation.
    environment = {**os.environ, "SLURM_NTASKS": "1"}
    if jobs > 1 and "XLA_CLIENT_MEM_FRACTION" not in environment:  # its newer name; JAX refuses both
        environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{MEMORY / jobs:.3f}")
    queue, running = list(todo), dict[int, subprocess.Popen]()
    shown = 0.0
    before = {number: signal.signal(number, lambda *_: sys.exit(143)) for number in signals_to_handle()}
    try:
        while queue or running:
            for slot in range(jobs):
                if slot in running and running[slot].poll() is not None:
                    del running[slot]
                if slot not in running and queue:
                    own = [every[(slot * share + i) % len(every)] for i in range(share)] if every and jobs > 1 else []
                    cores = [",".join(map(str, own))] if own else []
                    folder = queue.pop(0)
                    command = [sys.executable, "-m", "convnets.sweep.worker", str(folder), *cores]
                    with (folder / "log.txt").open("a") as log:
                        running[slot] = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
            if time.monotonic() - shown >= REFRESH:
                show()
                shown = time.monotonic()
            time.sleep(POLL)
    finally:
        for worker in running.values():
            worker.terminate()
        for worker in running.values():
            worker.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
