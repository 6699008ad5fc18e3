"""Drawings of networks: coloured blocks with letters, as in the lecture, from a layout."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from convnets.analysis.graph_layout import DOT, lay_out
from convnets.analysis.graph_parts import Label, Panel, Rectangle, Wire
from convnets.models.graph import Graph
from convnets.plotting import FIRST, INK, QUIET, SECOND, FancyBboxPatch, Outline, PathPatch, plt, save_figure

# Fill and edge of each kind of block.
COLOURS = {
    "input": ("#ffffff", QUIET),
    "convolution": ("#d3e3f4", FIRST),
    "pooling": ("#fadccd", SECOND),
    "normalization": ("#d9edd0", "#47822b"),
    "fully connected": ("#faeab9", "#a37800"),
    "addition": ("#ffffff", INK),
    "concatenation": ("#e6e6e6", "#666666"),
    "operation": ("#eeeeee", "#666666"),
}
MARGIN, TITLE, LEGEND = 0.12, 0.28, 0.42  # heights; the legend's with the space above it
RADIUS = 0.05  # of the corners of lines
SMALLEST = 7.0  # width in which the titles fit


def plot_network(graph: Graph, path: Path, title: str, subtitle: str) -> None:
    """Draws a network into an SVG, PDF or PNG file, with a title and a smaller one after it."""
    page = lay_out(graph)
    legend = _list_legend(page.parts)
    width = max(page.width, sum(_entry_width(text) for *_, text in legend), SMALLEST) + 2 * MARGIN
    height = page.above + page.below + TITLE + LEGEND + 2 * MARGIN
    figure = plt.figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-MARGIN, width - MARGIN), ylim=(height, 0))
    axes.axis("off")
    axes.text(0, MARGIN + 0.07, title, size=9, weight="bold", color=INK, va="center_baseline")
    axes.text(0.095 * len(title) + 0.1, MARGIN + 0.07, subtitle, size=7, color=QUIET, va="center_baseline")
    parts = page.shift(0, page.above + MARGIN + TITLE).parts
    for kind, draw in DRAW.items():
        for part in parts:
            if isinstance(part, kind):
                draw(axes, part)
    _draw_legend(axes, legend, height - MARGIN - 0.1)
    save_figure(figure, path)


def _draw_panel(axes, panel: Panel) -> None:
    _draw_box(axes, panel.left, panel.top, panel.width, panel.height, "#f3f3f3", "none")
    axes.text(panel.left + 0.06, panel.top + 0.04, panel.name, size=6.5, color="#666666", va="top")


def _draw_box(axes, left: float, top: float, width: float, height: float, fill: str, edge: str, corner=0.04) -> None:
    box = FancyBboxPatch((left, top), width, height, f"round,pad=0,rounding_size={corner}", fc=fill, ec=edge, lw=0.9)
    axes.add_patch(box)


def _draw_wire(axes, wire: Wire) -> None:
    axes.add_patch(PathPatch(_round(wire.points), fc="none", ec="#555555", lw=0.8, ls=(0, (3, 2)) if wire.reshaped else "-",
                             capstyle="butt", snap=False))  # fmt: skip
    if wire.arrow:
        x, y = wire.points[-1]
        axes.add_patch(plt.Polygon(((x, y), (x - 0.07, y - 0.03), (x - 0.07, y + 0.03)), fc="#555555", ec="none"))


def _round(points: Sequence[tuple[float, float]]) -> Outline:
    """Returns a line with round corners."""
    vertices, codes = [points[0]], [Outline.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        for end in (before, after):
            length = math.dist(end, corner)
            share = min(RADIUS, length / 2) / length if length else 0
            near = (corner[0] + share * (end[0] - corner[0]), corner[1] + share * (end[1] - corner[1]))
            vertices += [near] if end is before else [corner, near]
        codes += [Outline.LINETO, Outline.CURVE3, Outline.CURVE3]
    return Outline([*vertices, points[-1]], [*codes, Outline.LINETO])


def _draw_rectangle(axes, rectangle: Rectangle) -> None:
    left, top, width, height, part, block = rectangle
    (fill, edge), x, y = COLOURS["normalization" if part == "norm" else block.kind], left + width / 2, top + height / 2
    if part == "table":
        return _draw_table(axes, rectangle)
    if block.kind == "addition":
        axes.add_patch(plt.Circle((x, y), width / 2, fc=fill, ec=edge, lw=0.9))
        axes.text(x, y, block.letter, size=10, color=edge, weight="bold", ha="center", va="center_baseline")
        return None
    _draw_box(axes, left, top, width, height, fill, edge)
    if part == "norm":
        axes.text(x, y, "N", size=6.5, color=edge, weight="bold", ha="center", va="center")
    elif block.kind == "concatenation":
        axes.text(x, y, "concat", size=5.5, color=edge, ha="center", va="center", rotation=90)
    elif block.kind == "input":
        axes.text(x, y, "input", size=6.5, color=INK, ha="center", va="center")
    else:
        rows = len(block.lines)
        axes.text(
            x, y - 0.055 * rows, block.letter, size=10, color=edge, weight="bold", ha="center", va="center_baseline"
        )
        for i, line in enumerate(block.lines):
            axes.text(
                x,
                y + 0.11 * (i + 1) - 0.055 * rows + 0.02,
                line,
                size=6.3,
                color=INK,
                ha="center",
                va="center_baseline",
            )


def _draw_table(axes, rectangle: Rectangle) -> None:
    """Draws the maps that each map reads: a column for each map, a row for each map before it, dark where they connect."""
    table = rectangle.block.table or ()
    squares = [(rectangle.left + DOT * i, rectangle.top + DOT * k, k in row) for i, row in enumerate(table)
               for k in range(rectangle.block.maps_in)]  # fmt: skip
    for x, y, connected in squares:
        axes.add_patch(plt.Rectangle((x, y), DOT, DOT, fc=FIRST if connected else "#ffffff", ec="#ffffff", lw=0.3))


def _draw_label(axes, label: Label) -> None:
    colour = QUIET if label.kind == "name" else INK
    axes.text(label.x, label.y, label.text, size=6, color=colour, ha="center", va="center")


def _list_legend(parts: Sequence) -> list[tuple[str, str, str]]:
    """Returns (letter, kind, text) of each entry of the legend."""
    rectangles = [part for part in parts if isinstance(part, Rectangle)]
    entries = dict.fromkeys((p.block.letter, p.block.kind, p.block.legend) for p in rectangles if p.block.legend)
    if any(p.part == "norm" for p in rectangles):
        entries["N", "normalization", "batch normalization"] = None
    if any(p.part == "table" for p in rectangles):
        entries["", "table", "a map (column) reads a map before it (row)"] = None
    if any(part.reshaped for part in parts if isinstance(part, Wire)):
        entries["", "shortcut", "shortcut that changes the size without weights"] = None
    return list(entries)


def _draw_legend(axes, entries: Sequence[tuple[str, str, str]], y: float) -> None:
    x = 0.0
    for letter, kind, text in entries:
        fill, edge = COLOURS.get(kind, ("none", INK))
        if kind == "shortcut":
            _draw_wire(axes, Wire(((x - 0.05, y), (x + 0.18, y)), True))
        elif kind == "table":
            axes.add_patch(plt.Rectangle((x + 0.06, y - 0.04), 0.08, 0.08, fc=FIRST))
        elif kind == "addition":
            axes.add_patch(plt.Circle((x + 0.08, y), 0.08, fc=fill, ec=edge, lw=0.9))
        else:
            _draw_box(axes, x, y - 0.08, 0.16, 0.16, fill, edge, 0.03)
        axes.text(x + 0.08, y, letter, size=6.5, color=edge, weight="bold", ha="center", va="center_baseline")
        axes.text(x + 0.22, y, text, size=6.5, color=INK, va="center_baseline")
        x += _entry_width(text)


def _entry_width(text: str) -> float:
    return 0.42 + 0.062 * len(text)


# By kind of part, from the back to the front.
DRAW: dict[type, Callable] = {Panel: _draw_panel, Wire: _draw_wire, Rectangle: _draw_rectangle, Label: _draw_label}
