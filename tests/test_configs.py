"""Runs every variant of every config through run.py on real data: two training steps and a test (`make test-configs`).

Data, augmentation, recipe and evaluation are the config's; the batch size is two (eight for an SVM). The variants in
NETWORKS, some of each family whose layers no other family has, train the config's network. For the others that network
is built and checked, and a small one with the same input shape is trained: CPUs need minutes to compile the deepest
networks, whose gradients tests/models/test_gradients.py checks. With CONVNETS_FULL=1 every network is trained except the one
with 1,202 layers.
"""

import ast
import contextlib
import importlib
import inspect
import json
import os
import re
import textwrap
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import run
from configs import alexnet, alexnet_controls, base, cuda_convnet, googlenet, inception_bn, lecun_1998, lenet, resnet
from convnets import models
from convnets.analysis import run_figures
from convnets.config import leaf_keys, list_changes, load_config
from convnets.data import dataset, sources
from convnets.data.builders import shifted_digits
from convnets.evaluation.evaluator import Evaluator
from convnets.layers import Conv, Dense
from convnets.losses import CLOSED_FORM
from convnets.models.summary import variable_shapes
from convnets.modes import train
from convnets.runtime.arrays import name_leaves
from convnets.training import components, network, trainer
from convnets.training.optimizer import make_recipe, parameter_multipliers
from tests.conftest import ROOT, write_zip_codes

NETWORKS = {
    "lenet": [
        "digits",
        "mnist",
        "paper",
        "paper-distorted",
        "paper-lenet1",
        "modern",
        "lenet1",
        "lenet1989",
        "lenet1989-zip",
    ],
    "cuda_convnet": ["26pct", "19pct", "18pct", "13pct", "11pct"],  # per-layer weight decay
    "resnet_cifar": ["20"],
    "alexnet": ["paper"],
    "vgg": ["A"],
    "googlenet": ["paper"],
    "inception_bn": ["x30"],
    "resnet": ["50"],
    "ablation": ["mnist10k", "resnet", "bn_mnist", "lecun320", "random", "random2", "inception_aux", "13pct"],
    "alexnet_controls": [],
    "vgg_cifar": ["A_bn"],
    "handcrafted": ["hog-mnist", "sift-cifar10", "conv-mnist", "conv-cifar10"],
    "neocognitron": ["digits", "mnist"],
    "lecun_1998": ["linear", "pairwise", "knn-deslanted", "pca", "svm", "300-100-distorted", "lenet4"],
}
FILES = {p.stem: importlib.import_module(f"configs.{p.stem}") for p in sorted((ROOT / "configs").glob("*.py"))}
ALL = [(stem, variant) for stem, module in FILES.items() for variant in getattr(module, "VARIANTS", {})]


class Small(nn.Module):
    """Replaces a network of any size in these tests."""

    input_shape: tuple[int, int, int]
    num_classes: int

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.relu(Conv(4, 5, 4, name="conv1")(x))
        return Dense(self.num_classes, name="out")(x.mean((1, 2)))


@contextlib.contextmanager
def recorded(config: ConfigDict):
    """Yields the set of config leaves read inside the context; to_dict does not count as reading."""
    read: set[str] = set()
    sections = {id(v): f"{k}." for k, v in config.items() if isinstance(v, ConfigDict)} | {id(config): ""}
    getitem, to_dict, writing = ConfigDict.__getitem__, ConfigDict.to_dict, []

    def get(self, key):
        if not writing and id(self) in sections:
            read.add(f"{sections[id(self)]}{key}")
        return getitem(self, key)

    def write(self, *args, **kwargs):
        writing.append(True)
        try:
            return to_dict(self, *args, **kwargs)
        finally:
            writing.pop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigDict, "__getitem__", get)
        patch.setattr(ConfigDict, "to_dict", write)
        yield read


