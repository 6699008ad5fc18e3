"""Markdown tables."""

from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Returns the lines of a table with a head; every row must have one cell per column."""
    cells = [tuple(map(str, row)) for row in rows]
    assert all(len(row) == len(columns) for row in cells), columns
    head, *body = ("| " + " | ".join(cells) + " |" for cells in (tuple(columns), *cells))
    return [head, "|" + "---|" * len(columns), *body]
