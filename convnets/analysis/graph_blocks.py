"""Blocks of a network's drawing: kind, letter and text of each node of its graph, as in the lecture's drawings."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from convnets.layers import pair
from convnets.models.graph import Graph, Node

TIMES = "\N{MULTIPLICATION SIGN}"

# Per layer or operation: letter, kind (the colour), entry in the legend.
KINDS: dict[str, tuple[str, str, str]] = {
    "input": ("", "input", ""),
    "Conv": ("C", "convolution", "convolution"),
    "LocallyConnected": ("L", "convolution", "locally connected"),
    "SCells": ("S", "convolution", "S-cells"),
    "Dense": ("F", "fully connected", "fully connected"),
    "RBF": ("F", "fully connected", "fully connected"),
    "Pool": ("P", "pooling", "pooling"),
    "Subsample": ("P", "pooling", "pooling"),
    "CCells": ("C", "pooling", "C-cells"),
    "BatchNorm": ("N", "normalization", "normalization"),
    "LRN": ("N", "normalization", "normalization"),
    "LocalContrast": ("N", "normalization", "normalization"),
    "Gain": ("G", "normalization", "gain"),
    "HOG": ("D", "operation", "designed, not learned"),
    "SIFT": ("D", "operation", "designed, not learned"),
    "Codebook": ("Q", "operation", "quantization"),
    "Pyramid": ("D", "operation", "designed, not learned"),
    "add": ("+", "addition", "addition"),
    "mul": (TIMES, "addition", "multiplication"),
    "concatenate": ("", "concatenation", "concatenation"),
}
# Layers that compute each output map from the input map of the same number; True: and from its neighbours.
PER_MAP = {"Pool": False, "Subsample": False, "BatchNorm": False, "Gain": False, "CCells": True, "LRN": True}
MAX_COLUMNS = 4  # more groups of a convolution are a number in its block


class Block(NamedTuple):
    """A block of the drawing.

    Attributes:
        position: its number in execution order.
        name: name of the layer, '' for an operation.
        kind: its colour; `letter` and `lines` are its text, `legend` the meaning of letter and colour.
        output: output shape [height, width, maps] or [units].
        inputs: positions of the blocks that it reads.
        columns: groups of maps that are drawn side by side; AlexNet has 2, as many as GPUs.
        crossed: each column reads all columns before it, as conv3 of AlexNet.
        whole: drawn as one block over all columns, since neighbouring maps of two columns meet in it.
        normalized: a batch norm follows; it is drawn as a strip of the block.
        table: the input maps of each output map, if not all (C3 of LeNet-5), and their number `maps_in`.
    """

    position: int
    name: str
    kind: str
    letter: str
    legend: str
    lines: tuple[str, ...]
    output: tuple[int, ...]
    inputs: tuple[int, ...]
    columns: int = 1
    crossed: bool = False
    whole: bool = False
    normalized: bool = False
    table: Sequence[Sequence[int]] | None = None
    maps_in: int = 0


def make_blocks(graph: Graph) -> tuple[list[Block], list[int]]:
    """Returns the blocks of a graph in execution order, and the positions of its outputs, the main one first."""
    readers = defaultdict(list)
    for i, node in enumerate(graph.nodes):
        for k in node.inputs:
            readers[k].append(i)
    columns = _columns(graph.nodes, readers)
    position: dict[int, int] = {}  # of the block of each node
    blocks: list[Block] = []
    for i, node in enumerate(graph.nodes):
        before = node.inputs[0] if node.inputs else -1
        if node.kind == "BatchNorm" and graph.nodes[before].kind in ("Conv", "Dense", "LocallyConnected") \
                and len(readers[before]) == 1:  # fmt: skip
            position[i] = position[before]
            blocks[position[i]] = blocks[position[i]]._replace(normalized=True)
            continue
        position[i] = len(blocks)
        blocks.append(
            _make_block(len(blocks), node, tuple(dict.fromkeys(position[k] for k in node.inputs)), columns[i])
        )
    return blocks, list(dict.fromkeys(position[i] for i in graph.outputs))


def _columns(nodes: list[Node], readers: dict[int, list[int]]) -> list[int]:
    """Returns the number of columns of each node.

    A convolution in groups has a column per group. So has what it reads, if a convolution computed it, and what reads it
    map by map.
    """
    columns = [_groups(node) for node in nodes]
    for i in reversed(range(len(nodes))):
        if _is_conv(nodes[i]) or nodes[i].kind in PER_MAP:
            grouped = [columns[k] for k in readers[i] if _groups(nodes[k]) > 1 or nodes[k].kind in PER_MAP]
            columns[i] = max([columns[i], *grouped])
    for i, node in enumerate(nodes):
        if node.kind in PER_MAP:
            columns[i] = max(columns[i], columns[node.inputs[0]])
    return columns


def _groups(node: Node) -> int:
    groups = node.layer.module.groups if node.layer and node.kind == "Conv" else 1
    return groups if groups <= MAX_COLUMNS else 1


def _is_conv(node: Node) -> bool:
    """Returns whether a node is a convolution, also by its name where it covers its whole input: C5 is one, fc6 is not."""
    if node.kind != "Conv" or node.layer is None:
        return False
    covers = node.output[:2] == (1, 1) and pair(node.layer.module.kernel) == tuple(node.layer.input[:2])
    return not (covers and node.layer.name.split("/")[-1].startswith("fc"))


def _make_block(position: int, node: Node, inputs: tuple[int, ...], columns: int) -> Block:
    kind = "Dense" if node.kind == "Conv" and not _is_conv(node) else node.kind
    letter, colour, legend = KINDS.get(kind, ("f", "operation", "another operation"))
    module: Any = node.layer.module if node.layer else None
    crossed = kind == "Conv" and columns > 1 and _groups(node) == 1
    return Block(
        position, node.name, colour, letter, legend, _lines(kind, node, columns), node.output, inputs, columns, crossed,
        whole=columns > 1 and _mixes_columns(kind, module), table=getattr(module, "table", None),
        maps_in=node.layer.input[-1] if node.layer else 0,
    )  # fmt: skip


def _mixes_columns(kind: str, module: Any) -> bool:
    """Returns whether output maps at the edge of a column depend on the next column."""
    return PER_MAP.get(kind, False) and not (kind == "LRN" and (module.within or module.groups > 1))


def _lines(kind: str, node: Node, columns: int) -> tuple[str, ...]:
    module: Any = node.layer.module if node.layer else None
    maps = str(node.output[-1] // columns) if node.output else ""
    match kind:
        case "Conv" | "LocallyConnected":
            groups = module.groups if kind == "Conv" and module.groups > MAX_COLUMNS else 1
            return (_window(module.kernel, module.stride), maps + f" in {groups}" * (groups > 1))
        case "SCells":
            return (_window(module.size, 1), maps)
        case "Pool":
            return (_window(module.size, module.stride), {"average": "avg"}.get(module.kind, module.kind))
        case "Subsample":
            return (_window(module.size, module.size), "sum")
        case "CCells":
            return (_window(module.size, module.stride),)
        case "Dense" | "Codebook":
            return (maps,)
        case "RBF":
            return ("RBF", maps)
        case "HOG" | "SIFT" | "Pyramid" | "LRN" | "Gain" | "BatchNorm" | "LocalContrast":
            return ({"BatchNorm": "BN", "LocalContrast": "LCN", "Pyramid": "pyramid"}.get(kind, kind),)
    return (kind.strip("_")[:9],) if kind not in KINDS else ()


def _window(size: Any, stride: Any) -> str:
    (height, width), step = pair(size), max(pair(stride))
    return f"{height}{TIMES}{width}" + f"/{step}" * (step > 1)
