"""The figures of the demonstrations: programs in experiments/ that are no tables of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from convnets.plotting import FIRST, INK, QUIET, SECOND, plt, save_figure


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
    axis.axhline(0.99, color=QUIET, lw=0.8, ls="--", label="0.99")
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


class Thinned(NamedTuple):
    """What `plot_thinned` shows of the scaled network and of the means over thinned ones.

    Attributes:
        counts: [marks], numbers of thinned networks.
        differences: by name of a layer, [seeds, marks], the difference of the mean from the scaled network in percent.
        chance: by name, [seeds], the difference of one thinned network by chance alone, in percent.
        errors: [seeds, marks], test errors of the mean in percent.
        scaled: [seeds], test errors of the scaled network.
        unit: [thinned], one unit's input in each thinned network, for one image.
        whole: that unit's input in the scaled network.
    """

    counts: Sequence[int]
    differences: Mapping[str, np.ndarray]
    chance: Mapping[str, np.ndarray]
    errors: np.ndarray
    scaled: np.ndarray
    unit: np.ndarray
    whole: float


def plot_thinned(found: Thinned, path: Path) -> None:
    """Plots one unit's input over thinned networks, and how their mean approaches the scaled network."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    axis = axes[0]
    axis.hist(found.unit, bins=40, color=QUIET, alpha=0.5)
    axis.axvline(found.whole, color=SECOND, lw=2.2, label="scaled network")
    axis.axvline(found.unit.mean(), color=INK, lw=1.2, ls="--", label=f"mean of {len(found.unit):,} thinned")
    axis.set(xlabel="input of one unit of the second hidden layer", ylabel="thinned networks", yticks=[])
    axis.set_title("one image, one unit")
    axis.set_ylim(top=1.25 * axis.get_ylim()[1])
    axis.legend(fontsize=7, loc="upper right")

    axis = axes[1]
    for (name, values), colour in zip(found.differences.items(), (FIRST, SECOND), strict=False):
        _band(axis, found.counts, values, colour, name)
        axis.plot(found.counts, found.chance[name].mean() / np.sqrt(found.counts), color=colour, lw=0.9, ls=":")
    axis.set(xscale="log", yscale="log", xlabel="thinned networks in the mean", ylabel="difference (%)")
    axis.set_title("the mean against the scaled network")
    axis.text(0.03, 0.04, "dotted: by chance alone, 1 / √n", transform=axis.transAxes, fontsize=7, color=INK)
    axis.legend(fontsize=7, loc="upper right")

    axis = axes[2]
    _band(axis, found.counts, found.errors, FIRST, "mean of thinned networks")
    axis.axhline(found.scaled.mean(), color=SECOND, lw=1.6, label="scaled network")
    axis.set(xscale="log", xlabel="thinned networks in the mean", ylabel="test error (%)")
    axis.text(0.03, 0.04, "bands: one standard deviation over seeds", transform=axis.transAxes, fontsize=7, color=INK)
    axis.set_title("test error")
    axis.legend(fontsize=7, loc="upper right")
    save_figure(figure, path)


def plot_drift(
    steps: Sequence[int], ranges: Mapping[str, np.ndarray], drifts: Mapping[str, np.ndarray], path: Path
) -> None:
    """Plots the inputs of a typical unit of each hidden layer during training, and the drift of each layer.

    Args:
        steps: [marks].
        ranges: by network, [layers, marks, 3], the 15th, 50th and 85th percentile of the typical unit's input.
        drifts: by network, [seeds, layers].
    """
    colours = dict(zip(ranges, (SECOND, FIRST), strict=True))
    layers = len(next(iter(ranges.values())))
    figure = plt.figure(figsize=(12, 4.2), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=(layers, 1.15))
    grid = parts[0].subplots(len(ranges), layers, sharex=True, sharey="row", squeeze=False)
    for row, (name, of_layer) in zip(grid, ranges.items(), strict=True):
        for axis, lines in zip(row, of_layer, strict=True):
            axis.fill_between(
                steps, lines[:, 0], lines[:, 2], color=colours[name], alpha=0.22, lw=0, label="15th to 85th percentile"
            )
            axis.plot(steps, lines[:, 1], color=colours[name], lw=1.4, label="median")
            axis.axhline(0, color=QUIET, lw=0.5)
            axis.xaxis.set_major_formatter("{x:,.0f}")
            axis.locator_params(axis="x", nbins=3)
        row[0].set_ylabel(f"{name}\ninput of a sigmoid")
        row[-1].legend(fontsize=7, loc="upper right")
    for i in range(layers):
        grid[0, i].set_title(f"hidden layer {i + 1}")
        grid[-1, i].set_xlabel("step")
    axis = parts[1].subplots()
    places = np.arange(1, layers + 1)
    for shift, (name, values) in zip((-0.06, 0.06), drifts.items(), strict=True):
        spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(layers)
        axis.errorbar(places + shift, values.mean(axis=0), spread, fmt="o-", ms=4, lw=1.4, capsize=3, color=colours[name],
                      label=name)  # fmt: skip
    axis.set(xlabel="hidden layer", ylabel="drift (%)", xticks=places, xlim=(0.6, layers + 0.4))
    axis.set_ylim(bottom=0)
    axis.text(0.03, 0.04, "bars: one standard deviation over seeds", transform=axis.transAxes, fontsize=7, color=INK)
    axis.set_title("all units")
    axis.legend(fontsize=8)
    save_figure(figure, path)


