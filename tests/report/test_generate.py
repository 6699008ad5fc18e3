import csv
import io
from collections import defaultdict

import pytest

from convnets.report import figures, generate, ledger, pages, results, tables
from convnets.report.verdicts import interval
from convnets.runtime import included
from convnets.sweep import metrics
from convnets.sweep.experiment import Claim, Evaluation, Experiment, Row, Scale, load_experiments
from experiments import published
from tests.conftest import ROOT
from tests.report.test_results import finished


def test_the_generated_files_are_up_to_date():
    recorded = results.read_results()
    made = ledger.tables(load_experiments(), recorded)
    for path, text in generate.files(made, recorded).items():
        assert path.read_text() == text, f"{path.name} is stale; run: python run.py --mode=report"
    drawn = {f"{t.name}-{t.size}.png" for t in made if any(line.values for line in t.lines)}
    assert {p.name for p in (ROOT / pages.FIGURES).glob("*.png")} == drawn, "run: python run.py --mode=report"


def test_a_row_that_lies_far_from_its_paper_says_why():
    rates = pages.reproductions(ledger.tables(load_experiments(), results.read_results()))
    assert not [line.label for _, line in rates if pages.difference(line) >= pages.NEAR and not line.row.note]


def test_recorded_runs_are_as_long_as_their_rows_configs():
    """A config that changes after its runs would give its new recipe their old errors. Boosting trains three times."""
    wrong = []
    for table in ledger.tables(load_experiments(), results.read_results()):
        for line in (line for line in table.lines if line.row.config and not line.test):
            epochs = results._config(line.row.config, line.row.overrides)["train"]["epochs"]
            ends = [run["curve"][-1][0] / epochs for run in line.runs if "curve" in run]
            wrong += [(table.name, line.label, end) for end in ends if abs(end - round(end)) > 0.01]
    assert not wrong[:3]


def test_a_claim_that_is_not_resolved_says_why():
    made = ledger.tables(load_experiments(), results.read_results())
    claims = [(t.name, c, v) for t in made for c, v in zip(t.scale.claims, t.verdicts, strict=True)]
    assert not [(name, c.text) for name, c, v in claims if v.word == "not resolved" and v.n >= v.planned and not c.note]


def test_a_printed_error_minus_the_papers_is_the_printed_difference():
    """Also of means that end in half a hundredth: 0.985 - 0.95 was printed as 0.98 and +0.04."""
    means = {total / n / 100 for n in range(1, 13) for total in range(80 * n, 120 * n)}
    papers = (0.7, 0.8, 0.95, 1.1, 1.7)
    wrong = [(mean, paper) for mean in means for paper in papers
             if round(float(tables.number("test_error", mean)) - paper, 2) != float(tables.number("test_error", mean - paper, "+"))]  # fmt: skip
    assert not wrong[:3]


def test_an_effect_is_compared_with_a_papers_only_in_its_setting():
    """At the size for two cores every recipe or data set is cut."""
    sizes = {name: e.cpu.claims for name, e in load_experiments().items() if e.cpu}
    assert not [
        (name, c.text) for name, claims in sizes.items() for c in claims if c.size is not None and not c.elsewhere
    ]


