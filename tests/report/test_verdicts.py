"""Verdicts compared with the Welch and Student intervals of scipy.stats."""

import math

import numpy as np
import pytest
from scipy import stats

from convnets.report import results
from convnets.report.ledger import Table, _judge_rows, correct_for_many
from convnets.report.tables import what_resolves
from convnets.report.verdicts import Verdict, interval, judge
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
