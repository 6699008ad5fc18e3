"""Trials of a sweep: planning, status, and the commands still to run.

All state is kept in files. A trial's folder is named by a hash of its config and seed. Besides the output of run.py it
holds:

    trial.json    label, seed, and the arguments of run.py for training and for each test
    status.json   state: running, done, failed (with rc and the last lines) or diverged; seconds of all sessions, without
                  those whose worker was killed; began: the start time of this session minus the seconds of earlier ones;
                  updated by the worker
    log.txt       output of the trial's processes
    lock          held while one of the trial's processes is alive, even after its launcher was killed

An unlocked trial that is not done, diverged or failed is pending, even if its status.json says running: its worker was
killed. The next worker resumes it as run.py resumes.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from convnets import errors
from convnets.config import PATHS, get_leaf, list_overrides, load_config, overridden_key, run_file
from convnets.errors import CheckpointError, UsageError
from convnets.runtime import files
from convnets.runtime.distributed import SIGNALS
from convnets.sweep.experiment import ROOT, RUNNABLE, Experiment, Row, check_experiment, count_runs
from convnets.training import validation

FINAL = ("done", "diverged")  # not rerun: the same command would give the same result
# Stopped from outside, not a failure: by a signal, Ctrl-C, a second SIGTERM, or preempted.
STOPPED = (*(-s for s in SIGNALS), -signal.SIGINT, 130, 128 + signal.SIGTERM, errors.Preempted.code)


class Trial(NamedTuple):
    """One run of one row: the run.py arguments for its training and tests.

    Attributes:
        arguments: run.py arguments for training, without --workdir.
        tests: overrides of each additional evaluation by name, in the format of `convnets.config.list_overrides`; for
            an ensemble, empty: its members have their own.
        rows: the labels of all rows that have this run.
        members: ids of the trials of an ensemble, which is tested once they are done; () for a run.
    """

    label: str
    seed: int
    arguments: Sequence[str]
    tests: Mapping[str, Sequence[str]]
    rows: Sequence[str] = ()
    members: Sequence[str] = ()


def load_experiment(path: str, size: str) -> Experiment:
    """Returns the EXPERIMENT of a file; raises UsageError if it has none, not this size, or problems of its own."""
    if not Path(path).is_file():
        raise UsageError(f"--experiment={path} does not exist; give a file such as experiments/lenet.py")
    module = run_file(Path(path), f"experiments.{Path(path).stem}")
    if not hasattr(module, "EXPERIMENT"):
        runs = f"run it by: python -m experiments.{Path(path).stem}" if hasattr(module, "main") else (
            f"sweep a config by --config={path} --grid=KEY=VALUE,VALUE")  # fmt: skip
        raise UsageError(f"{path} has no EXPERIMENT; {runs}")
    if getattr(module.EXPERIMENT, size) is None:
        there = ", ".join(s for s in RUNNABLE if getattr(module.EXPERIMENT, s))
        raise UsageError(f"{path} has no size '{size}'; give --size={there}")
    return module.EXPERIMENT


def plan_trials(experiment: Experiment, size: str, seeds: int | None, extra: Sequence[str]) -> dict[str, Trial]:
    """Returns the trials of one size of an experiment by id.

    Args:
        seeds: number of seeds; None for the experiment's own number.
        extra: overrides for all trials, such as '--config.data.data_dir=DIR'.

    Raises:
        UsageError: lists all problems of the experiment and of its configs, before anything is started.
    """
    chosen = getattr(experiment, size)
    problems = {line: [""] for line in check_experiment(experiment)}
    found: dict[str, Trial] = {}
    _check.cache_clear()
    seeds, first = chosen.seeds if seeds is None else seeds, chosen.first_seed
    ensembles = []
    for row in chosen.rows:
        for n in range(count_runs(row, seeds)):
            runs = [(member, seed) for member, k in row.members for seed in range(first + k * n, first + k * (n + 1))]
            names = [_plan_run(member, seed, extra, found, problems) for member, seed in runs or [(row, first + n)]]
            planned = [name for name in names if name]  # the others have problems
            if row.members:
                ensembles.append(Trial(row.label, n, (), dict.fromkeys(row.tests, ()), [row.label], planned))
            elif planned:
                others = found[planned[0]]
                found[planned[0]] = others._replace(label=row.label, rows=[*others.rows, row.label])
    for trial in ensembles:
        name = hashlib.sha256(json.dumps(trial.members).encode()).hexdigest()[:10]
        others = found.get(name, trial._replace(rows=[]))  # two rows may have the same members
        found[name] = others._replace(rows=[*others.rows, *trial.rows], tests={**others.tests, **trial.tests})
    if problems:
        raise UsageError("\n".join(map(_describe_problem, problems, problems.values())))
    return found


def _plan_run(
    row: Row, seed: int, extra: Sequence[str], found: dict[str, Trial], problems: dict[str, list[str]]
) -> str | None:  # fmt: skip
    """Adds a run of a row to the trials `found`, or the problems of its configs to `problems`; returns the trial's id."""
    source, configs = str(ROOT / row.config), dict[str, Any]()
    for name, overrides in {"": (), **{name: test.overrides for name, test in row.tests.items()}}.items():
        configs[name], wrong = _check(source, (*row.overrides, *extra, *overrides))
        for line in wrong:
            label, known = f"{row.label}{', ' * bool(name)}{name}", problems.setdefault(line, [])
            known += [label] * (label not in known)
    if any(config is None for config in configs.values()):
        return None
    config = configs.pop("")
    trained = config.to_dict()
    tests = {name: list_overrides(trained, config.to_dict()) for name, config in configs.items()}
    trained["train"]["seed"], trained["data"]["data_dir"] = seed, ""  # data_dir is no part of the identity
    content = json.dumps([row.config, trained], sort_keys=True)
    trial = hashlib.sha256(content.encode()).hexdigest()[:10]
    own = [_make_absolute(word, config) for word in (*row.overrides, *extra)]
    arguments = [f"--config={row.config}", *own, f"--config.train.seed={seed}"]
    others = found.get(trial, Trial(row.label, seed, [], {}))  # two rows may share runs
    found[trial] = others._replace(arguments=arguments, tests={**others.tests, **tests})
    return trial


