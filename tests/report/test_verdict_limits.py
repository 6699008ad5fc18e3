"""What limits a verdict: the test images, deterministic rows, runs that never get there, values that are not finite."""

import functools
import math

import numpy as np
import pytest
from scipy import stats

from convnets.report.ledger import _judge_rows
from convnets.report.tables import what_resolves
from convnets.report.verdicts import error_interval, judge, judge_rows
from convnets.sweep.experiment import Claim, Row, load_experiments
from tests.report.test_verdicts import BAD, CLAIM, GOOD, values


def test_an_error_rate_has_the_deviation_of_its_test_set():
    low, high = error_interval("test_error", [1.0, 1.0, 1.0], 10_000)
    assert (low, high) == pytest.approx((1 - 0.195, 1 + 0.195), abs=1e-3)
    assert error_interval("test_error", [1.0], 10_000) is None
    assert error_interval("test_error", [1.0], 10_000, certain=True) == pytest.approx((low, high))
    for k in (0, 1, 10):
        found = error_interval("any_error", [100.0] * k + [0.0] * (10 - k), 0)
        exact = stats.binomtest(k, 10).proportion_ci(0.95, "exact")
        assert found == pytest.approx((100 * exact.low, 100 * exact.high))


def test_a_deterministic_row_needs_one_run():
    values = {"good": {0: 2.0, 1: 2.1, 2: 2.2}, "bad": {0: 5.0}}
    claim = Claim("", "", better="good", worse="bad")
    found = judge(claim, lambda label, _: values[label], "test_error", certain={"bad"})
    alone = judge(claim, lambda label, _: {s: v for s, v in values[label].items() if s == 0}, "test_error",
                  certain={"good", "bad"})  # fmt: skip
    assert judge(claim, lambda label, _: values[label], "test_error").word == "not resolved"
    assert (found.word, alone.word) == ("reproduced", "reproduced") and found.n == alone.n == 1
    assert alone.low == pytest.approx(3 - 1.96 * (2 * 0.01**2 / 12) ** 0.5, abs=1e-4)  # the width of rounding
    tested = judge(
        claim, lambda label, _: {0: values[label][0]}, "test_error", certain={"good", "bad"}, examples=lambda *_: 10_000
    )
    # two samples of digits
    assert tested.low == pytest.approx(3 - 1.96 * ((2 * 98 + 5 * 95) / 10_000) ** 0.5, abs=1e-3)


def test_a_claim_on_a_deterministic_row_counts_the_test_images_of_both_sides():
    table, images = {"good": dict(enumerate(GOOD)), "bad": {0: 5.0}}, lambda *_: 10_000
    judged = functools.partial(judge, values=lambda label, _: table[label], metric="test_error", examples=images)
    found, ratio = (judged(CLAIM._replace(ratio=ratio), certain={"bad"}) for ratio in (False, True))
    mean, spread = np.mean(GOOD), stats.sem(GOOD)
    error = (spread**2 + (mean * (100 - mean) + 5 * 95) / 10_000 + 0.01**2 / 12) ** 0.5
    freedom = error**4 / (spread**4 / 3)
    assert found.low == pytest.approx(5 - mean - stats.t.ppf(0.975, freedom) * error)
    lone = judged(CLAIM._replace(ratio=True), certain={"good", "bad"}, values=lambda label, _: {0: table[label][0]})
    assert math.log(lone.high / lone.effect) == pytest.approx(1.96 * ((99 / 1 + 95 / 5) / 10_000) ** 0.5, rel=1e-3)
    assert ratio.word == lone.word == "reproduced"
    near = judged(
        CLAIM._replace(ratio=True), certain={"good", "bad"}, values=lambda label, _: {0: 2.0 + 0.05 * (label == "bad")}
    )
    assert near.word == "not resolved"
    loss = judged(CLAIM, certain={"good", "bad"}, values=lambda label, _: {0: table[label][0]}, metric="test_loss")
    assert loss.word == "not resolved"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_gives_no_verdict(value):
    verdict = judge(CLAIM, values({"good": GOOD, "bad": [*BAD, value]}))
    assert verdict.word == "not resolved" and verdict.effect is None


