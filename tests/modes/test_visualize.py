"""--mode=visualize without a data set; test_run.py tests it on a run."""

import json

import jax
import numpy as np
import optax
import pytest
from PIL import Image

from configs import base
from convnets import models
from convnets.errors import UsageError
from convnets.models.pretrained import weights
from convnets.modes import visualize
from convnets.training.state import create_state


@pytest.fixture
def published(tmp_path):
    """Returns a config, a weights file and a picture; the data set does not exist."""
    config = base.get_config("stack")
    config.model.update(layers="conv(4, 3)|relu|max(2)|out", side=16, channels=3)
    config.data.update(name="nothing", test_ops="decode|resize(16)|standardize((125, 123, 114), (63, 62, 67))")
    model = models.create(**config.model)
    fresh = create_state(model, optax.identity(), 0).variables
    file, picture = tmp_path / "published.safetensors", tmp_path / "a.png"
    weights.save(file, "stack", fresh, own_names=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)).save(picture)
    return config, str(file), str(picture)


def test_weights_and_a_picture_need_no_data_set(published, tmp_path, capsys):
    config, file, picture = published
    found = visualize.visualize(config, tmp_path / "out", file, [picture], False)
    assert sorted(p.name for p in (tmp_path / "out" / "inside").iterdir()) == [
        "filters.png", "inside.json", "maps.png", "occlusion.png"
    ]  # fmt: skip
    assert "filters of conv1 are 3 x 3: too small" in capsys.readouterr().out
    kept = json.loads((tmp_path / "out" / "inside" / "inside.json").read_text())
    assert kept == json.loads(json.dumps(found)) and kept["image"]["name"] == "a.png"
    assert kept["image"]["guess"].startswith("class ")
    values = np.array(kept["image"]["occluded"]["values"])
    assert values.shape == (16, 16) and np.abs(values - kept["image"]["probability"]).max() > 0


def test_numbers_are_written_before_the_first_figure(published, tmp_path, monkeypatch):
    config, file, picture = published
    drawn = []

    def draw(figure, path):
        visualize.network_plots.plt.close(figure)
        drawn.append((path.name, json.loads((tmp_path / "inside" / "inside.json").read_text())))

    for module in (visualize.run_plots, visualize.network_plots):
        monkeypatch.setattr(module, "save_figure", draw)
    found = visualize.visualize(config, tmp_path, file, [picture], False)
    assert drawn == [(f"{name}.png", json.loads(json.dumps(found))) for name in ("filters", "maps", "occlusion")]


def test_a_picture_that_does_not_become_an_input_is_refused(published, tmp_path):
    config, file, picture = published
    config.data.test_ops = "decode|resize(28)|value_range(0, 1)"
    with pytest.raises(UsageError, match=r"gives images of \(28, 28, 3\) of .*a.png, model stack takes \(16,"):
        visualize.visualize(config, tmp_path, file, [picture], False)
    config.data.test_ops = "decode|subtract_mean"
    with pytest.raises(UsageError, match=r"needs the training set's statistics, and .* holds none: give numbers"):
        visualize.visualize(config, tmp_path, file, [picture], False)


def test_figures_of_one_run_are_the_same_file(tmp_path):
    from convnets.analysis import network_plots

    lines = [{"layer": "a", "norm": "n", "mean": [0.0, 1.0], "std": [1.0, 2.0], "raw": [3.0, 1.0], "dead": 0.0}] * 2
    for name in ("a.png", "b.png"):
        network_plots.plot_statistics({"x": lines, "y": lines[:1], "knn": []}, tmp_path / name, "title")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert jax.tree.leaves(visualize._short({"a": [1.23456789, 7, "b"]})) == [1.23457, 7, "b"]


def test_every_run_has_a_line_of_its_own(tmp_path, monkeypatch):
    from convnets.analysis import network_plots

    seen = []
    monkeypatch.setattr(network_plots, "save_figure", lambda figure, path: seen.append(figure))
    line = {"layer": "a", "norm": "", "mean": [0.0], "std": [1.0], "raw": [1.0], "dead": 0.0}
    network_plots.plot_statistics({f"run{n}": [line] * 2 for n in range(24)}, tmp_path / "a.png", "title")
    drawn = [v for v in seen[0].axes[2].lines if str(v.get_label()).startswith("run")]
    assert [v.get_label() for v in drawn] == [f"run{n}" for n in range(24)]
    assert len({(v.get_color(), v.get_linestyle()) for v in drawn}) == 24


def test_runs_in_read_only_folders_are_drawn_elsewhere(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(visualize.evaluate, "load_run_config", lambda workdir, overrides: None)
    monkeypatch.setattr(visualize, "visualize", lambda *arguments: drawn.append(arguments[-1]) or {"statistics": []})
    monkeypatch.setattr(visualize.network_plots, "plot_statistics", lambda *arguments: None)
    monkeypatch.setattr(visualize.os, "access", lambda path, mode: path.name == "a")
    visualize.compare([tmp_path / "a", tmp_path / "b"], [], tmp_path / "out")
    assert drawn == [None, tmp_path / "out" / "1-b"]
