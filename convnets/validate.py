"""Reading a config from the command line, and finding everything that is wrong with it before any work is done."""

import difflib
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from convnets.errors import UsageError

POSITIVE = ("optim.lr", "train.epochs", "train.batch_size", "train.log_every_steps", "checkpoint.every_steps",
            "checkpoint.keep", "evaluate.batch_size", "model.num_classes")  # fmt: skip
NOT_NEGATIVE = ("optim.weight_decay", "optim.lr_batch", "optim.max_norm", "train.eval_every_epochs",
                "train.steps_per_dispatch", "train.seed")  # fmt: skip


def split_arguments(argv: list[str]) -> tuple[list[str], list[str]]:
    """The `--config.key=value` arguments, each as one word, and the others."""
    overrides: list[str] = []
    others: list[str] = []
    words = iter(range(len(argv)))
    for i in words:
        if not re.match(r"--?(no)?config\.", argv[i]):
            others.append(argv[i])
        elif "=" in argv[i] or i + 1 == len(argv) or re.match(r"--?[a-z]", argv[i + 1]):
            overrides.append(argv[i])
        else:
            overrides.append(f"{argv[i]}={argv[next(words)]}")
    return overrides, others


def usage(given: Any, stray: Sequence[str], default: str) -> tuple[str | Path | None, list[str]]:
    """Which config a command is about, None where that cannot be told, and what is wrong with its flags, a line each.

    Args:
        given: the flags of run.py, as attributes.
        stray: arguments that are no flags.
        default: the config where none is given.
    """
    found = [f"stray argument '{word}': every argument is a flag, --name=value" for word in stray]
    found += ["--workdir is empty; give a folder"] if given.workdir == "" else []
    mode, source, members = given.mode, given.config or default, [Path(name).expanduser() for name in given.workdirs]
    kept = Path(given.workdir).expanduser().absolute() / "config.json" if given.workdir else None
    tests = mode in ("evaluate", "visualize")
    if tests and members:
        if given.config or given.weights:
            found.append("--workdirs: every run has its own config and weights; leave out --config and --weights")
        without = [str(m.absolute()) for m in members if not (m / "config.json").exists()]
        found += [f"--workdirs: {', '.join(without)} holds no run: there is no config.json"] if without else []
        source = None if without else members[0].absolute() / "config.json"
    elif tests or mode in ("predict", "export"):
        if kept and kept.exists():
            source = given.config or kept
        elif not (tests and given.weights):
            found.append(f"--workdir={kept.parent} holds no run: there is no config.json" if kept else
                         f"--mode={mode} needs --workdir, the folder of a trained run")  # fmt: skip
            source = None
    return source, found + _files(given, mode, len(members), kept is not None)


def _files(given: Any, mode: str, members: int, has_workdir: bool) -> list[str]:
    """What is wrong with the files that the flags name."""
    found, missing = [], [name for name in given.images if not Path(name).is_file()]
    if mode == "export":
        if not given.weights.endswith(".safetensors"):
            found.append("--mode=export needs --weights=FILE.safetensors, the file to write")
        elif Path(given.weights).exists():
            found.append(f"--weights={given.weights} exists already; export writes a new file")
        elif not Path(given.weights).absolute().parent.is_dir():
            found.append(f"--weights={given.weights}: there is no such folder")
    elif given.weights and not Path(given.weights).is_file():
        found.append(f"--weights={given.weights} does not exist")
    if mode == "predict" and not given.images:
        found.append("--mode=predict needs --images=FILE[,FILE...]")
    if mode == "visualize" and members and (not has_workdir or given.images):
        found.append("--mode=visualize of --workdirs needs --workdir, the folder to draw into, and no --images")
    if mode == "visualize" and len(given.images) > 1:
        found.append("--mode=visualize looks at one image: give one --images=FILE")
    if mode == "sweep" and not given.experiment:
        found.append("--mode=sweep needs --experiment, such as experiments/lenet.py")
    return found + ([f"--images: {', '.join(missing)} does not exist"] if missing else [])