@pytest.mark.configs
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("stem, variant", ALL)
def test_two_steps_and_a_test(stem, variant, shared_data, tmp_path, monkeypatch, scratch):
    full = variant in NETWORKS[stem] or ("CONVNETS_FULL" in os.environ and variant != "1202")
    create, begin = models.create, train.train
    unread: list[str] = []

    def small(**section):
        network = create(**section)
        return Small(network.input_shape, network.num_classes)

    def watched(config, **rest):
        with recorded(config) as read:
            begin(config, **rest)
        unread.extend(set(leaf_keys(config)) - read)

    monkeypatch.setattr(train, "train", watched)
    if not full:
        monkeypatch.setattr(models, "create", small)
        monkeypatch.setattr(run_figures, "draw_run_figures", lambda *_: [])
    config, _ = load_config(ROOT / f"configs/{stem}.py:{variant}", [])
    images = 5 if config.data.name == "stimuli" else 64
    batch = 8 if config.loss in CLOSED_FORM else 2  # a codebook needs at least as many descriptors as words
    size = {"train_split": f"train[:{images}]", "test_split": f"{config.data.test_split.partition('[')[0]}[:6]"}
    directory = scratch / "tfds" if config.data.name in sources.OWN else shared_data
    if config.data.name == "zip_codes" and not (directory / "zip_codes").exists():
        write_zip_codes(tmp_path / "zip", {"train": 64, "test": 6})
        sources.builder("zip_codes", directory, str(tmp_path / "zip"))
    if config.data.name == "shifted_digits" and not (directory / "mnist").exists():
        directory.mkdir(exist_ok=True)
        (directory / "mnist").symlink_to(Path(shared_data) / "mnist")
        monkeypatch.setattr(shifted_digits, "SETS", 1)
    assert run.main([
        "run.py", f"--config={ROOT}/configs/{stem}.py:{variant}", f"--workdir={tmp_path}", "--mode=train",
        f"--config.train.batch_size={batch}", f"--config.train.epochs={2 * batch / images}", "--config.evaluate.batch_size=4",
        f"--config.data.data_dir={directory}", *(f"--config.data.{k}={v}" for k, v in size.items()),
    ]) == 0  # fmt: skip
    at_once = {"train.reshuffle", "train.log_every_steps", "train.steps_per_dispatch", "checkpoint.every_steps"}
    # an SVM is fitted in one go, without steps
    assert set(unread) == (at_once if config.loss in CLOSED_FORM else set())
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["steps"], result["num_examples"]) == (2, 6) and 0 <= result["top1_error"] <= 100
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and all(line["lr"] > 0 for line in lines if config.loss not in CLOSED_FORM)
    jax.clear_caches()  # the next variant compiles another network


