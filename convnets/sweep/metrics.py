"""Metrics of finished runs; every one is better when it is lower."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from convnets import op_string
from convnets.errors import UsageError


class Log(NamedTuple):
    """What a metric is taken from: result.json (or evaluation-NAME.json) and the lines of metrics.jsonl."""

    result: Mapping[str, Any]
    lines: Sequence[Mapping[str, float]] = ()


def test_error(log: Log) -> float:
    """Percent of the test images, after the last step."""
    return log.result["top1_error"]


def top5_error(log: Log) -> float:
    return log.result["top5_error"]


def any_error(log: Log) -> float:
    """100 for a run with any wrong test image, else 0, so that the mean is the percentage of runs that are not perfect."""
    return 100.0 * (log.result["top1_error"] > 0)


def test_loss(log: Log) -> float:
    return log.result["loss"]


def feature_change(log: Log) -> float | None:
    """Percent by which the features of the last layer change with the test's images; a test alone has it."""
    return log.result.get("feature_change")


def milliseconds_per_image(log: Log) -> float:
    """Of training, from the median interval between two lines of the log; of an idle machine alone it means something."""
    return 1000 / log.result["images_per_second"]


def _trailing(log: Log, key: str, epochs: float) -> np.ndarray:
    """The mean of a column over the steps of the last `epochs` epochs, from the first step that has as many on."""
    last = log.lines[-1]
    width = max(round(epochs * last["step"] / last["epoch"]), 1)
    sums = np.cumsum([0.0, *(line[key] for line in log.lines)])
    return (sums[width:] - sums[:-width]) / width


def train_error(log: Log) -> float:
    """Percent of the training images as training saw them: the mean over the last epoch, augmented, with dropout."""
    return float(_trailing(log, "error", min(1, log.lines[-1]["epoch"]))[-1])


def train_loss(log: Log) -> float:
    """Mean over the last epoch."""
    return float(_trailing(log, "loss", min(1, log.lines[-1]["epoch"]))[-1])


def steps_to_train_error(log: Log, percent: float, over: float = 1.0) -> float:
    """The first step at which the mean training error of the last `over` epochs is at most `percent`.

    A run that never gets there counts with its last step, so that it is never taken for worse than it is.
    """
    means = _trailing(log, "error", over)
    reached = np.flatnonzero(means <= percent)
    return float(len(log.lines) - len(means) + 1 + reached[0] if len(reached) else log.lines[-1]["step"])


def steps_to_test_error(log: Log, percent: float) -> float:
    """The first step at which the test error was measured (train.eval_every_epochs) and is at most `percent`.

    A run that never gets there counts with its last step.
    """
    good = [line["step"] for line in log.lines if line.get("test_error", math.inf) <= percent]
    return good[0] if good else log.lines[-1]["step"]


METRICS = {f.__name__: f for f in (test_error, top5_error, any_error, test_loss, train_error, train_loss,
                                   steps_to_train_error, steps_to_test_error, feature_change,
                                   milliseconds_per_image)}  # fmt: skip
AT_TESTS = ("test_error", "top5_error", "any_error", "test_loss", "feature_change")


def measure(metric: str, log: Log) -> float | None:
    """The value of a metric, which better runs have lower.

    Raises:
        UsageError: METRICS has no such metric.
    """
    calls = op_string.parse(metric, METRICS, skip=1)
    if len(calls) != 1:
        raise UsageError(f"metric '{metric}': give one of {', '.join(METRICS)}")
    return calls[0].function(log, **calls[0].kwargs)
