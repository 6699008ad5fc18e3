"""--mode=evaluate: tests a run, a weights file, or an ensemble of runs."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from convnets.config import list_overrides, load_config
from convnets.errors import CheckpointError, UsageError
from convnets.losses import NO_PROBABILITIES
from convnets.modes.output import print_results
from convnets.runtime import distributed, files
from convnets.training import validation


def evaluate(config: ConfigDict, workdir: Path, file: str, name: str = "") -> None:
    """Tests the newest checkpoint of a run, or a weights file, and prints the result.

    The result of a run is also written to evaluation.json, or evaluation-NAME.json, in the workdir. The run's own
    result.json is not changed.
    """
    from convnets.training import network

    result, _ = network.test_run(config, workdir, file)
    print_results(result)
    if not file and distributed.is_main():
        path = workdir / files.evaluation_file(name)
        try:
            files.write_json(path, result)
        except CheckpointError as e:  # a read-only folder
            print(f"not written to {path.name}: {e}")


def ensemble(workdirs: Sequence[Path], overrides: list[str], out: Path | None, name: str = "") -> None:
    """Tests several runs, each with its own config and the overrides, and the average of their softmax outputs.

    The result is written to evaluation.json, or evaluation-NAME.json, in the folder `out` if one is given.

    Args:
        name: if the runs have an evaluation-NAME.json, each is tested as that one was, by its own protocol.

    Raises:
        UsageError: the runs use different test data, some lack the test NAME, or one was trained with a loss without
            probabilities.
    """
    from convnets.evaluation import evaluator
    from convnets.training import network

    kept = files.evaluation_file(name)
    lacking = [str(w) for w in workdirs if not (w / kept).exists()]
    if name and 0 < len(lacking) < len(workdirs):
        raise UsageError(f"--name={name}: {', '.join(lacking)} has no {kept}, other runs have one")
    configs = [load_run_config(workdir, overrides, "" if lacking else name) for workdir in workdirs]
    for config, workdir in zip(configs, workdirs, strict=True):
        if config.loss in NO_PROBABILITIES:
            raise UsageError(
                f"{workdir}: trained on loss={config.loss}, its outputs are no probabilities that could be averaged"
            )
    data = [f"{c.data.name}, {c.data.test_split}" for c in configs]
    for other, workdir in zip(data, workdirs, strict=True):
        if other != data[0]:
            raise UsageError(f"--workdirs: {workdirs[0]} is tested on {data[0]}, {workdir} on {other}")
    found = [network.test_run(config, workdir) for config, workdir in zip(configs, workdirs, strict=True)]
    results = [{"workdir": str(w), **result} for w, (result, _) in zip(workdirs, found, strict=True)]
    scores = evaluator.average_scores([tested.scores for _, tested in found], "softmax")
    summary = evaluator.measure(scores, found[0][1].labels, "softmax")
    facts = {k: results[0][k] for k in ("dataset", "split", "split_examples", "commit", "versions")}  # of this test
    sums = {k: sum(r[k] for r in results) for k in ("parameters", "steps", "seconds")}
    protocol = " + ".join(dict.fromkeys(r["protocol"] for r in results))
    together = {**facts, "protocol": protocol, **summary, **sums, "members": results}
    if out and distributed.is_main():
        files.write_json(out / kept, together)
    print_results(*results, {**together, "workdir": f"average of {len(results)}"})


def load_run_config(workdir: Path, overrides: list[str], test: str = "") -> ConfigDict:
    """Returns the config of one run with the overrides; raises UsageError if it has problems.

    Args:
        test: the name of one of its tests, whose own overrides come first; '' for none.
    """
    trained, problems = load_config(workdir / "config.json", [])
    if trained is None:
        raise UsageError("\n".join(problems))
    tested = files.read_json(workdir / files.evaluation_file(test))["config"] if test else trained.to_dict()
    own = list_overrides(trained.to_dict(), tested)
    config, problems = load_config(workdir / "config.json", [*own, *overrides])
    assert config is not None
    problems += validation.problems(config, devices=False, begins=False)
    if problems:
        raise UsageError("\n".join(f"{workdir}: {p}" for p in problems))
    return config
