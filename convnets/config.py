"""Config utilities: loads configs, overrides their leaves from the command line, and compares them."""

import difflib
import json
import re
import sys
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from convnets import op_string
from convnets.errors import UsageError

# Keys until 2026-11; the configs of runs recorded before have them.
RENAMED = {"optim.rates": "optim.lr_multipliers", "optim.decay": "optim.decay_multipliers"}


def split_arguments(argv: list[str]) -> tuple[list[str], list[str]]:
    """Splits arguments into `--config.key=value` overrides, each joined to one word, and the others."""
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


def load_config(source: str | Path, overrides: list[str]) -> tuple[ConfigDict | None, list[str]]:
    """Returns the config of `source` with overrides applied, and a list of problems, one line each.

    The config is None if the file does not exist or cannot be loaded.

    Args:
        source: 'path.py' or 'path.py:argument', or the config.json of a run.
        overrides: `--config.key=value` arguments.
    """
    path = str(source)
    file = path.split(":")[0]
    if not Path(file).is_file():
        near = difflib.get_close_matches(file, [str(p) for p in Path(file).parent.glob("*.py")], n=1)
        return None, [f"config file {file} does not exist" + (f"; did you mean {near[0]}?" if near else "")]
    if path.endswith(".json"):
        config = ConfigDict(rename_config(json.loads(Path(path).read_text())))
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


def rename_config(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a recorded config with today's names."""
    data, optim = config.get("data", {}), config.get("optim", {})
    data = {key: op_string.rename(value) if key.endswith("_ops") else value for key, value in data.items()}
    optim = {RENAMED.get(f"optim.{key}", f".{key}").rpartition(".")[2]: value for key, value in optim.items()}
    loss = {"loss": "rbf_map"} if config.get("loss") == "map" else {}
    return {**config, **({"data": data} if data else {}), **({"optim": optim} if optim else {}), **loss}


def configs_of_seeds(source: str | Path, overrides: list[str], count: int) -> tuple[list[ConfigDict], list[str]]:
    """Returns the configs of `count` consecutive seeds, and the reasons why they cannot train as one program.

    The first seed is the config's own. The config must load without error.
    """
    config = load_config(source, overrides)[0]
    assert config is not None
    seed = config.train.seed
    loaded = [load_config(source, [*overrides, f"--config.train.seed={seed + n}"])[0] for n in range(count)]
    configs = [config for config in loaded if config is not None]
    found, first = [], configs[0].to_dict()
    differ = {line.split(":")[0] for c in configs for line in list_changes(first, c.to_dict())} - {"train.seed"}
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
    if key in RENAMED:
        return f"config key '{key}' is now '{RENAMED[key]}'"
    if key not in leaves:
        near = difflib.get_close_matches(key, leaves, n=1, cutoff=0.4)
        last = key.split(".")[-1]
        near = [k for k in leaves if k.split(".")[-1] == last] or near
        return f"unknown config key '{key}'" + (f"; did you mean '{near[0]}'?" if near else "")
    values = flags.FlagValues()
    command = ["run.py", override]
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=command)
    try:
        values(command)  # updates `config` in place, with the leaves that its file derives from this one
    except (flags.Error, ValueError, TypeError):
        return f"{key}: cannot read '{value}' as {type(get_leaf(config, key)).__name__}"
    return None


def leaf_keys(config: ConfigDict, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in config.items():
        keys += leaf_keys(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else [prefix + key]
    return keys


def get_leaf(config: ConfigDict, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


def list_changes(old: dict, new: dict) -> list[str]:
    """Returns the leaves in which two configs differ, as 'key: old -> new'."""
    old, new = ConfigDict(rename_config(old)), ConfigDict(rename_config(new))
    keys = dict.fromkeys(leaf_keys(old) + leaf_keys(new))
    value = lambda config, key: get_leaf(config, key) if key in leaf_keys(config) else "absent"  # noqa: E731
    return [f"{k}: {value(old, k)} -> {value(new, k)}" for k in keys if value(old, k) != value(new, k)]


def list_overrides(old: dict, new: dict) -> list[str]:
    """Returns the '--config.KEY=VALUE' arguments that turn the old config into the new one.

    Omits data.data_dir, which depends on the machine, and leaves that only the old config has, since no override can
    remove them.
    """
    differ = [c for c in list_changes(old, new) if not c.startswith("data.data_dir:") and not c.endswith(" -> absent")]
    return [f"--config.{re.sub(': .* -> ', '=', c)}" for c in differ]
