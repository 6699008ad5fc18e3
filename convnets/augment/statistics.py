"""Training-set statistics: mean, standard deviation and principal components of the colours."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convnets.errors import CheckpointError


class Statistics(NamedTuple):
    """Statistics of the training pixels (0 to 255), all float32.

    Attributes:
        mean_image: mean of each pixel, [h, w, c].
        mean, std: mean and standard deviation of each channel, [c].
        eigenvalues, eigenvectors: of the colour covariance, [c] and [c, c]. Eigenvectors are columns, in order of
            increasing eigenvalue.
    """

    mean_image: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray


def load_statistics(path: Path) -> Statistics:
    """Reads the statistics that a run keeps in its workdir.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        with path.open("rb") as file:
            return Statistics(**np.load(file))
    except Exception as e:  # NumPy and zipfile raise many exception types
        raise CheckpointError(
            f"{path} is damaged: {e}; remove it, and the command that wrote it writes it anew"
        ) from None


UNKNOWN = Statistics(*[np.zeros(0, np.float32)] * 5)  # for operations whose numbers are given as arguments


def measure_statistics(parts: Iterable[np.ndarray]) -> Statistics:
    """Computes the statistics of images that arrive in parts, uint8 [n, h, w, c]; the float64 sums are exact here."""
    count = 0
    total = products = np.zeros(())
    for part in parts:
        count += len(part)
        total = total + part.sum(0, dtype=np.float64)
        for chunk in np.array_split(part, max(1, part.size // 2**24)):  # bounds the size of the float64 copy
            colours = chunk.reshape(-1, chunk.shape[-1]).astype(np.float64)
            products = products + colours.T @ colours
    mean_image = total / count
    mean = mean_image.mean((0, 1))
    covariance = products / (count * mean_image[..., 0].size) - np.outer(mean, mean)
    values, vectors = np.linalg.eigh(covariance)
    vectors = vectors * np.where(vectors.sum(0) < 0, -1, 1)  # eigh's signs are arbitrary: fix them by the column sum
    std = np.sqrt(np.diag(covariance))
    return Statistics(*(np.asarray(v, np.float32) for v in (mean_image, mean, std, np.maximum(values, 0), vectors)))