def _make_absolute(override: str, config: ConfigDict) -> str:
    """Returns an override with its path as the config has it: workers run in the repository, not where the user is."""
    key = overridden_key(override)
    return f"--config.{key}={get_leaf(config, key)}" if key in (*PATHS, "data.name") else override


@functools.cache
def _check(source: str, overrides: tuple[str, ...]) -> tuple[Any, list[str]]:
    """Returns a config and all its problems; a row loads it once for all its runs and ensembles."""
    config, wrong = load_config(source, list(overrides))
    return config, wrong + (validation.problems(config) if config else [])


def _describe_problem(line: str, rows: Sequence[str]) -> str:
    """Returns a problem of one or more rows as one line."""
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return f"{rows[0]}{more}: {line}" if rows[0] else line


def read_trial(folder: Path) -> Trial:
    """Returns the trial that a folder was planned for."""
    return Trial(**read_json(folder / "trial.json"))


def commands(folder: Path, trial: Trial) -> list[list[str]]:
    """Returns the commands still to run in a trial's folder, in order; empty if the trial is finished."""
    run, result = ["python", "run.py"], read_json(folder / "result.json")
    if trial.members:
        command = [*run, "--mode=evaluate", f"--workdirs={','.join(str(folder.parent / m) for m in trial.members)}"]
        names = {name: files.evaluation_file(name) for name in ("", *trial.tests)}
        return [[*command, f"--workdir={folder}", *([f"--name={name}"] if name else [])]
                for name, file in names.items() if not _is_current(folder, trial, name, read_json(folder / file))]  # fmt: skip
    left = [] if result else [[*run, *trial.arguments, f"--workdir={folder}"]]
    for name, overrides in trial.tests.items():
        tested = read_json(folder / files.evaluation_file(name))
        if not (result and tested and list_overrides(result["config"], tested["config"]) == list(overrides)):
            left.append([*run, "--mode=evaluate", f"--workdir={folder}", f"--name={name}", *overrides])
    return left


def _is_current(folder: Path, trial: Trial, name: str, tested: Mapping[str, Any]) -> bool:
    """Returns whether an ensemble's evaluation tested its members as their own tests `name` say."""
    if not tested or not name:
        return bool(tested)
    for member, result in zip(trial.members, tested["members"], strict=True):
        own, planned = (read_json(folder.parent / member / file) for file in ("config.json", "trial.json"))
        if not planned or list_overrides(own, result["config"]) != list(planned["tests"][name]):
            return False
    return True


def status(folder: Path) -> dict[str, Any]:
    """Returns a trial's status: {'state': pending, running, done, failed or diverged, ...}."""
    written = read_json(folder / "status.json")
    if written.get("state") in FINAL:
        return written
    with hold_trial(folder, wait=False) as free:
        written = read_json(folder / "status.json")  # read again under the lock: no worker writes it now
        state = written.get("state") if written.get("state") in (*FINAL, "failed") else "pending"
    return {**written, "state": state if free else "running"}


def write_trials(workdir: Path, trials: Mapping[str, Trial]) -> list[Path]:
    """Creates missing trial folders and writes each trial.json; returns all folders, in order."""
    for name, trial in trials.items():
        (workdir / name).mkdir(parents=True, exist_ok=True)
        files.write_json(workdir / name / "trial.json", trial._asdict())
        written = read_json(workdir / name / "status.json")
        state = written.get("state")
        if state == "failed" or (state == "done" and commands(workdir / name, trial)):  # a test was added or changed
            files.write_json(
                workdir / name / "status.json", {"state": "pending", "seconds": written.get("seconds", 0.0)}
            )
    return [workdir / name for name in trials]


def read_json(path: Path) -> dict[str, Any]:
    """Returns the content of a trial's file; {} if it is missing or damaged, so that the trial runs again."""
    with contextlib.suppress(FileNotFoundError, CheckpointError):
        return files.read_json(path)
    return {}


@contextlib.contextmanager
def hold_trial(folder: Path, wait: bool) -> Iterator[int]:
    """Holds a trial's lock and yields its file descriptor, which child processes may inherit.

    Yields 0 if another process holds the lock and `wait` is False.
    """
    with (folder / "lock").open("a") as file:
        taken = file.fileno()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            taken = 0
        yield taken
