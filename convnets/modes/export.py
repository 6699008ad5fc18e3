"""--mode=export: writes the weights of a run as .safetensors."""

import shlex
from pathlib import Path

import jax
from ml_collections import ConfigDict

from convnets.models.pretrained import weights
from convnets.training.network import open_network


def export(config: ConfigDict, workdir: Path, file: Path) -> None:
    """Writes the newest checkpoint's parameters and running statistics as .safetensors, without auxiliary heads.

    Arrays have their published names if there are any for this network, otherwise our own names.
    """
    name, network = config.model.name, open_network(config, workdir)
    model, variables = network.model, weights.without_heads(network.variables)
    own = weights.unpublished(name, model)
    weights.save(file, name, variables, own_names=bool(own), model=model)
    count = {k: sum(v.size for v in jax.tree.leaves(tree)) for k, tree in variables.items()}
    print(f"{name} of step {network.step:,}: {count['params']:,} parameters"
          + (f" and {count['batch_stats']:,} running statistics" if count["batch_stats"] else "")
          + (f", under our own names ({own})" if own else ", under their published names"))  # fmt: skip
    print(f"written to {file}; to test it: python run.py --mode=evaluate "
          + shlex.join([f"--workdir={workdir}", f"--weights={file}"]))  # fmt: skip
