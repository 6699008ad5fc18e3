"""--mode=describe: the layers of a network."""

import json
from collections.abc import Sequence

from ml_collections import ConfigDict
from rich.table import Table

from convnets import models
from convnets.models.paper_costs import STATED, Stated
from convnets.models.summary import LayerSummary, sum_costs, summarize
from convnets.modes.output import CONSOLE


def describe(config: ConfigDict, as_json: bool) -> None:
    """Prints each layer's size, parameters, multiply-adds and receptive field, then our totals and the paper's."""
    model = models.create(**config.model)
    rows = summarize(model, model.input_shape)
    totals, paper = sum_costs(rows), STATED.get(config.model.name, Stated())
    if as_json:
        content = {"layers": [r._asdict() for r in rows], "totals": totals, "paper": paper._asdict()}
        print(json.dumps(content, indent=2))
        return
    size = " x ".join(map(str, model.input_shape))
    table = layer_table(rows, f"{config.model.name}, input {size}")
    if paper.parameters or paper.multiply_adds:
        table.add_row("the paper", "", "", paper.parameters, paper.multiply_adds)
    CONSOLE.print(table)
    if paper.why:
        print(f"the paper's figures: {paper.why}")


def layer_table(rows: Sequence[LayerSummary], title: str | None = None) -> Table:
    """Returns a table with a row for each layer and one for the totals."""
    table, totals = Table(title=title, title_justify="left"), sum_costs(rows)
    for name in ("layer", "kind", "output", "parameters", "multiply-adds", "receptive field"):
        table.add_column(name, justify="left" if name in ("layer", "kind") else "right")
    for r in rows:
        table.add_row(r.name, r.kind, " x ".join(map(str, r.output)), f"{r.parameters:,}", f"{r.multiply_adds:,}",
                      str(r.receptive_field))  # fmt: skip
    table.add_section()
    table.add_row("total", "", "", f"{totals['parameters']:,}", f"{totals['multiply_adds']:,}")
    return table
