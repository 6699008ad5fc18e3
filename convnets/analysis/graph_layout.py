"""Where the parts of a network's drawing lie: from left to right in rows, wrapped like text, branches above each other.

A drawing is composed of pieces: blocks are joined to sequences, sequences to forks, these to rows, rows to the page. Every
piece has its own origin, where its middle line begins. Lengths are inches; x points right, y down.
"""

import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from convnets.analysis.graph_blocks import TIMES, Block, make_blocks
from convnets.analysis.graph_order import Fork, list_blocks, list_edges, order_blocks
from convnets.analysis.graph_parts import Label, Panel, Piece, Rectangle, Wire
from convnets.models.graph import Graph

BLOCK, STRIP, CIRCLE, BAR = 0.5, 0.17, 0.25, 0.19  # side of a block; widths of batch norm, addition, concatenation
GAP, TURN = 0.16, 0.16  # between blocks; before branches
CROSS, LEAD = 0.46, 0.12  # between columns whose wires cross; straight part of such a wire
LANE, SHORTCUT = 0.12, 0.06  # between branches; half the height of a branch without blocks
LINE, LETTER = 0.13, 0.058  # height of a line and width of a letter of the small text
DOT = 0.036  # side of a square in a table of connections
ROW, STEP, PAGE = 0.3, 0.1, 10.8  # between rows; between wires that turn; width of the page


def lay_out(graph: Graph) -> Piece:
    """Returns all parts of a network's drawing as one piece."""
    blocks, outputs = make_blocks(graph)
    order = order_blocks(blocks, outputs)
    cells, shown = list[Piece](), tuple[int, ...]()
    for item in order.main:
        cell = _make_sequence(blocks, [item], named=True)
        cell = _shade(cell, blocks, [item], TURN) if isinstance(item, Fork) else cell
        block, is_output = blocks[cell.last], item is order.main[-1]
        cells.append(_add_sizes(cell, block, is_output) if is_output or block.output != shown else cell)
        shown = block.output
    heads = {i: [_make_head(blocks, sequence) for sequence in found] for i, found in order.heads.items()}
    page = _stack([_make_row(cells[first:last], heads) for first, last in _wrap(cells, heads)])
    return _connect_rest(page, blocks, list_edges(order))


# Pieces of the page ---------------------------------------------------------------------------------------------------


def _make_sequence(blocks: Sequence[Block], items: Sequence[int | Fork], named: bool = False) -> Piece:
    """Returns blocks and forks one after the other; a shortcut if there are none."""
    if not items:
        return Piece([], 0, SHORTCUT, SHORTCUT, [(0, 0)], [(0, 0)])
    pieces = [
        _make_fork(blocks, item) if isinstance(item, Fork) else _make_block(blocks[item], named) for item in items
    ]
    return functools.reduce(_append, pieces)


def _make_head(blocks: Sequence[Block], items: Sequence[int | Fork]) -> Piece:
    piece = _shade(_make_sequence(blocks, items), blocks, items, 0)
    return _add_sizes(piece, blocks[piece.last], True)


def _make_row(cells: Sequence[Piece], heads: Mapping[int, Sequence[Piece]]) -> Piece:
    """Returns a row of the page. Heads hang below it, each in the first lane that is free."""
    row, hanging = cells[0], list[tuple[int, float, Piece]]()
    for i, cell in enumerate(cells):
        row = _append(row, cell) if i else row
        hanging += [(cell.last, row.width, head) for head in heads.get(cell.last, ())]
    if not hanging:
        return row
    above = LANE + max(head.above for *_, head in hanging)
    height = above + max(head.below for *_, head in hanging)
    ends = list[float]()  # of the lanes so far
    for source, x, head in hanging:
        x += GAP
        lane = next((n for n, end in enumerate(ends) if end < x), len(ends))
        ends[lane : lane + 1] = [x + TURN + head.width + GAP]
        y = row.below + lane * height + above
        if source in head.reads:
            row.parts.append(Wire(((x - GAP, 0), (x, 0), (x, y), (x + TURN, y))))
        row.parts.extend(head.shift(x + TURN, y).parts)
    return row._replace(width=max(row.width, *ends), below=row.below + len(ends) * height)


def _wrap(cells: Sequence[Piece], heads: Mapping[int, Sequence[Piece]]) -> list[tuple[int, int]]:
    """Returns the rows, [first, last) cells, whose widths differ least from the page's.

    Rows should end where the size of the maps changes, not between blocks that are drawn in columns or beside a head.
    """
    best: list[tuple[float, int]] = [(0, 0)]  # cost of the rows before cell n, and where the last of them begins
    for n in range(1, len(cells) + 1):
        inside = n < len(cells) and len({cell.sides for cell in cells[max(n - 2, 0) : n + 1]}) == 1
        split = n < len(cells) and (len(cells[n - 1].exits) > 1 or cells[n - 1].last in heads)
        ending = 8 * inside + 10 * split
        costs, width, reach = list[tuple[float, int]](), 0.0, 0.0
        for first in reversed(range(n)):
            hanging = [2 * TURN + head.width for head in heads.get(cells[first].last, ())]
            reach = cells[first].width + GAP + max([reach, *hanging])
            width = max(width + cells[first].width + GAP, reach)
            cost = (PAGE - width) ** 2 + 1e3 * max(0, width - PAGE)
            costs.append((best[first][0] + cost + ending, first))
            if width > 2 * PAGE:
                break
        best.append(min(costs))
    rows, n = list[tuple[int, int]](), len(cells)
    while n:
        rows, n = [(best[n][1], n), *rows], best[n][1]
    return rows


