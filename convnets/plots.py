"""Figures, as PNG files. The only file that imports matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

INK, QUIET, FIRST, SECOND = "#222222", "#888888", "#1f5fa8", "#c8501e"
plt.rcParams.update({
    "figure.dpi": 120, "savefig.bbox": "tight", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": QUIET, "axes.labelcolor": INK, "axes.titlesize": 10, "axes.titlelocation": "left",
    "xtick.color": INK, "ytick.color": INK, "legend.frameon": False,
})  # fmt: skip


def _save(figure, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None})  # the same figure is the same file
    plt.close(figure)


def curves(lines: Sequence[dict[str, float]], path: Path, title: str) -> None:
    """Loss and error against epochs, training smoothed over a fortieth of the run, test where it was measured."""
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
    _save(figure, path)


def filters(kernel: np.ndarray, path: Path, title: str) -> None:
    """First-layer filters, [kh, kw, channels, maps], grey or as colours; one scale for all, mid-grey is 0."""
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
    _save(figure, path)


def confusion(labels: np.ndarray, guesses: np.ndarray, names: Sequence[str], path: Path, title: str) -> None:
    """How often each true class (row) was taken for each class (column); the colour shows mistakes only."""
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
    _save(figure, path)


def mistakes(
    images: np.ndarray, labels: np.ndarray, guesses: np.ndarray, names: Sequence[str], path: Path, title: str
) -> None:
    """Misclassified images, each above 'truth > guess', at most 100."""
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
    _save(figure, path)


def experiment(
    curves: Mapping[str, tuple[Sequence[tuple[float, float]], float | None]],
    bars: Sequence[tuple[str, float, float, float | None]],
    lines: Mapping[str, Sequence[tuple[float, float, float, float | None]]],
    path: Path, *, title: str, metric: str, error: str, x: str,
) -> None:  # fmt: skip
    """A paper's table as it was measured; a panel is left out where there is nothing for it.

    Args:
        curves: by row, [(epoch, mean error)] and the paper's number, a dashed line of the same colour.
        bars: (label, mean, half of the 95 % interval, the paper's number, a diamond).
        lines: by name, [(x, mean, half of the interval, the paper's number)], against `x`.
    """
    panels = [bool(curves), bool(lines), True]
    height = max(3.2, 0.24 * len(bars) + 1)
    figure, axes = plt.subplots(
        1, sum(panels), figsize=(4.6 * sum(panels), height), squeeze=False, layout="constrained"
    )
    free = iter(axes[0])
    colours = [plt.get_cmap("tab10" if len(bars) <= 10 else "tab20")(i % 20) for i in range(max(len(bars), 1))]
    of_row = dict(zip((b[0] for b in bars), colours, strict=False))
    axes[0][0].set_title(title)
    if curves:
        axis = next(free)
        for label, (points, paper) in curves.items():
            axis.plot(*zip(*points, strict=True), color=of_row.get(label, QUIET), lw=1.2, label=label)
            if paper is not None:
                axis.axhline(paper, color=of_row.get(label, QUIET), lw=0.8, ls="--")
        seen = [v for points, _ in curves.values() for _, v in points if v > 0]
        if seen and max(seen) > 10 * min(seen):
            axis.set_yscale("log")
        axis.set(xlabel="epoch", ylabel=error)
        if not lines and len(curves) <= 10:
            axis.legend(fontsize=7)
    if lines:
        axis = next(free)
        for (name, marks), colour in zip(lines.items(), colours, strict=False):
            at, values, around, _ = zip(*sorted(marks, key=lambda m: m[0]), strict=True)
            axis.errorbar(at, values, around, fmt="o-", ms=3, lw=1.2, capsize=2, color=colour, label=name)
            known = sorted((m[0], m[3]) for m in marks if m[3] is not None)
            if known:
                axis.plot(*zip(*known, strict=True), "D--", ms=4, lw=0.8, color=colour, mfc="none")
        axis.set(xlabel=x, ylabel=metric)
        if any(lines):
            axis.legend(fontsize=7)
    axis = next(free)
    for i, (label, mean, half, paper) in enumerate(bars):
        axis.barh(
            i, mean, xerr=half, color=of_row[label], height=0.7, error_kw={"lw": 0.9, "capsize": 2, "ecolor": INK}
        )
        if paper is not None:
            axis.plot(paper, i, "D", ms=5, mfc="white", mec=INK)
    axis.set_yticks(range(len(bars)), [b[0] for b in bars], fontsize=7)
    axis.invert_yaxis()
    axis.set(xlabel=f"{metric}; diamond: the paper" if any(b[3] is not None for b in bars) else metric)
    _save(figure, path)
