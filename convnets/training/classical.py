"""Least squares, principal components and k-means, for convnets/training/closed_form.py.

All but the codebook follow LeCun et al. 1998, section III.C, and compute in float64.
"""

from collections.abc import Iterator

import numpy as np

from convnets.errors import UsageError
from convnets.layers.classical import class_pairs

RIDGE = 1e-8  # added to the variances of the features, as a share of their mean: a regularized pseudo-inverse
ROUNDS = 20  # maximum k-means iterations
DESCRIPTORS_PER_WORD = 100  # maximum descriptors per codebook word for k-means


def least_squares(features: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (kernel [d, classes], bias [classes]) with the least squared error to +1 for the class and -1 for others.

    Args:
        features: [n, d], dense or sparse.
    """
    return _solve(features, 2.0 * np.eye(classes)[labels] - 1)


def least_squares_of_pairs(features: np.ndarray, labels: np.ndarray, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (kernel [d, pairs], bias [pairs]): for each pair of classes, +1 for the first and -1 for the second.

    If one class of a pair has no examples, the unit predicts the other. If both have none, its output is 0.
    """
    kernel, bias = np.zeros((features.shape[1], pairs), np.float32), np.zeros(pairs, np.float32)
    classes = round((1 + (1 + 8 * pairs) ** 0.5) / 2)  # pairs = classes (classes - 1) / 2
    for n, (first, second) in enumerate(class_pairs(classes)):
        rows = np.flatnonzero((labels == first) | (labels == second))
        if len(rows):
            found = _solve(features[rows], np.where(labels[rows] == first, 1.0, -1.0)[:, None])
            kernel[:, n], bias[n] = found[0][:, 0], found[1][0]
    return kernel, bias


def _solve(features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (kernel [d, k], bias [k]) with the least squared error to targets [n, k]."""
    import scipy.linalg  # 0.3 s that other runs need not wait for

    x = np.asarray(features.toarray() if hasattr(features, "toarray") else features, np.float64)
    means = x.mean(axis=0), targets.mean(axis=0)
    x = x - means[0]
    squares = x.T @ x
    squares[np.diag_indices_from(squares)] += max(RIDGE * np.trace(squares) / len(squares), 1e-12)
    kernel = scipy.linalg.solve(squares, x.T @ (targets - means[1]), assume_a="pos")
    return kernel.astype(np.float32), (means[1] - means[0] @ kernel).astype(np.float32)


def principal_components(features: np.ndarray, count: int) -> np.ndarray:
    """Returns the first principal components, [d, count]; the first comes first."""
    _, vectors = np.linalg.eigh(np.cov(features.astype(np.float64), rowvar=False))
    return np.ascontiguousarray(vectors[:, ::-1][:, :count], np.float32)


def codebook(batches: Iterator[np.ndarray], words: int, seed: int) -> np.ndarray:
    """Returns the k-means centres [c, words] of the descriptors [..., c] of the first batches.

    Uses at most DESCRIPTORS_PER_WORD x words descriptors.

    Raises:
        UsageError: there are fewer descriptors than words.
    """
    from sklearn.cluster import KMeans

    parts, count = [], 0
    for batch in batches:
        parts.append(batch.reshape(-1, batch.shape[-1]))
        count += len(parts[-1])
        if count >= DESCRIPTORS_PER_WORD * words:
            break
    sample = np.concatenate(parts)
    if len(sample) < words:
        raise UsageError(f"a codebook of {words} words needs as many descriptors: the training set gives {len(sample)}")
    order = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation(len(sample))
    sample = sample[order[: DESCRIPTORS_PER_WORD * words]]
    print(f"codebook: {words} words of {len(sample):,} descriptors", flush=True)
    found = KMeans(words, n_init=1, max_iter=ROUNDS, random_state=seed).fit(sample)
    return found.cluster_centers_.T.astype(np.float32)


def centres_of_classes(
    features: np.ndarray, labels: np.ndarray, units: int, seed: int
) -> tuple[np.ndarray, np.float32]:
    """Returns k-means centres [d, units], an equal number for each class, and the width of the Gaussians around them.

    The paper does not give the width. Ours is the mean squared distance of an image to the nearest centre of its class.
    Classes without images get no centres, and a class gets no more centres than images; other units repeat centres.
    """
    from sklearn.cluster import KMeans

    seen, centres, total = np.unique(labels), [], 0.0
    for label in seen:
        own = features[labels == label]
        found = KMeans(min(units // len(seen), len(own)), n_init=1, max_iter=ROUNDS, random_state=seed).fit(own)
        centres.append(found.cluster_centers_)
        total += found.inertia_
        print(f"class {label}: {len(centres[-1])} centres of {len(own):,} images", flush=True)
    kernel = np.resize(np.concatenate(centres), (units, features.shape[1]))
    return np.ascontiguousarray(kernel.T, np.float32), np.float32(max(total / len(features), 1e-12))
