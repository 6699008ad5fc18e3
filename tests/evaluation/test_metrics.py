import jax.numpy as jnp
import numpy as np
import pytest

from convnets.evaluation import metrics

SCORES = np.array(
    [[9, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6], [0, 6, 5, 4, 3, 2, 1], [3, 3, 0, 0, 0, 0, 0]], np.float32
)
LABELS = np.array([0, 0, 0, 0])  # its rank: first; seventh; seventh; tied for first
ONES = jnp.ones(4)


def measure(scores=SCORES, mask=ONES):
    return metrics.measure(jnp.asarray(scores), jnp.asarray(LABELS), jnp.arange(4.0), mask)


def test_counts_errors_by_hand():
    assert {k: float(v) for k, v in measure().items()} == {"count": 4, "loss": 6, "top1": 3, "top5": 2}


def test_mask_leaves_examples_out():
    sums = measure(mask=jnp.array([1.0, 0.0, 1.0, 0.0]))
    assert {k: float(v) for k, v in sums.items()} == {"count": 2, "loss": 2, "top1": 1, "top5": 1}


def test_constant_and_nan_scores_are_errors():
    assert float(measure(np.zeros_like(SCORES))["top1"]) == 4
    assert float(measure(np.full_like(SCORES, np.nan))["top5"]) == 4


def test_guesses_are_wrong_where_the_error_counts():
    assert metrics.guess_classes(SCORES, LABELS).tolist() == [0, 6, 1, 1]
    assert (metrics.guess_classes(np.full_like(SCORES, np.nan), LABELS) != LABELS).all()


def test_merging_any_partition_gives_the_whole():
    whole = metrics.summarize(metrics.add({}, measure()))
    parts: dict = {}
    for part in (slice(0, 1), slice(1, 4)):
        parts = metrics.add(parts, metrics.measure(*map(jnp.asarray, (SCORES[part], LABELS[part])),
                                                   jnp.arange(4.0)[part], ONES[part]))  # fmt: skip
    assert metrics.summarize(parts) == pytest.approx(whole)
    assert whole["top1_error"] == 75 and whole["num_examples"] == 4
