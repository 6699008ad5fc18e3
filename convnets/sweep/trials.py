"""Trials of a sweep: planning, status, and the commands still to run.

All state is kept in files. A trial's folder is named by a hash of its config and seed. Besides the output of run.py it
holds:

    trial.json    label, seed, and the arguments of run.py for training and for each test
    status.json   state: running, done, failed (with rc and the last lines) or diverged; seconds; updated by the worker
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

from convnets import errors
from convnets.config import list_overrides, load_config, run_file
from convnets.errors import CheckpointError, UsageError
from convnets.runtime import files
from convnets.runtime.distributed import SIGNALS
from convnets.sweep.experiment import Row, check_experiment, row_seeds
from convnets.training import validation

ROOT = Path(__file__).parent.parent.parent
FINAL = ("done", "diverged")  # not rerun: the same command would give the same result
STOPPED = (*(-s for s in SIGNALS), -signal.SIGINT, 130, errors.Preempted.code)  # stopped from outside, not a failure


class Trial(NamedTuple):
    """One run of one row: the run.py arguments for its training and tests.

    Attributes:
        arguments: run.py arguments for training, without --workdir.
        tests: overrides of each additional evaluation by name, in the format of `convnets.config.list_overrides`; for
            an ensemble, empty: its members have their own.
        members: ids of the trials of an ensemble, which is tested once they are done; [] for a run.
    """

    label: str
    seed: int
    arguments: Sequence[str]
    tests: Mapping[str, Sequence[str]]
    members: Sequence[str] = ()


def plan_trials(path: str, size: str, seeds: int | None, extra: Sequence[str]) -> dict[str, Trial]:
    """Returns the trials of an experiment file by id.

    Args:
        seeds: number of seeds; None for the experiment's own number.
        extra: overrides for all trials, such as '--config.data.data_dir=DIR'.

    Raises:
        UsageError: lists all problems of the experiment and of its configs, before anything is started.
    """
    if not Path(path).is_file():
        raise UsageError(f"--experiment={path} does not exist; give a file such as experiments/lenet.py")
    module = run_file(Path(path), f"experiments.{Path(path).stem}")
    if not hasattr(module, "EXPERIMENT"):
        raise UsageError(
            f"{path} has no EXPERIMENT; a demonstration is run by: python -m experiments.{Path(path).stem}"
        )
    chosen = getattr(module.EXPERIMENT, size)
    if chosen is None:
        raise UsageError(f"{path} has no size '{size}'")
    problems = check_experiment(module.EXPERIMENT)
    _checked.cache_clear()
    found: dict[str, Trial] = {}
    count = chosen.seeds if seeds is None else seeds
    for row in chosen.rows:
        for n in () if row.members else row_seeds(row, count):
            problems += _plan_run(row, n, extra, found)
    for row in chosen.rows:
        for n in row_seeds(row, count) if row.members else ():
            runs = [(member, seed) for member, k in row.members for seed in range(k * n, k * (n + 1))]
            problems += [line for member, seed in runs for line in _plan_run(member, seed, extra, found)]
            members = [_identify(member, seed, extra) for member, seed in runs] if not problems else []
            trial = hashlib.sha256(json.dumps(members).encode()).hexdigest()[:10]
            found[trial] = Trial(row.label, n, (), dict.fromkeys(row.tests, ()), members)
    if problems:
        raise UsageError("\n".join(dict.fromkeys(problems)))
    return found


def _plan_run(row: Row, seed: int, extra: Sequence[str], found: dict[str, Trial]) -> list[str]:
    """Adds the trial of one run of a row to `found`; returns the problems of its configs, one line each."""
    source, problems = str(ROOT / row.config), []
    configs: dict[str, Any] = {}
    for name, overrides in {"": (), **{name: test.overrides for name, test in row.tests.items()}}.items():
        configs[name], wrong = _checked(source, (*row.overrides, *extra, *overrides))
        problems += [f"{row.label}{', ' * bool(name)}{name}: {line}" for line in wrong]
    if any(config is None for config in configs.values()):
        return problems
    trained = configs.pop("").to_dict()
    tests = {name: list_overrides(trained, config.to_dict()) for name, config in configs.items()}
    arguments = [f"--config={row.config}", *row.overrides, *extra, f"--config.train.seed={seed}"]
    trial = _identify(row, seed, extra)
    others = found[trial].tests if trial in found else {}  # two rows may share runs
    label = found[trial].label if trial in found else row.label
    found[trial] = Trial(label, seed, arguments, {**others, **tests})
    return problems


@functools.cache
def _checked(source: str, overrides: tuple[str, ...]) -> tuple[Any, list[str]]:
    config, wrong = load_config(source, list(overrides))
    return config, wrong + (validation.problems(config) if config else [])


def _identify(row: Row, seed: int, extra: Sequence[str]) -> str:
    """Returns the id of the trial of a run: a hash of its config and seed. The data_dir is no part of it."""
    trained = _checked(str(ROOT / row.config), (*row.overrides, *extra))[0].to_dict()
    trained["train"]["seed"], trained["data"]["data_dir"] = seed, ""
    return hashlib.sha256(json.dumps([row.config, trained], sort_keys=True).encode()).hexdigest()[:10]


def read_trial(folder: Path) -> Trial:
    return Trial(**read_json(folder / "trial.json"))


def commands(folder: Path, trial: Trial) -> list[list[str]]:
    """Returns the commands still to run in a trial's folder, in order; empty if the trial is finished."""
    run, result = ["python", "run.py"], read_json(folder / "result.json")
    if trial.members:
        command = [*run, "--mode=evaluate", f"--workdirs={','.join(str(folder.parent / m) for m in trial.members)}"]
        names = {"": "evaluation.json", **{name: f"evaluation-{name}.json" for name in trial.tests}}
        return [[*command, f"--workdir={folder}", *([f"--name={name}"] if name else [])]
                for name, file in names.items() if not _is_current(folder, trial, name, read_json(folder / file))]  # fmt: skip
    left = [] if result else [[*run, *trial.arguments, f"--workdir={folder}"]]
    for name, overrides in trial.tests.items():
        tested = read_json(folder / f"evaluation-{name}.json")
        if not (result and tested and list_overrides(result["config"], tested["config"]) == list(overrides)):
            left.append([*run, "--mode=evaluate", f"--workdir={folder}", f"--name={name}", *overrides])
    return left


def _is_current(folder: Path, trial: Trial, name: str, tested: Mapping[str, Any]) -> bool:
    """Returns whether an ensemble's evaluation tested its members as their own tests `name` say."""
    if not tested or not name:
        return bool(tested)
    for member, result in zip(trial.members, tested["members"], strict=True):
        own = read_json(folder.parent / member / "config.json")
        if list_overrides(own, result["config"]) != list(read_trial(folder.parent / member).tests[name]):
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
        if commands(workdir / name, trial) and read_json(workdir / name / "status.json").get("state") == "done":
            files.write_json(workdir / name / "status.json", {"state": "pending"})  # a test was added or changed
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
