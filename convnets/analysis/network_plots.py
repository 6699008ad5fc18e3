"""Figures of --mode=visualize, as PNG files."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convnets.analysis.activations import Box, Occlusion, crop_box
from convnets.analysis.gabor import Gabor
from convnets.plotting import FIRST, INK, QUIET, SECOND, plt, save_figure

GAP = 1  # pixels between tiles


def to_visible(image: np.ndarray) -> np.ndarray:
    """Scales a network's input [h, w, c] to 0 to 1.

    Returns [h, w, 3] for three channels, else the mean over the channels [h, w, 1].
    """
    low, high = float(image.min()), float(image.max())
    scaled = (image - low) / (high - low or 1.0)
    return scaled if image.shape[-1] == 3 else scaled.mean(axis=-1, keepdims=True)


def tile(parts: Sequence[np.ndarray], columns: int, fill: float = 1.0) -> np.ndarray:
    """Arranges images of one shape [h, w, c] in a grid, with gaps of GAP pixels of value `fill`."""
    h, w, c = parts[0].shape
    rows = -(-len(parts) // columns)
    sheet = np.full((rows * (h + GAP) - GAP, columns * (w + GAP) - GAP, c), fill)
    for i, part in enumerate(parts):
        y, x = (i // columns) * (h + GAP), (i % columns) * (w + GAP)
        sheet[y : y + h, x : x + w] = part
    return sheet


def _show(axis, sheet: np.ndarray, **options: Any) -> None:
    options = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"} | options
    axis.imshow(sheet[..., 0] if sheet.shape[-1] == 1 else sheet, **options)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def plot_gabors(filters: np.ndarray, fits: Sequence[Gabor], chance: np.ndarray, path: Path, title: str) -> None:
    """Plots filters [maps, h, w] above their Gabor fits, sorted by explained variance, with the fits' statistics.

    The two other panels show the histogram of explained variance, and frequency against orientation.

    Args:
        chance: explained variance for filters of noise, from `gabor.fit_noise`.
    """
    order = np.argsort([-f.explained for f in fits])
    shown, columns = order[:32], 8
    h, w = filters.shape[1:]
    pairs = []
    for i in shown:
        limit = max(float(np.abs(filters[i]).max()), 1e-12)
        both = np.full((2 * h + GAP, w, 1), 1.0)
        both[:h, :, 0], both[h + GAP :, :, 0] = (v / limit / 2 + 0.5 for v in (filters[i], fits[i].values))
        pairs.append(np.pad(both, ((1, 1), (1, 1), (0, 0)), constant_values=1))
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained", width_ratios=[1.3, 1, 1])
    _show(axes[0], tile(pairs, min(columns, len(pairs))))
    axes[0].set_title(title)
    axes[0].set_xlabel("above the filter, below the Gabor function, best first")
    explained = np.array([f.explained for f in fits])
    bins = np.linspace(0, 1, 21).tolist()
    axes[1].hist(
        np.clip(explained, 0, 1), bins, color=FIRST, label="filters", weights=np.full(len(fits), 1 / len(fits))
    )
    axes[1].hist(np.clip(chance, 0, 1), bins, color=QUIET, histtype="step", label="filters of noise",
                 weights=np.full(len(chance), 1 / len(chance)))  # fmt: skip
    axes[1].set(xlabel="variance that the function explains", ylabel="share of filters", xlim=(0, 1))
    axes[1].margins(y=0.3)
    axes[1].legend(loc="upper left")
    for some, colour, label in (
        ([f for f in fits if f.striped], FIRST, "stripes"), ([f for f in fits if not f.striped], QUIET, "blobs, slopes")
    ):  # fmt: skip
        if some:
            axes[2].scatter([f.orientation for f in some], [f.frequency for f in some],
                            s=[4 + 60 * max(f.explained, 0) ** 2 for f in some], color=colour, alpha=0.7, label=label)  # fmt: skip
    axes[2].set(xlabel="orientation of the stripes (degrees)", ylabel="frequency (cycles per pixel)",
                xlim=(-5, 185), ylim=(-0.01, 0.51), xticks=(0, 45, 90, 135, 180))  # fmt: skip
    axes[2].set_title("larger: more variance explained", fontsize=8, color=INK)
    axes[2].legend(loc="upper right")
    save_figure(figure, path)


def plot_units(rows: Sequence[tuple[int, Sequence[tuple[np.ndarray, Box]]]], path: Path, title: str) -> None:
    """Plots the images that excite each channel most, with the unit's receptive field outlined and as a crop.

    Args:
        rows: (channel, [(image [h, w, c], box)]), in descending order of activation.
    """
    count = max(len(found) for _, found in rows)
    # A field larger than the image has nothing to cut out.
    cropped = not all(covers(box, image) for _, found in rows for image, box in found)
    size = (0.75 * count * (1 + cropped) + 0.6, 0.72 * len(rows) + 0.5)
    figure, axes = plt.subplots(len(rows), 1 + cropped, figsize=size, squeeze=False, layout="constrained")
    for (channel, found), (whole, *parts) in zip(rows, axes, strict=True):
        images = [to_visible(image) for image, _ in found]
        _show(whole, tile(images, count))
        whole.set_ylabel(channel, rotation=0, ha="right", va="center")
        for part in parts:
            _outline(whole, images, [box for _, box in found])
            _show(part, tile([crop_box(v, box) for v, (_, box) in zip(images, found, strict=True)], count))
    if cropped:
        axes[0][1].set_title("what the unit sees of them")
    else:
        axes[0][0].set_title("each unit sees the whole image", loc="left")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    save_figure(figure, path)


def covers(box: Box, image: np.ndarray) -> bool:
    """Returns whether a receptive field holds the whole image [h, w, c]."""
    top, left, bottom, right = box
    return top <= 0 and left <= 0 and bottom >= image.shape[0] and right >= image.shape[1]


def _outline(axis, images: Sequence[np.ndarray], boxes: Sequence[Box]) -> None:
    """Draws the receptive fields around what they see of a row of images."""
    width = images[0].shape[1] + GAP
    for i, (image, (top, left, bottom, right)) in enumerate(zip(images, boxes, strict=True)):
        y0, x0, y1, x1 = max(top, 0), max(left, 0), min(bottom, image.shape[0]), min(right, image.shape[1])
        box = ((i * width + x0 - 0.5), y0 - 0.5), x1 - x0, y1 - y0
        axis.add_patch(plt.Rectangle(*box, fill=False, color=SECOND, lw=1.2))


def plot_maps(image: np.ndarray, layers: Sequence[tuple[str, np.ndarray]], path: Path, title: str) -> None:
    """Plots an image and the feature maps of layers for it, each layer on its own colour scale, from -limit to limit.

    Blue is below 0, where a ReLU outputs 0; red is above 0.

    Args:
        image: [h, w, c].
        layers: (name, [h, w, channels]); at most the first 16 channels are shown.
    """
    count = min(max(m.shape[-1] for _, m in layers), 16)
    side = max(m.shape[0] for _, m in layers)
    figure, axes = plt.subplots(len(layers) + 1, 1, figsize=(0.62 * count + 1.6, 0.68 * (len(layers) + 1) + 0.3),
                                squeeze=False, layout="constrained")  # fmt: skip
    first = axes[0][0]
    _show(first, to_visible(image))
    first.set_anchor("W")
    first.set_title(title)
    for axis, (name, values) in zip(axes[1:, 0], layers, strict=True):
        shown = values[..., :count]
        h, w, n = shown.shape
        limit = max(float(np.abs(shown).max()), 1e-12)
        large = np.repeat(
            np.repeat(shown, max(round(side / h), 1), axis=0), max(round(side / h), 1), axis=1
        )  # so that columns align
        parts = [large[..., i : i + 1] for i in range(n)] + [np.full_like(large[..., :1], np.nan)] * (count - n)
        _show(axis, tile(parts, count, np.nan), cmap="RdBu_r", vmin=-limit, vmax=limit)
        more = f"\n{n} of {values.shape[-1]}" if n < values.shape[-1] else ""
        axis.set_anchor("W")
        axis.set_ylabel(
            f"{name}, {h} x {w}\n± {float(f'{limit:.2g}'):,g}{more}", rotation=0, ha="right", va="center", fontsize=7
        )
    save_figure(figure, path)


def plot_occlusion(
    image: np.ndarray, found: Occlusion, whole: float, path: Path, title: str, what: str,
    limits: tuple[float, float] | None = None,
) -> None:  # fmt: skip
    """Plots an image beside its occlusion map: the class score for each position of the grey square.

    Args:
        whole: the class score of the unoccluded image.
        what: the name of the score.
        limits: of the score, which the colours cover; None = its lowest and highest value here.
    """
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 3), layout="constrained")
    _show(axes[0], to_visible(image))
    rows, columns = found.centres
    corner = (columns[0] - found.side // 2 - 0.5, rows[0] - found.side // 2 - 0.5)
    axes[0].add_patch(plt.Rectangle(corner, found.side, found.side, color=QUIET, alpha=0.8))
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    step = (rows[-1] - rows[0]) / max(len(rows) - 1, 1) / 2
    extent = (columns[0] - step, columns[-1] + step, rows[-1] + step, rows[0] - step)
    low, high = limits or (float(found.values.min()), max(whole, float(found.values.max())))
    drawn = axes[1].imshow(found.values, cmap="viridis", extent=extent, vmin=low, vmax=high)
    axes[1].set(xlim=axes[0].get_xlim(), ylim=axes[0].get_ylim(), xticks=[], yticks=[])
    axes[1].set_title(f"{what}; {whole:.3g} without the square", fontsize=8, color=INK)
    figure.colorbar(drawn, ax=axes[1], shrink=0.8)
    save_figure(figure, path)


def plot_statistics(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, title: str) -> None:
    """Plots mean, standard deviation and dead inputs against depth, in one colour per run.

    Where there are more runs than colours, the colours begin again, with other marks.

    Args:
        runs: by name, the result of `activations.tabulate_statistics`; runs without lines are left out.
    """
    runs = {name: lines for name, lines in runs.items() if lines}
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    palette = (FIRST, SECOND, *plt.get_cmap("Dark2").colors)  # type: ignore[attr-defined]
    styles = ((style, colour) for style in itertools.cycle(("o-", "s--", "^-.")) for colour in palette)
    for (name, lines), (style, colour) in zip(runs.items(), styles, strict=False):
        depth = np.arange(1, len(lines) + 1)
        label = f" {name}" if name.startswith("_") else name  # a legend leaves out what begins with _
        for axis, key in zip(axes, ("mean", "std"), strict=False):
            low, middle, high = np.array([np.percentile(line[key], (10, 50, 90)) for line in lines]).T
            axis.fill_between(depth, low, high, color=colour, alpha=0.18, lw=0)
            axis.plot(depth, middle, style, ms=3, color=colour, label=label)
        if any(line["norm"] for line in lines):
            axes[1].plot(
                depth, [np.median(line["raw"]) for line in lines], ":", color=colour, label="before batch normalization"
            )
        axes[2].plot(depth, [100 * line["dead"] for line in lines], style, ms=3, color=colour, label=label)
    axes[0].set(ylabel="mean of a channel", title=title)
    axes[1].set(ylabel="standard deviation of a channel", yscale="log")
    axes[1].set_title("line: median channel; band: 10 to 90 %", fontsize=8, color=INK)
    axes[2].set(ylabel="inputs that never change (%)", ylim=(-2, 102))
    for axis in axes:
        axis.set_xlabel("layer with weights, from the image on")
        axis.locator_params(axis="x", integer=True)
    axes[1].legend(fontsize=7)
    axes[0].axhline(0, color=INK, lw=0.5)
    save_figure(figure, path)


def plot_inputs(inputs: np.ndarray, columns: int, path: Path, title: str) -> None:
    """Plots inputs of a network [n, h, w, c] in rows of `columns`, each scaled to its own range."""
    figure, axes = plt.subplots(-(-len(inputs) // columns), columns, figsize=(columns, len(inputs) / columns + 0.4),
                                layout="constrained", squeeze=False)  # fmt: skip
    for axis, image in zip(axes.flat, inputs, strict=True):
        _show(axis, to_visible(image))
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    save_figure(figure, path)
