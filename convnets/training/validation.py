"""Validation of config values before any work is done."""

import math
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from convnets.config import get_leaf, list_changes, load_config
from convnets.errors import UsageError
from convnets.runtime import distributed, environment, provenance
from convnets.runtime.files import is_file

LAST_SEED = 2**32 - 1  # JAX and NumPy take seeds of 32 bits; a larger one would give the numbers of another seed
BOOSTED = "_boosted"  # how the names of networks end that convnets/training/boosting.py trains
POSITIVE = ("optim.lr", "train.epochs", "train.batch_size", "train.log_every_steps", "checkpoint.every_steps",
            "checkpoint.keep", "evaluate.batch_size", "model.num_classes")  # fmt: skip
NOT_NEGATIVE = ("optim.weight_decay", "optim.lr_batch", "optim.damping", "optim.max_norm", "train.eval_every_epochs",
                "train.steps_per_dispatch", "train.seed")  # fmt: skip


def _range_problems(config: ConfigDict) -> list[str]:
    found = []
    for key in POSITIVE:
        value = get_leaf(config, key)
        if not (math.isfinite(value) and value > 0):
            found.append(f"{key} is {value}: it must be a number above 0")
    for key in NOT_NEGATIVE:
        value = get_leaf(config, key)
        if not (math.isfinite(value) and value >= 0):
            found.append(f"{key} is {value}: it must be 0 or more")
    last = (LAST_SEED - 2) // 3 if config.model.name.endswith(BOOSTED) else LAST_SEED  # three networks, a seed each
    if config.optim.damping and config.loss not in ("sse", "rbf_map"):
        found.append(
            f"optim.damping: its second derivatives are of a sum of squared errors, not of loss={config.loss}; take loss=sse"
        )
    if config.train.seed > last:
        found.append(f"train.seed is {config.train.seed}: it must be at most {last}")
    if not 0 <= config.optim.momentum < 1:
        found.append(f"optim.momentum is {config.optim.momentum}: it must be at least 0 and less than 1")
    return found


def explain_lone_run(config: ConfigDict) -> str:
    """Returns why one process trains a config, as one run and without steps to trace; '' if others could take part."""
    from convnets.losses import CLOSED_FORM  # imports JAX

    if config.loss in CLOSED_FORM:
        return f"loss={config.loss} has no steps that could be taken together"
    return "a boosted network trains its own networks one after the other" * config.model.name.endswith(BOOSTED)


def configs_of_seeds(source: str | Path, overrides: list[str], count: int) -> tuple[list[ConfigDict], list[str]]:
    """Returns the configs of `count` consecutive seeds, and the reasons why they cannot train as one program.

    The first seed is the config's own. The config must load without error.
    """
    config = load_config(source, overrides)[0]
    assert config is not None
    seed = config.train.seed
    if seed + count - 1 > LAST_SEED:
        return [], [f"--seeds: the last seed would be {seed + count - 1}, above {LAST_SEED}"]
    loaded = [load_config(source, [*overrides, f"--config.train.seed={seed + n}"])[0] for n in range(count)]
    configs = [config for config in loaded if config is not None]
    found, first = [], configs[0].to_dict()
    differ = {line.split(":")[0] for c in configs for line in list_changes(first, c.to_dict())} - {"train.seed"}
    if differ:
        found.append(f"{', '.join(sorted(differ))} follows the seed in this config, so its runs share no data")
    if configs[0].data.loader != "resident":
        found.append("data.loader must be resident: every run gathers its own batches, from device memory")
    if why := explain_lone_run(configs[0]):
        found.append(why)
    return configs, [f"--seeds: {line}; train them one after the other" for line in found]


