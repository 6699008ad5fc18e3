"""Mean, standard deviation and principal colours of the training set."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from convnets.op_string import Call


class Statistics(NamedTuple):
    """Of the training pixels, 0 to 255, float32.

    Attributes:
        mean_image: [h, w, c].
        mean, std: [c].
        eigenvalues, eigenvectors: [c] and [c, c], of the covariance of the colours; vectors in columns, the largest last.
    """

    mean_image: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray


UNKNOWN = Statistics(*[np.zeros(0, np.float32)] * 5)  # where an operation was given numbers in their place


def wants_statistics(call: Call) -> bool:
    """Whether an operation wants the statistics of the training set."""
    if call.name == "subtract_mean":
        return call.kwargs["of"] in ((), ("colour",))
    if call.name == "standardize":
        return not (call.kwargs["mean"] and call.kwargs["std"])
    return call.name == "lighting"


def measure_statistics(parts: Iterable[np.ndarray]) -> Statistics:
    """Statistics of images that come in parts, uint8 [n, h, w, c]; sums are float64, exact here."""
    count = 0
    total = products = np.zeros(())
    for part in parts:
        count += len(part)
        total = total + part.sum(0, dtype=np.float64)
        for chunk in np.array_split(part, max(1, part.size // 2**24)):  # float64 of all of them would be large
            colours = chunk.reshape(-1, chunk.shape[-1]).astype(np.float64)
            products = products + colours.T @ colours
    mean_image = total / count
    mean = mean_image.mean((0, 1))
    covariance = products / (count * mean_image[..., 0].size) - np.outer(mean, mean)
    values, vectors = np.linalg.eigh(covariance)
    vectors = vectors * np.where(vectors.sum(0) < 0, -1, 1)  # the sign is the library's whim
    std = np.sqrt(np.diag(covariance))
    return Statistics(*(np.asarray(v, np.float32) for v in (mean_image, mean, std, np.maximum(values, 0), vectors)))
