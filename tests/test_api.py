"""Use from Python: the documented examples, and runs as the command line has them."""

import doctest
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import convnets
from convnets import api, models
from convnets.errors import CheckpointError, UsageError
from convnets.models.pretrained import weights
from convnets.runtime import included
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden" / "run"


@pytest.mark.parametrize("name", ["create", "summary", "load_weights", "open_run", "TrainedRun"])
def test_the_examples_are_right(name):
    (test,) = [t for t in doctest.DocTestFinder(recurse=False).find(getattr(api, name), name) if t.examples] or [None]
    found = [test] if test else doctest.DocTestFinder().find(api.TrainedRun, name)
    runner = doctest.DocTestRunner()
    for each in found:
        each.globs = {**vars(api)}
        runner.run(each)
    assert runner.summarize() == (0, runner.tries) and runner.tries


def test_import_is_cheap_and_predict_needs_no_tensorflow():
    subprocess.run([sys.executable, "-c", """if True:
        import os, sys
        os.environ.pop("XLA_FLAGS", None)
        import convnets
        assert not {"jax", "flax", "numpy", "tensorflow"} & set(sys.modules)
        import numpy as np
        assert convnets.open_run("lenet5").predict(np.zeros((1, 28, 28, 1), np.uint8)).shape == (1, 10)
        assert "--xla_cpu_experimental_ynn_fusion_type=" in os.environ["XLA_FLAGS"]  # as in a run
        assert "tensorflow" not in sys.modules
        """], cwd=ROOT, check=True)  # fmt: skip


def test_a_run_is_tested_as_it_was_and_nothing_is_written(scratch):
    before = sorted((p, p.stat().st_mtime_ns) for p in GOLDEN.rglob("*"))
    run = convnets.open_run(GOLDEN)
    result = json.loads((GOLDEN / "result.json").read_text())
    assert run.evaluate()["top1_error"] == pytest.approx(result["top1_error"])
    pixels = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 1), np.uint8)
    inputs = pixels.astype(np.float32) / 255  # its data.test_ops
    expected = jax.nn.softmax(run.model.apply(run.variables, inputs), axis=1)
    np.testing.assert_allclose(run.predict(pixels), expected, rtol=1e-4)
    assert sorted((p, p.stat().st_mtime_ns) for p in GOLDEN.rglob("*")) == before


def test_the_variables_that_predict_uses_are_tested(scratch):
    """Not those of the newest checkpoint: the user may have changed them, and the run may train on."""
    run = convnets.open_run(GOLDEN)
    run.variables = jax.tree.map(np.zeros_like, run.variables)
    assert run.evaluate()["loss"] == pytest.approx(np.log(10))  # every class is as probable


def test_a_run_says_what_it_is():
    assert repr(convnets.open_run(GOLDEN)).startswith("TrainedRun(stack on digits, ")


def test_a_summary_is_the_table_of_describe():
    text = str(convnets.summary(convnets.create("lenet5", classes=10)))
    assert "10 x 10 x 16" in text and "60,000" in text and "326,520" in text


def test_every_network_keeps_the_name_that_its_weights_have(tmp_path):
    for name in models.MODELS:
        assert convnets.create(name, classes=10).name == name
    model = convnets.create("lenet5_modern", classes=7)
    fresh = model.init(jax.random.key(1), np.zeros((1, *model.input_shape), np.float32))
    weights.save(tmp_path / "a.safetensors", "lenet5_modern", fresh, own_names=True, model=model)
    loaded = convnets.load_weights(model, tmp_path / "a.safetensors")
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), loaded["params"], fresh["params"]))
    with pytest.raises(CheckpointError, match="holds weights of model 'lenet5_modern', not of 'lenet5'"):
        convnets.load_weights(convnets.create("lenet5", classes=10), tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: convnets.create("resnet5", classes=10), "unknown model 'resnet5'"),
        (lambda: convnets.load_weights(models.create("lenet5", 10, "float32"), "lenet5"), "network of convnets.create"),
        (lambda: convnets.open_run("lenet7"), "lenet7 holds no run.*included networks: .*lenet5"),
        (lambda: convnets.open_run(GOLDEN, "data.nmae=mnist"), "unknown config key 'data.nmae'"),
        (lambda: convnets.open_run(GOLDEN).predict(np.zeros((1, 8, 8, 1))), r"uint8 .*, this one float64 \[8, 8, 1\]"),
        (
            lambda: convnets.open_run("lenet5").predict(np.zeros((28, 28, 1), np.uint8)),
            r"this one \[28, 28, 1\]; give a list",
        ),
        (lambda: convnets.open_run("lenet1").evaluate("dense"), "trained on loss=sse gives none"),
        (lambda: convnets.open_run(GOLDEN).predict("none.png"), "none.png cannot be read as an image"),
    ],
)
def test_a_wrong_argument_is_named(wrong, message):
    with pytest.raises(UsageError, match=message):
        wrong()


def test_an_own_folder_comes_before_an_included_network_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(included.FOLDER / "lenet1", "lenet5", ignore=shutil.ignore_patterns(included.WEIGHTS))
    with pytest.raises(CheckpointError, match="lenet5 holds no checkpoint"):
        convnets.open_run("lenet5")
    Path("lenet1").write_text("my own")
    with pytest.raises(CheckpointError, match="lenet1"):
        convnets.load_weights(convnets.create("lenet1", classes=10), "lenet1")


def test_a_path_holds_from_any_working_directory(tmp_path, monkeypatch, scratch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").symlink_to(GOLDEN)
    assert convnets.open_run("~/run").class_names[:2] == ["0", "1"]
    model = convnets.create("lenet5", classes=10)
    (tmp_path / "a.safetensors").symlink_to(included.FOLDER / "lenet5" / included.WEIGHTS)
    assert convnets.load_weights(model, "~/a.safetensors")
    monkeypatch.chdir(tmp_path)
    run = convnets.open_run("run")
    monkeypatch.chdir("/")
    assert run.evaluate()["num_examples"] == 360


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'creat'"):
        convnets.creat  # noqa: B018
    assert {"create", "open_run"} <= set(dir(convnets))
