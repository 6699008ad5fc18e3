"""Least-squares fit of a Gabor function to a filter, to measure how Gabor-like the filter is.

A Gabor function is a plane wave under a Gaussian window. Daugman (1985) and Jones & Palmer (1987) describe the simple
cells of the cat's visual cortex with it:

    g(x, y) = exp(-u^2 / 2 su^2 - v^2 / 2 sv^2) (a cos(2 pi f u) + b sin(2 pi f u)),
    u = (x - cx) cos t + (y - cy) sin t,  v = -(x - cx) sin t + (y - cy) cos t

It has 8 parameters, so any 5 x 5 filter resembles one to some degree; `fit_noise` measures the fit expected by chance.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize

SMALLEST = 5  # pixels per side; a 3 x 3 filter has about as many pixels as the function has parameters
TRIES = 3  # starting points that are optimized to convergence


class Gabor(NamedTuple):
    """A fitted Gabor function.

    Attributes:
        orientation: direction of the stripes, in degrees from 0 to 180, counter-clockwise from horizontal.
        frequency: cycles per pixel, 0 to 0.5.
        explained: fraction of the filter's variance that the function explains, at most 1; 0 for a constant filter.
        centre: (row, column) of the window's centre, relative to the filter's first pixel.
        width: (across, along) the stripes, the window's standard deviations in pixels.
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
        """Whether the filter spans at least half a period of the wave; a shorter span is a blob or a gradient."""
        return bool(self.frequency * max(self.values.shape) >= 0.5)


def fit(pixels: np.ndarray) -> Gabor:
    """Returns the least-squares fit of a Gabor function to a filter [h, w].

    The best TRIES starting points of a grid are optimized. The linear parameters a and b are solved for at each step.
    The window's centre is constrained to the filter, its standard deviations to 0.6 pixels up to the filter's side.

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
        gram = b.T @ b + 1e-9 * np.eye(2)  # regularized: the sine column is 0 at frequency 0
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
    # Row indices grow downwards, and the stripes are perpendicular to the wave.
    orientation = (90 - np.degrees(p[2])) % 180
    return Gabor(orientation, p[3], explained, (p[0], p[1]), (p[4], p[5]), scale * values(p).reshape(h, w))


def fit_noise(side: tuple[int, int], count: int, seed: int = 0) -> np.ndarray:
    """Returns `explained` [count] for filters of i.i.d. Gaussian pixels: the chance level at this filter size."""
    rng = np.random.default_rng(seed)
    return np.array([fit(rng.standard_normal(side)).explained for _ in range(count)])


def project_on_colour_axis(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Projects each filter of a kernel [h, w, channels, maps] on its own principal colour axis.

    Returns:
        The projected filters [maps, h, w], and the fraction of each filter's energy on that axis [maps]; the
        fraction is 1 for grey images.
    """
    h, w, channels, maps = kernel.shape
    flat = np.moveaxis(kernel, -1, 0).reshape(maps, h * w, channels).astype(np.float64)
    left, sizes, axes = np.linalg.svd(flat, full_matrices=False)
    sign = np.where(axes[:, 0].sum(axis=1) < 0, -1.0, 1.0)  # the axis points towards brighter colours
    energy = np.sum(np.square(sizes), axis=1)
    share = np.where(energy > 0, sizes[:, 0] ** 2 / np.where(energy > 0, energy, 1), 0)
    return (left[:, :, 0] * (sizes[:, 0] * sign)[:, None]).reshape(maps, h, w), share
