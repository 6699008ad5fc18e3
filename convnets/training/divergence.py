"""Training sanity checks: non-finite values raise DivergedError; a loss stuck at chance level prints one hint."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convnets.errors import DivergedError
from convnets.runtime.arrays import name_leaves

STALLED = 0.01  # a loss within this fraction of ln(classes) counts as chance level
PATIENCE = (2000, 5)  # steps, epochs: the hint is due after whichever ends first


def check_losses(rows: Sequence[dict[str, float]], saved: Callable[[], Sequence[int]]) -> None:
    """Raises DivergedError if a loss since the last check is not finite.

    Args:
        rows: the metrics.jsonl lines of the steps since the last check.
        saved: gives the steps with a checkpoint; called only for the error, because reading the folder takes milliseconds.
    """
    bad = next((r["step"] for r in rows if not math.isfinite(r["loss"])), None)
    if bad is not None:
        looked = f"looked at steps {rows[0]['step']} to {rows[-1]['step']}"
        raise DivergedError(f"the loss is not finite at step {bad} ({looked}); {_last(saved())}; try a lower optim.lr")


def check_state(arrays: Any, saved: Callable[[], Sequence[int]]) -> None:
    """Raises DivergedError if a host state that is about to be saved holds NaN or infinity.

    The loss of its last step may still be finite, because it was computed before the update.
    """
    for name, leaf in name_leaves(arrays).items():
        if not np.isfinite(np.asarray(leaf, np.float32)).all():
            raise DivergedError(f"{name} is not finite after step {int(arrays.step)}, whose loss still was; {_last(saved())};"
                                " try a lower optim.lr")  # fmt: skip


def _last(saved: Sequence[int]) -> str:
    return f"the last good checkpoint is step {saved[-1]}" if saved else "no checkpoint was written yet"


def hint_at_stall(before: int, step: int, steps_per_epoch: float, loss: float, kind: str, classes: int) -> str | None:
    """Returns a hint if the loss is still at chance level at the event that passes PATIENCE; otherwise None.

    Args:
        before, step: steps of the previous and the current event.
        loss: mean training loss of the steps between them.
        kind: the config's `loss`; only the softmax loss is ln(classes) at chance level.
    """
    steps, epochs = PATIENCE
    due = min(steps, math.ceil(epochs * steps_per_epoch))
    guessing = math.log(classes)
    if kind != "softmax" or classes < 2 or not before < due <= step or abs(loss - guessing) > STALLED * guessing:
        return None
    return (f"hint: after {step:,} steps the loss is {loss:.3f}, the loss of guessing one of {classes} classes. What has helped:"
            " a lower or a higher optim.lr, initial weights of another size, batch normalization, or to begin from a"
            " shallower network (model.init_from, model.init_layers), as the deep VGGs did")  # fmt: skip
