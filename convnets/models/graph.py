"""Graph of a network: its layers, additions and concatenations, and what each of them reads, from the traced program."""

from typing import Any, NamedTuple

from convnets.models.summary import LAYER, Trace, TracedLayer


class Node(NamedTuple):
    """A layer, or an operation that joins branches.

    Attributes:
        name: name of the layer as in `LayerSummary`; 'input' and '' for the other nodes.
        kind: class of the layer; 'input'; or the operation's name in JAX, such as 'add' and 'concatenate'.
        output: output shape [height, width, maps] or [units].
        inputs: positions of the nodes that it reads, in the order of its arguments.
        layer: the traced layer, if it is one.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    inputs: tuple[int, ...]
    layer: TracedLayer | None = None


class Graph(NamedTuple):
    """Nodes in execution order, the input first, and the positions of the outputs, the main one first."""

    nodes: list[Node]
    outputs: tuple[int, ...]


def build_graph(trace: Trace) -> Graph:
    """Returns the graph of a traced network.

    Every array of the program comes from one node. An operation outside the layers that reads arrays of several nodes is
    a node of its own: the addition of a shortcut, a concatenation. All others, such as activation functions, reshaping
    and padding, belong to the node whose output they read. A layer that nothing reads is an output: the end of an
    auxiliary head. Nodes on which no output depends are left out.
    """
    nodes = [Node("input", "input", trace.input_shape, ())]
    origin: dict[Any, int] = dict.fromkeys(trace.program.invars, 0)
    layers = iter(trace.layers)
    for equation in trace.program.eqns:
        read = [origin[v] for v in equation.invars if not hasattr(v, "val") and v in origin]
        if equation.primitive is LAYER:
            layer = next(layers)
            own = Node(layer.name, type(layer.module).__name__, layer.output, (origin[equation.invars[1]],), layer)
        elif len(set(read)) > 1:
            operation = equation.params.get("name", equation.primitive.name)  # 'name': a jitted function
            own = Node("", operation, tuple(getattr(equation.outvars[0].aval, "shape", ()))[1:], tuple(read))
        else:
            origin.update((v, read[0]) for v in equation.outvars if read)
            continue
        origin.update(dict.fromkeys(equation.outvars, len(nodes)))
        nodes.append(own)
    outputs, read_ones = [origin[v] for v in trace.program.outvars if v in origin], {k for n in nodes for k in n.inputs}
    heads = [i for i, node in enumerate(nodes) if node.layer and i not in read_ones and i not in outputs]
    return _prune(nodes, [*outputs, *heads])


def _prune(nodes: list[Node], outputs: list[int]) -> Graph:
    needed = set(outputs)
    for i in range(len(nodes) - 1, -1, -1):
        if i in needed:
            needed.update(nodes[i].inputs)
    position = {old: new for new, old in enumerate(sorted(needed))}
    kept = [nodes[old]._replace(inputs=tuple(position[i] for i in nodes[old].inputs)) for old in position]
    return Graph(kept, tuple(position[i] for i in outputs))


def count_depth(graph: Graph) -> int:
    """Returns the number of layers with weights, convolutional or fully connected, on the longest path to the output."""
    depth: list[int] = []
    for node in graph.nodes:
        weighted = node.kind in WEIGHTED
        depth.append(weighted + max((depth[i] for i in node.inputs), default=0))
    return depth[graph.outputs[0]]


# The layers whose units learn a kernel, those with feature maps first. Batch norms and gains have parameters, but no kernel.
LEARNT = ("Conv", "LocallyConnected", "SCells", "Dense")
WEIGHTED = (*LEARNT, "RBF")  # that papers count: the kernel of RBF units is fixed
