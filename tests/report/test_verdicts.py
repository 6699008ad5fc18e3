"""Verdicts compared with the Welch and Student intervals of scipy.stats."""

import functools
import math

import numpy as np
import pytest
from scipy import stats

from convnets.report import results
from convnets.report.ledger import Table, _judge_rows, correct_for_many
from convnets.report.tables import what_resolves
from convnets.report.verdicts import Verdict, error_interval, interval, judge, judge_rows
from convnets.sweep.experiment import Claim, Row, load_experiments

GOOD, BAD = [1.0, 1.2, 0.9, 1.1], [2.0, 2.3, 1.9]
CLAIM = Claim("", "", better="good", worse="bad")


def values(table):
    return lambda label, test: dict(enumerate(table.get((label, test), table.get(label, []))))


def test_two_rows_give_welchs_interval():
    verdict = judge(CLAIM, values({"good": GOOD, "bad": BAD}))
    ours = stats.ttest_ind(BAD, GOOD, equal_var=False).confidence_interval(0.95)
    assert verdict.effect == pytest.approx(np.mean(BAD) - np.mean(GOOD)) and verdict.n == 3
    assert (verdict.low, verdict.high) == pytest.approx((ours.low, ours.high)) and verdict.word == "reproduced"


def test_tests_of_the_same_runs_are_paired():
    crops = [v - 0.1 - 0.001 * i for i, v in enumerate(GOOD)]
    claim = Claim("", "", better=("good", "crops"), worse="good")
    verdict = judge(claim, values({("good", ""): GOOD, ("good", "crops"): crops}))
    ours = stats.ttest_rel(GOOD, crops).confidence_interval(0.95)
    assert (verdict.low, verdict.high) == pytest.approx((ours.low, ours.high)) and verdict.word == "reproduced"
    one = judge(claim, lambda _, test: {7: 1.0, 1: 2.0, 2: 3.0} if test else {7: 1.5, 1: 2.5, 2: 3.5, 3: 9.0})
    assert one.effect == 0.5 and one.n == 3  # paired by seed, using only seeds with both runs


@pytest.mark.parametrize(
    "good, bad, word",
    [
        ([2.0, 2.6, 1.7], [1.0, 1.2, 0.9], "not reproduced"),
        ([1.0, 2.0, 3.0], [1.1, 2.1, 3.1], "not resolved"),
        ([1.0, 1.1], [5.0, 5.1], "not resolved"),
        ([1.0], [5.0], "not resolved"),
        ([1.0, 1.0, 1.0], [], "not run"),
        ([90.0] * 3, [90.0] * 3, "not resolved"),
        ([1.0] * 3, [90.0] * 3, "reproduced"),
    ],
)
def test_the_word(good, bad, word):
    assert judge(CLAIM, values({"good": good, "bad": bad})).word == word


def test_ratios_are_compared_on_their_logarithm():
    verdict = judge(CLAIM._replace(ratio=True), values({"good": [100, 110, 90], "bad": [600, 660, 540]}))
    assert verdict.effect == pytest.approx(6) and verdict.low == pytest.approx(36 / verdict.high)
    assert 1 < verdict.low < 6 < verdict.high and verdict.word == "reproduced"


def test_no_difference_is_a_claim_too():
    claim = CLAIM._replace(within=0.5)
    assert judge(claim, values({"good": GOOD, "bad": [v + 0.1 for v in GOOD]})).word == "reproduced"
    assert judge(claim, values({"good": GOOD, "bad": [v - 3 for v in GOOD]})).word == "not reproduced"
    assert judge(claim, values({"good": GOOD, "bad": [v + 0.4 for v in GOOD]})).word == "not resolved"
    even = claim._replace(within=1.5, ratio=True)
    assert judge(even, values({"good": [100, 101, 99], "bad": [110, 111, 109]})).word == "reproduced"


def test_a_difference_of_differences_takes_each_run_once():
    claim = Claim("", "", better=[("a", "t"), "b"], worse=["a", ("b", "t")])
    a, at, b, bt = (
        np.array([1.0, 1.5, 1.2]),
        np.array([2.0, 2.4, 2.3]),
        np.array([1.1, 1.3, 1.0]),
        np.array([4.0, 4.4, 4.1]),
    )
    verdict = judge(claim, values({("a", ""): a, ("a", "t"): at, ("b", ""): b, ("b", "t"): bt}))
    ours = stats.ttest_ind(bt - b, at - a, equal_var=False).confidence_interval(0.95)
    assert (verdict.low, verdict.high) == pytest.approx((ours.low, ours.high))


