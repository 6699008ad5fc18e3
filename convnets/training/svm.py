"""Support vector machines, for convnets/training/closed_form.py.

For networks with hand-made features (convnets/layers/descriptors.py), and any network with fixed layers below `out`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from convnets.errors import UsageError
from convnets.layers.classical import DEGREE, unit_length

COSTS = (0.01, 0.1, 1.0, 10.0, 100.0)  # candidates for C, chosen on held-out parts of the training set
FOLDS = 5
PASSES = 20_000  # maximum liblinear iterations; with large C and few images it needs some thousands
CV_MAX = 2000  # examples; above this number a single fold is enough to choose C
POLYNOMIAL_COST = 10.0  # C of SVMs with a polynomial kernel of at most 1
FULL = 0.25  # a batch of features with a larger fraction of non-zeros stays dense; others become sparse


def gather_sparse(batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> tuple[Any, np.ndarray]:
    """Returns the features [n, d], as a sparse matrix if most are zero, and the labels [n]."""
    from scipy import sparse

    parts, labels = [], []
    for x, truth in batches:
        x = x.reshape(len(x), -1)
        parts.append(x if np.count_nonzero(x) > FULL * x.size else sparse.csr_array(x))
        labels.append(truth)
    mixed = any(sparse.issparse(part) for part in parts)
    return sparse.vstack(parts, format="csr") if mixed else np.concatenate(parts), np.concatenate(labels)


def svm(features: Any, labels: np.ndarray, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (kernel [d, classes], bias [classes]) of one-vs-rest linear SVMs with squared hinge loss.

    Features are scaled to a mean squared length of 1, so that C has the same meaning for all features. C is chosen from
    COSTS by 5-fold cross-validation on shuffled examples (one 80/20 split above CV_MAX examples); ties take the smaller
    C. Above CV_MAX the search stops once the error grows, because a large C takes the longest. The final SVMs
    are trained on all examples. A class without examples always scores -1, a confident negative.

    Raises:
        UsageError: all examples have the same class.
    """
    from sklearn.model_selection import KFold
    from sklearn.svm import LinearSVC

    n = len(labels)
    scale = 1 / max(float(np.sqrt((features * features).sum() / n)), 1e-12)
    features = features * scale

    def machine(cost: float, rows: np.ndarray) -> LinearSVC:
        return LinearSVC(C=cost, random_state=seed, max_iter=PASSES).fit(features[rows], labels[rows])

    parts = KFold(min(FOLDS, n), shuffle=True, random_state=seed).split(np.arange(n)) if n > 1 else ()
    folds = [(rest, held) for rest, held in parts if len(np.unique(labels[rest])) > 1][: FOLDS if n <= CV_MAX else 1]
    if not folds:
        raise UsageError(
            f"loss=svm needs examples of two classes: the training set has {n} of {len(np.unique(labels))}"
        )
    errors = {}
    for cost in COSTS:
        wrong = [machine(cost, rest).predict(features[held]) != labels[held] for rest, held in folds]
        errors[cost] = 100 * float(np.mean(np.concatenate(wrong)))
        print(f"C = {cost:g}: error {errors[cost]:.2f} % on {sum(map(len, wrong)):,} held out of {n:,}", flush=True)
        if n > CV_MAX and errors[cost] > min(errors.values()):
            break
    best = machine(min(errors, key=errors.__getitem__), np.arange(n))
    weights, offsets = best.coef_, best.intercept_
    if len(best.classes_) == 2:  # for two classes scikit-learn fits one SVM, for the second class
        weights, offsets = np.concatenate([-weights, weights]), np.concatenate([-offsets, offsets])
    kernel, bias = np.zeros((features.shape[1], classes), np.float32), np.full(classes, -1, np.float32)
    kernel[:, best.classes_], bias[best.classes_] = scale * weights.T, offsets
    return kernel, bias


def polynomial_svm(features: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, ...]:
    """Returns (weights [n, classes], bias [classes]) of one-vs-rest SVMs with a polynomial kernel.

    Args:
        features: [n, d]; the kernel is the one of `layers.Polynomial`.

    Raises:
        UsageError: all examples have the same class.
    """
    from sklearn.svm import SVC

    if len(np.unique(labels)) < 2:
        raise UsageError(f"loss=svm needs examples of two classes: the training set has {len(labels)} of one")

    x = unit_length(features.astype(np.float64))
    weights, bias = np.zeros((len(x), classes), np.float32), np.full(classes, -1, np.float32)
    for label in range(classes):
        target = labels == label
        if not target.any():  # never seen: a confident negative
            continue
        # ((u . v + 1) / 2)^4 in scikit-learn's terms: (gamma u . v + coef0)^degree.
        machine = SVC(C=POLYNOMIAL_COST, kernel="poly", degree=DEGREE, gamma=0.5, coef0=0.5, cache_size=1000).fit(
            x, target
        )
        weights[machine.support_, label], bias[label] = machine.dual_coef_[0], machine.intercept_[0]
        print(f"class {label}: {len(machine.support_):,} support vectors of {len(x):,} images", flush=True)
    return weights, bias
