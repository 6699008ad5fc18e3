"""Graphs read off the traced program, and drawings in which nothing overlaps."""

from collections import Counter

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from convnets import models
from convnets.analysis.graph_blocks import make_blocks
from convnets.analysis.graph_layout import LETTER, LINE, lay_out
from convnets.analysis.graph_parts import Label, Panel, Rectangle, Wire
from convnets.analysis.graph_plots import plot_network
from convnets.layers import BatchNorm, Conv, Dense
from convnets.models.graph import build_graph
from convnets.models.summary import trace_layers


def graph_of(name, classes=1000, **options):
    model = models.create(name, classes, "float32", **options)
    return build_graph(trace_layers(model))


def assert_clear(page):
    """Asserts that no two blocks or texts overlap, no wire runs through one, and all is on the page."""
    boxes = [(p.left, p.top, p.width, p.height) for p in page.parts if isinstance(p, Rectangle)]
    texts = [p for p in page.parts if isinstance(p, Label) and p.text]
    boxes += [(t.x - w / 2, t.y - LINE * 0.35, w, LINE * 0.7) for t in texts for w in [len(t.text) * LETTER * 0.9]]
    left, top, width, height = np.array(boxes).T
    low, high = np.stack([left, top], 1) + 0.005, np.stack([left + width, top + height], 1) - 0.005
    assert low[:, 0].min() > -0.02 and high[:, 0].max() < page.width + 0.02
    assert -page.above < low[:, 1].min() and high[:, 1].max() < page.below
    for i in range(len(boxes)):
        overlap = np.all((low[i] < high[i + 1 :]) & (low[i + 1 :] < high[i]), axis=1)
        assert not overlap.any(), (boxes[i], boxes[i + 1 + int(np.argmax(overlap))])
    for wire in (p for p in page.parts if isinstance(p, Wire)):
        for ends in np.stack([wire.points, [*wire.points[1:], wire.points[-1]]], 1):
            if np.any(ends[0] == ends[1]):  # horizontal or vertical; slanted ones lie between two neighbours
                hit = np.all((ends.min(0) < high) & (low < ends.max(0)), axis=1)
                assert not hit.any(), (wire, boxes[int(np.argmax(hit))])


class Mixed(nn.Module):
    """A sum of three branches of which one is concatenated, a sequence read twice without a block that joins it."""

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = nn.relu(Conv(4, 3, padding=1, name="stem")(x))
        wide = jnp.concatenate([Conv(2, 1, name="u_a")(x), Conv(2, 1, name="u_b")(Conv(4, 1, name="u_c")(x))], axis=-1)
        x = nn.relu(x + BatchNorm(name="u_norm")(Conv(4, 3, padding=1, name="u_d")(x), train=train) + wide)
        a, b = Conv(4, 1, name="a")(x), Conv(4, 1, name="b")(x)
        y, z = a * b, jnp.where(a > 0, b, 0)
        y = Dense(10, name="out")((y + z).reshape(len(y), -1))
        head = Dense(5, name="head")(a.reshape(len(a), -1))
        return (y, {"head": head}) if train else y


def test_edges_come_from_the_program(tmp_path):
    graph = build_graph(trace_layers(Mixed(), (8, 8, 3)))
    names = [node.name or node.kind for node in graph.nodes]
    edges = {(names[k], names[i]) for i, node in enumerate(graph.nodes) for k in node.inputs}
    assert {("stem", "u_a"), ("u_c", "u_b"), ("u_a", "concatenate"), ("stem", "add"), ("u_norm", "add")} <= edges
    assert {("a", "mul"), ("b", "mul"), ("a", "_where"), ("b", "_where"), ("_where", "add"), ("add", "out")} <= edges
    assert ("a", "head") in edges and [names[i] for i in graph.outputs] == ["out", "head"]
    page = lay_out(graph)
    blocks, _ = make_blocks(graph)
    assert {p.block.position for p in page.parts if isinstance(p, Rectangle)} == set(range(len(blocks)))
    assert next(b for b in blocks if b.name == "u_d").normalized and not any(b.name == "u_norm" for b in blocks)
    plot_network(graph, tmp_path / "a.svg", "mixed", "")