def plot_competition(
    profiles: Mapping[str, tuple[np.ndarray, np.ndarray]], responses: Mapping[str, tuple[np.ndarray, np.ndarray]],
    rivals: tuple[np.ndarray, np.ndarray, np.ndarray], constant: float, path: Path,
) -> None:  # fmt: skip
    """Plots what local response normalization does to neighbouring maps at one pixel.

    Args:
        profiles: by name, (activations [maps], normalized [maps]).
        responses: by what the neighbours do, (activations, normalized) of one map.
        rivals: (activations of a neighbour, the normalized map beside it, the normalized neighbour).
        constant: the activation of the map beside it.
    """
    figure = plt.figure(figsize=(12, 3.6), layout="constrained")
    parts: Any = figure.subfigures(1, 3, width_ratios=(1.25, 1, 1))
    axes = parts[0].subplots(len(profiles), 1, sharex=True, sharey=True)
    for axis, (name, (before, after)) in zip(axes, profiles.items(), strict=True):
        maps = np.arange(1, len(before) + 1)
        axis.bar(maps, before, width=0.8, color=QUIET, alpha=0.35, label="before")
        axis.bar(maps, after, width=0.8, color=FIRST, label="normalized")
        axis.set_title(name, fontsize=8)
        axis.set_ylabel("activation", fontsize=8)
    axes[-1].set(xlabel="map")
    axes[0].legend(fontsize=7, loc="upper right")
    axis = parts[1].subplots()
    shades = plt.get_cmap("plasma")(np.linspace(0.1, 0.75, len(responses)))
    for shade, (name, (before, after)) in zip(shades, responses.items(), strict=True):
        axis.plot(before, after, color=shade, lw=1.5, label=name)
    axis.set(xlabel="activation of a map", ylabel="normalized", xlim=(0, None), ylim=(0, None))
    axis.set_title("the four neighbours decide")
    axis.legend(fontsize=7, loc="upper left", title="neighbours", title_fontsize=7)
    axis = parts[2].subplots()
    other, own, neighbour = rivals
    axis.plot(other, neighbour, color=QUIET, lw=1.5, label="the neighbour")
    axis.plot(other, own, color=FIRST, lw=1.5, label=f"a map, its activation stays {constant:g}")
    axis.set(
        xlabel="activation of one neighbour", ylabel="normalized", xlim=(0, None), ylim=(0, 1.25 * neighbour.max())
    )
    axis.set_title("one neighbour inhibits")
    axis.legend(fontsize=7, loc="upper left")
    save_figure(figure, path)


def plot_first_rates(rates: Mapping[str, Mapping[str, np.ndarray]], paper: tuple[float, float], path: Path) -> None:
    """Plots the learning rates of the weights of each layer, one panel for each way to draw the initial weights.

    Args:
        rates: by name of the initial weights, by layer, [weights].
        paper: the smallest and the largest rate in the paper, which are shaded.
    """
    figure, axes = plt.subplots(1, len(rates), figsize=(9, 2.8), sharex=True, sharey=True, layout="constrained")
    for axis, (name, layers) in zip(axes, rates.items(), strict=True):
        axis.axvspan(*paper, color=QUIET, alpha=0.2, lw=0, label="the paper's range")
        low, high = zip(*((own.min(), own.max()) for own in layers.values()), strict=True)
        places = np.arange(len(layers))
        axis.hlines(places, low, high, color=FIRST, lw=5, label="smallest to largest of a layer")
        axis.plot([np.median(own) for own in layers.values()], places, "o", ms=5, color=INK, label="median")
        axis.set(xscale="log", xlabel="learning rate in the first pass", yticks=places, yticklabels=list(layers))
        axis.set_title(f"initial weights from {name}")
    axes[0].set_ylim(len(axes[0].get_yticks()) - 0.5, -0.5)
    axes[-1].legend(fontsize=7, loc="center left")
    save_figure(figure, path)


def plot_responses(deviations: Mapping[str, np.ndarray], path: Path) -> None:
    """Plots the standard deviations of the layers' responses, in the order of the layers and ranked.

    Args:
        deviations: by network, [layers]; the first network is the shallowest.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
    shades = plt.get_cmap("plasma")(np.linspace(0.75, 0.05, len(deviations)))
    for shade, (name, values) in zip(shades, deviations.items(), strict=True):
        places = np.arange(1, len(values) + 1)
        axes[0].plot(places, values, color=shade, lw=1.2, label=name)
        axes[1].plot(places, np.sort(values)[::-1], color=shade, lw=1.2, label=name)
    axes[0].set(xlabel="layer", ylabel="standard deviation of the response", ylim=(0, None))
    axes[1].set(xlabel="layer, ranked by its response")
    axes[1].legend(fontsize=7, loc="upper right")
    save_figure(figure, path)


def _band(axis, at: Sequence[int], values: np.ndarray, colour: str, label: str) -> None:
    """Plots the mean of [seeds, points] and a band of one standard deviation."""
    mean = values.mean(axis=0)
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else 0 * mean
    axis.fill_between(at, mean - spread, mean + spread, color=colour, alpha=0.18, lw=0)
    axis.plot(at, mean, color=colour, lw=1.5, marker="o", ms=3, label=label)
