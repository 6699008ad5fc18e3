"""Export tests that would take too long with the real processes of test_run.py."""

import json
import re

import jax
import numpy as np
import optax
import pytest

from configs import base
from convnets import api, models
from convnets.models.pretrained import weights
from convnets.modes import evaluate, export
from convnets.report import results
from convnets.runtime import files, included
from convnets.training.checkpoint import Checkpoints
from convnets.training.state import create_state
from tests.test_api import GOLDEN


@pytest.mark.parametrize(("options", "name"), [({}, "layer1.0.bn1.running_var"), ({"epsilon": 1e-3}, "params/fc/bias")])
def test_export_takes_published_names_where_they_say_the_same(options, name, tmp_path, capsys):
    config = base.get_config("resnet20_cifar")
    config.model.update(options)
    model = models.create(**config.model)
    trained = create_state(model, optax.identity(), 0)
    rng = np.random.default_rng(0)
    trained = jax.tree.map(
        lambda v: rng.standard_normal(v.shape, np.float32) if v.ndim else v.dtype.type(7), jax.device_get(trained)
    )
    Checkpoints(tmp_path / "checkpoints").save(trained)
    file = tmp_path / "a.safetensors"
    export.export(config, tmp_path, file)
    said = capsys.readouterr().out
    assert "resnet20_cifar of step 7: 269,722 parameters and 1,376 running statistics" in said
    assert ("under our own names" if options else "under their published names") in said
    assert ("epsilon 1e-05, not 0.001" in said) == bool(options)
    assert name in weights.read(file)[0]
    found = weights.load(file, "resnet20_cifar", trained.variables, model)
    for ours, theirs in zip(jax.tree.leaves(trained.variables), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_finished_run_comes_along_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(included, "FOLDER", tmp_path)
    export.include(evaluate.load_run_config(GOLDEN, ["--config.data.data_dir=/somewhere"]), GOLDEN, "own")
    card, result = (json.loads(p.read_text()) for p in (tmp_path / "own" / "manifest.json", GOLDEN / "result.json"))
    assert {k: card[k] for k in ("seed", "commit", "top1_error")} == {
        k: result[k] for k in ("seed", "commit", "top1_error")
    }
    assert card["config"] == "configs/ablation.py:mnist10k" and card["command"].startswith("python run.py --config=")
    assert included.names() == ["own"] and "somewhere" not in (tmp_path / "own" / "config.json").read_text()
    for path in (tmp_path / "own").iterdir():  # others may read it, as any new file
        path.with_suffix(".new").touch()
        assert path.stat().st_mode == path.with_suffix(".new").stat().st_mode
    pixels = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 1), np.uint8)
    ours, theirs = (api.open_run(name) for name in ("own", GOLDEN))
    np.testing.assert_array_equal(ours.predict(pixels), theirs.predict(pixels))
    assert ours.class_names == theirs.class_names


def test_what_comes_along_is_small_and_has_its_card():
    assert sum(p.stat().st_size for p in included.FOLDER.rglob("*")) < 8_000_000
    for name in included.names():
        for part in ("manifest", "config"):
            text = (included.FOLDER / name / f"{part}.json").read_text()
            assert not re.search(r"/(work|root|home|tmp)/", text), name
        card = files.read_json(included.FOLDER / name / "manifest.json")
        assert {"command", "commit", "seed", "top1_error", "config", "overrides"} <= set(card)
        assert re.fullmatch("[0-9a-f]{40}", card["commit"])
        (recorded,) = [r for r in results.read_results() if all(r.get(key) == card[key] for key in ("config", "commit", "seed"))
                       and r["overrides"] == card["overrides"]]  # fmt: skip
        for key in ("top1_error", "top5_error", "loss", "protocol", "num_examples", "steps"):
            assert recorded[key] == card[key], (name, key)
        run = api.open_run(name)
        assert sum(v.size for v in jax.tree.leaves(run.variables["params"])) == card["parameters"]
