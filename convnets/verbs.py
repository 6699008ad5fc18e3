"""What run.py does in each mode, and what it prints."""

import contextlib
import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from convnets import analytics, augment, lock, logs, models, pictures, processes, state, steps, validate, weights
from convnets.checkpoint import Checkpoints
from convnets.errors import CheckpointError, UsageError
from convnets.models.stated import STATED, Stated
from convnets.preemption import Preemption

# A table is as wide as it needs to be, also where nobody measures the terminal.
CONSOLE = Console(width=None if sys.stdout.isatty() else 200)


def train(
    config: ConfigDict, workdir: Path, allow_config_change: bool, step_timeout: float = 0, profile: int = 0
) -> None:
    """Trains, tests and draws; or resumes; or says that this is done already."""
    with contextlib.ExitStack() as stack, Preemption() as preemption:
        processes.on_first(lambda: stack.enter_context(lock.held(workdir)))
        _train(config, workdir, allow_config_change, step_timeout, profile, preemption)


def _train(
    config: ConfigDict,
    workdir: Path,
    allow_config_change: bool,
    step_timeout: float,
    profile: int,
    preemption: Preemption,
) -> None:
    from convnets.train import Run

    processes.on_first(lambda: compare(config, workdir, allow_config_change))
    run = Run(config, workdir)
    complete = run.done and (workdir / "result.json").exists()
    if processes.on_first(lambda: complete):
        print(f"already complete: {workdir}, step {run.total}")
        report(json.loads((workdir / "result.json").read_text()))
        return
    processes.on_first(lambda: begin(config, workdir, run))
    announce(config, run)
    if not run.done:
        run.train(preemption, step_timeout, profile)
    result, scores = run.test()
    processes.on_first(lambda: finish(workdir, run, result, scores))


def compare(config: ConfigDict, workdir: Path, allow_config_change: bool) -> None:
    """Raises UsageError where the folder holds a run of another config."""
    kept = workdir / "config.json"
    if kept.exists():
        differ = validate.changes(json.loads(kept.read_text()), config.to_dict())
        if differ and not allow_config_change:
            raise UsageError(
                f"{workdir} holds a run of another config ({'; '.join(differ)}); take another --workdir, or resume it"
                " with --allow_config_change"
            )
        if differ:
            (workdir / "result.json").unlink(missing_ok=True)


def begin(config: ConfigDict, workdir: Path, run: Any) -> None:
    """What a run writes before its first step."""
    logs.write_json(workdir / "config.json", config.to_dict())
    if run.train_split.statistics:  # predict has no training set to take them from
        np.savez(workdir / "statistics.npz", **run.train_split.statistics._asdict())
    _manifest(workdir, run)


def announce(config: ConfigDict, run: Any) -> None:
    start, info = int(run.state.step), run.train_split.info
    places = processes.share([socket.gethostname(), [d.id for d in jax.local_devices()]])
    print(f"{config.model.name} on {info.name}: {info.num_examples:,} images, {config.train.epochs:g} epochs of batch"
          f" {run.batch_size} = {run.total:,} steps on {jax.device_count()} x {jax.devices()[0].device_kind}"
          + (f", resumed at step {start:,}" if start else ""), flush=True)  # fmt: skip
    if len(places) > 1:
        print("\n".join(f"process {n}: {host}, devices {own}" for n, (host, own) in enumerate(places)), flush=True)
    batches = ((run.train_split, run.batch_size), (run.test_split, run.evaluator.batch_size))
    print(f"data: {'; '.join(split.memory(size // len(places)) for split, size in batches)}", flush=True)


def finish(workdir: Path, run: Any, result: dict[str, Any], scores: np.ndarray) -> None:
    """What a run writes after its last step."""
    from convnets import figures

    drawn = figures.draw(run, scores)
    logs.write_json(workdir / "result.json", result)
    report(result)
    print(f"written to {workdir}:")
    names = ["result.json", "config.json", "manifest.json", "metrics.jsonl", "events", "checkpoints"]
    print("  " + "  ".join([*names, *(f.name for f in drawn)]))


def evaluate(config: ConfigDict, workdir: Path, file: str, name: str = "") -> None:
    """Tests the newest checkpoint of a run, or a file of weights, and prints the result.

    It is written to evaluation.json in the workdir, or evaluation-NAME.json; the run's own result.json stays as it is.
    """
    result, _, _ = _test(config, workdir, file)
    if not file and processes.first():
        logs.write_json(workdir / f"evaluation{'-' * bool(name)}{name}.json", result)
    report(result)


