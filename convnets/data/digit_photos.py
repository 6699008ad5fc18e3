"""Photographs of handwritten digits, made into images as MNIST's are (LeCun et al. 1998, section III.A).

MNIST's digits were "size normalized to fit in a 20x20 pixel box while preserving their aspect ratio", and "centered in
a 28x28 image by computing the center of mass of the pixels". How its scans were made black and white is not published;
finding the ink here is our own.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

SIDE, BOX = 28, 20  # pixels of an image, and of the box that the digit fits
LARGEST = 320  # pixels of a photograph's longer side at which the ink is looked for
STROKE = 0.14  # width of a stroke at least, in heights of the digit: MNIST's median


def normalize(grey: np.ndarray) -> np.ndarray:
    """Cuts the digit out of a photograph: one digit in dark ink on light paper, or light on dark.

    The light may be uneven. Specks, and what touches the border (shadows, the edge of the paper), are left out.

    Args:
        grey: uint8 [h, w].

    Returns:
        uint8 [28, 28], light ink on black; black if no ink is found.
    """
    whole = Image.fromarray(grey)
    whole.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    pixels = ndimage.gaussian_filter(np.asarray(whole, np.float32), 1.0)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    paper, (low, high) = np.median(edge), np.percentile(pixels, (1, 99))
    tophat = ndimage.black_tophat if paper - low > high - paper else ndimage.white_tophat
    # of strokes narrower than a third of the photograph
    ink = tophat(pixels, size=[max(n // 3, 3) for n in pixels.shape])
    mask = _keep_digit(ink > _threshold(ink))
    if not mask.any():
        return np.zeros((SIDE, SIDE), np.uint8)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))
    # a strip's pixels are a quarter of its width from its edge
    thin = STROKE * max(height, width) - 4 * inside[inside > 0].mean()
    radius = max(int(np.ceil(thin / 2)), 0)
    digit = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], radius)
    if radius:
        digit = ndimage.distance_transform_edt(~digit) <= radius
    scale = BOX / max(digit.shape)
    size = [max(round(n * scale), 1) for n in digit.shape[::-1]]
    small = np.asarray(Image.fromarray(digit.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX), np.float32)
    field = np.zeros((SIDE, SIDE), np.float32)
    field[: size[1], : size[0]] = small
    move = [(SIDE - 1) / 2 - c for c in ndimage.center_of_mass(field)]
    return np.clip(np.round(ndimage.shift(field, move, order=1)), 0, 255).astype(np.uint8)


def _threshold(values: np.ndarray) -> float:
    """Returns Otsu's threshold: the one with the largest variance between the two classes."""
    counts, edges = np.histogram(values, 128)
    centres, below = (edges[1:] + edges[:-1]) / 2, np.cumsum(counts)
    sums, above = np.cumsum(counts * centres), below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(centres[np.nanargmax(between)]) if np.isfinite(between).any() else float(values.max())


def _keep_digit(mask: np.ndarray) -> np.ndarray:
    """Returns the mask without its specks and without what touches the border, unless everything does."""
    pieces, count = ndimage.label(mask, np.ones((3, 3)))
    area = np.bincount(pieces.ravel(), minlength=count + 1)
    area[0] = 0
    inner = area.copy()
    inner[np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])] = 0
    area = inner if inner.any() else area
    return np.isin(pieces, np.flatnonzero(area > 0.1 * area.max())) & (pieces > 0)