def test_the_interval_of_a_mean():
    low, high = stats.t.interval(0.95, 3, np.mean(GOOD), stats.sem(GOOD))
    assert (
        interval(GOOD) == pytest.approx((high - low) / 2) and interval([1.0]) == 0 and math.isfinite(interval([1, 1]))
    )


def test_it_costs_nothing_is_one_sided():
    claim = CLAIM._replace(within=0.5, one_sided=True)  # worse - better may be at most 0.5, and as negative as it likes
    assert judge(claim, values({"good": GOOD, "bad": [v - 3 for v in GOOD]})).word == "reproduced"
    assert judge(claim, values({"good": GOOD, "bad": [v + 3 for v in GOOD]})).word == "not reproduced"
    assert judge(claim, values({"good": GOOD, "bad": [v + 0.4 for v in GOOD]})).word == "not resolved"


@pytest.mark.parametrize("claim", [CLAIM, CLAIM._replace(within=0.5), CLAIM._replace(within=0.5, one_sided=True)])
def test_what_is_not_resolved_says_how_many_runs_would(claim):
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal(2000) for _ in "ab"]
    noise = [(v - v.mean()) / v.std() for v in noise]
    some = {n: {"good": noise[0][:n], "bad": noise[1][:n]} for n in (4, 2000)}
    some[4] = {k: (v - v.mean()) / v.std(ddof=1) for k, v in some[4].items()}
    for table in some.values():
        table["bad"] = table["bad"] + 0.2
    verdict = judge(claim, values(some[4]))
    assert verdict.word == "not resolved" and judge(claim, values(some[2000])).word == "reproduced"
    half, distance = (verdict.high - verdict.low) / 2, 0.2 if claim.within is None else 0.3
    assert (
        what_resolves(claim, verdict)
        == f"some {math.ceil(4 * (half / distance) ** 2)} runs a row would resolve such an effect"
    )
    assert "would not resolve" in what_resolves(claim, verdict._replace(effect=1e-9 if claim.within is None else 0.5))
    assert what_resolves(claim, verdict._replace(n=2, p=None)) == "a verdict needs 3 runs a row"
    assert "deterministic" in what_resolves(claim, verdict._replace(n=1))


@pytest.mark.parametrize(
    "size, elsewhere, word",
    [
        (0.9, "", "inside"), (2.0, "", "ours is smaller"), (0.1, "", "ours is larger"),
        (2.0, "ImageNet", "another setting (ImageNet)"), (None, "", ""),
    ],
)  # fmt: skip
def test_the_papers_size_stands_beside_the_direction(size, elsewhere, word):
    verdict = judge(CLAIM._replace(size=size, elsewhere=elsewhere), values({"good": GOOD, "bad": BAD}))
    assert verdict.size == word and verdict.word == "reproduced"


def test_rows_whose_seed_chooses_the_images_are_paired():
    bad = [v + 0.3 + 0.01 * i for i, v in enumerate(GOOD)]
    table = values({"good": GOOD, "bad": bad})
    ours = stats.ttest_rel(bad, GOOD).confidence_interval(0.95)
    verdict = judge(CLAIM, table, "test_error", paired={"good", "bad"})
    assert (verdict.low, verdict.high) == pytest.approx((ours.low, ours.high), rel=1e-6)
    assert judge(CLAIM, table).high - judge(CLAIM, table).low > 5 * (verdict.high - verdict.low)


