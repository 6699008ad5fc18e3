"""Opens and tests a trained network. Needs no optimizer, no training split and no writable folder."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import optax
from ml_collections import ConfigDict

from convnets import models
from convnets.augment import pipeline
from convnets.augment.statistics import load_statistics
from convnets.config import load_config
from convnets.data import dataset, sources
from convnets.errors import CheckpointError, DataError, UsageError
from convnets.evaluation import feature_change
from convnets.evaluation.evaluator import Evaluated, Evaluator
from convnets.models.pretrained import weights
from convnets.runtime import distributed, files, included, parallel, provenance
from convnets.training.checkpoint import Checkpoints, checksum
from convnets.training.state import draw_missing, state_shapes


class Network(NamedTuple):
    """A model with its variables.

    Attributes:
        variables: {'params', 'batch_stats'}; the averaged parameters if the recipe keeps an average.
        step: training steps taken; 0 for a weights file.
        seconds: training time of all sessions.
    """

    model: nn.Module
    variables: dict[str, Any]
    step: int = 0
    seconds: float = 0.0


def open_network(config: ConfigDict, workdir: Path, file: str = "") -> Network:
    """Opens a weights file, or if `file` is empty the newest checkpoint in `workdir`; an included network has none.

    Raises:
        CheckpointError: the run has no readable checkpoint, the processes see different ones, or the file does not fit.
    """
    model = models.create(**config.model)
    target = state_shapes(model, optax.identity(), average=bool(config.optim.average))
    if not file and (workdir / included.WEIGHTS).exists() and not (workdir / "checkpoints").exists():
        file = str(workdir / included.WEIGHTS)
    if file:
        return Network(model, draw_missing(weights.load(file, config.model.name, target.variables, model), model))
    checkpoints = Checkpoints(workdir / "checkpoints")
    check_same_step(workdir, [0, *checkpoints.steps()][-1])
    restored = checkpoints.restore(target, part=True)
    check_same_step(workdir, int(restored[0].step) if restored else 0)
    if restored is None:
        raise CheckpointError(f"{workdir} holds no checkpoint yet")
    state, facts = restored
    return Network(model, state.variables, int(state.step), facts.get("seconds", 0.0))


def load_facts(workdir: Path, model: nn.Module, split: dataset.Split | None = None, file: str = "") -> dict[str, Any]:
    """Returns what has to be known of a network's images: 'image_shape', 'dark_background', 'label_names', 'name'.

    They are in a weights file that `--mode=export` wrote, or in the manifest of a run. Without one they come from the test
    split, or else from the model.
    """
    shape, names = model.input_shape, [f"class {i}" for i in range(model.num_classes)]
    if split:
        shape, names = split.info.image_shape, split.info.label_names
    facts = {"name": "", "image_shape": shape, "dark_background": False, "label_names": names}
    kept, notes = workdir / "manifest.json", weights.read_notes(file) if file else {}
    is_run = kept.exists() and (workdir / "config.json").exists()  # the folder of a weights file may hold anything
    if "dataset" in notes:
        facts |= json.loads(notes["dataset"])
    elif is_run:
        facts |= files.read_json(kept)["dataset"]
    return facts | {"label_names": sources.name_classes(facts["name"], facts["label_names"])}


def load_initial(config: ConfigDict, model: nn.Module) -> dict[str, Any] | None:
    """Loads the weights file that a training begins with, `model.init_from`; None if there is none.

    Returns variables; those that the file does not give (`model.init_layers`) are shapes.

    Raises:
        CheckpointError, UsageError: from `weights.load` and `weights.load_layers`.
    """
    path, name = config.model.init_from, config.model.name
    if not path:
        return None
    like = state_shapes(model, optax.identity()).variables
    if chosen := [layer.strip() for layer in config.model.get("init_layers", "").split(",") if layer.strip()]:
        return weights.load_layers(path, name, like, chosen, model)
    return weights.load(path, name, like, model)


def check_same_step(workdir: Path, step: int) -> None:
    """Raises CheckpointError if the processes see or restored checkpoints of different steps.

    A shared file system may show the files of another host late. Once one process reads a checkpoint, orbax waits for all.
    """
    if found := distributed.list_unequal(step):
        raise CheckpointError(f"{workdir}: the processes see different newest checkpoints, of steps {found}")


def open_test_split(config: ConfigDict, model: nn.Module, workdir: Path) -> dataset.Split:
    """Opens the test split of a config, with the training-set statistics that a run saved in its workdir.

    Raises:
        DataError: from `dataset.load_test_split`.
        UsageError: the split does not fit the model.
    """
    kept = workdir / "statistics.npz"
    statistics = load_statistics(kept) if kept.exists() else None
    split = distributed.main_first(lambda: dataset.load_test_split(**config.data, statistics=statistics))
    check_same_data(split)
    if problems := split_problems(config, model, split, "test_ops"):
        raise UsageError("\n".join(problems))
    return split


def check_same_data(*splits: dataset.Split) -> None:
    """Raises DataError if the processes have other versions or sizes of a data set, which may be local to each host."""
    own = [f"{s.info.name}:{s.info.version}, {s.info.num_examples:,} images of {s.info.split}" for s in splits]
    if found := distributed.list_unequal("; ".join(own)):
        raise DataError("the processes have different data: " + " | ".join(map(str, dict.fromkeys(found))))


def split_problems(config: ConfigDict, model: nn.Module, split: dataset.Split, key: str) -> list[str]:
    """Returns the reasons why a model cannot take the images of a split, one line each.

    Args:
        key: the leaf of `config.data` with the split's augmentation string.
    """
    found = []
    shape = pipeline.output_shape(split.device_ops, split.info.image_shape)[1:]
    if shape != model.input_shape:
        found.append(
            f"data.{key} gives images of {shape}, model {config.model.name} takes {model.input_shape}"
            + ("; 'decode|grey' makes colours grey" if shape[-1] == 3 and model.input_shape[-1] == 1 else "")
        )
    if split.info.num_classes != config.model.num_classes:
        found.append(
            f"model.num_classes is {config.model.num_classes}, {split.info.name} has {split.info.num_classes} classes"
        )
    return found


def test_run(
    config: ConfigDict, workdir: Path, file: str = "", opened: Network | None = None
) -> tuple[dict[str, Any], Evaluated]:
    """Tests a run's newest checkpoint or a weights file; returns the content of result.json and the outcome.

    If a run is tested with other `data.test_ops` than its own, the result also has `feature_change`. This needs one
    process and evaluate.protocol=single.

    Args:
        opened: the network, if it is open already.
    """
    opened = opened or open_network(config, workdir, file)
    if distributed.process_count() > 1 and distributed.list_unequal(
        list(map(checksum, jax.tree.leaves(opened.variables)))
    ):
        raise CheckpointError(
            f"{file or workdir}: the processes have different networks; give all of them the same files"
        )
    split = open_test_split(config, opened.model, workdir)
    evaluator = Evaluator(opened.model, config.loss, split, **config.evaluate)
    variables = parallel.replicate(opened.variables)
    tested = evaluator(variables)
    result = result_of(config, opened, evaluator, tested.summary)
    recorded, problems = (config, []) if file else load_config(workdir / "config.json", [])
    if recorded is None:
        raise UsageError("\n".join(problems))
    own = recorded.data.test_ops
    if own != config.data.test_ops and config.evaluate.protocol == "single" and distributed.process_count() == 1:
        result["feature_change"] = feature_change.feature_change(
            opened.model, variables, split, own, evaluator.batch_size
        )
    return result, tested


def result_of(
    config: ConfigDict,
    network: Network,
    evaluator: Evaluator,
    summary: dict[str, Any],
    images_per_second: float | None = None,
) -> dict[str, Any]:
    """Returns the content of result.json.

    Args:
        images_per_second: the training speed of this session, if it trained.
    """
    info = evaluator.split.info
    return {
        "config": config.to_dict(),
        "dataset": f"{info.name}:{info.version}",
        "split": info.split,
        "protocol": config.evaluate.protocol,
        "views": evaluator.views,
        "split_examples": info.num_examples,
        **{k: summary[k] for k in ("num_examples", "top1_error", "top5_error", "loss")},
        "seed": config.train.seed,
        "steps": network.step,
        "parameters": sum(v.size for v in jax.tree.leaves(network.variables["params"])),
        "seconds": round(network.seconds, 2),
        "images_per_second": images_per_second,
        "commit": provenance.commit(),
        "versions": provenance.versions(),
    }
