"""The hour of a GPU: the order of its parts, what a second call does, what a time limit ends, and what goes home."""

import io
import json
import tarfile
import time

import numpy as np
import pytest

from benchmarks import accelerator, agreement, compare, train
from benchmarks.accelerator import Part
from convnets import models
from convnets.models.summary import summarize
from convnets.sweep.experiment import ROOT


@pytest.fixture
def schedule(tmp_path, monkeypatch):
    """Sets the parts {name: program} of one group, with time limits of 30 s, of 0.5 s if the name is 'slow'."""

    def set_parts(**programs):
        group = [Part(n, 0.5 if n == "slow" else 30, ("-S", "-c", text)) for n, text in programs.items()]
        monkeypatch.setattr(accelerator, "parts", lambda workdir, together: [(1, group)])

    monkeypatch.setattr(accelerator, "GRACE", 0.5)
    monkeypatch.setattr(accelerator, "LEAST", 0.0)
    monkeypatch.setattr(compare, "RESULTS", tmp_path / "results.jsonl")
    compare.RESULTS.touch()
    return set_parts


def run(tmp_path, seconds=60.0, only=()):
    return [(line["part"], line["state"]) for line in accelerator.run_all(tmp_path, seconds, list(only), False)]


def test_the_parts_are_commands_in_order_of_value(tmp_path):
    names = [[part.name for part in group] for _, group in accelerator.parts(tmp_path, together=False)]
    assert [group[0] for group in names[:4]] == [
        "agreement-resnet20_cifar",
        "resnet20-seed0",
        "bench-resnet50_v1_5",
        "seeds-1",
    ]
    assert names[1][-1] == "resnet110-seed0" and names[4][:2] == ["resnet20-seed1", "resnet20-seed2"]
    assert accelerator.parts(tmp_path, together=True)[4][1][0].name == "resnet20-seeds"
    assert len({name for group in names for name in group}) == sum(map(len, names))
    for together in (False, True):
        for part in (part for _, group in accelerator.parts(tmp_path, together) for part in group):
            flags = dict(word.lstrip("-").partition("=")[::2] for word in part.arguments[1:])
            for path in (part.arguments[0], flags.get("config", "").split(":")[0], flags.get("experiment", "")):
                assert (ROOT / path).exists(), path


def test_a_limit_ends_only_its_part_and_the_processes_that_it_started(tmp_path, schedule):
    child = f"import time; time.sleep(3); open({str(tmp_path / 'survived')!r}, 'w')"
    slow = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-S', '-c', {child!r}]); time.sleep(60)"
    schedule(slow=slow, after="print('said')")
    began = time.monotonic()
    assert run(tmp_path) == [("slow", "stopped"), ("after", "done")]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[1]["last"] == ["said"] and lines[1]["rc"] == 0
    recorded = [json.loads(line) for line in compare.RESULTS.read_text().splitlines()]
    assert [(v["part"], v["state"], v["rehearsal"]) for v in recorded] == [
        ("slow", "stopped", False),
        ("after", "done", False),
    ]
    time.sleep(max(0.0, began + 4.5 - time.monotonic()))
    assert not (tmp_path / "survived").exists()


def test_a_second_call_leaves_out_what_is_done_and_tries_last_what_failed(tmp_path, schedule):
    schedule(done="", bad="raise SystemExit(3)", late="")
    assert run(tmp_path, only=["done", "bad"]) == [("done", "done"), ("bad", "failed")]
    schedule(done="", bad="", late="")
    assert run(tmp_path, seconds=-1) == []  # no time, no part
    assert run(tmp_path) == [("late", "done"), ("bad", "done")]
    assert run(tmp_path) == []


def test_a_rehearsal_has_the_parts_of_both_ways_to_train_more_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "run_part", lambda part, *_: {"part": part.name})
    ran = [line["part"] for line in accelerator.run_all(tmp_path, 1e6, [], rehearse=True)]
    every = {p.name for together in (False, True) for _, group in accelerator.parts(tmp_path, together) for p in group}
    assert set(ran) == every and len(ran) == len(every)


def test_what_is_packed_holds_results_and_the_newest_checkpoint_of_an_unfinished_run(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "ROOT", tmp_path)
    monkeypatch.setattr(accelerator, "PIECE", 100)
    monkeypatch.setattr(compare, "RESULTS", tmp_path / "benchmarks" / "results.jsonl")
    names = [
        "benchmarks/results.jsonl",
        "runs/a/result.json",
        "runs/b/metrics.jsonl",
        "runs/b/checkpoints/1000/d/array",
    ]
    left = ["runs/a/checkpoints/2/x", "runs/a/curves.png", "runs/b/events/e", "runs/b/checkpoints/900/x",
            "runs/b/checkpoints/1000.damaged/x"]  # fmt: skip
    for name in names + left:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    accelerator.pack(tmp_path / "runs", tmp_path / "out")
    pieces = sorted((tmp_path / "out").iterdir())
    assert len(pieces) > 1 and all(piece.stat().st_size <= 100 for piece in pieces)
    with tarfile.open(fileobj=io.BytesIO(b"".join(piece.read_bytes() for piece in pieces))) as archive:
        assert sorted(archive.getnames()) == sorted(names)


def test_an_accelerator_may_differ_by_rounding_only():
    wanted = {"a": np.array([3.0, 0.0]), "b": np.array([4.0])}
    assert agreement.relative_error({"a": np.array([3.0, 1.0]), "b": np.array([4.0])}, wanted) == pytest.approx(0.2)
    errors = {"cpu_bfloat16": 0.1, "float32_exact": 1e-5, "float32": 0.05, "bfloat16": 0.15}
    assert agreement.exceeded(errors) == []
    assert agreement.exceeded({**errors, "float32_exact": 0.01, "bfloat16": float("nan")}) == [
        "float32_exact",
        "bfloat16",
    ]


def test_the_roofline_is_the_larger_of_arithmetic_and_bytes():
    model, free = models.create("lenet5_modern", 10, "float32"), 1e30
    macs = sum(layer.multiply_adds for layer in summarize(model))
    assert train.least_seconds(model, "float32", 8, 5.0, free) == pytest.approx(2 * 8 * macs / 5e9)
    values = {batch: train.least_seconds(model, "float32", batch, free, 4.0) * 1e9 for batch in (1, 2)}
    assert train.least_seconds(model, "bfloat16", 1, free, 4.0) * 2e9 == pytest.approx(values[1])
    parameters = sum(layer.parameters for layer in summarize(model) if layer.multiply_adds)
    assert 2 * values[1] - values[2] == pytest.approx(parameters)  # the weights move once a batch
