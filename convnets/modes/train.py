"""--mode=train: trains, tests and plots one run, or resumes it."""

import contextlib
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from convnets.config import list_changes, load_config
from convnets.errors import CheckpointError, UsageError
from convnets.modes.output import print_results
from convnets.runtime import distributed, drawing, files, provenance, run_lock
from convnets.runtime.preemption import Preemption

CURVES = "curves.png"  # every run has it; it is drawn last


def train(
    config: ConfigDict, workdir: Path, allow_config_change: bool, step_timeout: float = 0, profile: int = 0,
    restart: bool = False, origin: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Trains, tests and plots a run; resumes an unfinished run, and only prints the result of a complete one.

    Args:
        origin: {'config', 'overrides'} of the command, for the manifest.
    """
    with contextlib.ExitStack() as stack, Preemption() as preemption:
        distributed.run_on_main(lambda: stack.enter_context(run_lock.hold(workdir)))
        from convnets.models.lenet import Boosted
        from convnets.training import boosting
        from convnets.training.trainer import Run

        outdated = distributed.run_on_main(lambda: check_outdated(config, workdir, allow_config_change, restart))
        run = Run(config, workdir)
        if outdated:  # only now: a checkpoint that does not fit the new config leaves the folder as it was
            distributed.run_on_main(lambda: (workdir / "result.json").unlink(missing_ok=True))
        if result := distributed.run_on_main(lambda: begin(run, origin)):
            print(f"already complete: {workdir}, step {result['steps']}")
            print_results(result)
            # A session that ended before it drew leaves no curves.
            if not distributed.run_on_main(lambda: (workdir / CURVES).exists()):
                print("its figures are missing: the network is tested again to draw them", flush=True)
                tested = run.test()[1]
                distributed.run_on_main(lambda: draw(run, tested))
            return
        announce(run)
        if not run.done and isinstance(run.components.model, Boosted):
            boosting.train_boosted(run, preemption, step_timeout)
        elif not run.done:
            run.train(preemption, step_timeout, profile)
        result, tested = run.test()
        distributed.run_on_main(lambda: finish(run, result, tested))


def check_outdated(config: ConfigDict, workdir: Path, allow_config_change: bool, restart: bool) -> bool:
    """Returns whether result.json is outdated: by a changed config that is allowed, or by a restart.

    Raises:
        UsageError: the workdir holds a run of another config, or a finished run without its checkpoints.
    """
    from convnets.training.checkpoint import Checkpoints

    alone = (workdir / "result.json").exists() and not Checkpoints(workdir / "checkpoints").steps()
    if alone and not restart:
        raise UsageError(
            f"{workdir} holds the result of a finished run, and no checkpoint is left in its folder 'checkpoints':"
            " put them back, take another --workdir, or replace the result by a new training with --restart"
        )
    kept, problems = load_config(workdir / "config.json", []) if (workdir / "config.json").exists() else (None, [])
    if problems:
        raise UsageError("\n".join(problems))
    differ = list_changes(kept.to_dict(), config.to_dict()) if kept is not None else []
    if differ and not allow_config_change:
        raise UsageError(
            f"{workdir} holds a run of another config ({'; '.join(differ)}); take another --workdir, or resume it"
            " with --allow_config_change"
        )
    if differ:
        _check_left(config, workdir, differ, Checkpoints(workdir / "checkpoints").steps())
    return alone or bool(differ)


def _check_left(config: ConfigDict, workdir: Path, differ: Sequence[str], steps: Sequence[int]) -> None:
    """Raises UsageError if a changed recipe has no step left to train: its result would be of the former recipe.

    A boosted network cannot go on with another recipe at all, because the examples of its second and third network follow
    from it.
    """
    from convnets.training import intervals

    others = ("evaluate.", "checkpoint.", "data.test", "data.data_dir", "data.loader", "train.log_every_steps",
              "train.eval_every_epochs", "train.steps_per_dispatch")  # fmt: skip
    recipe = [line for line in differ if not line.startswith(others)]
    if recipe and (workdir / "net1").exists():
        raise UsageError(f"{workdir} holds a boosted network, whose examples follow from its recipe: it cannot go on with another"
                         f" one ({'; '.join(recipe)}); take another --workdir")  # fmt: skip
    if not (recipe and steps and (workdir / "manifest.json").exists()):
        return
    images = files.read_json(workdir / "manifest.json")["dataset"]["num_examples"]
    total = intervals.count_steps(config.train.epochs, images, config.train.batch_size)
    if steps[-1] >= total:
        raise UsageError(f"{workdir} is at step {steps[-1]:,}, and with the changed config ({'; '.join(recipe)}) it ends at"
                         f" step {total:,}: nothing is left to train; take another --workdir, or more train.epochs")  # fmt: skip


def read_result(workdir: Path) -> dict[str, Any] | None:
    """Returns the content of result.json; None if it is missing or damaged, so that the network is tested again."""
    try:
        return files.read_json(workdir / "result.json")
    except FileNotFoundError:
        return None
    except CheckpointError as e:
        print(f"{str(e).partition(';')[0]}; the network is tested again", flush=True)
        return None


def begin(run: Any, origin: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """Writes the files of a run that exist before its first step; returns the result if the run is complete.

    Of a complete run only missing files are written.
    """
    workdir = run.workdir
    result = read_result(workdir) if run.done else None
    wanted = lambda name: not (result and (workdir / name).exists())  # noqa: E731
    if wanted("config.json"):
        files.write_json(workdir / "config.json", run.config.to_dict())
    statistics = run.components.train_split.statistics  # predict has no training set to compute them from
    if statistics and wanted("statistics.npz"):
        with files.replacing(workdir / "statistics.npz") as file:
            np.savez(file, **statistics._asdict())
    if wanted("manifest.json"):
        _manifest(run, origin or {})
    return result


def announce(run: Any) -> None:
    """Prints the network, the data, the number of steps and the devices."""
    start, info = int(run.state.step), run.components.train_split.info
    places = distributed.all_gather_json([socket.gethostname(), [d.id for d in jax.local_devices()]])
    print(f"{run.config.model.name} on {info.name}: {info.num_examples:,} images, {run.config.train.epochs:g} epochs of batch"
          f" {run.components.batch_size} = {run.components.total:,} steps on {jax.device_count()} x {jax.devices()[0].device_kind}"
          + (f", resumed at step {start:,}" if start else ""), flush=True)  # fmt: skip
    for line in run.notes:
        print(f"note: {line}", flush=True)
    if len(places) > 1:
        print("\n".join(f"process {n}: {host}, devices {own}" for n, (host, own) in enumerate(places)), flush=True)
    batches = (
        (run.components.train_split, run.components.batch_size),
        (run.components.test_split, run.components.evaluator.batch_size),
    )
    print(f"data: {'; '.join(split.memory(size // len(places)) for split, size in batches)}", flush=True)


def finish(run: Any, result: dict[str, Any], tested: Any) -> None:
    """Writes result.json after the last step, and then plots the run."""
    files.write_json(run.workdir / "result.json", result)
    print_results(result)
    draw(run, tested)


def draw(run: Any, tested: Any) -> None:
    """Plots a run and lists its files. A figure that fails costs a line."""
    drawn: list[Path] = []
    with drawing.guard(f"the figures of {run.workdir}"):
        from convnets.analysis import run_figures

        drawn = run_figures.draw_run_figures(run, tested)
    print(f"written to {run.workdir}:")
    names = ["result.json", "config.json", "manifest.json", "metrics.jsonl", "events", "checkpoints"]
    print("  " + "  ".join([*names, *(f.name for f in drawn)]))


def _manifest(run: Any, origin: Mapping[str, Any]) -> None:
    path = run.workdir / "manifest.json"
    info = run.components.train_split.info
    device = jax.devices()[0]
    sample = run.components.test_split.resident_arrays.get("images", np.full((1, 1, 1, 1), 255, np.uint8))[:256]
    dark = info.image_shape[2] == 1 and np.median(sample[:, :, [0, -1]]) < 64
    facts = provenance.manifest(
        **origin,
        device={"kind": device.device_kind, "platform": device.platform, "count": jax.device_count()},
        prng={key: getattr(jax.config, key) for key in ("jax_default_prng_impl", "jax_threefry_partitionable")},
        dataset={**info._asdict(), "dark_background": bool(dark)},
    )
    if path.exists():  # keeps the first session's facts and lists later sessions
        first = files.read_json(path)
        session = {k: facts[k] for k in ("command", "commit", "started")}
        if int(run.state.step) and (differ := provenance.list_environment_changes(first, facts)):
            session["differ"] = differ
            print(f"note: resumed with other versions or devices ({'; '.join(differ)}): its rounding may differ from an"
                  " uninterrupted run's", flush=True)  # fmt: skip
        facts = {**first, "resumed": [*first.get("resumed", []), session]}
    files.write_json(path, facts)