MNIST = "configs/lenet.py:mnist"
SHIFT = Evaluation(("--config.data.test_ops=decode|resize(32)",), paper=11.0, where="table 2", x=3)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Returns an experiment of three rows, one of them not run, and its recorded runs."""
    rows = [Row("net", MNIST, 0.95, "fig. 9", tests={"shifted": SHIFT}),
            Row("hot", MNIST, overrides=("--config.optim.lr=0.5",)),
            Row("new|er", MNIST, 0.5, "fig. 9", ("--config.optim.lr=0.25",), cost="6 min, 2 cores")]  # fmt: skip
    claims = [Claim("hot is worse", "sec. 1", better="net", worse="hot", size=3.0, note="As said."),
              Claim("shifts hurt", "sec. 2", better="net", worse=("net", "shifted")),
              Claim("newer is better", "sec. 3", better="new|er", worse="net")]  # fmt: skip
    experiment = Experiment("Heat", "test_error", full=Scale(rows, claims, 3), source="Us 2026, sec. 2")
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results.jsonl")
    for module in (results, generate):
        monkeypatch.setattr(module, "load_experiments", lambda: {"heat": experiment})
    monkeypatch.chdir(ROOT)
    results._wanted.cache_clear()
    of = defaultdict(list)
    for s in range(3):
        shifted = {"shifted": (SHIFT.overrides, 10 + s / 10)}
        of["net"].append(finished(tmp_path / f"net{s}", seed=s, error=1.0 + s / 10, tests=shifted))
        of["hot"].append(finished(tmp_path / f"hot{s}", seed=s, error=4.0 + s / 10, lr=0.5))
    results.add_lines([*of["net"], *of["hot"]])
    yield list(ledger.tables({"heat": experiment}, results.read_results()))
    results._wanted.cache_clear()


def test_results_tell_paper_ours_difference_cost_and_verdict(made):
    text = pages.document(made, results.read_results())
    assert (
        "| net | mnist, 10,000 | single | 0.95 (fig. 9) | **1.10** ± 0.10 (3) | 0.78 to 1.42 | +0.15 | 7 s, 1 x cpu | aaaaaaa |"
        in text
    )
    assert (
        "| net, shifted | mnist, 10,000 | single | 11.00 (table 2) | **10.10** ± 0.10 (3) | 9.46 to 10.74 | -0.90 |"
        in text
    )
    assert "| +3.00 | +3.00 [+2.77, +3.23] | inside | 3 | **reproduced**: As said. |" in text
    # paired: every run has the same difference, but for rounding
    assert "| +9.00 [+8.99, +9.01] |  | 3 | **reproduced** |" in text
    assert "| Us 2026, sec. 2, sec. 1 |" in text and "| Us 2026, sec. 2 |" in text  # what both name stands once
    assert "newer is better" not in text
    assert "6 recorded runs took 0.0 h on a CPU." in text
    assert "Claims that were run: 2 of papers (2 reproduced, 0 not resolved, 0 not reproduced)." in text
    assert "2 of the verdicts *reproduced* and 0 of the verdicts *not reproduced* on papers' and the lecture's" in text
    assert "interim" not in text and "our own" not in text and "another setting" not in text
    assert "of them are in no table below" not in text
    assert (
        "For 1 claims the paper gives the size of the effect in our setting: 1 of these sizes lie in our interval"
        in text
    )
    # the smallest difference first
    assert "new" not in text.split("## Claims")[0] and text.index("net, shifted") > text.index("| net |")


def test_what_was_not_run_is_planned(made):
    text = pages.planned(made)
    assert (
        "    python run.py --mode=sweep --experiment=experiments/heat.py --size=full --workdir=runs/heat-full\n" in text
    )
    assert "| new\\|er | 0.50 (fig. 9) | 6 min, 2 cores |\n\nClaims: newer is better." in text
    assert "| net |" not in text and "hot is worse" not in text


def change(made, **changes):
    """Returns the tables of `made`, judged again with changes of the size's fields."""
    experiment = made[0].experiment
    again = experiment._replace(full=experiment.full._replace(**changes))
    return ledger.tables({"heat": again}, results.read_results())


def test_a_verdict_before_all_planned_runs_is_an_interim_one(made):
    early = change(made, seeds=5)
    text = pages.document(early, results.read_results())
    assert "| 3 of 5 | **reproduced** (interim: 3 of 5 runs): As said. |" in text and " 2 verdicts are interim" in text
    assert "| net (3 of 5 runs) | 0.95 (fig. 9) |" in pages.planned(early)


def test_a_claim_of_our_own_is_counted_apart(made):
    claims = [c._replace(where="ours") for c in made[0].scale.claims[:1]] + list(made[0].scale.claims[1:])
    text = pages.document(change(made, claims=claims), results.read_results())
    assert "were run: 1 of papers (1 reproduced, " in text and ", 1 of our own (1 reproduced, " in text
    assert "| hot is worse | ours | full |" in text  # without the paper's name
    lectures = [claims[0]._replace(where="lecture: heat"), *claims[1:]]
    assert "1 of the lecture (1 reproduced, " in pages.document(change(made, claims=lectures), results.read_results())