def ensemble(workdirs: Sequence[Path], overrides: list[str], out: Path | None, name: str = "") -> None:
    """Tests runs, each by its own config with the overrides, and the average of their softmax outputs.

    The result is written to evaluation.json, or evaluation-NAME.json, in the folder `out`, where one is given.

    Raises:
        UsageError: the runs test different data, or one was trained on a loss without probabilities.
    """
    from convnets import evaluate

    configs = [member(workdir, overrides) for workdir in workdirs]
    for config, workdir in zip(configs, workdirs, strict=True):
        if config.loss in steps.NO_PROBABILITIES:
            raise UsageError(
                f"{workdir}: trained on loss={config.loss}, its outputs are no probabilities that could be averaged"
            )
    data = [f"{c.data.name}, {c.data.test_split}" for c in configs]
    for other, workdir in zip(data, workdirs, strict=True):
        if other != data[0]:
            raise UsageError(f"--workdirs: {workdirs[0]} is tested on {data[0]}, {workdir} on {other}")
    tested = [_test(config, workdir) for config, workdir in zip(configs, workdirs, strict=True)]
    results = [{"workdir": str(w), **result} for w, (result, _, _) in zip(workdirs, tested, strict=True)]
    labels = evaluate.images_and_labels(tested[0][2])[1]
    summary = evaluate.measure(evaluate.merge([s for _, s, _ in tested], "softmax"), labels, "softmax")
    facts = {k: results[0][k] for k in ("dataset", "split", "split_examples", "commit", "versions")}
    sums = {k: sum(r[k] for r in results) for k in ("parameters", "steps", "seconds")}
    protocol = " + ".join(dict.fromkeys(r["protocol"] for r in results))
    together = {**facts, "protocol": protocol, **summary, **sums, "members": results}
    if out and processes.first():
        logs.write_json(out / f"evaluation{'-' * bool(name)}{name}.json", together)
    report(*results, {**together, "workdir": f"average of {len(results)}"})


def member(workdir: Path, overrides: list[str]) -> ConfigDict:
    """The config of one run of several."""
    config, problems = validate.load(workdir / "config.json", overrides)
    assert config is not None
    problems += validate.problems(config, devices=False)
    if problems:
        raise UsageError("\n".join(f"{workdir}: {p}" for p in problems))
    return config


def opened(config: ConfigDict, workdir: Path, file: str = "") -> Any:
    """A run at its newest checkpoint, or with a file of weights."""
    from convnets.train import Run

    run = Run(config, workdir)
    if file:
        run.begin_from(file)
    elif int(run.state.step) == 0:
        raise CheckpointError(f"{workdir} holds no checkpoint yet")
    return run


def _test(config: ConfigDict, workdir: Path, file: str = "") -> tuple[dict[str, Any], np.ndarray, Any]:
    """Result and scores of a run's newest checkpoint or of a file of weights, and the split they are of.

    Where a run is tested through another string than its own, also by how much its features then change.
    """
    from convnets import evaluate as evaluation

    run = opened(config, workdir, file)
    result, scores = run.test()
    own = json.loads((workdir / "config.json").read_text())["data"]["test_ops"] if not file else config.data.test_ops
    if own != config.data.test_ops and config.evaluate.protocol == "single" and processes.count() == 1:
        state = steps.replicate(run.state)
        result["feature_change"] = evaluation.feature_change(
            run.model, state, run.test_split, own, run.evaluator.batch_size
        )
    return result, scores, run.test_split


def predict(config: ConfigDict, workdir: Path, images: Sequence[str], invert: bool) -> None:
    """Prints the most probable classes of image files."""
    facts = json.loads((workdir / "manifest.json").read_text())["dataset"]
    pixels = pictures.read(images, facts, config.data.test_ops, invert)
    model = models.create(**config.model)
    scores = _scores(model, config, workdir, pixels)
    if config.loss in steps.NO_PROBABILITIES:
        print(f"this network was trained on loss={config.loss}: its outputs are shown, not probabilities")
        values, unit = scores, ""
    else:
        values, unit = 100 * np.asarray(jax.nn.softmax(scores, axis=1)), " %"
    names = facts["label_names"]
    table = Table("image", *(f"guess {i + 1}" for i in range(min(3, len(names)))))
    for name, row in zip(images, values, strict=True):
        best = np.argsort(-row)[: min(3, len(names))]
        table.add_row(name, *(f"{names[i]}  {row[i]:.2f}{unit}" for i in best))
    CONSOLE.print(table)