def load(source: str | Path, overrides: list[str]) -> tuple[ConfigDict | None, list[str]]:
    """The config of `source` with overrides applied, and what is wrong with them, a line each.

    Args:
        source: 'path.py' or 'path.py:argument', or the config.json of a run.
    """
    path = str(source)
    file = path.split(":")[0]
    if not Path(file).is_file():
        near = difflib.get_close_matches(file, [str(p) for p in Path(file).parent.glob("*.py")], n=1)
        return None, [f"config file {file} does not exist" + (f"; did you mean {near[0]}?" if near else "")]
    if path.endswith(".json"):
        config = ConfigDict(json.loads(Path(path).read_text()))
    else:
        sys.path.insert(0, str(Path(file).parent.parent.absolute()))  # configs import configs.base
        try:
            config = config_flags.config_flags.ConfigFileFlagParser("config").parse(path)
        except (UsageError, AttributeError, KeyError, ValueError, TypeError) as e:
            text = str(e).strip().splitlines()
            return None, [f"{path}: {text[-1] if text else type(e).__name__}"]
        finally:
            sys.path.pop(0)
    problems = []
    for override in overrides:
        problem = _override(config, override)
        problems += [problem] if problem else []
    return config, problems


def population(source: str | Path, overrides: list[str], count: int) -> tuple[list[ConfigDict], list[str]]:
    """The configs of `count` runs with the seeds from that of a right config on, and why they cannot train as one."""
    config = load(source, overrides)[0]
    assert config is not None
    seed = config.train.seed
    loaded = [load(source, [*overrides, f"--config.train.seed={seed + n}"])[0] for n in range(count)]
    configs = [config for config in loaded if config is not None]
    found, first = [], configs[0].to_dict()
    differ = {line.split(":")[0] for c in configs for line in changes(first, c.to_dict())} - {"train.seed"}
    if differ:
        found.append(f"{', '.join(sorted(differ))} follows the seed in this config, so its runs share no data")
    if configs[0].data.loader != "resident":
        found.append("data.loader must be resident: every run gathers its own batches, from device memory")
    if configs[0].loss == "svm":
        found.append("loss=svm has no steps that could be taken together")
    return configs, [f"--seeds: {line}; train them one after the other" for line in found]


def _override(config: ConfigDict, override: str) -> str | None:
    word, _, value = override.partition("=")
    key = word.lstrip("-").removeprefix("no").removeprefix("config.")
    leaves = leaf_keys(config)
    if key not in leaves:
        near = difflib.get_close_matches(key, leaves, n=1, cutoff=0.4)
        last = key.split(".")[-1]
        near = [k for k in leaves if k.split(".")[-1] == last] or near
        return f"unknown config key '{key}'" + (f"; did you mean '{near[0]}'?" if near else "")
    values = flags.FlagValues()
    command = ["run.py", override]
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=command)
    try:
        values(command)  # sets it in `config` itself, and what a config file made to follow it
    except (flags.Error, ValueError, TypeError):
        return f"{key}: cannot read '{value}' as {type(_get(config, key)).__name__}"
    return None


