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
        kernel, channels, maps = kernel.reshape(kh, kw, 1, -1), 1, channels * maps
    columns = min(maps, 16)
    rows = -(-maps // columns)
    limit = max(float(np.abs(kernel).max()), 1e-12)
    size = min(0.75, 10 / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(size * columns, size * rows + 0.4), squeeze=False)
    for i, axis in enumerate(axes.flat):
        axis.axis("off")
        if i < maps:
            tile = kernel[..., i] / limit / 2 + 0.5
            axis.imshow(tile[..., 0] if channels == 1 else tile, cmap="gray", vmin=0, vmax=1)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    save_figure(figure, path)


def plot_confusion(labels: np.ndarray, guesses: np.ndarray, names: Sequence[str], path: Path, title: str) -> None:
    """Plots the confusion matrix: true classes in rows, predictions in columns; the colour shows mistakes only."""
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
    """Plots at most 100 misclassified images, each titled 'truth > guess'."""
    shown = min(len(images), 100)
    columns = min(max(shown, 1), 14 if max(map(len, names)) < 4 else 7)
    rows = max(-(-shown // columns), 1)
    figure, axes = plt.subplots(rows, columns, figsize=(0.8 * columns + 1, 0.95 * rows + 0.4), squeeze=False)
    for i, axis in enumerate(axes.flat):
        axis.axis("off")
        if i < shown:
            image = images[i]
            axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray_r", vmin=0, vmax=255)
            axis.set_title(f"{names[labels[i]]} > {names[guesses[i]]}", fontsize=7, loc="center", pad=2)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    save_figure(figure, path)


def plot_contact_sheet(images: Sequence[np.ndarray], titles: Sequence[str], path: Path, title: str) -> None:
    """Plots images, uint8 [h, w, 1 or 3] each, under their titles."""
    columns = min(len(images), 10 if max(map(len, titles)) < 14 else 6)
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(11 / 10 * columns, 1.3 * rows + 0.4), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, line in zip(axes.flat, images, titles, strict=False):
        axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        axis.set_title(line, fontsize=7, loc="center", pad=2)
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
