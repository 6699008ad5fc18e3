"""Markdown tables."""

from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table with a head; every row has a cell for each column."""
    cells = [tuple(map(str, row)) for row in rows]
    assert all(len(row) == len(columns) for row in cells), columns
    head, *body = ("| " + " | ".join(cells) + " |" for cells in (tuple(columns), *cells))
    return [head, "|" + "---|" * len(columns), *body]
