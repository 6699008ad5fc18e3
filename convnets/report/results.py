"""experiments/results.jsonl: recording finished runs, and matching recorded runs to the rows of experiments."""

import functools
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from convnets.config import list_changes, list_overrides, load_config
from convnets.errors import UsageError
from convnets.runtime import files
from convnets.sweep import metrics
from convnets.sweep.experiment import FIRST_PILOT_SEED, ROOT, Row, load_experiments
from convnets.sweep.metrics import AT_TESTS, RunRecord

RESULTS = ROOT / "experiments" / "results.jsonl"
ENSEMBLE = "ensemble"  # in place of a config
POINTS = 50  # maximum length of a recorded curve
TEST_FACTS = ("protocol", "num_examples", "top1_error", "top5_error", "loss")  # recorded of each test


def record(workdir: Path) -> dict[str, Any]:
    """Returns the record of a finished run: its result, tests, a short curve, and the command that repeats it.

    A run that diverged in a sweep is also recorded: with the error of chance level and the number of planned steps.

    Raises:
        UsageError: the run is not finished, its code was not committed, or a test did not count its whole split.
    """
    if (workdir / files.evaluation_file()).exists() and not (workdir / "manifest.json").exists():
        return _record_ensemble(workdir)
    status = files.read_json(workdir / "status.json", {})
    diverged = _diverged(workdir, status) if status.get("state") == "diverged" else None
    try:
        manifest = files.read_json(workdir / "manifest.json")
        result = diverged or files.read_json(workdir / "result.json")
    except FileNotFoundError as e:
        raise UsageError(f"{workdir} holds no finished run: {Path(e.filename).name} is missing") from None
    _check_count(workdir, result)
    commits = {manifest["commit"], result["commit"], *(r["commit"] for r in manifest.get("resumed", []))}
    if len(commits) > 1 or not re.fullmatch("[0-9a-f]{40}", result["commit"]):
        raise UsageError(f"{workdir} was made by {', '.join(sorted(commits))}: only runs of one commit are recorded, without"
                         " changes; commit, and run it again in another --workdir")  # fmt: skip
    found = re.search(r"--config[= ](\S+)", manifest["command"])  # of runs before the manifest had the source
    source = manifest.get("config") or (found[1] if found else "configs/lenet.py:digits")
    source = source.removeprefix(f"{ROOT}/")
    changed = list_overrides(_config(source), result["config"])
    # Values that the config derives from the seed, such as a data subset per seed, are not overrides.
    overrides = list_overrides(_config(source, (f"--config.train.seed={result['seed']}",)), result["config"])
    kept = {k: v for k, v in result.items() if k not in ("config", "planned")}
    lines = files.read_lines(workdir / "metrics.jsonl")
    if lines and len(lines) < result.get("steps", 0):
        raise UsageError(f"{workdir}: metrics.jsonl holds {len(lines):,} of {result['steps']:,} steps; train it again")
    entry = {
        "config": source,
        "overrides": overrides,
        "command": " ".join(["python run.py", f"--config={source}", *map(shlex.quote, changed)]),
        **kept,
        "device": {k: manifest["device"][k] for k in ("kind", "count")},
        "wall": status.get("seconds"),  # of all sessions of the trial: start-up, training, figures, tests
        "metrics": {m: _measure(m, result, lines) for m in _wanted(source, tuple(overrides)) if m not in AT_TESTS},
        "curve": _curve(lines),
        "tests": _tests(workdir, result),
    }
    return {key: value for key, value in entry.items() if value or key not in ("wall", "metrics", "curve", "tests")}


def _record_ensemble(folder: Path) -> dict[str, Any]:
    """Returns the record of an ensemble: its result and tests, and the command, seed and commit of each member run."""
    together = files.read_json(folder / files.evaluation_file())
    folders = [Path(member["workdir"]) for member in together.get("members", ())]
    if not folders or not re.fullmatch("[0-9a-f]{40}", together["commit"]):
        raise UsageError(f"{folder} holds no run, and no ensemble that was tested by committed code")
    _check_count(folder, together)
    members = [record(member) for member in folders]
    names = [" ".join([member["config"], *member["overrides"]]) for member in members]
    counts = Counter(names)
    status = files.read_json(folder / "status.json", {})
    facts = {k: v for k, v in together.items() if k not in ("members", "split_examples")}
    tests = {name: {"overrides": _members_overrides(test), **{k: test[k] for k in TEST_FACTS}}
             for name, test in _read_tests(folder, together["commit"])}  # fmt: skip
    return {
        "config": ENSEMBLE,
        "overrides": sorted(f"{n} x {name}" for name, n in counts.items()) + _members_overrides(together),
        "command": f"python run.py --mode=evaluate --workdirs={','.join(member.name for member in folders)}",
        "members": [{k: member[k] for k in ("command", "seed", "commit")} for member in members],
        "seed": members[0]["seed"] // counts[names[0]],
        **facts, "device": members[0]["device"], "wall": status.get("seconds", 0.0), "tests": tests,
    }  # fmt: skip