def _stack(rows: Sequence[Piece]) -> Piece:
    """Returns the page: rows below each other; the end of each is joined to the beginning of the next."""
    page, edge = rows[0].shift(0, 0), rows[0].width
    for row in rows[1:]:
        count = len(page.exits)
        offsets = [(k - (count - 1) / 2) * (BLOCK + LANE) for k in range(count)]
        start = (1 + count) * STEP
        row = _append(Piece([], start, 0, 0, [], [(start, y) for y in offsets], last=page.last), row)
        between, y = page.below + ROW / 2, page.below + ROW + row.above + (count - 1) * STEP
        for k, ((x, end), offset) in enumerate(zip(page.exits, offsets, strict=True)):  # loops that do not cross
            right, middle, left = (
                edge + GAP / 2 + (count - k) * STEP,
                between + (count - 1 - k) * STEP,
                (count - k) * STEP,
            )
            page.parts.append(
                Wire(((x, end), (right, end), (right, middle), (left, middle), (left, y + offset), (start, y + offset)))
            )
        row = row.shift(0, y)
        page.parts.extend(row.parts)
        width = max(page.width, edge + GAP / 2 + count * STEP, row.width)
        page, edge = page._replace(width=width, below=y + row.below, exits=row.exits, last=row.last), row.width
    return page


def _connect_rest(page: Piece, blocks: Sequence[Block], edges: set[tuple[int, int]]) -> Piece:
    """Adds a straight wire for each input of a block that is not among `edges`, those that the order of blocks shows."""
    ends = {p.block.position: p for p in page.parts if isinstance(p, Rectangle) and p.part == "block"}
    for block in blocks:
        for k in block.inputs:
            if (k, block.position) not in edges:
                a, b = ends[k], ends[block.position]
                page.parts.append(Wire(((a.left + a.width, a.top + a.height / 2), (b.left, b.top + b.height / 2))))
    return page


def _append(left: Piece, right: Piece) -> Piece:
    """Returns two pieces side by side, with wires between them if the right one reads the left one."""
    crossed = right.crossed or len(left.exits) != len(right.entries)
    start = left.width + (CROSS if crossed else GAP)
    moved = right.shift(start, 0)
    pairs = itertools.product(left.exits, moved.entries) if crossed else zip(left.exits, moved.entries, strict=True)
    wires = [
        Wire(((u, v), *([(u + LEAD, v)] if crossed else []), end)) for (u, v), end in pairs if left.last in right.reads
    ]
    return moved._replace(
        parts=[*left.parts, *wires, *moved.parts], width=start + right.width, above=max(left.above, right.above),
        below=max(left.below, right.below), entries=left.entries, reads=left.reads, crossed=left.crossed,
    )  # fmt: skip


# Forks ----------------------------------------------------------------------------------------------------------------


def _make_fork(blocks: Sequence[Block], fork: Fork) -> Piece:
    """Returns branches and the block that joins them.

    A concatenation is a bar that all branches reach. At other blocks the longest branch is in the middle, and the others
    come from above.
    """
    source, target = blocks[fork.source], blocks[fork.join]
    branches, bar = [_make_sequence(blocks, branch) for branch in fork.branches], target.kind == "concatenation"
    lanes, width = _centre(branches) if bar else _put_above(branches), max(piece.width for piece in branches)
    end = TURN + width + GAP
    join = _make_block(target, height=max(lanes) - min(lanes) + CIRCLE if bar else CIRCLE).shift(end, 0)
    parts = list[Any]()
    for piece, y in zip(branches, lanes, strict=True):
        reshaped = not piece.parts and not bar and source.output != target.output
        piece = piece.shift(TURN + (width - piece.width) * (1 if bar else 0.5), y)
        for u, v in piece.entries:
            parts.append(Wire(((0, 0), (0, v), (u, v)) if v else ((0, 0), (u, v)), reshaped))
        for u, v in piece.exits if piece.last in (-1, *target.inputs) else []:
            middle = end + (join.width / 2)
            last = ((end, v),) if bar or not y else ((middle, v), (middle, -join.above))
            parts.append(Wire(((u, v), *last), reshaped))
        parts += piece.parts
    reach = [*zip(branches, lanes, strict=True), (join, 0.0)]
    return Piece([*parts, *join.parts], end + join.width, max(p.above - y for p, y in reach),
                 max(p.below + y for p, y in reach), [(0, 0)], join.exits, (fork.source,), fork.join, sides=join.sides)  # fmt: skip


