"""Config utilities: loads configs, overrides their leaves from the command line, and compares them."""

import difflib
import itertools
import re
import sys
import traceback
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from convnets import op_string
from convnets.errors import UsageError
from convnets.runtime import files, provenance

BASE = provenance.ROOT / "configs" / "base.py"
PATHS = ("model.init_from", "data.data_dir")  # leaves that are paths; so is a data.name that begins with IMAGE_FOLDER

# Keys until 2026-11; the configs of runs recorded before have them.
RENAMED = {"optim.rates": "optim.lr_multipliers", "optim.decay": "optim.decay_multipliers"}

# Keys added to `optim` in 2026-11; the configs of runs recorded before get these values.
ADDED = {"damping": 0.0}


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

    The config is None if the file does not exist or cannot be loaded. Its paths are absolute.

    Args:
        source: 'path.py' or 'path.py:argument', or the config.json of a run.
        overrides: `--config.key=value` arguments.
    """
    file, argument = Path(source), None
    if not file.is_file() and ".py:" in str(source):  # a path may contain colons too
        name, _, argument = str(source).partition(".py:")
        file = Path(f"{name}.py")
    if file.is_dir():
        return None, [f"config file {file} is a folder; give a file in it"]
    if not file.is_file():
        near = difflib.get_close_matches(str(file), [str(p) for p in file.parent.glob("*.py")], n=1)
        return None, [f"config file {file} does not exist" + (f"; did you mean {near[0]}?" if near else "")]
    try:
        if file.suffix == ".json":
            config = ConfigDict(rename_config(files.read_json(file)))
            problems = [
                f"it holds no config: '{key}' is missing" for key in _call_config(BASE, None) if key not in config
            ][:1]
        else:
            config = _call_config(file, argument)
            problems = compare_with_base(config)
    except UsageError as e:
        return None, [str(e)]
    if problems:
        return None, [f"{source}: {problem}" for problem in problems]
    problems = [problem for override in overrides if (problem := _override(config, override))]
    return config, problems + _make_absolute(config)


def run_file(file: Path, name: str) -> types.ModuleType:
    """Runs a Python file of the user as the module `name`.

    Raises:
        UsageError: the file fails; the message has file, line and error.
    """
    module = sys.modules[name] = types.ModuleType(name)
    module.__file__ = str(file)
    sys.path.insert(0, str(file.absolute().parent.parent))  # configs import configs.base
    try:
        exec(compile(file.read_bytes(), str(file), "exec"), module.__dict__)
    except UsageError:
        raise
    except (Exception, SystemExit) as e:
        raise UsageError(describe_failure(e, file)) from None
    finally:
        sys.path.pop(0)
    return module


def describe_failure(e: BaseException, file: Path, line: int = 1) -> str:
    """Returns 'FILE, line N: ERROR' for an exception that code in `file` raised.

    Args:
        line: the line to name if no frame of `file` raised it.
    """
    where = str(file)
    if isinstance(e, SyntaxError) and e.lineno:
        where, line = e.filename or where, e.lineno
    else:
        line = [line, *(f.lineno or line for f in traceback.extract_tb(e.__traceback__) if f.filename == where)][-1]
    text = " ".join((e.msg if isinstance(e, SyntaxError) else str(e)).split())[:300]
    return f"{where}, line {line}: {type(e).__name__}" + (f": {text}" if text else "")


def _call_config(file: Path, argument: str | None) -> ConfigDict:
    """Returns what the `get_config` of a config file returns; raises UsageError with file and line if it fails."""
    function = getattr(run_file(file, "config_file"), "get_config", None)
    if not isinstance(function, types.FunctionType):
        raise UsageError(f"{file} defines no function get_config, which returns the config")
    line = function.__code__.co_firstlineno
    try:
        config = function() if argument is None else function(argument)
    except UsageError as e:
        raise UsageError(f"{file}{f':{argument}' if argument else ''}: {e}") from None
    except (Exception, SystemExit) as e:
        raise UsageError(describe_failure(e, file, line)) from None
    if not isinstance(config, ConfigDict):
        raise UsageError(f"{file}, line {line}: get_config returns {type(config).__name__}, not a ConfigDict")
    return config


def compare_with_base(config: ConfigDict) -> list[str]:
    """Returns the leaves that a config lacks, that configs/base.py lacks, or that have another type there.

    The section 'model' may have more leaves: they are the options of its network.
    """
    base, found = _call_config(BASE, None), []
    wanted, given = leaf_keys(base), leaf_keys(config)
    for key in itertools.chain(wanted, (k for k in given if k not in wanted and not k.startswith("model."))):
        if key not in wanted:
            found.append(_explain_key(key, wanted))
        elif key not in given:
            found.append(f"config key '{key}' is missing")
        elif not isinstance(get_leaf(config, key), (kind := type(get_leaf(base, key)), int if kind is float else kind)):
            found.append(f"{key} is {get_leaf(config, key)!r}: it must be of type {kind.__name__}")
    return found


def _make_absolute(config: ConfigDict) -> list[str]:
    """Makes the paths in a config absolute, so that they hold from any working directory; returns the problems."""
    found = []
    for key in (*PATHS, "data.name"):
        value = get_leaf(config, key) if key in leaf_keys(config) else ""
        prefix = files.IMAGE_FOLDER if key == "data.name" else ""
        if not value or not value.startswith(prefix):
            continue
        try:
            config.update_from_flattened_dict({key: f"{prefix}{files.local_path(value.removeprefix(prefix))}"})
        except UsageError as e:
            found.append(f"{key}: {e}")
    return found


def rename_config(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a recorded config with today's names and keys."""
    found = dict(config)
    if "data" in config:
        found["data"] = {k: op_string.rename(v) if k.endswith("_ops") else v for k, v in config["data"].items()}
    if "optim" in config:
        names = {key.removeprefix("optim."): new.removeprefix("optim.") for key, new in RENAMED.items()}
        found["optim"] = ADDED | {names.get(key, key): value for key, value in config["optim"].items()}
    if config.get("loss") == "map":
        found["loss"] = "rbf_map"
    return found