def test_the_sizes_of_another_setting_are_counted_apart(made):
    claims = [c._replace(elsewhere="ImageNet" * (c.size is not None)) for c in made[0].scale.claims]
    text = pages.document(change(made, claims=claims), results.read_results())
    assert "For 1 it gives the size in another setting; 1 of these lie in our interval." in text
    assert "For 0 claims the paper gives the size of the effect in our setting" in text


def test_runs_that_no_table_counts_are_counted(made):
    former = change(made, rows=made[0].experiment.full.rows[:1], claims=[])
    assert "6 recorded runs took 0.0 h on a CPU. 3 of them are in no table below" in pages.document(
        former, results.read_results()
    )


def test_a_row_says_whether_its_interval_has_the_papers_value(made):
    far = [made[0].experiment.full.rows[0]._replace(paper=paper, note="As said.", tests={}) for paper in (1.41, 1.5)]
    notes = [pages.why_different(pages.reproductions(change(made, rows=[row], claims=[]))) for row in far]
    assert [lines[-1] for lines in notes] == [f"- net: {pages.INSIDE} As said.", "- net: As said."]


def test_training_images_are_no_sample_of_test_images(made):
    test = Evaluation(("--config.data.test_split=train",))
    line = made[0].lines[0]._replace(test="train", row=made[0].lines[0].row._replace(tests={"train": test}))
    low, high = tables.compute_interval(line)
    assert (high - low) / 2 == pytest.approx(interval(list(line.values.values())))


def test_what_differs_from_the_papers_recipe_stands_beside_the_label(made):
    rows = [made[0].experiment.full.rows[0]._replace(recipe="plain SGD"), *made[0].experiment.full.rows[1:]]
    text = pages.document(change(made, rows=rows), results.read_results())
    assert "| net (plain SGD) | mnist, 10,000 | single | 0.95 (fig. 9) |" in text


def test_the_size_for_two_cores_has_no_difference_from_the_paper(made):
    line = tables.row_lines(made[0]._replace(size="cpu"), made[0].lines[:1])[0]
    assert (
        "| 0.95 (fig. 9) |" in line
        and "+0.15" not in line
        and "+0.15" in tables.row_lines(made[0], made[0].lines[:1])[0]
    )


def test_runs_that_never_get_there_are_counted(made):
    runs = [{**run, "steps": 100} for run in made[0].lines[0].runs]
    line = made[0].lines[0]._replace(runs=runs, metric="steps_to_train_error(2)", values={0: 40.0, 1: 100.0, 2: 100.0})
    assert "**80** ± 35 (3, 2 did not reach the target)" in tables.row_lines(made[0], [line])[0]


def test_runs_at_chance_are_counted_where_they_are_left_out(made):
    line = made[0].lines[0]._replace(metric="test_error_below(50)", values={0: 1.0, 2: 1.2})
    row = tables.row_lines(made[0], [line])[0]
    assert "**1.10** ± 0.14 (2, 1 of 3 at chance)" in row and " to " in row  # with an interval


def test_the_readme_has_what_was_run_and_says_what_was_not(made):
    before = f"a\n{pages.BEGIN}\nformer\n{pages.END}\nz\n"
    text = pages.readme(before, made, results.read_results())
    assert (
        text.startswith("a\n")
        and text.endswith("z\n")
        and "former" not in text
        and pages.readme(text, made, results.read_results()) == text
    )
    assert "**1.10** ± 0.10 (3)" in text and "new" not in text and "hot is worse" not in text
    whole = pages.document(made, results.read_results())
    assert "| [Heat](RESULTS.md#heat-the-papers-size) | full | 2 |  |  |" in whole
    assert "Us 2026, sec. 2.\n\n[experiments/heat.py](experiments/heat.py) explains the rows: `python run.py" in whole
    assert "## Heat: the paper's size\n" in whole  # GitHub derives the link's anchor from this heading
    assert "[experiments/PLANNED.md](experiments/PLANNED.md)" in text