def _centre(branches: Sequence[Piece]) -> list[float]:
    """Returns the y of each branch, so that they lie evenly around the middle line."""
    heights = [piece.above + piece.below + LANE for piece in branches]
    tops = itertools.accumulate(heights, initial=-(sum(heights) - LANE) / 2)
    return [top + piece.above for top, piece in zip(tops, branches, strict=False)]


def _put_above(branches: Sequence[Piece]) -> list[float]:
    """Returns the y of each branch: the widest on the middle line, the others above it."""
    middle = max(range(len(branches)), key=lambda i: branches[i].width)
    lanes, top = [0.0] * len(branches), -branches[middle].above
    for i, piece in enumerate(branches):
        if i != middle:
            lanes[i] = top - LANE - piece.below
            top = lanes[i] - piece.above
    return lanes


# Blocks ---------------------------------------------------------------------------------------------------------------


def _make_block(block: Block, named: bool = False, height: float = CIRCLE) -> Piece:
    """Returns a block; `height` is the height of an addition or a concatenation."""
    if block.kind in ("addition", "concatenation"):
        width = CIRCLE if block.kind == "addition" else BAR
        own = Rectangle(0, -height / 2, width, height, "block", block)
        return Piece([own], width, height / 2, height / 2, [(0, 0)], [(width, 0)], block.inputs, block.position,
                     sides=block.output[:-1])  # fmt: skip
    half = (block.columns * (BLOCK + LANE) - LANE) / 2
    middles = [k * (BLOCK + LANE) + BLOCK / 2 - half for k in range(block.columns)]
    drawn = [(-half, 2 * half)] if block.whole else [(y - BLOCK / 2, BLOCK) for y in middles]
    parts: list[Any] = [Rectangle(0, top, BLOCK, high, "block", block) for top, high in drawn]
    if block.normalized:
        parts += [Rectangle(BLOCK, top, STRIP, high, "norm", block) for top, high in drawn]
    above = below = half
    if named and block.kind != "input" and (name := _shorten(block.name)):
        parts.append(Label(BLOCK / 2, -half - LINE / 2, name, "name"))
        above += LINE
    if block.table:
        wide, high = (DOT * n for n in (len(block.table), block.maps_in))
        parts.append(Rectangle((BLOCK - wide) / 2, half + LINE / 2, wide, high, "table", block))
        count, most = sum(map(len, block.table)), len(block.table) * block.maps_in
        parts.append(Label(BLOCK / 2, half + LINE + high, f"{count} of {most}", "name"))
        below += 1.5 * LINE + high
    width = BLOCK + STRIP * block.normalized
    entries, exits = ([(x, y) for y in middles] for x in (0.0, width))
    return Piece(
        parts, width, above, below, entries, exits, block.inputs, block.position, block.crossed, block.output[:-1]
    )


def _shorten(name: str) -> str:
    """Returns the name of a layer, the last part of a long one, or '' if even that is wider than a block."""
    return next((text for text in (name, name.split("/")[-1]) if 0 < len(text) <= 10), "")


def _add_sizes(piece: Piece, block: Block, is_output: bool) -> Piece:
    """Adds the output's size to the end of a piece: height x width above the wire, maps below it."""
    *sides, maps = block.output
    texts = (TIMES.join(map(str, sides)), f"{TIMES}{maps // len(piece.exits)}") if sides else (str(maps), "")
    room, parts = max(map(len, texts)) * LETTER + 0.1, list(piece.parts)
    stub = room if is_output else room - GAP  # the gap before the next piece is part of the room
    for x, y in piece.exits:
        parts.append(Wire(((x, y), (x + stub, y)), arrow=is_output))
        for text, up in zip(texts, (-1, 1), strict=True):
            parts.append(Label(x + room / 2, y + up * (LINE / 2 + 0.005), text, "size"))
    return piece._replace(parts=parts, width=piece.width + stub, exits=[(x + stub, y) for x, y in piece.exits])


def _shade(piece: Piece, blocks: Sequence[Block], items: Sequence[int | Fork], left: float) -> Piece:
    """Adds a panel from `left` on if the names of the layers agree up to a / or _: in 'res2a' or 'inception_3a'."""
    names = [re.split("([/_])", blocks[i].name) for i in list_blocks(items) if blocks[i].name]
    name = "".join(words[0] for words in zip(*names, strict=False) if len(set(words)) == 1).rstrip("/_")
    if not name or len(names) < 2:
        return piece
    above, below = piece.above + LINE + 0.06, piece.below + 0.06
    panel = Panel(left - 0.07, -above, piece.width - left + 0.14, above + below, name)
    return piece._replace(parts=[panel, *piece.parts], above=above, below=below)
