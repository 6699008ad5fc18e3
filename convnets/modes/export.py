"""--mode=export: writes the weights of a run as .safetensors, or all that is needed to use the run without its folder."""

import shlex
import shutil
from pathlib import Path

import jax
from ml_collections import ConfigDict

from convnets.config import PATHS
from convnets.models.pretrained import weights
from convnets.report import results
from convnets.runtime import files, included
from convnets.training.network import open_network


def export(config: ConfigDict, workdir: Path, file: Path) -> None:
    """Writes the newest checkpoint's parameters and running statistics as .safetensors, without auxiliary heads.

    Arrays have their published names if there are any for this network, otherwise our own names.
    """
    _write(config, workdir, file)
    print(f"written to {file}; to test it: python run.py --mode=evaluate "
          + shlex.join([f"--workdir={workdir}", f"--weights={file}"]))  # fmt: skip


def include(config: ConfigDict, workdir: Path, name: str) -> None:
    """Writes a finished run as an included network, see `included`: weights, config, card, statistics.

    Raises:
        UsageError: the run is not finished, or its code was not committed.
    """
    dataset = files.read_json(workdir / "manifest.json")["dataset"]
    card = {k: v for k, v in results.record(workdir).items() if k not in ("metrics", "curve", "tests", "wall")}
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(dict.fromkeys(PATHS, ""))  # of this machine
    with files.atomic_path(included.FOLDER / name) as folder:
        folder.mkdir()
        _write(config, workdir, folder / included.WEIGHTS)
        files.write_json(folder / "config.json", config.to_dict())
        files.write_json(folder / "manifest.json", {**card, "dataset": dataset})
        if (workdir / "statistics.npz").exists():
            shutil.copy(workdir / "statistics.npz", folder)
    print(f"written to {included.FOLDER / name}; to test it: python run.py --mode=evaluate --weights={name}")


def _write(config: ConfigDict, workdir: Path, file: Path) -> None:
    name, network = config.model.name, open_network(config, workdir)
    model, variables = network.model, weights.without_heads(network.variables)
    own = weights.unpublished(name, model)
    facts = files.read_json(workdir / "manifest.json")["dataset"] if (workdir / "manifest.json").exists() else None
    weights.save(file, name, variables, own_names=bool(own), model=model, dataset=facts)
    count = {k: sum(v.size for v in jax.tree.leaves(tree)) for k, tree in variables.items()}
    print(f"{name} of step {network.step:,}: {count['params']:,} parameters"
          + (f" and {count['batch_stats']:,} running statistics" if count["batch_stats"] else "")
          + (f", under our own names ({own})" if own else ", under their published names"))  # fmt: skip
