"""The tables of docs/speed.md, generated from lines in the format of the benchmarks."""

import json

import pytest

from benchmarks import compare
from convnets.errors import UsageError
from convnets.report import benchmarks, doc_blocks

SIDE = {"images_per_second": {"median": 1500.0, "least": 1400.0, "most": 1600.0}, "cpu_ms": 0.5, "peak_mib": 300.0}
STEP = {"benchmark": "train", "net": "resnet20_cifar", "dtype": "float32", "batch": 128, "device": "cpu", "ours": SIDE,
        "torch": SIDE, "ratio": {"median": 0.7, "least": 0.6, "most": 0.8}, "beside": "torch", "share_of_products": 0.25,
        "cores": 2, "processor": "cpu", "commit": "1234567890", "versions": {"jax": "0.12.0"}}  # fmt: skip


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    def write(*lines):
        (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    monkeypatch.setattr(benchmarks, "RESULTS", tmp_path / "results.jsonl")
    return write


def test_the_newest_line_of_each_case_counts(recorded):
    newer = {**STEP, "ratio": {"median": 0.9, "least": 0.8, "most": 1.0}, "commit": "abcdefghij"}
    recorded(STEP, {**STEP, "dtype": "bfloat16"}, {**STEP, "benchmark": "inference"}, newer)
    _, _, *rows = benchmarks.table("training")
    assert len(rows) == 2 and "| 0.90 (0.80 to 1.00)" in rows[0].replace("**", "") and "abcdefg" in rows[0]
    assert "failed" in rows[0] and "1234567" in rows[1]  # the compiled variant did not start
    assert benchmarks.table("ratios")[2:] == [
        "| `resnet20_cifar` | 0.90 | 0.70 | 0.70 | 1.00 | 2 cores, cpu | 0.12.0 |"
    ]


def test_machines_do_not_displace_each_other(recorded):
    other = {"ratio": {"median": 2.0, "least": 1.9, "most": 2.1}}
    recorded(STEP, {**STEP, **other, "device": "NVIDIA H100"}, {**STEP, **other, "processor": "AMD EPYC"})
    assert len(benchmarks.table("training")) == 2 + 3
    assert benchmarks.table("ratios")[2:] == ["| `resnet20_cifar` | 0.70 | 1.00 | 2 cores, cpu | 0.12.0 |",
                                         "| `resnet20_cifar` | 2.00 | 1.00 | NVIDIA H100 | 0.12.0 |",
                                         "| `resnet20_cifar` | 2.00 | 1.00 | 2 cores, AMD EPYC | 0.12.0 |"]  # fmt: skip


def test_a_newer_jax_displaces_an_older_one_and_unnamed_machines_stay_out_of_the_readme(recorded):
    unnamed = {k: v for k, v in STEP.items() if k != "processor"}
    newer = {**STEP, "benchmark": "inference", "versions": {"jax": "0.13.0"}}
    recorded(unnamed, {**STEP, "versions": {"jax": "0.10.2"}}, STEP)
    assert [row.split(" | ")[-2:] for row in benchmarks.table("training")[2:]] == [["0.12.0", "1234567 |"]] * 2
    assert benchmarks.table("ratios")[2:] == ["| `resnet20_cifar` | 0.70 | 1.00 | 2 cores, cpu | 0.12.0 |"]
    recorded({**STEP, "versions": {"jax": "0.9.2"}}, newer)  # 0.13 is newer than 0.9
    assert benchmarks.table("ratios") == ["| network | inference, f32 | memory | where | jax |", "|---|---|---|---|---|",
                                          "| `resnet20_cifar` | 0.70 |  | 2 cores, cpu | 0.13.0 |"]  # fmt: skip


def test_the_papers_trainings_have_their_days_at_our_rate(recorded):
    """VGG-16: 74 epochs of 1.3 million images at 10 images/s are 111 days."""
    rate = {**SIDE, "images_per_second": {"median": 10.0}}
    recorded({**STEP, "net": "vgg_d", "ours": rate}, {**STEP, "net": "vgg_d", "versions": {"jax": "0.9.2"}, "cores": 4})
    (row,) = benchmarks.table("costs")[2:]
    assert "| `vgg_d` | 2 to 3 weeks on four Titan Black | `vgg_d` | f32 | 111 | 2 cores, cpu | 0.12.0 |" in row


def test_the_parts_of_a_step_are_a_row(recorded):
    earlier = {"benchmark": "parts", "net": "vgg_d", "dtype": "float32", "batch": 8, "step_cpu_ms": 2000.0, "device": "cpu",
               "gflops_of_products": 204, "cores": 2, "processor": "cpu", "commit": "1234567890",
               "versions": {"jax": "0.12.0"},
               "parts": {"convolutions, forward": {"cpu_ms": 500.0, "gflops": 188}, "all else": {"cpu_ms": -20.0}}}  # fmt: skip
    recorded(earlier, {**earlier, "dtype": "bfloat16", "parts": {**earlier["parts"], "inference": {"cpu_ms": 600.0}}})
    head, _, *rows = benchmarks.table("parts")
    assert head.startswith("| network | type | batch | a step, CPU ms | convolutions, forward | all else | inference |")
    assert rows == [
        "| `vgg_d` | f32 | 8 | 2,000 | 500 (25 %, 188 GFLOP/s) | -20 (-1 %) |  | 204 | 2 cores, cpu | 0.12.0 | 1234567 |",
        "| `vgg_d` | bf16 | 8 | 2,000 | 500 (25 %, 188 GFLOP/s) | -20 (-1 %) | 600 (30 %) | 204 | 2 cores, cpu | 0.12.0 | 1234567 |",
    ]


def test_a_line_tells_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "RESULTS", tmp_path / "results.jsonl")
    compare.record("seeds")
    (line,) = map(json.loads, (tmp_path / "results.jsonl").read_text().splitlines())
    assert line["processor"] and line["cores"] >= 1 and {"commit", "versions"} <= line.keys()


def test_every_table_says_where_nothing_was_measured(recorded):
    recorded()
    for name in benchmarks.TABLES:
        assert benchmarks.table(name) == benchmarks.NONE
    with pytest.raises(UsageError, match="no table of speed is called 'trainin'"):
        benchmarks.table("trainin")


def test_a_page_is_filled(recorded):
    recorded(STEP)
    text = doc_blocks.fill(
        "a\n<!-- speed ratios: python run.py --mode=report -->\nold\n<!-- end -->\nb", lambda name: []
    )
    assert "old" not in text and "| `resnet20_cifar` | 0.70 |" in text and text.endswith("<!-- end -->\nb")
    assert doc_blocks.fill(text, lambda name: []) == text
