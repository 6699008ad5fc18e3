"""The figures of RESULTS.md; demonstration_plots.py has the figures of demonstrations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convnets.plotting import INK, offset_copy, plt, save_figure

FEW, MANY = 4, 8  # rows whose curves are shown with their training error, and up to which curves are shown
PAPER = "diamond: the paper, in its setting"

Points = Sequence[tuple[float, float]]
Range = tuple[float, float] | None  # low and high end of an interval
Curves = Mapping[str, tuple[Points, float | None, Points]]


def plot_experiment(
    curves: Curves,
    bars: Sequence[tuple[str, str, float, Range, float | None]],
    lines: Mapping[str, Sequence[tuple[float, float, Range, float | None]]],
    path: Path, *, title: str, metric: str, error: str, x: str,
) -> None:  # fmt: skip
    """Plots the measured results of an experiment beside the paper's; panels without data are omitted.

    Args:
        curves: by row, [(epoch, mean error)], the paper's value, drawn as a dashed line of the same colour, and the
            training error as further points, dotted where FEW rows leave room for it. MANY rows are shown as bars only.
        bars: (row, label, mean, interval, the paper's value, drawn as a diamond).
        lines: by name, [(x, mean, interval, the paper's value)].
        x: label of the lines' x axis.
    """
    curves = {} if len(curves) > MANY else curves
    names = list(dict.fromkeys([*curves, *(bar[0] for bar in bars), *lines]))
    palette = plt.get_cmap("tab10" if len(names) <= 10 else "tab20")
    beside = bool(curves or lines)
    colour = {name: palette(i % palette.N if beside else 0) for i, name in enumerate(names)}  # bars alone are labelled
    # A few bars would be too thick beside tall panels.
    panels, height = sum(map(bool, (curves, lines, bars))), max(3.2 if beside else 1.8, 0.24 * len(bars) + 1)
    figure, axes = plt.subplots(1, panels, figsize=(4.6 * panels, height), squeeze=False, layout="constrained")
    free = iter(axes[0])
    axes[0][0].set_title(title)
    if curves:
        _plot_curves(next(free), curves, colour, error)
    if lines:
        axis = next(free)
        for i, (name, marks) in enumerate(lines.items()):
            ordered = sorted(marks, key=lambda m: m[0])
            at, values = zip(*(m[:2] for m in ordered), strict=True)
            around = list(zip(*(_around(m[1], m[2]) for m in ordered), strict=True))
            drawn = axis.errorbar(at, values, around, fmt="o-", ms=3, lw=1.2, capsize=2, color=colour[name], label=name)
            beside_others = offset_copy(axis.transData, figure, x=1.5 * (i - (len(lines) - 1) / 2), units="points")
            for artist in (drawn.lines[0], *drawn.lines[1], *drawn.lines[2]):
                artist.set_transform(beside_others)
            known = sorted((m[0], m[3]) for m in marks if m[3] is not None)
            if known:
                axis.plot(*zip(*known, strict=True), "D--", ms=4, lw=0.8, color=colour[name], mfc="none")
        given = any(m[3] is not None for marks in lines.values() for m in marks)
        axis.set(xlabel=x, ylabel=f"{metric}\n{PAPER}" if given else metric)
        _wide(axis, "x", [m[0] for marks in lines.values() for m in marks])
        _wide(axis, "y", [m[1] for marks in lines.values() for m in marks])
        if axis.get_yscale() == "linear":
            axis.set_ylim(bottom=max(0, axis.get_ylim()[0]))  # an interval may extend below 0, a metric cannot
        if any(lines):
            axis.legend(fontsize=7)
    if bars:
        axis = next(free)
        for i, (name, _, mean, found, paper) in enumerate(bars):
            sides = [[side] for side in _around(mean, found)] if found else None
            axis.barh(i, mean, xerr=sides, color=colour[name], height=0.7, error_kw={"lw": 0.9, "capsize": 2})
            if paper is not None:
                axis.plot(paper, i, "D", ms=5, mfc="white", mec=INK)
        axis.set_yticks(range(len(bars)), [bar[1] for bar in bars], fontsize=7)
        axis.set_ylim(max(len(bars), 4 if beside else 2) - 0.5, -0.5)
        axis.set_xlim(left=0)
        if max(bar[2] for bar in bars) >= 10_000:
            axis.xaxis.set_major_formatter("{x:,g}")
        axis.set(xlabel=f"{metric}; {PAPER}" if any(bar[4] is not None for bar in bars) else metric)
    save_figure(figure, path)


def _around(mean: float, found: Range) -> tuple[float, float]:
    """Returns the distances from a mean to the ends of its interval; (0, 0) without one."""
    return (mean - found[0], found[1] - mean) if found else (0.0, 0.0)


def _plot_curves(axis, curves: Curves, colour: Mapping[str, Any], error: str) -> None:
    """Plots errors against epochs, with the paper's error and the training error; the legend says which is which."""
    training = len(curves) <= FEW and any(c[2] for c in curves.values())
    for name, (points, paper, fitted) in curves.items():
        axis.plot(*zip(*points, strict=True), color=colour[name], lw=1.2, label=name)
        if training and fitted:
            axis.plot(*zip(*fitted, strict=True), color=colour[name], lw=0.8, ls=":")
        if paper is not None:
            axis.axhline(paper, color=colour[name], lw=0.8, ls="--")
    notes = ["dashed: the paper"] * any(c[1] is not None for c in curves.values())
    notes += ["solid: test, dotted: training"] * training
    axis.set(xlabel="epoch", ylabel="error (%)" if training else error)
    axis.locator_params(axis="x", integer=True)
    _wide(axis, "y", [v for points, *_ in curves.values() for _, v in points], 5)
    small = 6 if len(curves) > 6 else 7
    axis.legend(fontsize=small, title="; ".join(notes) or None, title_fontsize=small)


def _wide(axis, which: str, values: Sequence[float], ratio: float = 20) -> None:
    """Makes the axis logarithmic if the largest value is more than `ratio` times the smallest, else limits its ticks."""
    if min(values) > 0 and max(values) > ratio * min(values):
        axis.set(**{f"{which}scale": "log"})
        ticks = getattr(axis, f"{which}axis")
        ticks.set_major_formatter("{x:,g}")
        between = (
            "25" if which == "y" or max(values) < 100 * min(values) else ""
        )  # long numbers side by side would overlap
        ticks.set_minor_formatter(lambda value, _: f"{value:,g}" if f"{value:e}"[0] in between else "")
    else:
        axis.locator_params(axis=which, nbins=6, integer=all(float(value).is_integer() for value in values))
        if max(values) >= 10_000:
            getattr(axis, f"{which}axis").set_major_formatter("{x:,g}")
