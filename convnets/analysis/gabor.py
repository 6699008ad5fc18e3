"""How Gabor-like a filter is: a Gabor function fitted to it by least squares.

A plane wave under a Gaussian window, with which Daugman (1985) and Jones & Palmer (1987) describe the simple cells of the
cat's visual cortex:

    g(x, y) = exp(-u^2 / 2 su^2 - v^2 / 2 sv^2) (a cos(2 pi f u) + b sin(2 pi f u)),
    u = (x - cx) cos t + (y - cy) sin t,  v = -(x - cx) sin t + (y - cy) cos t

It has 8 numbers, so any 5 x 5 filter resembles one to some degree; `noise` says to what degree chance does.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize

SMALLEST = 5  # pixels a side; a 3 x 3 filter has about as many as the function has numbers
TRIES = 3  # starts that are followed to their end


class Gabor(NamedTuple):
    """A fitted function.

    Attributes:
        orientation: of the stripes, degrees from 0 to 180, counter-clockwise from horizontal.
        frequency: cycles a pixel, 0 to 0.5.
        explained: share of the filter's variance, at most 1; 0 for a filter that is the same everywhere.
        centre: (row, column) of the window, from the filter's first pixel.
        width: (across the stripes, along them), deviations of the window in pixels.
        values: [h, w], the function at the filter's pixels.
    """

    orientation: float
    frequency: float
    explained: float
    centre: tuple[float, float]
    width: tuple[float, float]
    values: np.ndarray

    @property
    def striped(self) -> bool:
        """Whether the filter holds at least half a period; below that it is a blob, or a slope."""
        return bool(self.frequency * max(self.values.shape) >= 0.5)


def fit(pixels: np.ndarray) -> Gabor:
    """The Gabor function nearest to a filter [h, w], in the sum of squared differences.

    The best of a grid of starts are followed; a and b are linear and solved for at each step. A window's centre lies in
    the filter, its deviations between 0.6 pixels and the filter's side.

    Raises:
        ValueError: the filter is smaller than 5 x 5.
    """
    h, w = pixels.shape
    if min(h, w) < SMALLEST:
        raise ValueError(f"a filter of {h} x {w} pixels fits any Gabor function; give {SMALLEST} x {SMALLEST} or more")
    side = max(h, w)
    scale = max(float(np.abs(pixels).max()), 1e-12)
    target = pixels.astype(np.float64).ravel() / scale
    rows, columns = (v.ravel() for v in np.mgrid[:h, :w].astype(np.float64))

    def basis(p: np.ndarray) -> np.ndarray:
        row, column, angle, frequency, across, along = p
        x, y = columns - column, rows - row
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        window = np.exp(-(u**2) / (2 * across**2) - v**2 / (2 * along**2))
        wave = 2 * np.pi * frequency * u
        return np.stack([window * np.cos(wave), window * np.sin(wave)], axis=1)

    def values(p: np.ndarray) -> np.ndarray:
        b = basis(p)
        gram = b.T @ b + 1e-9 * np.eye(2)  # the sine vanishes with the frequency
        return b @ np.linalg.solve(gram, b.T @ target)

    def rest(p: np.ndarray) -> np.ndarray:
        return values(p) - target

    middle = ((h - 1) / 2, (w - 1) / 2)
    starts = [
        np.array([middle[0] + down, middle[1] + right, angle, frequency, spread, spread])
        for angle in np.arange(8) * np.pi / 8
        for frequency in (0.5 / side, 1 / side, 2 / side, 0.3)
        for spread in (side / 6, side / 3)
        for down in (-h / 5, 0, h / 5)
        for right in (-w / 5, 0, w / 5)
    ]
    starts.sort(key=lambda p: float(np.sum(np.square(rest(p)))))
    low = np.array([0, 0, -np.inf, 0, 0.6, 0.6])
    high = np.array([h - 1, w - 1, np.inf, 0.5, side, side])
    found = [
        optimize.least_squares(rest, np.clip(p, low + 1e-6, high - 1e-6), bounds=(low, high), max_nfev=60)
        for p in starts[:TRIES]
    ]
    p = min(found, key=lambda f: f.cost).x
    total = float(np.sum(np.square(target - target.mean())))
    explained = 1 - float(np.sum(np.square(rest(p)))) / total if total > 1e-12 else 0.0
    # Rows count downwards, and the stripes lie across the wave.
    orientation = (90 - np.degrees(p[2])) % 180
    return Gabor(orientation, p[3], explained, (p[0], p[1]), (p[4], p[5]), scale * values(p).reshape(h, w))


def noise(side: tuple[int, int], count: int, seed: int = 0) -> np.ndarray:
    """Explained shares, [count], of filters of independent Gaussian pixels: what chance reaches at this size."""
    rng = np.random.default_rng(seed)
    return np.array([fit(rng.standard_normal(side)).explained for _ in range(count)])


def grey(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each filter of [h, w, channels, maps] on its own main axis of colour.

    Returns:
        [maps, h, w], the filters' projections, and [maps], the share of their energy that lies on that axis; 1 for grey
        images.
    """
    h, w, channels, maps = kernel.shape
    flat = np.moveaxis(kernel, -1, 0).reshape(maps, h * w, channels).astype(np.float64)
    left, sizes, axes = np.linalg.svd(flat, full_matrices=False)
    sign = np.where(axes[:, 0].sum(axis=1) < 0, -1.0, 1.0)  # brighter is positive
    energy = np.sum(np.square(sizes), axis=1)
    share = np.where(energy > 0, sizes[:, 0] ** 2 / np.where(energy > 0, energy, 1), 0)
    return (left[:, :, 0] * (sizes[:, 0] * sign)[:, None]).reshape(maps, h, w), share