def test_a_residual_network_has_identities_and_projections():
    graph = graph_of("resnet34")
    additions = [node for node in graph.nodes if node.kind == "add"]
    sources = [tuple(graph.nodes[k].kind for k in node.inputs) for node in additions]
    assert Counter(sources) == {("BatchNorm", "add"): 12, ("BatchNorm", "Pool"): 1, ("BatchNorm", "BatchNorm"): 3}
    reshaped = [p for p in lay_out(graph_of("resnet20_cifar", 10)).parts if isinstance(p, Wire) and p.reshaped]
    assert len(reshaped) == 2 * 2  # the two shortcuts of option A that change the size, each of two pieces


def test_googlenet_has_modules_of_four_branches_and_two_heads():
    graph = graph_of("googlenet")
    modules = [node for node in graph.nodes if node.kind == "concatenate"]
    assert [len(node.inputs) for node in modules] == [4] * 9
    assert [graph.nodes[i].name for i in graph.outputs] == ["linear", "loss1/classifier", "loss2/classifier"]
    panels = {p.name for p in lay_out(graph).parts if isinstance(p, Panel)}
    assert panels == {f"inception_{k}" for k in ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]} | {
        "loss1",
        "loss2",
    }


def test_alexnet_has_two_columns_that_meet_where_the_paper_says():
    blocks = {block.name: block for block in make_blocks(graph_of("alexnet"))[0]}
    assert {name for name, block in blocks.items() if block.columns == 2} == {
        "conv1", "norm1", "pool1", "conv2", "norm2", "pool2", "conv3", "conv4", "conv5", "pool5"
    }  # fmt: skip
    # conv2, conv4 and conv5 read their own half, conv3 both (figure 2); normalization runs across the halves.
    assert [name for name, block in blocks.items() if block.crossed and block.name != "conv1"] == ["conv3"]
    assert [name for name, block in blocks.items() if block.whole] == ["norm1", "norm2"]
    assert [block.letter for block in blocks.values()] == ["", *"CNPCNPCCCPFFF"]
    assert all(block.columns == 1 for block in make_blocks(graph_of("alexnet_ungrouped"))[0])


def test_alexnet_of_the_program_normalizes_each_column_alone():
    blocks = {block.name: block for block in make_blocks(graph_of("alexnet", order="original"))[0] if block.name}
    assert all(blocks[name].columns == 2 for name in ("norm1", "pool1", "norm2", "within2", "pool2"))
    assert not any(block.whole for block in blocks.values())


def test_lenet_shows_the_table_of_its_connections():
    page = lay_out(graph_of("lenet5", 10))
    (table,) = [p for p in page.parts if isinstance(p, Rectangle) and p.part == "table"]
    assert table.block.name == "C3" and sum(map(len, table.block.table)) == 60 and table.block.maps_in == 6
    assert "60 of 96" in [p.text for p in page.parts if isinstance(p, Label)]


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_equal_drawings_are_equal_files(tmp_path, suffix):
    graph = graph_of("lenet5", 10)
    for name in ("a", "b"):
        plot_network(graph, tmp_path / (name + suffix), "lenet5", "")
    made = (tmp_path / f"a{suffix}").read_bytes()
    assert made == (tmp_path / f"b{suffix}").read_bytes()
    if suffix == ".svg":
        assert ">5\N{MULTIPLICATION SIGN}5<" in made.decode() and b"date" not in made  # text is text


@pytest.mark.parametrize(
    "net, layer, letter",
    [("lenet5", "C5", "C"), ("lenet5", "F6", "F"), ("vgg_a", "fc6", "F"), ("vgg_a", "conv1_1", "C")],
)
def test_a_convolution_over_its_whole_input_is_what_its_name_says(net, layer, letter):
    (block,) = [b for b in make_blocks(graph_of(net, 10))[0] if b.name == layer]
    assert block.letter == letter
