"""Figures of RESULTS.md and of the demonstration programs in experiments/."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convnets.plotting import INK, QUIET, plt, save_figure

FEW, MANY = 4, 12  # rows whose curves are shown with their training error, and up to which curves are shown


def plot_experiment(
    curves: Mapping[str, tuple[Sequence[tuple[float, float]], float | None, Sequence[tuple[float, float]]]],
    bars: Sequence[tuple[str, str, float, float, float | None]],
    lines: Mapping[str, Sequence[tuple[float, float, float, float | None]]],
    path: Path, *, title: str, metric: str, error: str, x: str,
) -> None:  # fmt: skip
    """Plots the measured results of an experiment beside the paper's; panels without data are omitted.

    Args:
        curves: by row, [(epoch, mean error)], the paper's value, drawn as a dashed line of the same colour, and the
            training error as further points, dotted where FEW rows leave room for it. MANY rows are shown as bars only.
        bars: (row, label, mean, half-width of the 95 % interval, the paper's value, drawn as a diamond).
        lines: by name, [(x, mean, half-width of the interval, the paper's value)].
        x: label of the lines' x axis.
    """
    curves = {} if len(curves) > MANY else curves
    names = list(dict.fromkeys([*curves, *(bar[0] for bar in bars), *lines]))
    palette = plt.get_cmap("tab10" if len(names) <= 10 else "tab20")
    colour = {name: palette(i % palette.N) for i, name in enumerate(names)}
    beside = bool(curves or lines)  # a few bars would be too thick beside tall panels
    panels, height = sum(map(bool, (curves, lines, bars))), max(3.2 if beside else 1.8, 0.24 * len(bars) + 1)
    figure, axes = plt.subplots(1, panels, figsize=(4.6 * panels, height), squeeze=False, layout="constrained")
    free = iter(axes[0])
    axes[0][0].set_title(title)
    if curves:
        axis = next(free)
        training = len(curves) <= FEW and any(c[2] for c in curves.values())
        for name, (points, paper, fitted) in curves.items():
            axis.plot(*zip(*points, strict=True), color=colour[name], lw=1.2, label=name)
            if training and fitted:
                axis.plot(*zip(*fitted, strict=True), color=colour[name], lw=0.8, ls=":")
            if paper is not None:
                axis.axhline(paper, color=colour[name], lw=0.8, ls="--")
        notes = ["dashed: the paper"] * any(c[1] for c in curves.values()) + ["dotted: in training"] * training
        axis.set(xlabel="epoch", ylabel="; ".join([error, *notes]))
        _wide(axis, "y", [v for points, *_ in curves.values() for _, v in points])
        axis.legend(fontsize=6 if len(curves) > 6 else 7)
    if lines:
        axis = next(free)
        for name, marks in lines.items():
            at, values, around, _ = zip(*sorted(marks, key=lambda m: m[0]), strict=True)
            axis.errorbar(at, values, around, fmt="o-", ms=3, lw=1.2, capsize=2, color=colour[name], label=name)
            known = sorted((m[0], m[3]) for m in marks if m[3] is not None)
            if known:
                axis.plot(*zip(*known, strict=True), "D--", ms=4, lw=0.8, color=colour[name], mfc="none")
        axis.set(xlabel=x, ylabel=metric)
        _wide(axis, "x", [m[0] for marks in lines.values() for m in marks])
        _wide(axis, "y", [m[1] for marks in lines.values() for m in marks])
        if axis.get_yscale() == "linear":
            axis.set_ylim(bottom=max(0, axis.get_ylim()[0]))  # an interval may extend below 0, a metric cannot
        if any(lines):
            axis.legend(fontsize=7)
    if bars:
        axis = next(free)
        for i, (name, _, mean, half, paper) in enumerate(bars):
            axis.barh(i, mean, xerr=half, color=colour[name], height=0.7, error_kw={"lw": 0.9, "capsize": 2})
            if paper is not None:
                axis.plot(paper, i, "D", ms=5, mfc="white", mec=INK)
        axis.set_yticks(range(len(bars)), [bar[1] for bar in bars], fontsize=7)
        axis.set_ylim(max(len(bars), 4 if beside else 2) - 0.5, -0.5)
        axis.set_xlim(left=0)
        axis.set(xlabel=f"{metric}; diamond: the paper" if any(bar[4] is not None for bar in bars) else metric)
    save_figure(figure, path)


def _wide(axis, which: str, values: Sequence[float]) -> None:
    """Makes the axis logarithmic if the values span more than a factor of 20, else limits its number of ticks."""
    if min(values) > 0 and max(values) > 20 * min(values):
        axis.set(**{f"{which}scale": "log"})
        ticks = getattr(axis, f"{which}axis")
        ticks.set_major_formatter("{x:,g}")
        ticks.set_minor_formatter(lambda value, _: f"{value:,g}" if f"{value:e}"[0] == "3" else "")
    else:
        axis.locator_params(axis=which, nbins=6)


def plot_edges(
    panels: Sequence[tuple[str, np.ndarray]], pair: tuple[np.ndarray, np.ndarray],
    learned: Mapping[str, Sequence[tuple[str, np.ndarray]]], curves: Mapping[str, Sequence[float]], path: Path,
) -> None:  # fmt: skip
    """Plots edge filters applied to an image, and filters learned from pairs such as `pair`.

    Mid-grey is 0 in all panels except the first panel and the first image of `pair`.

    Args:
        panels: (title, image [h, w]); the first has pixel values from 0 to 1.
        pair: an image and its noisy edge map.
        learned: by name, [(step, filter [3, 3])]; one row per name, one column per step.
        curves: by name, the cosine similarity with the true filter before every step and after the last.
    """
    count, width = len(learned), max(len(filters) for filters in learned.values())
    figure = plt.figure(figsize=(11, 2.4 + 1.3 * count), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(2.2, 1.3 * count))
    above, below = halves
    for i, (title, image) in enumerate(panels):
        _grey(above.add_subplot(1, len(panels), i + 1), image, title, 0.0 if i == 0 else None)
    parts: Any = below.subfigures(1, 3, width_ratios=(1.1, 1.6, 1.3))
    left, middle, right = parts
    for i, (title, image) in enumerate(zip(("one of the images", "its noisy edge map"), pair, strict=True)):
        _grey(left.add_subplot(2, 1, i + 1), image, title, 0.0 if i == 0 else None)
    for row, (name, filters) in enumerate(learned.items()):
        for column, (step, kernel) in enumerate(filters):
            axis = middle.add_subplot(count, width, row * width + column + 1)
            _grey(axis, kernel, step if step == "true" else f"step {step}", None)
            if column == 0:
                axis.text(-0.35, 0.5, name, transform=axis.transAxes, rotation=90, va="center", ha="center", fontsize=7)
    axis = right.add_subplot()
    for name, values in curves.items():
        axis.plot(values, lw=1.2, label=name)
    axis.axhline(0.99, color=QUIET, lw=0.8, ls="--")
    axis.set(xlabel="step", ylabel="cosine similarity with the true filter", xscale="symlog", xlim=(0, None))
    axis.legend(fontsize=7, loc="lower right")
    save_figure(figure, path)


def _grey(axis, image: np.ndarray, title: str, low: float | None) -> None:
    """Shows an image in grey, with the range from `low` to 1, or a range symmetric about 0 if `low` is None."""
    limit = 1.0 if low is not None else max(float(np.percentile(np.abs(image), 99.5)), 1e-12)
    axis.imshow(image, cmap="gray", vmin=-limit if low is None else low, vmax=limit)
    axis.set_title(title, fontsize=7, loc="center")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set(visible=True, linewidth=0.5)
