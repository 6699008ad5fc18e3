"""The classifiers of LeCun et al. 1998 that are fitted at once equal scikit-learn's or NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from convnets import models
from convnets.config import load_config
from convnets.errors import UsageError
from convnets.models.summary import variable_shapes
from convnets.training import classical, closed_form, svm
from convnets.training.trainer import Run
from tests.conftest import ROOT

RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((4, 3, 3, 1), np.float32)
LABELS = RNG.integers(0, 4, 120).astype(np.int32)
IMAGES = CENTRES[LABELS] + 0.8 * RNG.standard_normal((120, 3, 3, 1), np.float32)
NEW = CENTRES[RNG.integers(0, 4, 50)] + 0.8 * RNG.standard_normal((50, 3, 3, 1), np.float32)
FLAT, NEW_FLAT = IMAGES.reshape(120, 9), NEW.reshape(50, 9)


def fitted(layers, name, loss="least_squares"):
    """Returns the scores of NEW by a network of one learning layer, and that layer's parameters."""
    model = models.create("stack", 4, "float32", layers=layers, side=3)
    like = variable_shapes(model)["params"]
    fit = closed_form.FITS[name]
    params = {**like, name: fit(iter([(IMAGES[:70], LABELS[:70]), (IMAGES[70:], LABELS[70:])]), like[name], loss, 0)}
    assert jax.tree.map(lambda a, b: a.shape == b.shape, params[name], like[name])
    return np.asarray(model.apply({"params": params}, jnp.asarray(NEW))), params[name]


def test_nearest_neighbours_vote():
    scores, kept = fitted("nearest(130, 3)", "nearest")
    expected = KNeighborsClassifier(3).fit(FLAT, LABELS)
    clear = np.sort(expected.predict_proba(NEW_FLAT))[:, -1] > 0.5  # scikit-learn breaks ties by the class
    np.testing.assert_array_equal(scores.argmax(1)[clear], expected.predict(NEW_FLAT)[clear])
    assert (kept["labels"][120:] == -1).all() and clear.sum() > 40
    with pytest.raises(UsageError, match=r"nearest\(100\) is to hold the 120 training images"):
        fitted("nearest(100, 3)", "nearest")


def test_a_polynomial_svm_is_scikit_learns():
    scores, _ = fitted("polynomial(130)", "polynomial", "svm")
    unit = FLAT / np.linalg.norm(FLAT, axis=1, keepdims=True)
    shown = NEW_FLAT / np.linalg.norm(NEW_FLAT, axis=1, keepdims=True)
    for label in range(4):
        machine = SVC(C=10, kernel="poly", degree=4, gamma=0.5, coef0=0.5).fit(unit, label == LABELS)
        np.testing.assert_allclose(scores[:, label], machine.decision_function(shown), atol=1e-3)


def test_a_polynomial_svm_needs_two_classes():
    with pytest.raises(UsageError, match="needs examples of two classes: the training set has 3 of one"):
        svm.polynomial_svm(np.ones((3, 4)), np.zeros(3, int), 2)


def test_linear_layers_have_the_least_squares():
    scores, _ = fitted("out", "out")
    design, shown = (np.concatenate([x, np.ones((len(x), 1))], axis=1) for x in (FLAT, NEW_FLAT))
    targets = 2 * np.eye(4)[LABELS] - 1
    np.testing.assert_allclose(scores, shown @ np.linalg.lstsq(design, targets)[0], atol=1e-3)
    scores, _ = fitted("pairs", "pairs")
    votes = np.zeros((50, 4))
    for i, j in classical.class_pairs(4):
        rows = np.isin(LABELS, (i, j))
        units = np.sign(shown @ np.linalg.lstsq(design[rows], np.where(LABELS[rows] == i, 1.0, -1.0))[0])
        votes[:, i] += units
        votes[:, j] -= units
    np.testing.assert_allclose(scores, votes, atol=0.01)


def test_components_are_those_of_the_centred_images_and_project_without_centring():
    model = models.create("stack", 4, "float32", layers="pca(2)|products|out", side=3)
    params = variable_shapes(model)["params"]
    assert params["out"]["kernel"].shape == (3, 4)  # two squares and one product
    kernel = closed_form.FITS["pca"](iter([(IMAGES, LABELS)]), params["pca1"], "", 0)["kernel"]
    np.testing.assert_allclose(np.abs(np.diag(PCA(2).fit(FLAT).components_ @ kernel)), 1, atol=1e-4)


def test_every_class_has_its_own_centres():
    like = {"kernel": np.empty((9, 8)), "width": np.empty(())}
    found = closed_form.fit_gaussians(iter([(IMAGES, LABELS)]), like, "least_squares", 0)
    near = ((found["kernel"].T[:, None] - CENTRES.reshape(4, 9)) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(np.bincount(near), [2, 2, 2, 2])
    assert 0.1 < found["width"] < 9


@pytest.mark.parametrize("batch", [478, 500, 1000])
def test_each_image_is_looked_at_once(batch, scratch, tmp_path):
    """Also where the batch does not divide their number."""
    config, problems = load_config(ROOT / "configs/lecun_1998.py:knn", [
        "--config.data.name=digits", "--config.model.side=8", "--config.model.layers=nearest(3000, 3)",
        f"--config.train.batch_size={batch}",
    ])  # fmt: skip
    assert not problems
    run = Run(config, tmp_path)
    run.fit_at_once()
    kept = run.state.params["nearest"]
    images = np.asarray(kept["kernel"])[:, np.asarray(kept["labels"]) >= 0].T
    assert len(images) == len(np.unique(images, axis=0)) == 1437 and run.done
