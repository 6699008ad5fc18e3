"""End-to-end tests of run.py.

`run` starts a process, as a user or a scheduler does; `run_here` runs the same program in the process of the tests, where
nothing has to be imported. A process is started for what only a process can show: a run by a user, its kills, another number
of devices, what is imported, exit codes and closed streams. Exit codes for every kind of error: test_bad_flags.py, test_bad_data.py.
"""

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from convnets.models.pretrained import weights
from convnets.training.checkpoint import Checkpoints
from convnets.training.trainer import Run
from tests import processes
from tests.conftest import ROOT, run_here
from tests.processes import arrays

SMALL = ("--config=configs/lenet.py:digits", "--config.optim.lr=0.003", "--config.train.epochs=1.5",
         "--config.train.batch_size=48", "--config.train.log_every_steps=4", "--config.checkpoint.every_steps=6")  # fmt: skip


# Two devices, and programs that are compiled as a user's are.
start, run = (
    functools.partial(begin, devices=2, JAX_DISABLE_MOST_OPTIMIZATIONS="0")
    for begin in (processes.start, processes.run)
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Returns the workdir of a small run that finished without interruption."""
    workdir = tmp_path_factory.mktemp("run")
    run(*SMALL, f"--workdir={workdir}")
    return workdir


def test_a_run_in_bfloat16_resumes_to_the_same_bits_and_says_nothing_of_its_compiler(tmp_path):
    """Where the processor has bfloat16 units, oneDNN computes it, and the cache of compiled programs is off."""
    short = (*SMALL, "--config.model.dtype=bfloat16", "--config.train.epochs=0.4")
    _, err = run(*short, f"--workdir={tmp_path / 'whole'}")
    assert err == ""
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    (tmp_path / "again" / "result.json").unlink()
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "12")
    out, _ = run(*short, f"--workdir={tmp_path / 'again'}")
    assert "resumed at step 6" in out
    whole, again = arrays(tmp_path / "whole"), arrays(tmp_path / "again")
    assert all(np.array_equal(again[name], whole[name]) for name in whole)


def test_a_run_leaves_what_it_promises(finished):
    result = json.loads((finished / "result.json").read_text())
    assert set(result) >= {"config", "dataset", "split", "protocol", "views", "num_examples", "split_examples", "top1_error", "top5_error", "seed",
                           "steps", "parameters", "seconds", "images_per_second", "commit", "versions"}  # fmt: skip
    assert (result["num_examples"], result["steps"], result["parameters"]) == (360, 45, 60000)
    assert 0 <= result["top5_error"] <= result["top1_error"] < 60
    manifest = json.loads((finished / "manifest.json").read_text())
    assert {"command", "config", "overrides", "commit", "versions", "device", "prng", "dataset"} <= set(manifest)
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 46))
    assert lines[-1]["test_error"] == pytest.approx(result["top1_error"])
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert [p.name for p in sorted((finished / "checkpoints").iterdir())] == ["42", "45"]
    for name in ("curves", "filters", "confusion", "mistakes"):
        with Image.open(finished / f"{name}.png") as figure:
            assert figure.size[0] > 100
    assert list((finished / "events").iterdir())


def test_killed_and_started_again_is_the_run_never_stopped(finished, tmp_path):
    """On two devices; on one: test_faults.py."""
    workdir, lines = tmp_path / "killed", tmp_path / "killed" / "metrics.jsonl"
    killed = 0
    for wanted in sorted(random.sample(range(1, 45), 2)):
        process = start(*SMALL, f"--workdir={workdir}")
        while process.poll() is None and (not lines.exists() or lines.read_text().count("\n") < wanted):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed, "no process was caught in time"
    run(*SMALL, f"--workdir={workdir}")
    processes.assert_same(workdir, finished)


def test_the_same_command_again_says_complete_and_draws_what_is_missing(finished):
    before, drawn = (finished / "result.json").read_text(), sorted(finished.glob("*.png"))
    for path in drawn:  # as if it had been killed between its result and its figures
        path.unlink()
    out, _ = run_here(*SMALL, f"--workdir={finished}")
    assert "already complete" in out and (finished / "result.json").read_text() == before
    assert len(drawn) >= 4 and sorted(finished.glob("*.png")) == drawn


def test_figures_that_a_killed_run_left_out_are_drawn(finished, monkeypatch):
    def kill(*_):
        raise SystemExit(137)

    (finished / "curves.png").unlink()
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr("convnets.analysis.run_plots.plot_mistakes", kill)
        run_here(*SMALL, f"--workdir={finished}")
    assert not (finished / "mistakes.png").exists()
    run_here(*SMALL, f"--workdir={finished}")
    assert all((finished / f"{name}.png").exists() for name in ("curves", "filters", "confusion", "mistakes"))


def test_a_changed_config_is_refused_unless_allowed(finished, tmp_path):
    _, err = run(*SMALL, f"--workdir={finished}", "--config.optim.lr=0.02", "--config.loss=mse", code=2)
    assert "loss: rbf_map -> mse; optim.lr: 0.003 -> 0.02" in err and err.count("\n") == 1
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    out, _ = run_here(*SMALL, f"--workdir={copy}", "--config.train.epochs=1.6", "--allow_config_change")
    assert "resumed at step 45" in out
    assert json.loads((copy / "result.json").read_text())["steps"] == 48


def test_evaluate_finds_the_result_again(finished):
    out, _ = run("--mode=evaluate", f"--workdir={finished}", "--config.evaluate.batch_size=7", devices=1)
    result = json.loads((finished / "result.json").read_text())
    assert json.loads((finished / "evaluation.json").read_text())["top1_error"] == pytest.approx(result["top1_error"])
    assert f"{result['top1_error']:.2f} %" in out


def test_a_finished_run_is_tested_by_another_protocol(finished):
    before = (finished / "result.json").read_text()
    ops = "decode|resize(28)|pad(4)|center(32)|value_range(-0.1, 1.175)"
    out, _ = run_here("--mode=evaluate", f"--workdir={finished}", f"--config.data.test_ops={ops}",
                 "--config.evaluate.protocol=ten_crop", "--config.evaluate.batch_size=64")  # fmt: skip
    found = json.loads((finished / "evaluation.json").read_text())
    assert (found["protocol"], found["views"], found["num_examples"], found["split_examples"]) == (
        "ten_crop",
        10,
        360,
        360,
    )
    assert "ten_crop" in out and (finished / "result.json").read_text() == before


def test_an_ensemble_of_one_is_its_member_and_of_two_their_average(finished, tmp_path):
    other = tmp_path / "other"
    run_here(*SMALL, "--config.train.seed=1", "--config.train.epochs=1", f"--workdir={other}")
    found, results = [], [json.loads((w / "result.json").read_text()) for w in (finished, other)]
    for n, workdirs in enumerate(([finished], [finished, other])):
        out, _ = run_here(
            "--mode=evaluate", f"--workdirs={','.join(map(str, workdirs))}", f"--workdir={tmp_path / str(n)}"
        )
        found.append(json.loads((tmp_path / str(n) / "evaluation.json").read_text()))
        assert f"average of {n + 1}" in out and all(w.name in out for w in workdirs)
    runs = [Run(ConfigDict(r["config"]), w) for r, w in zip(results, (finished, other), strict=True)]
    scores = np.stack([r.test()[1].scores for r in runs]).astype(np.float64)
    labels = runs[0].components.test_split.resident_arrays["labels"]
    each = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    for ensemble, expected, members in zip(found, (each[0], each.mean(0)), (results[:1], results), strict=True):
        assert ensemble["num_examples"] == 360 and len(ensemble["members"]) == len(members)
        assert ensemble["top1_error"] == pytest.approx(100 * (expected.argmax(1) != labels).mean())
        assert ensemble["loss"] == pytest.approx(-np.log(expected[np.arange(360), labels]).mean(), rel=1e-4)
        for member, result in zip(ensemble["members"], members, strict=True):
            assert {k: member[k] for k in ("top1_error", "top5_error")} == pytest.approx(
                {k: result[k] for k in ("top1_error", "top5_error")}
            )
    _, err = run_here("--mode=evaluate", f"--workdirs={finished},{tmp_path}", code=2)
    assert f"{tmp_path} holds no run" in err
    kept = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**kept, "data": {**kept["data"], "test_split": "train"}}))
    _, err = run_here("--mode=evaluate", f"--workdirs={finished},{other}", code=2)
    assert "is tested on digits, test, " in err and "on digits, train" in err


def test_exported_weights_score_as_the_run_they_are_from(finished, tmp_path):
    file = tmp_path / "lenet5.safetensors"
    out, _ = run_here("--mode=export", f"--workdir={finished}", f"--weights={file}")
    assert "lenet5 of step 45: 60,000 parameters, under our own names" in out and str(file) in out
    saved, exported = arrays(finished), weights.read(file)[0]
    assert exported.keys() == {k for k in saved if k.startswith("params/")}
    for name in exported:
        assert exported[name].dtype == saved[name].dtype and np.array_equal(exported[name], saved[name]), name
    result = json.loads((finished / "result.json").read_text())
    out, _ = run_here("--mode=evaluate", *SMALL, f"--weights={file}", f"--workdir={tmp_path / 'none'}")
    assert f"{result['top1_error']:.2f} %" in out
    begun = ("--config.train.epochs=0.05", f"--config.model.init_from={file}", "--config.optim.lr=1e-9")
    run_here(*SMALL, *begun, f"--workdir={tmp_path / 'begun'}")
    assert json.loads((tmp_path / "begun" / "result.json").read_text())["top1_error"] == pytest.approx(
        result["top1_error"]
    )
    part = (*SMALL, *begun, "--config.model.init_layers=C1, C3,C5", f"--workdir={tmp_path / 'part'}")
    run_here(*part, "--config.checkpoint.every_steps=1")
    first = arrays(tmp_path / "part")
    same = {k.split("/")[1] for k in exported if np.allclose(first[k], saved[k], rtol=0, atol=1e-6)}
    assert same == {"C1", "C3", "C5"}
    _, err = run_here("--mode=evaluate", *SMALL, "--weights=setup.cfg", code=5)
    assert "setup.cfg" in err and err.startswith("error: ")
    _, err = run_here("--mode=evaluate", "--weights=/nowhere.pth", code=2)
    assert "--weights=/nowhere.pth does not exist" in err


def test_export_without_a_run_or_a_place_is_refused(finished, tmp_path):
    shutil.copy(finished / "config.json", tmp_path)
    there = f"--weights={tmp_path / 'a.safetensors'}"
    for arguments, code, message in [
        ([f"--workdir={tmp_path}", there], 5, "holds no checkpoint yet"),
        ([f"--workdir={tmp_path / 'none'}", there], 2, "holds no run"),
        ([there], 2, "--mode=export needs --workdir"),
        ([f"--workdir={finished}"], 2, "needs --weights=FILE.safetensors"),
        ([f"--workdir={finished}", "--weights=a.pth"], 2, "needs --weights=FILE.safetensors"),
        ([f"--workdir={finished}", f"--weights={tmp_path}/none/a.safetensors"], 2, "there is no such folder"),
    ]:
        _, err = run_here("--mode=export", *arguments, code=code)
        assert message in err and err.count("\n") == 1, err
    (tmp_path / "a.safetensors").touch()
    _, err = run_here("--mode=export", f"--workdir={finished}", there, code=2)
    assert "exists already" in err


def test_predict_guesses_and_stream_scores_as_resident(finished, tmp_path):
    from sklearn.datasets import load_digits

    digits, names = load_digits(), []
    for i in range(5):
        names.append(tmp_path / f"{i}.png")
        image = Image.fromarray(np.round(digits.images[i] * (255 / 16)).astype(np.uint8))
        image.resize((40, 40), Image.Resampling.NEAREST).save(names[-1])
    out, _ = run_here("--mode=predict", f"--workdir={finished}", f"--images={','.join(map(str, names))}")
    assert out.count(".png") == 5 and out.count("%") == 15
    run_here("--mode=evaluate", f"--workdir={finished}", "--config.data.loader=stream")
    result, again = (json.loads((finished / f"{n}.json").read_text()) for n in ("result", "evaluation"))
    assert again["top1_error"] == pytest.approx(result["top1_error"])
    _, err = run_here("--mode=predict", f"--workdir={finished}", f"--images={ROOT / 'setup.cfg'}", code=2)
    assert "cannot be read as an image" in err


def test_visualize_looks_inside_runs_and_sets_them_side_by_side(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    out, _ = run_here("--mode=visualize", f"--workdirs={finished},{copy}", f"--workdir={tmp_path}")
    assert "a Gabor function explains" in out and "360 images of test through 7 layers" in out
    names = ["filters", "gabors", "maps", "occlusion", "statistics", "units-high", "units-low", "units-middle"]
    assert sorted(p.stem for p in (finished / "inside").glob("*.png")) == names
    assert (tmp_path / "inside" / "statistics.png").exists()
    found, again, both = (json.loads((w / "inside" / "inside.json").read_text()) for w in (finished, copy, tmp_path))
    assert found == again and both["statistics"] == {w.name: found["statistics"] for w in (finished, copy)}
    assert (found["model"], found["step"], found["examples"], len(found["filters"]["gabors"])) == ("lenet5", 45, 360, 6)
    assert [(u["layer"], u["receptive_field"]) for u in found["units"]] == [("C1", 5), ("C3", 14), ("C5", 32)]
    assert [line["layer"] for line in found["statistics"]] == ["C1", "C3", "C5", "F6"]


def test_a_trace_holds_the_steps_that_were_asked_for(tmp_path):
    out, _ = run_here(*SMALL, "--config.train.epochs=0.8", "--profile=5", f"--workdir={tmp_path}")
    assert f"trace of steps 11 to 15: {tmp_path}/profile" in out
    assert list((tmp_path / "profile").rglob("*.trace.json.gz")) and list((tmp_path / "profile").rglob("*.xplane.pb"))
    out, _ = run_here(*SMALL, "--config.train.epochs=0.1", "--profile=5", f"--workdir={tmp_path / 'short'}")
    assert "no trace: the run ended before step 11" in out and (tmp_path / "short" / "result.json").exists()


def test_help_is_quick_and_shows_the_flags():
    began = os.times()
    out, _ = run("--help")
    ended = os.times()
    assert ended.children_user + ended.children_system - began.children_user - began.children_system < 1.5
    assert "--workdir" in out and "python run.py --mode=predict" in out


def test_a_reader_that_leaves_early_sees_no_trace():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "run.py", "--help"], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writer)
    assert done.stderr == b""


def test_divergence_ends_the_run_and_keeps_no_bad_checkpoint(tmp_path):
    _, err = run_here("--config=configs/lenet.py:digits", "--config.optim.lr=1e38",
                 "--config.train.log_every_steps=5", f"--workdir={tmp_path}", code=4)  # fmt: skip
    assert "the loss is not finite at step" in err and "no checkpoint was written yet" in err
    assert not Checkpoints(tmp_path / "checkpoints").steps()
