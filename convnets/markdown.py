"""Markdown tables."""

from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table with a head; every row has a cell for each column."""
    rows = [tuple(map(str, row)) for row in rows]
    assert all(len(row) == len(columns) for row in rows), columns
    lines = (columns, ["---"] * len(columns), *rows)
    return ["| " + " | ".join(cells) + " |" if cells[0] != "---" else "|" + "---|" * len(cells) for cells in lines]
