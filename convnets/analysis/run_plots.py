"""Plots of one run: curves, filters, confusion matrix, mistakes, answers of the last layer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convnets.plotting import FIRST, INK, QUIET, SECOND, plt, save_figure


def plot_curves(lines: Sequence[dict[str, float]], path: Path, title: str) -> None:
    """Plots loss and error against epochs.

    The training curve is a moving average over 1/40 of the run; the test curve has a point for each evaluation.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    epochs = np.array([line["epoch"] for line in lines])
    width = max(len(lines) // 40, 1)
    smooth = lambda v: np.convolve(v, np.ones(width) / width, "valid")  # noqa: E731
    tested = [line for line in lines if "test_error" in line]
    for axis, key, label in zip(axes, ("loss", "error"), ("loss", "error (%)"), strict=True):
        axis.plot(epochs[width - 1 :], smooth([line[key] for line in lines]), color=FIRST, label="training")
        axis.plot([t["epoch"] for t in tested], [t[f"test_{key}"] for t in tested], "o-", color=SECOND, ms=3,
                  label="test")  # fmt: skip
        axis.set(xlabel="epoch", ylabel=label)
        values = [line[key] for line in lines if line[key] > 0]
        if values and max(values) > 20 * float(np.median(values)):
            axis.set_yscale("log")
        axis.legend()
    axes[0].set_title(title)
    save_figure(figure, path)


def plot_comparison(runs: Sequence[tuple[str, Sequence[dict[str, float]]]], path: Path) -> None:
    """Plots the loss and error of several runs against epochs: (name, lines of metrics.jsonl) of each.

    The training curves are moving averages over 1/40 of a run; the test curves are dashed, with a point for each test.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    palette = plt.get_cmap("tab10" if len(runs) <= 10 else "tab20")
    marks = []
    for i, (_, lines) in enumerate(runs):
        width, colour = max(len(lines) // 40, 1), palette(i % palette.N)
        tested = [line for line in lines if "test_error" in line]
        for axis, key in zip(axes, ("loss", "error"), strict=True):
            means: Any = np.convolve([line[key] for line in lines], np.ones(width) / width, "valid") if lines else []
            (mark,) = axis.plot([line["epoch"] for line in lines[width - 1 :]], means, color=colour, lw=1)
            axis.plot([t["epoch"] for t in tested], [t[f"test_{key}"] for t in tested], "o--", color=colour, ms=3, lw=1)
        marks.append(mark)
    for axis, label in zip(axes, ("loss", "error (%)"), strict=True):
        axis.set(xlabel="epoch", ylabel=label)
        axis.locator_params(axis="x", nbins=5)
        values = [abs(v) for line in axis.lines for v in np.asarray(line.get_ydata(), float) if v]
        if values and max(values) > 20 * float(np.median(values)):
            axis.set_yscale("log")
    axes[0].set_title("training; dashed: test")
    figure.legend(marks, [name for name, _ in runs], loc="outside right upper", fontsize=7)
    save_figure(figure, path)


def plot_filters(kernel: np.ndarray, path: Path, title: str) -> None:
    """Plots first-layer filters [kh, kw, channels, maps] in grey or RGB, on one common scale; mid-grey is 0."""
    kh, kw, channels, maps = kernel.shape
    if channels not in (1, 3):
        kernel, maps = kernel.reshape(kh, kw, 1, -1), channels * maps
    limit = max(float(np.abs(kernel).max()), 1e-12)
    columns = min(maps, 16)
    _plot_tiles(
        np.moveaxis(kernel / limit / 2 + 0.5, -1, 0), [], columns, min(0.75, 10 / columns), path, title, white=1
    )


def plot_confusion(labels: np.ndarray, guesses: np.ndarray, names: Sequence[str], path: Path, title: str) -> None:
    """Plots the confusion matrix: true classes in rows, predictions in columns; the colour shows mistakes only.

    Args:
        labels, guesses: [n], class indices.
        names: names of the classes.
    """
    n = len(names)
    matrix = np.zeros((n, n), int)
    np.add.at(matrix, (labels, guesses), 1)
    mistakes = matrix * (1 - np.eye(n, dtype=int))
    figure, axis = plt.subplots(figsize=(min(1.5 + 0.38 * n, 12),) * 2)
    axis.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(1.5 * mistakes.max(), 6))
    if n <= 30:
        for i, j in np.argwhere(matrix):
            axis.text(j, i, matrix[i, j], ha="center", va="center", fontsize=7, color=QUIET if i == j else INK)
        axis.set_xticks(range(n), names, rotation=0 if max(map(len, names)) < 3 else 90)
        axis.set_yticks(range(n), names)
    axis.set(xlabel="guess", ylabel="truth", title=title)
    save_figure(figure, path)


def plot_mistakes(
    images: np.ndarray, labels: np.ndarray, guesses: np.ndarray, names: Sequence[str], path: Path, title: str
) -> None:
    """Plots at most 100 misclassified images, each titled 'truth > guess'.

    Args:
        images: uint8 [n, h, w, 1 or 3].
        labels, guesses: [n], class indices.
        names: names of the classes.
    """
    columns = min(max(len(images), 1), 14 if max(map(len, names)) < 4 else 7)
    titles = [f"{names[truth]} > {names[guess]}" for truth, guess in zip(labels[:100], guesses[:100], strict=True)]
    _plot_tiles(images[:100], titles, columns, 0.8, path, title, cmap="gray_r")


def plot_contact_sheet(images: Sequence[np.ndarray], titles: Sequence[str], path: Path, title: str) -> None:
    """Plots images, uint8 [h, w, 1 or 3] each, under their titles."""
    inches = max(1.1, 0.075 * max(map(len, titles)))  # wide enough for the titles
    _plot_tiles(images, titles, min(len(images), int(11 / inches) or 1), inches, path, title)


def _plot_tiles(
    images: Sequence[np.ndarray] | np.ndarray, titles: Sequence[str], columns: int, inches: float, path: Path, title: str,
    cmap: str = "gray", white: float = 255,
) -> None:  # fmt: skip
    """Plots images [h, w, 1 or 3] in rows of squares, each under its title, if there are titles.

    All are in one pair of axes: a pair for each would take most of the time of a small run.
    """
    height = 1.3 if titles else 1.0  # of a square with its title
    rows = max(-(-len(images) // columns), 1)
    figure, axis = plt.subplots(figsize=(inches * columns, inches * height * rows + 0.4))
    figure.subplots_adjust(0, 0, 1, 1 - 0.4 / (inches * height * rows + 0.4))
    for i, image in enumerate(images):
        x, y = i % columns + 0.5, (i // columns + 1) * height - 0.5
        down, right = (0.44 * side / max(image.shape[:2]) for side in image.shape[:2])
        axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap=cmap, vmin=0, vmax=white,
                    extent=(x - right, x + right, y + down, y - down))  # fmt: skip
        if titles:
            axis.text(x, y - down - 0.03, titles[i], fontsize=7, ha="center", va="bottom")
    axis.set(xlim=(0, columns), ylim=(rows * height, 0), aspect="equal")
    axis.axis("off")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    save_figure(figure, path)


def plot_answers(
    images: np.ndarray, outputs: np.ndarray, labels: np.ndarray, names: Sequence[str], path: Path, title: str
) -> None:
    """Plots images [n, h, w, c], one row per class, each above a bar chart of the last layer's cell planes [n, planes].

    Each plane has the same position and colour in all charts, and all bars share one scale. A class that a single plane
    represents regardless of the image is therefore a row of identical charts. At most ten images per class are shown.
    """
    rows = [np.flatnonzero(labels == label)[:10] for label in range(len(names))]
    columns, planes, limit = max(1, *map(len, rows)), outputs.shape[1], max(float(outputs.max()), 1e-12)
    colours = plt.get_cmap("hsv")(np.arange(planes) / planes)
    figure, axes = plt.subplots(2 * len(rows), columns, figsize=(0.9 * columns, 1.35 * len(rows) + 0.3), squeeze=False,
                                gridspec_kw={"height_ratios": [3, 1] * len(rows)}, layout="constrained")  # fmt: skip
    for axis in axes.flat:
        axis.axis("off")
    for i, row in enumerate(rows):
        for above, below, n in zip(axes[2 * i], axes[2 * i + 1], row, strict=False):
            image = images[n]
            above.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray_r", vmin=0, vmax=255)
            above.axis("on")
            above.set(xticks=[], yticks=[])
            for side in above.spines.values():
                side.set(visible=True, linewidth=0.5)
            below.bar(range(planes), outputs[n], color=colours, width=0.9)
            below.axhline(0, color=QUIET, lw=0.5)
            below.set(xlim=(-1, planes), ylim=(0, limit))
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    save_figure(figure, path)