@pytest.mark.parametrize("never, word", [("good", "not resolved"), ("bad", "reproduced")])
def test_a_row_whose_runs_never_get_there_is_not_called_the_faster_one(never, word):
    steps = {"good": (100, 110, 90), "bad": (600, 660, 540)}
    rows = {name: (Row(name, "configs/lenet.py:mnist"), [
        {"seed": seed, "steps": step if name == never else 1000, "commit": "a", "metrics": {"steps_to_train_error(5)": step}}
        for seed, step in enumerate(found)
    ]) for name, found in steps.items()}  # fmt: skip
    judged = functools.partial(_judge_rows, metric="steps_to_train_error(5)", rows=rows, seeds=3)
    assert judged(CLAIM._replace(ratio=True)).word == word
    swapped = CLAIM._replace(ratio=True, better="bad", worse="good")
    assert judged(swapped).word == {"good": "not resolved", "bad": "not reproduced"}[never]
    within = judged(CLAIM._replace(ratio=True, within=10.0))
    assert (
        within.word == "not resolved"
        and what_resolves(CLAIM, within) == "open, because some runs did not reach the target"
    )


def test_dropout_can_be_left_out_if_the_network_without_it_is_no_worse():
    (claim,) = [c for c in load_experiments()["bn_vs_reg"].cpu.claims if c.one_sided]
    word = lambda bn, both: judge(claim, values({"BN": np.add(GOOD, bn), "BN and dropout": np.add(GOOD, both)})).word  # noqa: E731
    assert (word(0, 3), word(3, 0)) == ("reproduced", "not reproduced")


def test_an_error_has_the_width_of_one_test_image():
    claim = CLAIM._replace(metric="test_error")
    verdict = judge(claim, values({"good": [0.0] * 3, "bad": [100 / 360] * 3}), "test_error", examples=lambda *_: 360)
    assert verdict.high - verdict.effect == pytest.approx(
        stats.t.ppf(0.975, 4) * 100 / 360 / np.sqrt(12) * np.sqrt(2 / 3)
    )
    learned = judge(
        claim, values({"good": [0.0] * 3, "bad": [100 / 360] * 3}), "test_error_below(50)", examples=lambda *_: 360
    )
    assert learned == verdict
    low, high = error_interval("test_error", [0.0, 0.0, 0.0], 360)
    assert low == 0 and high == pytest.approx(1.96 * 100 * np.sqrt((1 / 360) * (359 / 360) / 360))


def test_a_test_of_few_images_has_their_width():
    """As the neocognitron's: 5 images in the middle, 125 at all shifts, within each run."""
    claim, found = (
        Claim("", "", better=("net", "middle"), worse="net"),
        values({"net": [2.0] * 4, ("net", "middle"): [0.0] * 4}),
    )
    row, run = (
        Row("net", "configs/neocognitron.py:digits"),
        {"num_examples": 125, "tests": {"middle": {"num_examples": 5}}},
    )
    verdict = judge_rows(claim, found, "test_error", [row], {"net": [{"config": row.config, **run}] * 4})
    assert verdict.high - verdict.effect == pytest.approx(stats.t.ppf(0.975, 3) * np.sqrt((20**2 + 0.8**2) / 12 / 4))


def test_a_run_that_diverged_does_not_hide_the_number_of_images():
    rows = [Row(label, "configs/lenet.py:digits") for label in ("good", "bad")]
    runs = {
        "good": [{"config": "", "num_examples": 360}] * 3,
        "bad": [{"config": "", "num_examples": 360}, {"config": ""}],
    }
    found = values({"good": [0.0] * 3, "bad": [100 / 360] * 3})
    assert judge_rows(CLAIM, found, "test_error", rows, runs) == judge(
        CLAIM, found, "test_error", examples=lambda *_: 360
    )


def test_a_claim_of_which_a_row_was_not_run_was_not_run():
    assert judge(CLAIM._replace(ratio=True), values({"good": [0.0] * 3})).word == "not run"


def test_a_ratio_of_nothing_is_not_resolved():
    verdict = judge(CLAIM._replace(ratio=True), values({"good": [1.0] * 3, "bad": [2.0, 0.0, 2.0]}))
    assert (
        verdict.word == "not resolved" and what_resolves(CLAIM, verdict) == "a value has no logarithm, or is not finite"
    )


def test_a_deterministic_row_stands_for_each_seed_of_a_pair():
    table = {"good": dict(enumerate(GOOD)), "bad": {0: 5.0}}
    verdict = judge(CLAIM, lambda label, _: table[label], "test_error", paired={"good", "bad"}, certain={"bad"})
    assert (verdict.n, verdict.word) == (4, "reproduced") and verdict.effect == pytest.approx(5 - np.mean(GOOD))
