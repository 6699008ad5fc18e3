"""--mode=train --seeds=N: trains several seeds of a run as one program."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from convnets.errors import DivergedError, UsageError
from convnets.modes.output import print_results
from convnets.modes.train import CURVES, announce, begin, check_outdated, draw, finish
from convnets.runtime import files, run_lock
from convnets.runtime.preemption import Preemption
from convnets.training.multi_seed import Population


def train(configs: Sequence[ConfigDict], workdir: Path, allow_config_change: bool, step_timeout: float = 0,
          restart: bool = False, origin: Mapping[str, Any] | None = None) -> None:  # fmt: skip
    """Trains runs that differ only by seed as one program, each in its own folder; then tests and plots them.

    Unfinished runs are resumed.

    Raises:
        DivergedError: some runs diverged; the others are finished.
    """
    folders = [workdir / f"seed{config.train.seed}" for config in configs]
    outdated = []
    with contextlib.ExitStack() as stack, Preemption() as preemption:
        for config, folder in zip(configs, folders, strict=True):
            if folder.is_file():
                raise UsageError(f"{folder} is a file; give another --workdir")
            folder.mkdir(exist_ok=True)
            stack.enter_context(run_lock.hold(folder))
            outdated += [folder] * check_outdated(config, folder, allow_config_change, restart)
        population = Population(configs, folders)
        for folder in outdated:
            (folder / "result.json").unlink(missing_ok=True)
        left = [m for m in population.members if not begin(m, origin)]
        if left:
            print(f"{len(left)} of {len(configs)} runs to finish, as one program", flush=True)
            announce(left[0])
        population.train(preemption, step_timeout)
        for run in population.members:
            if run in left and run not in population.diverged:
                finish(run, *run.test())
            elif run not in left and not (run.workdir / CURVES).exists():  # an earlier session ended before it drew
                draw(run, run.test()[1])
    trained = [m.workdir for m in population.members if m not in population.diverged]
    if trained:
        print_results(*({"workdir": folder, **files.read_json(folder / "result.json")} for folder in trained))
    if population.diverged:
        raise DivergedError("\n".join(population.diverged.values()))
