"""Opens a trained network: a run at its newest checkpoint, or a weights file."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from convnets.errors import CheckpointError
from convnets.training.checkpoint import Checkpoints
from convnets.training.state import TrainState, create_state


def open_run(config: ConfigDict, workdir: Path, file: str = "") -> Any:
    """Returns a run at its newest checkpoint, or with the weights of a file."""
    from convnets.training.trainer import Run

    run = Run(config, workdir)
    if file:
        run.begin_from(file)
    elif int(run.state.step) == 0:
        raise CheckpointError(f"{workdir} holds no checkpoint yet")
    return run


def restore_variables(model: Any, config: ConfigDict, workdir: Path) -> TrainState:
    import optax

    # Only the variables are needed, so the optimizer state is not restored.
    target = create_state(model, optax.identity(), model.input_shape, 0, average=bool(config.optim.average))
    restored = Checkpoints(workdir / "checkpoints").restore(target, part=True)
    if restored is None:
        raise CheckpointError(f"{workdir} holds no checkpoint yet")
    return restored[0]
