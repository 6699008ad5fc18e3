"""Ablation configs: subsets that follow the seed, VGG and GoogLeNet for CIFAR-10, networks of other sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import ablation, resnet_cifar, vgg_cifar
from convnets import models, op_string
from convnets.config import list_overrides, load_config
from convnets.layers import LRN
from convnets.models import alexnet, words
from convnets.models.summary import summarize
from convnets.report import results
from convnets.sweep.experiment import load_experiments
from convnets.training.optimizer import parameter_multipliers
from experiments import columns, lighting
from tests.conftest import ROOT


def described(config):
    model = models.create(**config.model)
    return summarize(model)


@pytest.mark.parametrize(
    ("name", "seed", "split"),
    [
        ("ablation.py:lecun320", 0, "train[0:320]"),
        ("ablation.py:lecun320", 3, "train[960:1280]"),
        ("ablation.py:lecun320", 1000, "train[20800:21120]"),  # of a pilot
        ("ablation.py:lecun480", 19, "train[6080:6400]"),
        ("ablation.py:lecun480", 1000, "train[12800:13120]"),
        ("handcrafted.py:conv-cifar10-100", 2, "train[200:300]"),
    ],
)
def test_every_seed_has_a_subset_of_its_own(name, seed, split):
    overrides = ["--config.optim.lr=0.3", f"--config.train.seed={seed}", "--config.train.epochs=1.0"]
    config, problems = load_config(ROOT / f"configs/{name}", overrides)
    assert not problems
    assert config.to_dict()["data"]["train_split"] == split
    # Config values derived from the seed do not count as overrides; else only the first run would match a row.
    same = results._config(f"configs/{name}", (f"--config.train.seed={seed}",))
    assert list_overrides(same, config.to_dict()) == ["--config.optim.lr=0.3", "--config.train.epochs=1.0"]


@pytest.mark.parametrize(("row", "layers"), [("A", 11), ("B", 13), ("D", 16), ("E", 19), ("B-5x5", 5 + 3)])
def test_vgg_for_cifar_has_the_layers_of_its_row(row, layers):
    plain, normed = (described(vgg_cifar.get_config(name)) for name in (row, f"{row}_bn"))
    weighted = [r for r in plain if r.kind in ("Conv", "Dense")]
    assert len(weighted) == layers
    assert weighted[0].output == [32, 32, 16] and weighted[-4].output == [2, 2, 128]
    assert sum(r.kind == "BatchNorm" for r in normed) == layers - 3


def test_small_googlenet_has_a_quarter_of_table_1():
    config = ablation.inception()
    outputs = [r.output for r in described(config) if r.kind == "Conv"]
    # The paper's sums of each module's four branches: 256, 480, 512, 512, 512, 528, 832, 832, 1024.
    ends = [sum(outputs[1 + 6 * i + j][2] for j in (0, 2, 4, 5)) for i in range(9)]
    assert ends == [n // 4 for n in (256, 480, 512, 512, 512, 528, 832, 832, 1024)]
    assert [outputs[6 * i + 1][0] for i in range(9)] == [16, 16, 8, 8, 8, 8, 8, 4, 4]
    heads = [r.name for r in described(ablation.inception_aux()) if r.name.endswith("_out")]
    assert heads == ["head1_out", "head2_out"]


def test_residual_networks_take_other_sizes():
    rows = described(ablation.resnet())
    by_hand = 9 * 8 + 6 * 576 + (1152 + 5 * 2304) + (4608 + 5 * 9216) + 2 * (7 * 8 + 6 * 16 + 6 * 32) + 330
    assert sum(r.parameters for r in rows) == by_hand
    assert rows[0].output == [14, 14, 8]


@pytest.mark.parametrize(("line", "row", "pixel"), [
    (lighting.NORMS["LRN"][0], "across", 1 / 255), (columns.NET.split("|max")[0], "paper", 1 / 64),
])  # fmt: skip
def test_lrn_has_constants_for_the_range_of_its_input(line, row, pixel):
    """On pixels of another range, LRN does to them what the paper's does to pixels of 0 to 255."""
    x = 255 * jax.random.uniform(jax.random.key(0), (2, 3, 3, 12))
    (ours,) = (layer for layer in op_string.parse(line.split("|", 1)[1], words.LAYERS, skip=2) if layer.name == "lrn")
    wanted = LRN(**alexnet.LRNS[row]).apply({}, x)
    np.testing.assert_allclose(LRN(**ours.kwargs).apply({}, x * pixel) / pixel, wanted, rtol=2e-3)
    assert np.all(wanted < 0.9 * x)


def test_networks_of_different_depth_have_as_many_weights():
    counts = []
    for row in load_experiments()["depth"].cpu.rows:
        config, problems = load_config(ROOT / row.config, list(row.overrides))
        assert not problems
        counts.append(sum(r.parameters for r in described(config)))
    assert counts == pytest.approx([20_000] * 3, rel=0.07)


