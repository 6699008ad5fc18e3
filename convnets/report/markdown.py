"""Markdown tables."""

from collections.abc import Iterable, Sequence


def head(columns: Sequence[str]) -> list[str]:
    """Returns the two lines that begin a table."""
    return [row(columns), "|" + "---|" * len(columns)]


def row(cells: Sequence[object]) -> str:
    """Returns the line of a row."""
    return "| " + " | ".join(map(str, cells)) + " |"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Returns the lines of a table; every row has a cell for each column."""
    rows = list(rows)
    assert all(len(cells) == len(columns) for cells in rows), columns
    return [*head(columns), *map(row, rows)]