def export(config: ConfigDict, workdir: Path, file: Path) -> None:
    """Writes the newest checkpoint's parameters and running statistics as .safetensors, without auxiliary heads.

    Under published names where there are some for this network, under ours elsewhere.
    """
    name, model = config.model.name, models.create(**config.model)
    restored = _restored(model, config, workdir)
    variables = weights.without_heads(restored.variables)
    own = weights.unpublished(name, model)
    weights.save(file, name, variables, own_names=bool(own), model=model)
    count = {k: sum(v.size for v in jax.tree.leaves(tree)) for k, tree in variables.items()}
    print(f"{name} of step {int(restored.step):,}: {count['params']:,} parameters"
          + (f" and {count['batch_stats']:,} running statistics" if count["batch_stats"] else "")
          + (f", under our own names ({own})" if own else ", under their published names"))  # fmt: skip
    print(f"written to {file}; to test it: python run.py --mode=evaluate --workdir={workdir} --weights={file}")


def describe(config: ConfigDict, as_json: bool) -> None:
    """Prints a network's layers: sizes, parameters, multiply-adds and receptive fields, the paper's figures below ours."""
    model = models.create(**config.model)
    rows = analytics.describe(model, model.input_shape)
    totals, paper = analytics.totals(rows), STATED.get(config.model.name, Stated())
    if as_json:
        content = {"layers": [r._asdict() for r in rows], "totals": totals, "paper": paper._asdict()}
        print(json.dumps(content, indent=2))
        return
    size = " x ".join(map(str, model.input_shape))
    table = Table(title=f"{config.model.name}, input {size}", title_justify="left")
    for name in ("layer", "kind", "output", "parameters", "multiply-adds", "receptive field"):
        table.add_column(name, justify="left" if name in ("layer", "kind") else "right")
    for r in rows:
        table.add_row(r.name, r.kind, " x ".join(map(str, r.output)), f"{r.parameters:,}", f"{r.multiply_adds:,}",
                      str(r.receptive_field))  # fmt: skip
    table.add_section()
    table.add_row("total", "", "", f"{totals['parameters']:,}", f"{totals['multiply_adds']:,}")
    if paper.parameters or paper.multiply_adds:
        table.add_row("the paper", "", "", paper.parameters, paper.multiply_adds)
    CONSOLE.print(table)
    if paper.why:
        print(f"the paper's figures: {paper.why}")


def _scores(model: Any, config: ConfigDict, workdir: Path, pixels: np.ndarray) -> np.ndarray:
    variables = _restored(model, config, workdir).variables
    ops = pictures.operations(config.data.test_ops, workdir)
    return np.asarray(model.apply(variables, augment.apply(ops, None, pixels), train=False), np.float32)


def _restored(model: Any, config: ConfigDict, workdir: Path) -> state.TrainState:
    import optax

    # Parameters alone are wanted, so the optimiser's part of the checkpoint is not asked for.
    target = state.create(model, optax.identity(), model.input_shape, 0, average=bool(config.optim.average))
    restored = Checkpoints(workdir / "checkpoints").restore(target, part=True)
    if restored is None:
        raise CheckpointError(f"{workdir} holds no checkpoint yet")
    return restored[0]


def _manifest(workdir: Path, run: Any) -> None:
    path = workdir / "manifest.json"
    info = run.train_split.info
    device = jax.devices()[0]
    sample = run.test_split.constants.get("images", np.full((1, 1, 1, 1), 255, np.uint8))[:256]
    dark = info.image_shape[2] == 1 and np.median(sample[:, :, [0, -1]]) < 64
    facts = logs.manifest(
        device={"kind": device.device_kind, "platform": device.platform, "count": jax.device_count()},
        prng={key: getattr(jax.config, key) for key in ("jax_default_prng_impl", "jax_threefry_partitionable")},
        dataset={**info._asdict(), "dark_background": bool(dark)},
    )
    if path.exists():  # the first session's facts stay; later ones are listed
        first = json.loads(path.read_text())
        session = {k: facts[k] for k in ("command", "commit", "started")}
        facts = {**first, "resumed": [*first.get("resumed", []), session]}
    logs.write_json(path, facts)


def report(*results: dict[str, Any]) -> None:
    """A table with a line a result; those of an ensemble say which run they are of."""
    head = ["data set", "split", "images", "protocol", "top-1 error", "top-5 error", "parameters", "steps", "time"]
    table = Table(*["run"] * ("workdir" in results[0]), *head)
    for r in results:
        table.add_row(
            *([Path(r["workdir"]).name] if "workdir" in r else []), r["dataset"], r["split"],
            f"{r['num_examples']:,}", r["protocol"], f"{r['top1_error']:.2f} %", f"{r['top5_error']:.2f} %",
            f"{r['parameters']:,}", f"{r['steps']:,}", f"{r['seconds']:.0f} s",
        )  # fmt: skip
    CONSOLE.print(table)