def test_recipes_have_the_numbers_of_their_sources():
    """Each line names its source; the configs' docstrings have more of them."""
    size = lambda name: load_config(f"{ROOT}/configs/{name}", [])[0].model.ghost_batch  # noqa: E731
    assert size("resnet.py:50") == 256 // 8  # KaimingHe/deep-residual-networks, readme, line 42
    assert size("resnet_cifar.py:110") == 128 // 2  # He et al. 2015, section 4.2
    assert [size(f"resnet.py:{n}_v1_5") for n in (50, 101, 152)] == [256 // 4, 256 // 8, 256 // 8]  # TRAINING.md
    # The drops of figure 4 and of the curves in the authors' readme, line 64; fb.resnet.torch, train.lua, line 178
    assert {resnet.get_config(n).optim.schedule for n in ("34A", "152", "plain34", "50_v1_5")} == {"steps(0.1, 30, 60)"}
    torch = resnet.get_config("50_v1_5").data  # fb.resnet.torch, datasets/transforms.lua, lines 38, 155, 205 to 256
    assert all("cubic=True" in ops for ops in (torch.train_ops, torch.test_ops)) and "clip=False" in torch.train_ops
    # Its readme has the errors of 50 and 101 layers since 6f9402d, whose crops d4b9406 corrected, and of 152 since e7ac22e.
    ops = {n: resnet.get_config(f"{n}_v1_5").data.train_ops for n in (50, 101, 152)}
    assert {n: "squared=True" in text for n, text in ops.items()} == {50: True, 101: True, 152: False}
    layers = {name: {"kernel": 0, "bias": 0} for name in ("conv1", "local3", "local4", "fc10")}
    for name, last in (("11pct", 0.01), ("13pct", 0.004)):  # cuda-convnet, layer-params-conv-local-*.cfg
        optim = cuda_convnet.get_config(name).optim
        decay = parameter_multipliers(optim.decay_multipliers)(layers)
        found = {layer: optim.weight_decay * decay[layer]["kernel"] for layer in layers}
        assert found == pytest.approx({"conv1": 0.0, "local3": 0.004, "local4": 0.004, "fc10": last})
        assert not any(values["bias"] for values in decay.values())
        # convdata.py, lines 77 and 85: of a crop the central patch of the mean image is subtracted
        data = cuda_convnet.get_config(name).data
        assert data.train_ops == "decode|crop(24)|flip|subtract_mean('center')"
        assert data.test_ops == "decode|center(24)|subtract_mean('center')"
    # cuda-convnet2's convdata.py, lines 181 to 183: colours after the mean, then divided by 1 + their standard deviation
    assert alexnet.get_config("owt").data.train_ops.endswith("|subtract_mean('center')|lighting(0.1, 'deviation')")
    # computerhistory/AlexNet-Source-Code, layers/layer-params-145.cfg, and src/layer.cu, line 565: biases do not decay
    original, owt = alexnet.get_config("original"), alexnet.get_config("owt")
    rate = make_recipe(**original.optim, steps_per_epoch=1.0, batch_size=128).rate
    rates = [0.01] * 25 + [0.001] * 26 + [1e-4] * 28 + [1e-5] * 12
    assert rate(np.arange(91)).tolist() == pytest.approx(rates) and original.train.epochs == 91
    assert (original.train.batch_size, original.optim.momentum, original.optim.weight_decay) == (128, 0.9, 5e-4)
    layers = {"conv1": {"kernel": 0, "bias": 0}}
    assert parameter_multipliers(original.optim.decay_multipliers)(layers) == {"conv1": {"kernel": 1.0, "bias": 0.0}}
    assert parameter_multipliers(original.optim.lr_multipliers)(layers) == {"conv1": {"kernel": 1.0, "bias": 2.0}}
    assert original.data == owt.data and original.data.test_ops.endswith("|center(224)|subtract_mean('center')")
    settings = {"order": "original", "lrn": "cuda_convnet2", "init_weights": "original"}
    assert {key: original.model[key] for key in settings} == settings
    half, plain = alexnet.get_config("one_gpu"), original.copy_and_resolve_references()
    plain.model.name = "alexnet_one_gpu"
    assert half == plain
    removed = {
        "no_lrn": ["model.lrn"],
        "pool2": ["model.pool_size"],
        "no_colours": ["data.train_ops"],
        "no_dropout": ["model.dropout"],
    }
    for name, keys in removed.items():
        changed = list_changes(original.to_dict(), alexnet_controls.get_config(name).to_dict())
        assert [line.split(":")[0] for line in changed] == keys
    epochs = {name: cuda_convnet.get_config(name).train.epochs for name in ("26pct", "18pct", "13pct", "11pct")}
    assert epochs == {"26pct": 8 + 2, "18pct": 120 + 10 + 10, "13pct": 100 + 40 + 10 + 10, "11pct": 350 + 150 + 10 + 10}
    plain, distorted = (lenet.get_config(name).to_dict() for name in ("mnist", "distorted"))
    assert [line.split(":")[0] for line in list_changes(plain, distorted)] == ["data.train_ops"]
    for units in ("300", "1000", "300-100", "500-150"):
        pair = (lecun_1998.get_config(name).to_dict() for name in (units, f"{units}-distorted"))
        assert [line.split(":")[0] for line in list_changes(*pair)] == ["data.train_ops"]
    method = lenet.get_config("paper")  # LeCun et al. 1998, section III.B
    rate = make_recipe(**method.optim, steps_per_epoch=1.0, batch_size=1).rate
    rates = [r for r in (5e-4, 2e-4, 1e-4, 5e-5, 1e-5) for _ in range({5e-4: 2, 2e-4: 3, 1e-4: 3, 5e-5: 4, 1e-5: 8}[r])]
    assert rate(np.arange(20)).tolist() == pytest.approx(rates) and method.optim.damping == 0.02
    full = ("linear-sgd", "linear-sgd-deslanted", "300", "300-deslanted", "1000-distorted", "300-100", "500-150")
    configs = [lecun_1998.get_config(name) for name in (*full, "paper-lenet4")]  # III.C.5: trained as in appendix C
    for config in (*configs, lenet.get_config("paper-lenet1")):
        assert config.optim == method.optim and config.loss == "sse"
        assert (config.train.epochs, config.train.batch_size) == (20, 1)
    assert {config.model.init_weights for config in configs[:-1]} == {"lecun_root(2.4)"}


@pytest.mark.parametrize("variant", ["inception", "baseline", "x30"])
def test_bn_inception_has_the_statistics_and_rates_of_its_sources(variant):
    """tensorflow/models 054bfa1, research/slim/nets/inception_utils.py: decay 0.9997, epsilon 0.001, L2 0.00004.

    lim0606/caffe-googlenet-bn d19caf5, train_val.prototxt: rates of 1 but for the classifier's bias; bvlc_googlenet: 2 for all.
    """
    config = inception_bn.get_config(variant)
    stats = {k: config.model[k] for k in ("momentum", "epsilon") if k in config.model}
    assert stats == ({} if variant == "inception" else {"momentum": 0.9997, "epsilon": 0.001})
    assert config.optim.weight_decay == (pytest.approx(0.00004) if variant == "x30" else 2e-4)
    params = variable_shapes(models.create(**config.model), (64, 64, 3))["params"]
    rates = name_leaves(parameter_multipliers(config.optim.lr_multipliers)(params))
    doubled = {name for name, rate in rates.items() if rate == 2}
    assert set(rates.values()) == {1, 2} and "linear/bias" in doubled
    assert doubled == {n for n in rates if n.endswith("/bias") and "_bn/" not in n}
    assert (len(doubled) == 1) == (variant != "inception")


def test_googlenet_starts_from_its_sources_weights():
    """The paper's were Gaussian (readme of bvlc_googlenet); Caffe's own are its "xavier"."""
    assert googlenet.get_config("paper").model.init_weights == "gaussian"
    assert models.create(**googlenet.get_config("caffe").model).init_weights == "caffe"


def test_a_leaf_that_nobody_reads_is_noticed():
    config = base.get_config()
    with recorded(config) as read:
        config.to_dict()
        assert not read
        dict(**config.model)
        assert config.train.seed == 0
    assert read >= {"train.seed", "model.name"} and "train.epochs" not in read


def test_what_a_section_hands_over_is_used():
    """Every config leaf passed to a function is used there or read by the run."""
    source = re.sub(r'\.get\("(\w+)"', r".\1", "".join(map(inspect.getsource, (trainer, components, network))))
    by_run = set(re.findall(r"config\.(\w+\.\w+)", source))
    for section, function in [
        ("model", models.create), ("data", dataset.load_splits), ("optim", make_recipe), ("evaluate", Evaluator.__init__),
    ]:  # fmt: skip
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        used = {n.id for part in tree.body for n in ast.walk(part) if isinstance(n, ast.Name)}
        unused = {f"{section}.{key}" for key in base.get_config()[section] if key not in used}
        assert unused <= by_run, section


def test_some_variants_of_each_family_run_their_network():
    assert set(NETWORKS) == {stem for stem, _ in ALL}
    assert all((stem, variant) in ALL for stem, variants in NETWORKS.items() for variant in variants)