def leaf_keys(config: ConfigDict, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in config.items():
        keys += leaf_keys(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else [prefix + key]
    return keys


def _get(config: ConfigDict, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


def problems(config: ConfigDict, devices: bool = True) -> list[str]:
    """Everything wrong with the values of a config, a line each. Touches no data.

    Args:
        devices: also whether it suits the devices; not before the processes that share them have met.
    """
    found = []
    for key in POSITIVE:
        value = _get(config, key)
        if not (math.isfinite(value) and value > 0):
            found.append(f"{key} is {value}: it must be a number above 0")
    for key in NOT_NEGATIVE:
        value = _get(config, key)
        if not (math.isfinite(value) and value >= 0):
            found.append(f"{key} is {value}: it must be 0 or more")
    if not 0 <= config.optim.momentum < 1:
        found.append(f"optim.momentum is {config.optim.momentum}: it must be at least 0 and less than 1")

    from convnets import data, evaluate, models, optim, protocols, steps

    def attempt(key: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except UsageError as e:
            found.append(f"{key}: {e}")

    def choose(key: str, choices: Any) -> None:
        if _get(config, key) not in choices:
            found.append(f"{key} is '{_get(config, key)}': choose one of {', '.join(sorted(choices))}")

    attempt("model", models.create, **config.model)
    if config.model.init_from and not Path(config.model.init_from).is_file():
        found.append(f"model.init_from: {config.model.init_from} does not exist")
    if config.model.get("init_layers") and not config.model.init_from:
        found.append("model.init_layers: give the file that they come from, model.init_from")
    attempt("data.train_ops", data.operations, config.data.train_ops, config.data.loader, test=False)
    attempt("data.test_ops", data.operations, config.data.test_ops, config.data.loader, test=True)
    attempt("optim.schedule", lambda text: (optim.factor(text), optim.reaction(text)), config.optim.schedule)
    attempt("optim.average", optim.averaging, config.optim.average, 1.0)
    if "plateau" in config.optim.schedule and not config.train.eval_every_epochs:
        found.append("train.eval_every_epochs is 0: the plateau of optim.schedule needs tests on the way")
    choose("data.loader", data.LOADERS)
    choose("data.on_error", data.POLICIES)
    choose("loss", steps.LOSSES)
    attempt("optim.decay", optim.multipliers, config.optim.decay)
    attempt("optim.rates", optim.multipliers, config.optim.rates)
    attempt("evaluate.protocol", protocols.parse, config.evaluate.protocol)
    if not any(line.startswith(("model: ", "data.test_ops: ", "loss", "evaluate.protocol: ")) for line in found):
        network = models.create(**config.model)
        attempt("evaluate.protocol", evaluate.check, network, config.loss, config.data.test_ops,
                config.evaluate.protocol)  # fmt: skip

    # Counting accelerators starts them, so that is for a config that is right so far.
    if devices and config.train.batch_size > 0 and (not found or not metadata.entry_points(group="jax_plugins")):
        found += [problem] if (problem := divisible(config)) else []
    return found


def divisible(config: ConfigDict) -> str | None:
    """What is wrong with the batch for the devices of all processes."""
    import jax

    devices, batch = jax.device_count(), config.train.batch_size
    if batch % devices == 0:
        return None
    below = batch // devices * devices
    near = f"{below} or {below + devices}" if below else str(devices)
    return f"train.batch_size is {batch}: it must be divisible by the {devices} devices, like {near}"


def workdir(path: Path) -> list[str]:
    """What is wrong with a workdir; makes it where it does not exist."""
    if path.exists() and not path.is_dir():
        return [f"--workdir={path} is a file; give a folder"]
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may have been here
    except OSError as e:
        return [f"--workdir={path} cannot be written: {e.strerror}"]
    return []


def changes(old: dict, new: dict) -> list[str]:
    """The leaves in which two configs differ, as 'key: old -> new'."""
    old, new = ConfigDict(old), ConfigDict(new)
    keys = dict.fromkeys(leaf_keys(old) + leaf_keys(new))
    value = lambda config, key: _get(config, key) if key in leaf_keys(config) else "absent"  # noqa: E731
    return [f"{k}: {value(old, k)} -> {value(new, k)}" for k in keys if value(old, k) != value(new, k)]


def overrides(old: dict, new: dict) -> list[str]:
    """The '--config.KEY=VALUE' arguments that make the new config of the old one.

    Where the data lies is the machine's matter, and a leaf that only the old one has could not be overridden: neither
    is among them.
    """
    differ = [c for c in changes(old, new) if not c.startswith("data.data_dir:") and not c.endswith(" -> absent")]
    return [f"--config.{re.sub(': .* -> ', '=', c)}" for c in differ]
