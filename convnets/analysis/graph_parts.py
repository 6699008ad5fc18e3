"""Parts of a network's drawing, and pieces that are made of them. Lengths are inches; x points right, y down."""

from typing import Any, NamedTuple

from convnets.analysis.graph_blocks import Block

Point = tuple[float, float]


class Rectangle(NamedTuple):
    """The rectangle of a block; `part` is 'block', 'norm' (the strip of a batch norm) or 'table' (of connections)."""

    left: float
    top: float
    width: float
    height: float
    part: str
    block: Block

    def shift(self, x: float, y: float) -> "Rectangle":
        return self._replace(left=self.left + x, top=self.top + y)


class Wire(NamedTuple):
    """A line through points; `reshaped` if it is a shortcut that changes the size, `arrow` if it leads to an output."""

    points: tuple[Point, ...]
    reshaped: bool = False
    arrow: bool = False

    def shift(self, x: float, y: float) -> "Wire":
        return self._replace(points=tuple((a + x, b + y) for a, b in self.points))


class Label(NamedTuple):
    """Small text centred at a point; `kind` is 'size' or 'name'."""

    x: float
    y: float
    text: str
    kind: str

    def shift(self, x: float, y: float) -> "Label":
        return self._replace(x=self.x + x, y=self.y + y)


class Panel(NamedTuple):
    """The shaded rectangle of a module, a residual unit or a head, with its name in the upper left corner."""

    left: float
    top: float
    width: float
    height: float
    name: str

    def shift(self, x: float, y: float) -> "Panel":
        return self._replace(left=self.left + x, top=self.top + y)


class Piece(NamedTuple):
    """Some parts of a drawing.

    Attributes:
        above, below: how far it reaches from its middle line.
        entries, exits: where wires end and begin, a point for each column.
        reads: positions of the blocks that it reads; `last` is the position of the block at its end.
        crossed: every wire that comes in goes to every entry.
        sides: height and width of the maps at its end, () for a vector.
    """

    parts: list[Any]
    width: float
    above: float
    below: float
    entries: list[Point]
    exits: list[Point]
    reads: tuple[int, ...] = ()
    last: int = -1
    crossed: bool = False
    sides: tuple[int, ...] = ()

    def shift(self, x: float, y: float) -> "Piece":
        """Moves the parts, entries and exits, not the origin."""
        entries, exits = ([(a + x, b + y) for a, b in points] for points in (self.entries, self.exits))
        return self._replace(parts=[part.shift(x, y) for part in self.parts], entries=entries, exits=exits)
