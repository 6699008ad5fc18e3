"""Boosting: which examples the second and the third network are trained on, and how the three are put together."""

import json
from types import SimpleNamespace

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from convnets.config import load_config
from convnets.data.dataset import Info, Split
from convnets.errors import UsageError
from convnets.modes import train
from convnets.training import boosting
from convnets.training.components import Components
from tests.conftest import ROOT

BOOSTED = str(ROOT / "configs/lecun_1998.py:lenet4-boosted")


class Steps(nn.Module):
    """Class 1 for pixels of at least `at`; the label is whether the pixel is at least 100."""

    @nn.compact
    def __call__(self, x, *, train=False):
        at = self.param("at", nn.initializers.zeros, ())
        return jnp.stack([jnp.full(len(x), at) - 0.5, x[:, 0, 0, 0]], axis=1)


def networks(*at):
    """Returns runs of networks with these thresholds on the pixels 0 to 199."""
    images = np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1)
    constants = {"images": images, "labels": (images.ravel() >= 100).astype(np.int32)}
    split = Split(Info("pixels", "1", "train", 200, 2, ["dark", "light"], (1, 1, 1)), [], constants)
    components = SimpleNamespace(model=Steps(), train_split=split, resident_arrays=lambda: constants)
    variables = [{"params": {"at": np.float32(a)}} for a in at]
    return [SimpleNamespace(components=components, state=SimpleNamespace(variables=v)) for v in variables]


def test_half_of_the_second_networks_examples_are_misclassified_and_the_third_sees_disagreements(capsys):
    config = load_config(BOOSTED, [])[0]
    picked = boosting.pick_examples(networks(110), config)  # wrong on the pixels 100 to 109, in each of ten passes
    wrong = (picked[:, 1] >= 100) & (picked[:, 1] < 110)
    assert len(picked) == 200 and wrong.sum() == 100
    assert len(np.unique(picked, axis=0)) == 200 and set(picked[:, 0]) == set(range(boosting.POOL))
    assert "5.00 % of 2,000 examples are misclassified by the first network; 200 are picked" in capsys.readouterr().out
    both = boosting.pick_examples(networks(110, 95), config)
    assert set(both[:, 1]) == set(range(95, 110)) and len(both) == 150
    with pytest.raises(UsageError, match="too few to train another network"):
        boosting.pick_examples(networks(110, 110), config)


def test_a_boosted_network_does_not_go_on_with_another_recipe(tmp_path):
    """The list of the second network's examples follows from the first."""
    config = load_config(BOOSTED, [])[0]
    (tmp_path / "config.json").write_text(config.to_json())
    (tmp_path / "net1").mkdir()
    assert not train.check_outdated(config, tmp_path, True, False)
    longer = load_config(BOOSTED, ["--config.train.epochs=30.0"])[0]
    with pytest.raises(UsageError, match=r"holds a boosted network, .*train\.epochs: .*; take another --workdir"):
        train.check_outdated(longer, tmp_path, True, False)
    assert train.check_outdated(load_config(BOOSTED, ["--config.evaluate.batch_size=7"])[0], tmp_path, True, False)


def test_a_list_of_examples_is_the_training_set(scratch):
    config = load_config(
        str(ROOT / "configs/lenet.py:digits"), ["--config.train.epochs=2.0", "--config.train.batch_size=2"]
    )
    picked = np.array([[3, 7], [0, 7], [9, 2]], np.int32)
    components = Components(config[0], picked=picked)
    batches = list(components.feed(0, 0))
    assert (components.examples, components.total) == (3, 3)
    seen = [pair for b in batches for pair in zip(b["epoch"].tolist(), b["index"].tolist(), strict=True)]
    assert sorted(seen[:3]) == sorted(seen[3:]) == sorted(map(tuple, picked.tolist()))


@pytest.mark.configs
def test_three_networks_in_turn(scratch, tmp_path, capsys):
    ops = "decode|resize(28)|{}pad(2)|value_range(-0.1, 1.175)"
    config, problems = load_config(BOOSTED, [
        "--config.data.name=digits", f"--config.data.train_ops={ops.format('distort(translate=2)|')}",
        f"--config.data.test_ops={ops.format('')}", "--config.data.train_split=train[:300]", "--config.train.epochs=1",
    ])  # fmt: skip
    assert not problems
    train.train(config, tmp_path, False)
    result = json.loads((tmp_path / "result.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert result["parameters"] == 3 * 16_885 and [line["step"] for line in lines] == list(
        range(1, result["steps"] + 1)
    )
    seeds = [
        json.loads((tmp_path / f"net{n}" / "metrics.jsonl").read_text().splitlines()[0])["loss"] for n in (1, 2, 3)
    ]
    assert len(set(seeds)) == 3
    train.train(config, tmp_path, False)
    assert "already complete" in capsys.readouterr().out