def test_random_filters_stay_as_they_are():
    config = ablation.random()
    model = models.create(**{**config.model, "layers": "conv(2, 9)|tanh|average(20)|out"})
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
    factors = parameter_multipliers(config.optim.lr_multipliers)(params)
    assert factors == {"conv1": {"kernel": 0, "bias": 0}, "out": {"kernel": 1, "bias": 1}}


def test_batch_norm_couples_the_images_of_a_batch():
    model = models.create("stack", 10, "float32", layers="conv(3, 3)|norm|relu|out", side=6)
    x = jax.random.normal(jax.random.key(1), (3, 6, 6, 1))
    variables = jax.jit(model.init)(jax.random.key(0), x)

    def first(others, train):  # the score of the first image, given the second and third
        images = jnp.concatenate([x[:1], others])
        return model.apply(variables, images, train=train, mutable=["batch_stats"])[0][0, 0]

    coupled, alone = (jax.grad(lambda o, t=train: first(o, t))(x[1:]) for train in (True, False))
    assert jnp.any(coupled != 0) and not jnp.any(alone)


@pytest.mark.parametrize("name", load_experiments())
def test_every_number_of_a_paper_has_its_place_and_every_row_its_cost(name):
    experiment = load_experiments()[name]
    for size in filter(None, (experiment.cpu, experiment.full)):
        for row in size.rows:
            assert row.cost or name == "lenet", row.label  # its costs are recorded
            for paper, where in [(row.paper, row.where), *((t.paper, t.where) for t in row.tests.values())]:
                assert paper is None or where, row.label
        assert all(claim.where for claim in size.claims)


def test_the_seed_that_chose_lenets_recipe_is_not_counted():
    found = load_experiments()
    assert all(found[name].full.first_seed >= 1 for name in ("lenet", "lenet_size", "lecun_1998", "lecun_init"))


@pytest.mark.parametrize("name", load_experiments())
def test_ghost_batches_divide_the_batches_of_one_device(name):
    experiment = load_experiments()[name]
    for row in (row for size in (experiment.cpu, experiment.full) if size for row in size.rows):
        config, _ = load_config(str(ROOT / row.config), list(row.overrides)) if row.config else (None, [])
        ghost = config.model.get("ghost_batch", 0) if config else 0
        assert not ghost or config.train.batch_size % min(ghost, config.train.batch_size) == 0, row.label


def test_order_is_all_that_the_batches_of_one_size_differ_in():
    """Statistics of ghost batches would be of fewer images than the rows of `bn_batch` state."""
    for row in load_experiments()["bn_batch"].full.rows:
        config, _ = load_config(str(ROOT / row.config), list(row.overrides))
        assert config.model.ghost_batch == 0 and f"batches of {config.train.batch_size}" in row.label


def test_weight_sharing_is_judged_as_in_the_book():
    """Hastie et al., section 11.7: trained to zero training error, the best test performance; Net-2 and Net-3 are similar."""
    experiment = load_experiments()["sharing"]
    assert experiment.metric == "best_test_error"
    (alike,) = (claim for claim in experiment.cpu.claims if claim.where == "section 11.7")
    assert (alike.better, alike.worse, alike.within) == ("Net-3", "Net-2", 2.0)
    for row in experiment.cpu.rows:
        train = load_config(str(ROOT / row.config), list(row.overrides))[0].train
        assert (train.batch_size, train.epochs) == (1, 400) and results.images_follow_seed(row)


def test_claims_that_our_data_contradict_are_stated():
    texts = {
        name: [claim.text for claim in experiment.cpu.claims]
        for name, experiment in load_experiments().items()
        if experiment.cpu
    }
    assert "a deeper residual network has the lower training loss, 2 epochs" in texts["residual"]
    assert "maximum of 2 changes less than full under 4px" in texts["shift_features"]
    assert "local connections are better than a single layer" in texts["sharing"]


@pytest.mark.parametrize("name", [name for name, experiment in load_experiments().items() if experiment.pilot])
def test_a_pilot_tests_on_training_images(name):
    experiment = load_experiments()[name]
    for row in experiment.pilot.rows:
        config, _ = load_config(str(ROOT / row.config), list(row.overrides))
        assert "train" in experiment.metric or config.data.test_split.startswith("train["), row.label


def test_every_cifar_resnet_of_the_paper_is_a_row():
    """Also the plain network of 110 layers, which figure 6 names in its caption only."""
    rows = load_experiments()["resnet_cifar"].full.rows
    assert {row.config for row in rows} == {f"configs/resnet_cifar.py:{variant}" for variant in resnet_cifar.VARIANTS}


def test_the_neocognitron_is_tested_on_all_digits_that_were_made_for_it():
    (row,) = load_experiments()["neocognitron"].cpu.rows
    given = {test.overrides[0].rpartition("=")[2] for test in row.tests.values()}
    assert given == {"train", "deformed", "distorted"}  # 'test' is the split of the row itself
