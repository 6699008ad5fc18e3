import io
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from configs import base
from convnets import models
from convnets.layers import Conv, Dense, Pool
from convnets.models.summary import summarize
from convnets.modes import describe, output
from tests.conftest import run_here


class Branches(nn.Module):
    """A shortcut and a 5 x 5 branch, concatenated, followed by a strided convolution."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.relu(Conv(4, 3, padding=1, name="stem")(x))
        y = x + Conv(4, 5, padding=2, name="wide")(nn.relu(Conv(4, 3, padding=1, name="narrow")(x)))
        y = Pool("max", 2, 2, name="pool")(jnp.concatenate([x, y], axis=-1))
        y = Conv(6, 3, stride=2, padding=1, groups=2, bias="none", name="strided")(y)
        return Dense(10, name="out")(y.reshape(y.shape[0], -1))


def rows(model, shape):
    return {r.name: r for r in summarize(model, shape)}


def test_branches_by_hand():
    found = rows(Branches(), (16, 16, 3))
    fields = {"stem": 3, "narrow": 5, "wide": 9, "pool": 10, "strided": 14, "out": 14 + 3 * 4}
    assert {k: r.receptive_field for k, r in found.items()} == fields
    assert found["strided"].multiply_adds == 3 * 3 * 4 * 6 * 4 * 4
    assert found["strided"].parameters == 3 * 3 * 4 * 6
    assert found["out"].parameters == 4 * 4 * 6 * 10 + 10 and found["out"].multiply_adds == 960
    assert found["pool"].output == [8, 8, 8] and found["pool"].parameters == 0
    # The lecture: output height x output width x channels x kernel size^2; no part of the multiply-adds.
    assert {k: r.pooling_operations for k, r in found.items() if r.pooling_operations} == {"pool": 8 * 8 * 8 * 2 * 2}
    assert found["pool"].multiply_adds == 0


@pytest.mark.parametrize(("name", "connections"), [("lenet5", 340_908), ("lenet4", 258_193)])
def test_the_connections_of_lenet_are_the_papers(name, connections):
    """LeCun et al. 1998, II.B: 340,908; III.C.8: about 260,000.

    A convolution has its weights and biases at each position; a subsampling unit has four inputs and a bias.
    """
    model = models.create(name, 10, "float32")
    counts = {
        "Conv": lambda row: row.parameters * row.output[0] * row.output[1], "Subsample": lambda row: 5 * np.prod(row.output),
        "Dense": lambda row: row.parameters, "RBF": lambda row: row.multiply_adds,
    }  # fmt: skip
    assert sum(counts[row.kind](row) for row in summarize(model)) == connections


@pytest.mark.parametrize("layer", ["C1", "S2", "C3", "S4"])
def test_receptive_field_is_where_the_gradient_reaches(layer):
    model = models.create("lenet5_modern", 10, "float32")
    size = rows(model, (32, 32, 1))[layer].receptive_field
    x = jax.random.normal(jax.random.key(0), (1, 32, 32, 1))
    variables = jax.jit(model.init)(jax.random.key(1), x)

    def middle(x):
        y = model.apply(variables, x, capture_intermediates=True, mutable=["intermediates"])[1]
        y = y["intermediates"][layer]["__call__"][0]
        return jnp.sum(y[0, y.shape[1] // 2, y.shape[2] // 2])

    # Max pooling passes its gradient to one pixel, so several images are needed to cover the receptive field.
    gradient = jax.jit(jax.grad(middle))
    reached = sum(jnp.abs(gradient(x + jax.random.normal(jax.random.key(i), x.shape))) for i in range(60))
    seen = np.argwhere(np.asarray(reached[0, :, :, 0]) > 0)
    assert (seen.max(0) - seen.min(0) + 1).tolist() == [size, size]


@pytest.mark.parametrize(
    ("line", "last"),
    [("pca(4)|products|out", "out"), ("gaussians(10)|out", "out"), ("nearest(20)", "nearest"), ("pairs", "pairs"),
     ("polynomial(20)", "polynomial")],
)  # fmt: skip
def test_classical_layers_see_the_whole_image(line, last):
    found = rows(models.create("stack", 10, "float32", layers=line, side=8), (8, 8, 1))
    assert {name: (r.receptive_field, r.start) for name, r in found.items()} == dict.fromkeys(found, (8, 0))
    assert last in found


def test_the_multiply_adds_of_a_polynomial_count_the_kernel_and_its_weights():
    found = rows(models.create("stack", 10, "float32", layers="polynomial(20)", side=8), (8, 8, 1))
    assert found["polynomial"].multiply_adds == 64 * 20 + 20 * 10


def test_where_a_receptive_field_lies():
    found = rows(Branches(), (16, 16, 3))
    assert {k: r.start for k, r in found.items()} == {
        "stem": -1, "narrow": -2, "wide": -4, "pool": -4, "strided": -6, "out": -6
    }  # fmt: skip
    assert {k: r.jump for k, r in found.items()} == {
        "stem": 1, "narrow": 1, "wide": 1, "pool": 2, "strided": 4, "out": 16
    }  # fmt: skip


class Foreign(nn.Module):
    """A network of layers that are not ours."""

    input_shape = (8, 8, 1)

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(10)(nn.Conv(4, (3, 3))(x).mean((1, 2)))


def test_layers_that_describe_does_not_know_are_counted(monkeypatch, capsys):
    monkeypatch.setattr(models, "create", lambda **_: Foreign())
    describe.describe(base.get_config(), True, "")
    out, err = capsys.readouterr()
    assert err.startswith("note: 90 parameters are in layers that are not of convnets.layers") and json.loads(out)


def test_a_narrow_terminal_folds_names_and_cuts_no_number(monkeypatch):
    shown = io.StringIO()
    narrow = Console(width=80, file=shown)
    for module in (output, describe):
        monkeypatch.setattr(module, "CONSOLE", narrow)
    describe.describe(base.get_config("resnet50"), False, "")
    text = shown.getvalue()
    assert "115,605,504" in text and "112x112x64" in text and "\u2026" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_describe_prints_the_papers_table():
    out, _ = run_here("--mode=describe", "--config=configs/lenet.py:mnist", "--json")
    assert json.loads(out)["totals"]["parameters"] == 60000
    assert json.loads(out)["totals"]["multiply_adds"] == 326520
    assert json.loads(out)["totals"]["pooling_operations"] == 14 * 14 * 6 * 4 + 5 * 5 * 16 * 4
    assert [r["name"] for r in json.loads(out)["layers"]] == ["C1", "S2", "C3", "S4", "C5", "F6", "OUT"]
    out, _ = run_here("--mode=describe", "--config=configs/base.py:alexnet", "--config.model.num_classes=1000")
    assert "724,406,816" in out and "832 million" in out and "takes conv4 for ungrouped" in out
    assert "layers with weights: 8" in out and "five to six days on two GTX 580" in out and "sections 1 and 5" in out
    # 3 x 724,406,816 x 1.2 million images x 90 epochs in 6 and in 5 days
    assert "0.45 to 0.54 x 10^12 a second" in out
    out, _ = run_here("--mode=describe")
    assert "60,000" in out and "10 x 10 x 16" in out
