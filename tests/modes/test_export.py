"""Export tests that would take too long with the real processes of test_run.py."""

import jax
import numpy as np
import optax
import pytest

from configs import base
from convnets import models
from convnets.models.pretrained import weights
from convnets.modes import export
from convnets.training.checkpoint import Checkpoints
from convnets.training.state import create_state


@pytest.mark.parametrize(("options", "name"), [({}, "layer1.0.bn1.running_var"), ({"epsilon": 1e-3}, "params/fc/bias")])
def test_export_takes_published_names_where_they_say_the_same(options, name, tmp_path, capsys):
    config = base.get_config("resnet20_cifar")
    config.model.update(options)
    model = models.create(**config.model)
    trained = create_state(model, optax.identity(), model.input_shape, 0)
    rng = np.random.default_rng(0)
    trained = jax.tree.map(
        lambda v: rng.standard_normal(v.shape, np.float32) if v.ndim else v.dtype.type(7), jax.device_get(trained)
    )
    Checkpoints(tmp_path / "checkpoints").save(trained)
    file = tmp_path / "a.safetensors"
    export.export(config, tmp_path, file)
    said = capsys.readouterr().out
    assert "resnet20_cifar of step 7: 269,722 parameters and 1,376 running statistics" in said
    assert ("under our own names" if options else "under their published names") in said
    assert ("epsilon 1e-05, not 0.001" in said) == bool(options)
    assert name in weights.read(file)[0]
    found = weights.load(file, "resnet20_cifar", trained.variables, model)
    for ours, theirs in zip(jax.tree.leaves(trained.variables), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(ours, theirs)