def test_the_readme_shows_no_row_that_its_test_error_chose_and_names_the_largest_difference(made, monkeypatch):
    monkeypatch.setattr(pages, "SHOWN", 1)
    given = f"{pages.BEGIN}\n{pages.END}"
    assert "| net (" not in pages.readme(given, made, results.read_results())
    rows = [
        made[0].experiment.full.rows[0]._replace(recipe=f"of two, {pages.CHOSEN}"),
        *made[0].experiment.full.rows[1:],
    ]
    text = pages.readme(given, change(made, rows=rows), results.read_results())
    assert "| net (of two" not in text and "| net, shifted (of two" not in text
    assert "1 of all rows lie within 0.3 points; the largest difference is 0.90 points (net, shifted)." in text


def test_a_label_of_a_figure_says_if_a_row_has_one_run_or_runs_that_never_get_there(made):
    line = made[0].lines[0]
    assert generate._label(line) == "net"
    one = line._replace(runs=line.runs[:1], values={0: 1.0})
    assert generate._label(one) == "net (1 run)"
    assert generate._label(one._replace(row=one.row._replace(deterministic=True))) == "net"
    runs = [{"seed": seed, "steps": 100} for seed in range(3)]
    never = line._replace(metric="steps_to_test_error(5)", runs=runs, values={0: 40, 1: 100, 2: 100})
    assert generate._label(never) == "net (2 of 3 never)"


def test_the_sheet_has_a_line_for_each_row_and_test(made):
    lines = list(csv.DictReader(io.StringIO(pages.sheet(made))))
    assert [(x["row"], x["test"], x["mean"], x["n"]) for x in lines] == [
        ("net", "", "1.1", "3"), ("net", "shifted", "10.1", "3"), ("hot", "", "4.1", "3"), ("new|er", "", "", "0")]  # fmt: skip


def test_a_divergence_is_counted_in_the_table(made):
    runs = [{**run, "diverged": "at step 2"} if run["seed"] == 1 else run for run in made[0].lines[0].runs]
    line = made[0].lines[0]._replace(runs=runs)
    assert "(3, 1 of 3 diverged)" in tables.row_lines(made[0], [line])[0]


def test_the_figure_shows_what_was_measured_and_is_the_same_again(made, tmp_path, monkeypatch):
    seen = {}
    draw = figures.plot_experiment
    monkeypatch.setattr(figures, "plot_experiment", lambda *a, **k: (seen.update(a=a), draw(*a, **k)))
    generate.draw_figures(made[0], tmp_path / "a.png")
    generate.draw_figures(made[0], tmp_path / "b.png")
    _, bars, lines, _ = seen["a"]
    assert [bar[1] for bar in bars] == ["net", "hot"] and bars[0][2::2] == pytest.approx((1.1, 0.95))
    assert bars[0][3] == pytest.approx((0.78, 1.42), abs=0.005)  # the interval of the table
    ((x, mean, around, paper),) = lines["net"]
    assert (x, mean, *around, paper) == pytest.approx((3, 10.1, 9.46, 10.74, 11.0), abs=0.005)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_published_weights_and_networks_that_come_along_have_their_tables():
    config = {"model": {"name": "resnet32_cifar"}}
    result = {"config": config, "dataset": "cifar10:3.0.2", "num_examples": 10_000, "top1_error": 7.37,
              "protocol": "single", "commit": "a" * 40, "seed": 0}  # fmt: skip
    old, new = (
        {**published.entry("32", result), "top1_error": e, "commit": c * 40} for e, c in ((7.4, "b"), (7.37, "a"))
    )
    rows = [line for line in pages.published([old, new]) if "resnet32" in line]
    assert rows == ["| `resnet32_cifar` | resnet32-d509ac18.th | cifar10, 10,000 | 7.37 | **7.37** | +0.00 | aaaaaaa |"]
    assert pages.published([]) == [] and pages.demonstrations([old, new]) == []
    assert [line.split("`")[1] for line in pages.included_networks()[6:-1]] == included.names()


def test_every_metric_has_words_for_an_axis():
    names = [f"{name}(25)" if name.startswith("steps_to") else name for name in metrics.METRICS]
    words = [tables.describe_metric(name) for name in [*names, "test_error_below(50)"]]
    assert not any("_" in text for text in words)
    assert tables.describe_metric("steps_to_train_error(2, 0.5)") == "steps to a training error of 2 %"
    assert tables.describe_metric("test_error") == "test error (%)"