def _members_overrides(tested: Mapping[str, Any]) -> list[str]:
    """Returns the overrides by which the members of an ensemble were tested, in their order, each once."""
    own = (list_overrides(files.read_json(Path(m["workdir"]) / "config.json"), m["config"]) for m in tested["members"])
    return list(dict.fromkeys(line for lines in own for line in lines))


def _diverged(workdir: Path, status: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the result of a diverged trial, in the format of result.json."""
    config, manifest = (files.read_json(workdir / f"{name}.json") for name in ("config", "manifest"))
    info = manifest["dataset"]
    return {
        "config": config, "dataset": f"{info['name']}:{info['version']}", "split": config["data"]["test_split"],
        "protocol": config["evaluate"]["protocol"], **metrics.count_diverged(config, info["num_examples"]),
        "seed": config["train"]["seed"], "diverged": status["last"][-1], "seconds": status["seconds"], "commit": manifest["commit"],
        "versions": manifest["versions"],
    }  # fmt: skip


def _measure(metric: str, result: Mapping[str, Any], lines: Sequence[Mapping[str, float]]) -> float | None:
    if "diverged" in result:
        return metrics.measure_diverged(metric, result)
    return metrics.measure(metric, RunRecord(result, lines)) if lines else None


def _curve(lines: Sequence[Mapping[str, float]]) -> list[list[float | None]]:
    """Returns at most POINTS points [epoch, test error or None, mean training error since the previous point].

    The points lie at evaluations and ends of epochs.
    """
    marks = [i for i, line in enumerate(lines)
             if "test_error" in line or i + 1 == len(lines) or int(line["epoch"]) > int(lines[i - 1]["epoch"])]  # fmt: skip
    chosen = marks[:: -(-len(marks) // POINTS) or 1]
    if marks and chosen[-1] != marks[-1]:
        chosen[-1] = marks[-1]
    points: list[list[float | None]] = []
    for before, i in zip([-1, *chosen], chosen, strict=False):
        part = [line["error"] for line in lines[before + 1 : i + 1]]
        test = lines[i].get("test_error")
        points.append([round(lines[i]["epoch"], 3), None if test is None else round(test, 3),
                       round(sum(part) / len(part), 3)])  # fmt: skip
    return points


def _check_count(path: Path, result: Mapping[str, Any]) -> None:
    counted, expected = result.get("num_examples"), result.get("split_examples")
    if expected is not None and counted != expected:  # absent in older and in diverged runs
        raise UsageError(f"{path} was tested on {counted:,} of the {expected:,} examples of {result['split']}")


def _read_tests(folder: Path, commit: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields NAME and content of each evaluation-NAME.json of a commit."""
    for path in sorted(folder.glob("evaluation-*.json")):
        test = files.read_json(path)
        _check_count(path, test)
        if test["commit"] == commit:
            yield path.stem.removeprefix("evaluation-"), test


def _tests(workdir: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the facts of each evaluation-NAME.json by NAME, if it has the steps and commit of the result."""
    return {
        name: {"overrides": list_overrides(result["config"], test["config"]),
               **{k: test[k] for k in (*TEST_FACTS, "feature_change") if k in test}}
        for name, test in _read_tests(workdir, result["commit"]) if test["steps"] == result.get("steps")
    }  # fmt: skip


def list_run_folders(folders: Sequence[Path]) -> list[Path]:
    """Returns the run folders among `folders`; a sweep's folder is replaced by its finished trials."""
    found = []
    for folder in folders:
        if not (folder / "sweep.json").exists():
            found.append(folder)
            continue
        for path in sorted(folder.glob("*/status.json")):
            if files.read_json(path)["state"] in ("done", "diverged"):
                found.append(path.parent)
    return found


def add_lines(folders: Sequence[Path]) -> int:
    """Records runs, replacing their earlier records; returns the number of new runs."""
    return keep_results(list(map(record, list_run_folders(folders))))


def keep_results(entries: Sequence[Mapping[str, Any]]) -> int:
    """Writes entries to RESULTS, replacing those with the same command, commit and protocol.

    Returns the number of new entries.
    """
    with files.lock_folder(RESULTS.parent, wait=True):  # another process may record, too
        known: dict[tuple, Mapping[str, Any]] = {_identity(entry): entry for entry in read_results()}
        before = len(known)
        known |= {_identity(entry): entry for entry in entries}
        files.write_text(RESULTS, "".join(json.dumps(entry) + "\n" for entry in known.values()))
    return len(known) - before


def read_results() -> list[dict[str, Any]]:
    """Returns the lines of results.jsonl: all recorded runs."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def _identity(entry: Mapping[str, Any]) -> tuple:
    return (entry["command"], entry["commit"], entry["protocol"])


@functools.cache
def _config(source: str, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    config, problems = load_config(ROOT / source, list(overrides))
    if config is None or problems:
        raise UsageError("\n".join(f"{source}: {problem}" for problem in problems))
    return config.to_dict()


def identify_row(row: Row) -> tuple[str, tuple[str, ...]]:
    """Returns the config and overrides that identify the recorded runs of a row; of an ensemble, what its members are."""
    if row.members:
        members = [(n, *identify_row(member)) for member, n in row.members]
        return ENSEMBLE, tuple(sorted(" ".join([f"{n} x {config}", *overrides]) for n, config, overrides in members))
    return row.config, tuple(_added(row.config, (), tuple(row.overrides)))


def images_follow_seed(row: Row) -> bool:
    """Returns whether the seed of a run chooses its training images, so that runs of one seed are paired."""
    given = {word.removeprefix("--config.").partition("=")[0] for word in row.overrides}
    return not row.members and bool(_follow_seed(row.config) - given)


@functools.cache
def _follow_seed(source: str) -> set[str]:
    first, second = (_config(source, (f"--config.train.seed={seed}",)) for seed in (0, 1))
    return {line.split(":")[0] for line in list_changes(first, second)} - {"train.seed"}


@functools.cache
def _wanted(source: str, overrides: tuple[str, ...]) -> list[str]:
    found: dict[str, None] = {}
    for experiment in load_experiments().values():
        for size in (experiment.cpu, experiment.full):
            if size and any(row.config == source and identify_row(row)[1] == overrides for row in size.rows):
                found |= dict.fromkeys([experiment.metric, *(c.metric or experiment.metric for c in size.claims)])
    return list(found)


def select_runs(
    row: Row, results: Sequence[Mapping[str, Any]], first_seed: int = 0, planned: int = FIRST_PILOT_SEED
) -> list[Mapping[str, Any]]:
    """Returns a row's recorded runs of one commit, preferably one with all tests, then all planned runs, then the newest.

    A commit may lack some tests, because a row of another experiment may train the same network for other tests. Runs of
    seeds below `first_seed` and of pilots are no results: they chose the recipe. Seeds beyond the `planned` ones, which
    another experiment may need, are left out too. An ensemble counts by its first member's seed.
    """
    config, overrides = identify_row(row)
    seeds = lambda run: [member["seed"] for member in run.get("members", [run])]  # noqa: E731
    found = [r for r in results if r["config"] == config and tuple(r["overrides"]) == overrides
             and first_seed <= min(seeds(r)) < first_seed + planned and max(seeds(r)) < FIRST_PILOT_SEED]  # fmt: skip
    whole = [r for r in found if "diverged" in r or row.tests.keys() <= r.get("tests", {}).keys()] or found
    complete = [r for r in whole if sum(other["commit"] == r["commit"] for other in whole) >= planned]
    return [r for r in found if r["commit"] == (complete or whole)[-1]["commit"]]


def test_interval(row: Row, found: Sequence[Mapping[str, Any]]) -> float:
    """Returns the steps between two tests of a row's runs, which is the step of `steps_to_test_error`; 0 if unknown."""
    if not row.config:  # an ensemble
        return 0.0
    train = _config(row.config, row.overrides)["train"]
    own = [run["config"]["train"] if isinstance(run.get("config"), Mapping) else train for run in found]  # of a sweep
    steps = [run.get("steps") or run.get("planned", 0) for run in found]
    return max((n / t["epochs"] * t["eval_every_epochs"] for n, t in zip(steps, own, strict=True)), default=0.0)


def count_images(found: Sequence[Mapping[str, Any]], test: str) -> int:
    """Returns the smallest number of images on which runs, or their tests of that name, were tested; 0 if unknown."""
    tested = [run.get("tests", {}).get(test, {}) if test else run for run in found]
    return min((t["num_examples"] for t in tested if "num_examples" in t), default=0)  # a diverged run has none


def measure_by_seed(row: Row, test: str, metric: str, found: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Returns a metric by seed, for the runs of a row or of one of its tests; runs without the metric are omitted."""
    values: dict[int, float] = {}
    for run in found:
        entry: Mapping[str, Any] | None = run
        if test:
            entry = run.get("tests", {}).get(test)
            if entry and entry["overrides"] != _test_overrides(row, test):
                entry = None  # an older test with the same name
        if metric in AT_TESTS:
            value = metrics.measure(metric, RunRecord({"loss": None, **entry})) if entry else None
        else:
            value = run.get("metrics", {}).get(metric)
        if value is not None:
            values[run["seed"]] = value
    return values


def _test_overrides(row: Row, test: str) -> list[str]:
    if row.members:
        return list(dict.fromkeys(line for member, _ in row.members for line in _test_overrides(member, test)))
    return _added(row.config, tuple(row.overrides), tuple(row.tests[test].overrides))


@functools.cache
def _added(source: str, overrides: tuple[str, ...], more: tuple[str, ...] = ()) -> list[str]:
    return list_overrides(_config(source, overrides), _config(source, (*overrides, *more)))