def problems(config: ConfigDict, devices: bool = True, begins: bool = True) -> list[str]:
    """Returns all problems with the values of a config, one line each, without reading data.

    Args:
        begins: whether a training begins with it, and so reads `model.init_from`.
        devices: also checks the batch size against the devices; False before the process group has connected.
    """
    found = _range_problems(config)

    from convnets import models
    from convnets.data import dataset, tf_pipeline
    from convnets.evaluation import evaluator, protocols
    from convnets.losses import LOSSES
    from convnets.models import sequential
    from convnets.training.optimizer import parameter_multipliers, parse_average
    from convnets.training.schedules import parse_feedback, parse_schedule

    def attempt(key: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except UsageError as e:
            found.append(f"{key}: {e}")

    def choose(key: str, choices: Any) -> None:
        if get_leaf(config, key) not in choices:
            found.append(f"{key} is '{get_leaf(config, key)}': choose one of {', '.join(sorted(choices))}")

    attempt("model", models.create, **config.model)
    if begins and config.model.init_from and not is_file(config.model.init_from):
        found.append(f"model.init_from: {config.model.init_from} does not exist")
    if config.model.get("init_layers") and not config.model.init_from:
        found.append("model.init_layers: give the file that they come from, model.init_from")
    attempt("data.train_ops", dataset.parse_operations, config.data.train_ops, config.data.loader, test=False)
    attempt("data.test_ops", dataset.parse_operations, config.data.test_ops, config.data.loader, test=True)
    attempt("optim.schedule", lambda text: (parse_schedule(text), parse_feedback(text)), config.optim.schedule)
    attempt("optim.average", parse_average, config.optim.average, 1.0)
    if "plateau" in config.optim.schedule and not config.train.eval_every_epochs:
        found.append("train.eval_every_epochs is 0: the plateau of optim.schedule needs tests on the way")
    choose("data.loader", dataset.LOADERS)
    choose("data.on_error", tf_pipeline.POLICIES)
    choose("loss", LOSSES)
    if config.optim.weight_decay or config.optim.decay_multipliers:
        attempt("optim.decay_multipliers", parameter_multipliers, config.optim.decay_multipliers)
    if config.optim.lr_multipliers:
        attempt("optim.lr_multipliers", parameter_multipliers, config.optim.lr_multipliers)
    attempt("evaluate.protocol", protocols.parse, config.evaluate.protocol)
    if not any(line.startswith(("model: ", "data.test_ops: ", "loss", "evaluate.protocol: ")) for line in found):
        network = models.create(**config.model)
        if isinstance(network, sequential.Stack):
            attempt("loss", network.check_loss, config.loss)
        attempt("evaluate.protocol", evaluator.check, network, config.loss, config.data.test_ops,
                config.evaluate.protocol)  # fmt: skip

    # Counting accelerators initializes them, so only a config without other problems gets that far.
    if devices and config.train.batch_size > 0 and (not found or not metadata.entry_points(group="jax_plugins")):
        found += [problem] if (problem := explain_indivisible(config)) else []
    return found


def check_processes(config: ConfigDict) -> None:
    """Compares what the processes of a group are about to train or test; nothing else would notice that they differ.

    Raises:
        UsageError: another process has another config, commit or number of devices; data.data_dir may differ.
    """
    import jax

    environment.start_jax(devices=True)
    facts = {"commit": provenance.commit(), "devices": jax.local_device_count()}
    told = distributed.all_gather_json({**config.to_dict(), **facts})
    for process, other in enumerate(told):
        if "unknown" in (told[0]["commit"], other["commit"]):  # not every host may have git
            other["commit"] = told[0]["commit"]
        if differ := list_changes(told[0], other):
            raise UsageError(f"process {process} differs from process 0: {'; '.join(differ)}; start all processes by the same"
                             " command, on the same code and as many devices")  # fmt: skip


def explain_indivisible(config: ConfigDict) -> str | None:
    """Returns the problem if the batch size is not divisible by the devices of all processes; otherwise None."""
    import jax

    environment.start_jax(devices=True)
    devices, batch = jax.device_count(), config.train.batch_size
    if batch % devices == 0:
        return None
    below = batch // devices * devices
    near = f"{below} or {below + devices}" if below else str(devices)
    return f"train.batch_size is {batch}: it must be divisible by the {devices} devices, like {near}"
