"""Tests experiments/edges.py: the lecture's edge filters exactly, its output size formula, and a learned filter."""

import numpy as np
import pytest

from convnets.report import results
from convnets.runtime import provenance
from experiments import edges


def test_the_lectures_vertical_edge():
    image = np.repeat([[10, 10, 10, 0, 0, 0]], 6, axis=0).astype(np.float32)
    np.testing.assert_array_equal(edges.convolve(image, edges.VERTICAL), np.repeat([[0, 30, 30, 0]], 4, axis=0))
    np.testing.assert_array_equal(
        edges.convolve(image[:, ::-1], edges.VERTICAL), np.repeat([[0, -30, -30, 0]], 4, axis=0)
    )
    horizontal = edges.FILTERS["horizontal edges"]
    np.testing.assert_array_equal(edges.convolve(image.T, horizontal), np.repeat([[0, 30, 30, 0]], 4, axis=0).T)
    assert not edges.convolve(image, horizontal).any()


@pytest.mark.parametrize(("n", "f", "padding", "stride"), [(6, 3, 0, 1), (6, 3, 1, 1), (7, 3, 0, 2), (8, 5, 2, 3)])
def test_sizes_are_those_of_the_lectures_formula(n, f, padding, stride):
    image = np.random.default_rng(0).standard_normal((n, n + 1)).astype(np.float32)
    found = edges.convolve(image, np.ones((f, f), np.float32), stride, padding)
    assert found.shape == (edges.side(n, f, padding, stride), edges.side(n + 1, f, padding, stride))
    if stride == 1 and padding == (f - 1) // 2:
        assert found.shape == image.shape  # "same"


@pytest.mark.parametrize("name", edges.FILTERS)
def test_a_filter_is_learned_from_noisy_edge_maps(name):
    kernel = edges.FILTERS[name]
    photograph = np.cumsum(np.random.default_rng(5).standard_normal((80, 80)), axis=1 if name[0] == "v" else 0) / 9
    images, maps = edges.pairs(photograph.astype(np.float32), kernel, seed=1)
    clean = np.stack([edges.convolve(image[..., 0], kernel) for image in images])
    assert np.std(maps[..., 0] - clean) == pytest.approx(edges.NOISE * clean.std(), rel=0.02)  # the stated noise
    found = edges.learn(images, maps, seed=1, steps=150)
    assert edges.cosine(found[0], kernel) < 0.9 < 0.99 < edges.cosine(found[-1], kernel)
    np.testing.assert_allclose(found[-1], kernel, atol=0.2)  # the magnitude too, not only the direction


def test_what_is_recorded_stands_once_in_the_report(tmp_path, monkeypatch):
    from convnets.report import pages

    monkeypatch.setattr(results, "RESULTS", tmp_path / "results.jsonl")
    monkeypatch.setattr(provenance, "commit", lambda: "a" * 40)
    entries = [edges.entry("vertical edges", seed, [0.1, 0.992 + seed / 1000], 1.0) for seed in range(3)]
    assert results.keep_results(entries) == 3 and results.keep_results(entries[:2]) == 0
    lines = pages.demonstrations(results.read_results())
    assert (
        "| `python -m experiments.edges` | vertical edges | cosine similarity | **0.993** ± 0.001 (3) | 0.99052 to 0.99548"
        " | aaaaaaa |" in lines
    )
    assert (
        "| `python -m experiments.edges` | vertical edges | steps to cosine(0.99) | **1** ± 0 (3) |  | aaaaaaa |"
        in lines
    )
    assert pages.demonstrations([]) == []
    assert pages.block([], results.read_results(), "edges") == [*lines[2:-2], "![edges](edges.png)"]
    assert pages.block([], results.read_results(), "drift") == ["Not run yet: `python -m experiments.drift`"]
