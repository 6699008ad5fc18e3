"""--mode=describe: the layers of a network, its costs beside the paper's, and its drawing."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict
from rich.table import Table

from convnets import models
from convnets.models.graph import build_graph, count_depth
from convnets.models.paper_costs import STATED, TRAINING, Stated, Training
from convnets.models.summary import LayerSummary, sum_costs, summarize_trace, trace_layers, variable_shapes
from convnets.modes.output import CONSOLE, is_narrow, make_table

COLUMNS = ("layer", "kind", "output", "parameters", "multiply-adds", "pooling operations", "receptive field")


def describe(config: ConfigDict, as_json: bool, figure: str) -> None:
    """Prints each layer's size, costs and receptive field, then our totals and the paper's; draws the network.

    Args:
        figure: the file of the drawing, '' for none.
    """
    model, name = models.create(**config.model), config.model.name
    trace = trace_layers(model)
    rows, graph = summarize_trace(trace), build_graph(trace)
    totals, paper = {**sum_costs(rows), "depth": count_depth(graph)}, STATED.get(name, Stated())
    training = TRAINING.get(name)
    missing = sum(v.size for v in jax.tree.leaves(variable_shapes(model)["params"])) - totals["parameters"]
    if missing:
        print(f"note: {missing:,} parameters are in layers that are not of convnets.layers, such as flax.linen.Conv; they are"
              " not listed", file=sys.stderr)  # fmt: skip
    if as_json:
        stated = {**paper._asdict(), "training": training._asdict() if training else None}
        print(json.dumps({"layers": [r._asdict() for r in rows], "totals": totals, "paper": stated}, indent=2))
    else:
        size = " x ".join(map(str, model.input_shape))
        table = layer_table(rows, f"{name}, input {size}")
        if paper.parameters or paper.multiply_adds:
            table.add_row("the paper", "", "", paper.parameters, paper.multiply_adds)
        CONSOLE.print(table)
        print(f"layers with weights: {totals['depth']} on the longest path")
        if paper.why:
            print(f"the paper's figures: {paper.why}")
        if training:
            _print_training(training, totals)
    if figure:
        from convnets.analysis.graph_plots import plot_network  # with matplotlib, for which nothing else should wait

        costs = f"{totals['parameters']:,} parameters, {totals['multiply_adds']:,} multiply-adds"
        plot_network(graph, Path(figure), name, f"{totals['depth']} layers with weights, {costs}")
        print(f"drawn: {figure}", file=sys.stderr)  # standard output may be JSON


def layer_table(rows: Sequence[LayerSummary], title: str | None = None) -> Table:
    """Returns a table with a row for each layer and one for the totals."""
    table, totals = make_table(*COLUMNS, title=title, title_justify="left"), sum_costs(rows)
    for column in table.columns[2:]:  # a number is never folded, a header is
        column.justify, column.no_wrap = "right", True
        if is_narrow():
            column.header = str(column.header).replace(" ", "\n").replace("-", "-\n")
    for r in rows:
        counts = (r.parameters, r.multiply_adds, r.pooling_operations)
        table.add_row(
            r.name,
            r.kind,
            ("x" if is_narrow() else " x ").join(map(str, r.output)),
            *(f"{n:,}" for n in counts),
            str(r.receptive_field),
        )
    table.add_section()
    table.add_row("total", "", "", *(f"{totals[k]:,}" for k in ("parameters", "multiply_adds", "pooling_operations")))
    return table


def _print_training(training: Training, totals: dict[str, int]) -> None:
    """Prints the time that training took the authors, beside the work that we count."""
    # A multiply-add each for the output, the gradient of the input and the gradient of the weights.
    work = 3 * totals["multiply_adds"] * training.images * training.epochs
    slow, fast = (work / (days * 86400) / 1e12 for days in reversed(training.days))
    memory = 3 * 4 * totals["parameters"] / 1e9, 4 * totals["activations"] / 1e6
    print(f"training, by the authors: {training.time} ({training.source})")
    print(f"training, counted: 3 x {totals['multiply_adds']:,} multiply-adds x {training.images:,.0f} images x"
          f" {training.epochs:.0f} epochs = {work:.2g}; in that time {slow:.2f} to {fast:.2f} x 10^12 a second")  # fmt: skip
    print(f"memory, counted: {memory[0]:.2f} GB for weights, gradients and momentum; {memory[1]:.1f} MB an image for the"
          " outputs of all layers")  # fmt: skip