def test_only_rows_whose_seed_chooses_the_images_are_paired():
    """A difference of differences between two rows on a seed's images and two rows on all images."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 3, 5)  # what a seed's images do to both
    a, b, c, d = (rng.normal(mean, 0.3, 5) for mean in (1, 2, 3, 9))
    table = values({"a": a + shared, "b": b + shared, "c": c, "d": d})
    claim = Claim("", "", better=["a", "c"], worse=["b", "d"])
    verdict = judge(claim, table, paired={"a", "b"})
    parts = [np.var(v, ddof=1) / 5 for v in (b - a, c, d)]
    half = stats.t.ppf(0.975, sum(parts) ** 2 / sum(p**2 / 4 for p in parts)) * sum(parts) ** 0.5
    assert verdict.high - verdict.effect == pytest.approx(half)
    anew = {row.label: results.images_follow_seed(row) for row in load_experiments()["handcrafted"].cpu.rows}
    assert anew["HOG, SVM, 100 images"] and not anew["HOG, SVM, all images"]


def test_rows_of_several_commits_are_marked_and_their_times_refused():
    row, other = Row("good", "configs/lenet.py:digits"), Row("bad", "configs/lenet.py:mnist")
    runs = {r.label: [{"seed": s, "commit": r.label, "top1_error": 1.0 + s / 10, "images_per_second": 5.0, "overrides": [],
                       "metrics": {"milliseconds_per_image": 200.0}} for s in range(3)] for r in (row, other)}  # fmt: skip
    both = {r.label: (r, runs[r.label]) for r in (row, other)}
    error = _judge_rows(CLAIM, "test_error", both, 5)
    assert (error.commits, error.n, error.planned) == (2, 3, 5) and error.effect is not None
    time = _judge_rows(CLAIM._replace(ratio=True), "milliseconds_per_image", both, 3)
    assert (time.commits, time.word, time.effect) == (2, "not resolved", None)


def test_steps_to_a_test_error_have_the_width_of_the_tests_interval():
    row = load_experiments()["bn_lr"].cpu.rows[0]
    assert results.test_interval(row, [{"steps": 50_000}]) == pytest.approx(100)
    equal = values({"good": [100] * 3, "bad": [100] * 3})
    wide, narrow = (judge(CLAIM._replace(ratio=True), equal, "steps_to_test_error(5)", step=step) for step in (100, 1))
    assert np.log(wide.high) == pytest.approx(100 * np.log(narrow.high))


def test_equal_values_have_the_width_of_their_rounding():
    verdict = judge(CLAIM, values({"good": [1.0] * 3, "bad": [1.0] * 3}), "test_error")
    assert verdict.low < 0 < verdict.high and verdict.word == "not resolved"
    assert verdict.high == pytest.approx(stats.t.ppf(0.975, 4) * 0.01 / np.sqrt(12) * np.sqrt(2 / 3))


def test_p_values_are_scipys():
    verdict = judge(CLAIM, values({"good": GOOD, "bad": BAD}))
    assert verdict.p == pytest.approx(stats.ttest_ind(BAD, GOOD, equal_var=False).pvalue)
    near = judge(CLAIM._replace(within=1.5), values({"good": GOOD, "bad": BAD}))
    low = stats.ttest_ind(np.add(BAD, 1.5), GOOD, equal_var=False, alternative="greater").pvalue
    high = stats.ttest_ind(np.subtract(BAD, 1.5), GOOD, equal_var=False, alternative="less").pvalue
    assert near.p == pytest.approx(2 * max(low, high))  # each side has 2.5 %, as a directional claim's has
    far = judge(CLAIM._replace(within=0.2), values({"good": GOOD, "bad": BAD}))
    outside = stats.ttest_ind(np.subtract(BAD, 0.2), GOOD, equal_var=False, alternative="greater").pvalue
    assert far.word == "not reproduced" and far.p == pytest.approx(2 * outside)


def test_holms_method():
    made = [Table("a", "cpu", None, (), [Verdict("reproduced", p=p) for p in (0.01, 0.04, None)]),
            Table("b", "cpu", None, (), [Verdict("not reproduced", p=p) for p in (0.02, 0.005)])]  # fmt: skip
    holds = [[v.holds for v in t.verdicts] for t in correct_for_many(made)]
    # 0.005 < 0.05 / 4, 0.01 < 0.05 / 3, 0.02 < 0.05 / 2, 0.04 < 0.05 / 1
    assert holds == [[True, True, False], [True, True]]
    made[0].verdicts[0] = Verdict("reproduced", p=0.018)  # above 0.05 / 3: it and all larger ones fail
    assert [[v.holds for v in t.verdicts] for t in correct_for_many(made)] == [[False, False, False], [False, True]]


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
    assert within.word == "not resolved" and what_resolves(CLAIM, within) == "runs that never get there leave it open"


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
