"""Hand-crafted features compared with scikit-image and plain loops, and models fitted to them: k-means and SVMs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse
from sklearn.model_selection import KFold
from sklearn.svm import LinearSVC

from convnets import losses, models
from convnets.config import load_config
from convnets.errors import UsageError
from convnets.evaluation import evaluator
from convnets.layers.descriptors import HOG, SIFT, Codebook, Pyramid, window
from convnets.models.summary import summarize
from convnets.modes import evaluate, train
from convnets.training import classical, svm
from tests.conftest import ROOT


def images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32) / 255


@pytest.mark.parametrize("shape", [(2, 28, 28, 1), (2, 18, 13, 3)])  # the second is not a multiple of the cell size
def test_hog_is_that_of_scikit_image(shape):
    from skimage.feature import hog

    x = images(*shape)
    expected = np.stack([hog(image, 9, (4, 4), (2, 2), "L2-Hys", channel_axis=-1) for image in x])
    found = HOG(4).apply({}, jnp.asarray(x))
    assert found.shape == (2, shape[1] // 4 - 1, shape[2] // 4 - 1, 36)
    np.testing.assert_allclose(found.reshape(2, -1), expected, atol=1e-6)


def sift_of_a_patch(grey, top, left):
    """Computes a SIFT descriptor by Lowe 2004, section 6.1, pixel by pixel and vote by vote."""
    histogram = np.zeros((4, 4, 8))
    for i in range(16):
        for j in range(16):
            y, x = top + i, left + j
            inside_y, inside_x = 0 < y < grey.shape[0] - 1, 0 < x < grey.shape[1] - 1
            down = grey[y + 1, x] - grey[y - 1, x] if inside_y else 0.0
            right = grey[y, x + 1] - grey[y, x - 1] if inside_x else 0.0
            length = np.hypot(down, right) * np.exp(-((i - 7.5) ** 2 + (j - 7.5) ** 2) / (2 * 8**2))
            row, column, angle = (i - 1.5) / 4, (j - 1.5) / 4, np.arctan2(down, right) % (2 * np.pi) / (np.pi / 4)
            for r in (int(np.floor(row)), int(np.floor(row)) + 1):
                for c in (int(np.floor(column)), int(np.floor(column)) + 1):
                    for a in (int(np.floor(angle)), int(np.floor(angle)) + 1):
                        if 0 <= r < 4 and 0 <= c < 4:
                            share = (1 - abs(row - r)) * (1 - abs(column - c)) * (1 - abs(angle - a))
                            histogram[r, c, a % 8] += share * length
    first = histogram.ravel() / np.linalg.norm(histogram)
    second = np.minimum(first, 0.2)
    return second / np.linalg.norm(second)


def test_sift_is_lowes_descriptor_at_every_place():
    x = images(1, 20, 22, 1)
    found = np.asarray(SIFT(2).apply({}, jnp.asarray(x)))
    assert found.shape == (1, 3, 4, 128)
    for i, j in ((0, 0), (2, 3), (1, 2)):
        np.testing.assert_allclose(found[0, i, j], sift_of_a_patch(x[0, ..., 0], 2 * i, 2 * j), atol=1e-4)


def test_sift_of_colours_is_that_of_grey_and_blind_to_light():
    x = images(1, 18, 18, 3)
    grey = (x @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    sift = jax.jit(lambda v: SIFT(2).apply({}, v))
    np.testing.assert_allclose(sift(x), sift(grey), atol=1e-4)
    np.testing.assert_allclose(sift(0.4 * grey + 0.3), sift(grey), atol=1e-4)
    assert not np.any(sift(np.full_like(grey, 0.5)))  # no contrast gives a zero descriptor, not NaN


def test_every_pixel_of_a_patch_counts_once_but_at_its_edge():
    total = window().sum(axis=2)
    gauss = np.exp(-((np.arange(16) - 7.5) ** 2) / 128)
    np.testing.assert_allclose(total[2:14, 2:14], np.outer(gauss, gauss)[2:14, 2:14], rtol=1e-5)
    assert (total[0] < gauss[0]).all()


def test_a_codebook_names_the_nearest_centre():
    centres, x = images(5, 7), images(2, 3, 4, 7, seed=1)
    found = Codebook(5).apply({"params": {"kernel": centres.T}}, jnp.asarray(x))
    nearest = np.linalg.norm(x[..., None, :] - centres, axis=-1).argmin(axis=-1)
    np.testing.assert_array_equal(found, np.eye(5)[nearest])


def test_a_pyramid_of_words_by_hand():
    words = np.array([[0, 1, 1], [0, 2, 2], [0, 2, 0]])  # the middle row and column fall into the lower and right cells
    x = jnp.asarray(np.eye(3, dtype=np.float32)[words][None])
    (found,) = np.asarray(Pyramid(2).apply({}, x))
    fields = [[4, 2, 3], [1, 0, 0], [0, 2, 0], [2, 0, 0], [1, 0, 3]]
    np.testing.assert_allclose(found, np.sqrt(np.concatenate(fields) / 9 / 2), rtol=1e-6)  # both levels count 1/2
    (three,) = np.asarray(Pyramid(3).apply({}, x))
    parts = np.square(three).reshape(-1, 3).sum(axis=1)
    np.testing.assert_allclose([parts[0], parts[1:5].sum(), parts[5:].sum()], [1 / 4, 1 / 4, 1 / 2], rtol=1e-5)


def test_a_pyramid_has_no_more_levels_than_words_to_divide():
    with pytest.raises(ValueError, match="4 levels are too many for 3 x 3 words"):
        Pyramid(4).apply({}, jnp.zeros((1, 3, 3, 2)))


def test_a_line_of_words_says_its_sizes():
    model = models.create("stack", 10, "float32", layers="sift(2)|codebook(20)|pyramid(3)|out", side=32, channels=3)
    rows = {r.name: r for r in summarize(model)}
    assert [rows[n].output for n in ("sift1", "codebook1", "pyramid1", "out")] == [[9, 9, 128], [9, 9, 20], [420], [10]]
    assert rows["codebook1"].multiply_adds == 81 * 128 * 20
    assert (rows["sift1"].receptive_field, rows["pyramid1"].receptive_field) == (18, 18 + 2 * 8)
    hog = models.create("stack", 10, "float32", layers="hog(4)|out", side=28, channels=1)
    (row, out) = summarize(hog)
    assert (row.output, row.receptive_field, out.parameters) == ([6, 6, 36], 10, 6 * 6 * 36 * 10 + 10)


def separable(n=90, d=6, classes=3):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    return (4 * np.eye(classes, d)[labels] + rng.standard_normal((n, d))).astype(np.float32), labels.astype(np.int32)


@pytest.mark.parametrize("kind, many", [(np.asarray, 90), (np.asarray, 89), (sparse.csr_array, 90)])
def test_the_svm_is_scikit_learns_with_the_cost_that_the_held_out_prefer(kind, many, monkeypatch, capsys):
    """Each fifth is held out in turn; above CV_MAX examples, only one fifth is."""
    monkeypatch.setattr(svm, "CV_MAX", many)
    x, labels = separable()
    scale = 1 / np.sqrt(np.square(x).sum() / len(x))
    kernel, bias = svm.svm(kind(x), labels, 3, seed=2)
    folds = list(KFold(5, shuffle=True, random_state=2).split(x))[: 5 if many >= 90 else 1]
    wrong = {c: np.mean([LinearSVC(C=c, random_state=2).fit(x[rest] * scale, labels[rest]).predict(x[held] * scale)
                         != labels[held] for rest, held in folds]) for c in svm.COSTS}  # fmt: skip
    best = min(wrong, key=wrong.get)
    expected = LinearSVC(C=best, random_state=2).fit(x * scale, labels)
    np.testing.assert_allclose(x @ kernel + bias, expected.decision_function(x * scale), atol=2e-2)
    assert capsys.readouterr().out.count(f"{90 if many >= 90 else 18} held out of 90") == len(svm.COSTS)


def test_no_example_is_learned_from_that_the_cost_is_chosen_by(monkeypatch):
    x, _ = separable(60, 80)
    labels = np.random.default_rng(1).integers(0, 2, 60).astype(np.int32)
    seen = []
    fitted = LinearSVC.fit
    monkeypatch.setattr(LinearSVC, "fit", lambda self, x, y: seen.append((self.C, len(y))) or fitted(self, x, y))
    svm.svm(x, labels, 2, seed=0)
    assert [n for _, n in seen] == [48] * 5 * len(svm.COSTS) + [60]


@pytest.mark.parametrize("many, costs", [(59, [0.01, 0.1, 1.0, 0.01]), (60, [*np.repeat(svm.COSTS, 5), 0.01])])
def test_of_many_examples_the_search_ends_where_the_error_grows(many, costs, monkeypatch):
    monkeypatch.setattr(svm, "CV_MAX", many)
    seen = []
    fitted = LinearSVC.fit
    monkeypatch.setattr(LinearSVC, "fit", lambda self, x, y: seen.append(self.C) or fitted(self, x, y))
    monkeypatch.setattr(LinearSVC, "predict", lambda self, x: np.full(len(x), int(self.C >= 1)))
    svm.svm(separable(60)[0], (np.arange(60) % 3 == 0).astype(np.int32), 2, seed=0)
    assert seen == costs


def test_few_examples_and_a_single_class():
    x, labels = separable(4, classes=2)
    kernel, bias = svm.svm(x, labels, 2, seed=0)
    assert (np.argmax(x @ kernel + bias, axis=1) == labels).all()
    for n in (1, 4):
        with pytest.raises(UsageError, match=f"examples of two classes: the training set has {n} of 1"):
            svm.svm(x[:n], labels[:n] * 0, 2, seed=0)


def test_two_classes_and_a_class_that_is_missing():
    x, labels = separable(classes=2)
    kernel, bias = svm.svm(x, labels * 3, 4, seed=0)
    scores = x @ kernel + bias
    assert np.mean(np.argmax(scores, axis=1) == 3 * labels) > 0.95
    np.testing.assert_allclose(scores[:, 0], -scores[:, 3], rtol=1e-5)
    assert (scores[:, 1:3] == -1).all()


def test_squared_hinge():
    scores = jnp.array([[2.0, -2.0, 0.5], [0.0, 0.5, -1.0]])
    np.testing.assert_allclose(losses.svm(scores, jnp.array([0, 0])), [1.5**2, 1 + 1.5**2])
    # SVM scores are not log probabilities, and averaging several views needs those.
    model = models.create("stack", 10, "float32", layers="hog(4)|out", side=12, channels=1)
    with pytest.raises(UsageError, match="loss=svm gives none"):
        evaluator.check(model, "svm", "decode|center(12)", "ten_crop")


def digits(scratch, source, *more):
    ops = "decode|resize(20)|value_range(0.0, 1.0)"
    overrides = {"data.name": "digits", "data.data_dir": f"{scratch}/tfds", "data.train_split": "train[:100]",
                 "data.test_split": "test[:100]", "data.train_ops": ops, "data.test_ops": ops, "train.batch_size": 20}  # fmt: skip
    config, problems = load_config(ROOT / source, [*(f"--config.{k}={v}" for k, v in overrides.items()), *more])
    assert not problems
    return config


def test_a_network_of_hand_made_features_is_a_run_like_any_other(scratch, tmp_path, capsys):
    config = digits(scratch, "configs/handcrafted.py:sift-mnist", "--config.model.side=20",
                    "--config.model.layers=sift(2)|codebook(8)|pyramid(2)|out")  # fmt: skip
    train.train(config, tmp_path, False)
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["steps"], result["num_examples"], result["loss"] > 0) == (5, 100, True)
    assert result["top1_error"] < 40 and result["parameters"] == 8 * 128 + 10 * 8 * 5 + 10
    lines = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in lines] == [1, 2, 3, 4, 5] and lines[-1]["error"] < 30
    evaluate.evaluate(config, tmp_path, "", "again")
    again = json.loads((tmp_path / "evaluation-again.json").read_text())
    assert again["top1_error"] == result["top1_error"] and again["loss"] == pytest.approx(result["loss"])
    train.train(config, tmp_path, False)
    assert "already complete" in capsys.readouterr().out


def test_an_svm_needs_a_layer_of_classes(scratch, tmp_path):
    config = digits(scratch, "configs/lenet.py:digits", "--config.loss=svm", "--config.data.train_ops=decode|resize(32)",
                    "--config.data.test_ops=decode|resize(32)")  # fmt: skip
    with pytest.raises(UsageError, match="fits the layer 'out'; the layers of this network are C1, S2"):
        train.train(config, tmp_path, False)
    assert not (tmp_path / "config.json").exists()


def test_too_few_descriptors_for_a_codebook():
    with pytest.raises(UsageError, match="a codebook of 9 words needs as many descriptors: the training set gives 8"):
        classical.codebook(iter([images(2, 2, 2, 128)]), 9, seed=0)