def overridden_key(override: str) -> str:
    """Returns the key of a `--config.KEY=VALUE` argument."""
    return override.partition("=")[0].lstrip("-").removeprefix("no").removeprefix("config.")


def _override(config: ConfigDict, override: str) -> str | None:
    key, value = overridden_key(override), override.partition("=")[2]
    leaves = leaf_keys(config)
    if key not in leaves:
        return _explain_key(key, leaves)
    values, (section, _, last) = flags.FlagValues(), key.rpartition(".")
    command = ["run.py", override.replace(f"config.{key}", f"config.{last}", 1)]
    # Of its section alone, because absl prints the whole default of a flag, twice.
    own = get_leaf(config, section) if section else config
    config_flags.DEFINE_config_dict("config", own, flag_values=values, sys_argv=command)
    try:
        values(command)  # updates `own` in place, and with it the leaves that the file derives from this one
    except (flags.Error, ValueError, TypeError):
        return f"{key}: cannot read '{value}' as {type(get_leaf(config, key)).__name__}"
    except Exception as e:  # from a leaf that the config derives from this one
        return f"{key}: {value} gives {type(e).__name__}: {e}"
    return None


def _explain_key(key: str, leaves: list[str]) -> str:
    if key in RENAMED:
        return f"config key '{key}' is now '{RENAMED[key]}'"
    section, _, last = key.rpartition(".")
    own = [k.rpartition(".")[2] for k in leaves if k.rpartition(".")[0] == section] if section else []
    near = [k for k in leaves if k.split(".")[-1] == last]
    near += [f"{section}.{k}" for k in difflib.get_close_matches(last, own, n=1)]
    near += [] if own else difflib.get_close_matches(key, leaves, n=1, cutoff=0.4)
    known = f"; {section} has {', '.join(own)}" if own else ""
    return f"unknown config key '{key}'" + (f"; did you mean '{near[0]}'?" if near else known)


def leaf_keys(config: ConfigDict, prefix: str = "") -> list[str]:
    """Returns the keys of all leaves, such as 'optim.lr', in the order of the config."""
    keys: list[str] = []
    for key, value in config.items():
        keys += leaf_keys(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else [prefix + key]
    return keys


def get_leaf(config: ConfigDict, key: str) -> Any:
    """Returns the value at a key such as 'optim.lr'; raises KeyError if there is none."""
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


def tabulate_differences(configs: Sequence[dict]) -> dict[str, list[Any]]:
    """Returns the leaves in which configs differ, each with its value in every config; 'absent' if a config lacks it."""
    named = [ConfigDict(rename_config(config)) for config in configs]
    own = [set(leaf_keys(config)) for config in named]
    found = {}
    for key in dict.fromkeys(key for config in named for key in leaf_keys(config)):
        values = [get_leaf(config, key) if key in keys else "absent" for config, keys in zip(named, own, strict=True)]
        if any(value != values[0] for value in values):
            found[key] = values
    return found


def list_changes(old: dict, new: dict) -> list[str]:
    """Returns the leaves in which two configs differ, as 'key: old -> new', without data.data_dir: data may move."""
    differ = tabulate_differences([old, new])
    return [f"{key}: {before} -> {after}" for key, (before, after) in differ.items() if key != "data.data_dir"]


def list_overrides(old: dict, new: dict) -> list[str]:
    """Returns the '--config.KEY=VALUE' arguments that turn the old config into the new one.

    Omits leaves that only the old config has, since no override can remove them.
    """
    differ = [c for c in list_changes(old, new) if not c.endswith(" -> absent")]
    return [f"--config.{re.sub(': .* -> ', '=', c)}" for c in differ]
