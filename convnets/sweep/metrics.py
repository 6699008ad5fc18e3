"""Metrics of finished runs; lower is better for all of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from convnets import op_string
from convnets.errors import UsageError
from convnets.training import intervals


class RunRecord(NamedTuple):
    """Input of a metric: the content of result.json (or evaluation-NAME.json) and the lines of metrics.jsonl."""

    result: Mapping[str, Any]
    lines: Sequence[Mapping[str, float]] = ()


def test_error(record: RunRecord) -> float:
    """Top-1 error in percent of the test images, after the last step."""
    return record.result["top1_error"]


def test_error_below(record: RunRecord, percent: float) -> float | None:
    """Test error of a run that learns: None if it is above `percent`, as the error of a run that stays at chance."""
    error = test_error(record)
    return error if error <= percent else None


def best_test_error(record: RunRecord) -> float:
    """Lowest top-1 error in percent of all tests during training (train.eval_every_epochs), chosen by the test images."""
    return min(line["test_error"] for line in record.lines if "test_error" in line)


def top5_error(record: RunRecord) -> float:
    """Test error in percent, where any of the five highest scores may be right."""
    return record.result["top5_error"]


def any_error(record: RunRecord) -> float:
    """Returns 100 if any test image is misclassified, else 0; the mean is the percentage of imperfect runs."""
    return 100.0 * (record.result["top1_error"] > 0)


def test_loss(record: RunRecord) -> float:
    """Mean test loss."""
    return record.result["loss"]


def feature_change(record: RunRecord) -> float | None:
    """Relative change in percent of the last layer's input features under a test's image operations; tests only."""
    return record.result.get("feature_change")


def milliseconds_per_image(record: RunRecord) -> float | None:
    """Training time per image, from the median interval between log lines; meaningful only on an idle machine.

    None if the last session took no step.
    """
    speed = record.result["images_per_second"]
    return 1000 / speed if speed else None


def _is_whole(record: RunRecord) -> bool:
    """Returns whether the log has a line of each step; a crash may have damaged some."""
    return len(record.lines) == record.lines[-1]["step"]


def _trailing(record: RunRecord, key: str, epochs: float) -> np.ndarray:
    """Returns the moving average of a column over `epochs` epochs, starting at the first step with a full window."""
    last = record.lines[-1]
    width = max(round(epochs * last["step"] / last["epoch"]), 1)
    sums = np.cumsum([0.0, *(line[key] for line in record.lines)])
    return (sums[width:] - sums[:-width]) / width


def train_error(record: RunRecord) -> float | None:
    """Training error in percent: the mean over the last epoch's batches, with augmentation and dropout."""
    return _last_epoch(record, "error")


def train_loss(record: RunRecord) -> float | None:
    """Mean training loss over the last epoch."""
    return _last_epoch(record, "loss")


def _last_epoch(record: RunRecord, key: str) -> float | None:
    if not _is_whole(record):
        return None
    return float(_trailing(record, key, min(1, record.lines[-1]["epoch"]))[-1])


def _first_step(record: RunRecord, key: str, most: float, over: float) -> float | None:
    """Returns the first step at which the mean of a column over the last `over` epochs is at most `most`.

    A run that never reaches it counts with its last step, a lower bound that never overstates how slow the run is. None if
    lines of the log are missing.
    """
    if not _is_whole(record):
        return None
    means = _trailing(record, key, over)
    reached = np.flatnonzero(means <= most)
    return float(len(record.lines) - len(means) + 1 + reached[0] if len(reached) else record.lines[-1]["step"])


def steps_to_train_error(record: RunRecord, percent: float, over: float = 1.0) -> float | None:
    """Returns the first step at which the mean training error of the last `over` epochs is at most `percent`."""
    return _first_step(record, "error", percent, over)


def steps_to_train_loss(record: RunRecord, loss: float, over: float = 1.0) -> float | None:
    """Returns the first step at which the mean training loss of the last `over` epochs is at most `loss`."""
    return _first_step(record, "loss", loss, over)


def steps_to_test_error(record: RunRecord, percent: float) -> float:
    """Returns the first evaluated step (train.eval_every_epochs) at which the test error is at most `percent`.

    A run that never reaches it counts with its last step.
    """
    good = [line["step"] for line in record.lines if line.get("test_error", math.inf) <= percent]
    return good[0] if good else record.lines[-1]["step"]


def count_diverged(config: Mapping[str, Any], examples: int) -> dict[str, float]:
    """Returns what a run that diverged counts with, as in result.json: the errors of chance, and the planned steps.

    Args:
        config: of the run.
        examples: number of its training images.
    """
    classes, train = config["model"]["num_classes"], config["train"]
    return {"top1_error": 100 * (1 - 1 / classes), "top5_error": 100 * (1 - min(5, classes) / classes),
            "planned": intervals.count_steps(train["epochs"], examples, train["batch_size"])}  # fmt: skip


def measure_diverged(metric: str, counted: Mapping[str, Any]) -> float | None:
    """Returns the value of a metric from what `count_diverged` returns; None for a loss, which has no value of chance."""
    if metric.startswith("steps_to"):
        return counted["planned"]
    if metric in ("train_error", "best_test_error"):
        return counted["top1_error"]
    return measure(metric, RunRecord({"loss": None, **counted})) if metric in AT_TESTS else None


METRICS = {f.__name__: f for f in (test_error, test_error_below, best_test_error, top5_error, any_error, test_loss, train_error, train_loss,
                                   steps_to_train_error, steps_to_train_loss, steps_to_test_error, feature_change,
                                   milliseconds_per_image)}  # fmt: skip
AT_TESTS = ("test_error", "top5_error", "any_error", "test_loss", "feature_change")


def of_test(metric: str) -> str:
    """Returns the metric that a test of a row shows in an experiment on `metric`: the test error in place of a training metric."""
    return metric if metric in AT_TESTS else "test_error"


def measure(metric: str, record: RunRecord) -> float | None:
    """Returns the value of a metric (lower is better), or None if the record does not have it.

    Raises:
        UsageError: METRICS has no such metric.
    """
    calls = op_string.parse(metric, METRICS, skip=1)
    if len(calls) != 1:
        raise UsageError(f"metric '{metric}': give one of {', '.join(METRICS)}")
    return calls[0].function(record, **calls[0].kwargs)
