"""Checks what a command of run.py asks for: its flags together, the files that they name, and the workdir."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from convnets.config import load_config
from convnets.errors import UsageError
from convnets.runtime import distributed, environment, included
from convnets.runtime.files import is_file
from convnets.training import validation

WITHOUT_CONFIG = ("report", "sweep", "compare")  # modes that do not take one checked config
OPENS = ("evaluate", "predict", "visualize")  # modes that open a run, a weights file or an included network
# The modes that take a flag; every mode takes the others.
TAKEN_BY = {
    **dict.fromkeys(("allow_config_change", "restart", "step_timeout", "profile"), ("train",)),
    **dict.fromkeys(("experiment", "grid", "size", "launcher", "jobs", "slurm"), ("sweep",)),
    "json": ("describe", "predict"), "figure": ("describe", "prepare"), **dict.fromkeys(("images", "invert"), ("predict", "visualize")),
    "seeds": ("train", "sweep"), "weights": (*OPENS, "export"), "name": ("evaluate", "export"), "output": ("predict",),
    "manual_dir": ("prepare",), "workdirs": ("evaluate", "visualize", "compare", "report"),
    "workdir": ("train", *OPENS, "export", "sweep", "compare"),
    "config": ("train", *OPENS, "export", "describe", "prepare", "sweep"),
}  # fmt: skip


class Command(NamedTuple):
    """What a command asks for, checked.

    Attributes:
        source: FILE.py:VARIANT, or the config.json of a run.
        config: None for the modes of WITHOUT_CONFIG.
        configs: the configs of several seeds that are trained as one program; [] for a single run.
        workdir: the folder of the run or of the sweep, to write into.
        opened: the folder of the network that is opened: the workdir, or the folder of an included network.
        weights: the weights file to read or to write; '' for a run's checkpoint.
        members: the folders of --workdirs.
        overrides: the `--config.KEY=VALUE` arguments.
        distributed: whether this process joins a process group.
    """

    source: str
    config: Any
    configs: list[ConfigDict]
    workdir: Path
    opened: Path
    weights: str
    members: list[Path]
    overrides: list[str]
    distributed: bool = False


def process_group(given: Any) -> tuple[str, str, int | None, int | None]:
    """Returns the flags that say how the processes of a group find each other."""
    return given.distributed, given.coordinator_address, given.num_processes, given.process_id


def check_command(given: Any, stray: Sequence[str], overrides: list[str], default: str) -> Command:
    """Checks flags, config and workdir together.

    Args:
        given: the flags of run.py, as attributes.
        stray: arguments that are not flags.
        overrides: `--config.KEY=VALUE` arguments.
        default: the config if none is given.

    Raises:
        UsageError: all problems, one line each.
    """
    source, problems = find_config(given, stray, default)
    if source is None or (problems and given.mode in WITHOUT_CONFIG):
        raise UsageError("\n".join(problems))
    members = [member.absolute() for member in list_members(given)]
    own = str(source).removesuffix(".py").split("/")[-1].replace(".py:", "-")
    if own == "config.json":
        own = f"weights-{Path(given.weights).stem}"
    folder = find_included(given)
    if given.mode == "sweep":
        own = f"{own}-grid" if given.grid else f"{Path(given.experiment).stem}-{given.size}"
    elif given.mode == "compare" or folder:
        own = f"weights-{given.weights}" if folder else "compared"
    workdir = Path(given.workdir or Path("runs", own)).absolute()
    opened, weights = (folder, str(folder / included.WEIGHTS)) if folder else (workdir, given.weights)
    if given.mode in OPENS and weights and not given.workdir:
        opened = Path(weights).absolute().parent  # facts of its data may lie beside it
    if given.mode == "compare" and (problems := check_workdir(workdir, given.mode)):
        raise UsageError("\n".join(problems))
    if given.mode in WITHOUT_CONFIG:
        return Command(str(source), None, [], workdir, opened, weights, members, overrides)
    config, wrong = load_config(source, overrides)
    problems += wrong
    several = given.mode == "train" and given.seeds is not None
    configs: list[ConfigDict] = []
    if several and not problems:
        configs, problems = validation.configs_of_seeds(source, overrides, given.seeds)
    meets = given.mode in ("train", "evaluate")
    problems += distributed.problems(*process_group(given), given.local_device_ids) if meets else []
    meets = meets and not problems and distributed.is_wanted(given.distributed)
    if several and meets:
        problems.append("--seeds: these runs are trained by one process: take --distributed=off")
    if config is not None:
        environment.set_xla_flags(dtype=config.model.dtype)
        environment.start_jax(devices=False)
        trains, alone = given.mode == "train", validation.explain_lone_run(config)
        if meets and trains and alone:
            problems.append(
                "boosted networks and losses without SGD are trained by one process: take --distributed=off"
            )
        if given.profile and (several or alone):
            problems.append("--profile traces the steps of one run that trains step by step: not several seeds, boosted networks"
                            " or a loss without SGD")  # fmt: skip
        runs = [workdir / f"seed{one.train.seed}" for one in configs] or [workdir]
        begins = trains and not all((run / "checkpoints").is_dir() for run in runs)
        problems += validation.problems(config, devices=trains and not meets, begins=begins)
    if given.mode in ("train", "visualize") or (given.mode == "evaluate" and members and given.workdir):
        problems += check_workdir(workdir, given.mode, make=not problems)
    if problems:
        raise UsageError("\n".join(problems))
    return Command(str(source), config, configs, workdir, opened, weights, members, overrides, meets)


def list_members(given: Any) -> list[Path]:
    """Returns the folders of --workdirs; for compare, those of its trials in place of a sweep."""
    folders = [Path(name) for name in given.workdirs]
    if given.mode != "compare":
        return folders
    trials = [
        sorted(path.parent for path in f.glob("*/config.json")) if (f / "sweep.json").exists() else [f] for f in folders
    ]
    return [folder for part in trials for folder in part]


def find_included(given: Any) -> Path | None:
    """Returns the folder of the trained network that --weights names, None if it names a file or nothing."""
    return included.find(given.weights) if given.mode in OPENS and not is_file(given.weights) else None


def find_config(given: Any, stray: Sequence[str], default: str) -> tuple[str | Path | None, list[str]]:
    """Returns the config that a command uses, None if unknown, and the problems with its flags, one line each.

    Args:
        given: the flags of run.py, as attributes.
        stray: arguments that are not flags.
        default: the config if none is given.
    """
    found = [f"stray argument '{word}': every argument is a flag, --name=value" for word in stray]
    found += _flags_of_others(given)
    mode, source, members = given.mode, given.config or default, list_members(given)
    kept = Path(given.workdir).absolute() / "config.json" if given.workdir else None
    folder = find_included(given)
    if mode in ("evaluate", "visualize", "compare") and members:
        if given.config or given.weights:
            found.append("--workdirs: every run has its own config and weights; leave out --config and --weights")
        without = [str(m.absolute()) for m in members if not (m / "config.json").exists()]
        found += [f"--workdirs: {', '.join(without)} holds no run: there is no config.json"] if without else []
        source = None if without else members[0].absolute() / "config.json"
    elif folder:
        source = given.config or folder / "config.json"
    elif mode in (*OPENS, "export"):
        if kept and kept.exists():
            source = given.config or kept
        elif mode in OPENS and given.weights:
            beside = Path(given.weights).absolute().parent / "config.json"
            source = given.config or (beside if beside.exists() else None)
            if source is None and is_file(given.weights):
                found.append(f"--weights={given.weights} needs --config=FILE.py:VARIANT, whose network it fits")
        else:
            found.append(f"--workdir={kept.parent} holds no run: there is no config.json" if kept else
                         f"--mode={mode} needs --workdir, the folder of a trained run"
                         + f", or --weights: a file, or {', '.join(included.names())}" * (mode in OPENS))  # fmt: skip
            source = None
    return source, found + _sweep_flags(given, mode) + _files(given, mode, len(members), kept is not None)


def _flags_of_others(given: Any) -> list[str]:
    """Returns a line for each flag that the mode would ignore."""
    others = [name for name, modes in TAKEN_BY.items()
              if given.mode not in modes and given[name].value not in (given[name].default, None)]  # fmt: skip
    hints = {"weights": "; --config.model.init_from=FILE trains from weights"} if given.mode == "train" else {}
    return [f"--{name} is for --mode={', '.join(TAKEN_BY[name])}{hints.get(name, '')}" for name in others]


def _sweep_flags(given: Any, mode: str) -> list[str]:
    """Returns the problems with --experiment, --grid and the flags that go with one of them."""
    if mode != "sweep":
        return []
    if not (given.experiment or given.grid):
        return ["--mode=sweep needs --experiment, such as experiments/lenet.py, or --grid=LEAF=VALUE,VALUE,..."]
    if given.grid and (given.experiment or given.size != "cpu"):
        return [f"--grid has no {'--experiment' if given.experiment else '--size'}: it is of one config, --config"]
    found = ["--experiment has its own configs: leave out --config"] if given.experiment and given.config else []
    if given.slurm and given.launcher != "slurm":
        found.append("--slurm is for --launcher=slurm")
    return found


def _files(given: Any, mode: str, members: int, has_workdir: bool) -> list[str]:
    """Returns the problems with the files that the flags name."""
    found, missing = [], [name for name in given.images if not is_file(name)]
    if mode == "predict" and missing:
        from convnets.data import image_files  # with JAX, for which no other command should wait

        missing = [name for name in missing if not image_files.find(name)]
    if mode == "export" and given.name:
        if given.weights:
            found.append(
                "--mode=export writes --weights=FILE.safetensors or the included network --name=NAME: give one of them"
            )
        if not re.fullmatch(r"[a-z0-9_-]+", given.name):
            found.append(f"--name={given.name}: lower case letters, digits, - and _ make the name of a network")
        elif (included.FOLDER / given.name).exists():
            found.append(
                f"--name={given.name}: {included.FOLDER / given.name} exists already; export writes a new folder"
            )
    elif mode == "export":
        if not given.weights.endswith(".safetensors"):
            found.append("--mode=export needs --weights=FILE.safetensors, the file to write, or --name=NAME")
        elif Path(given.weights).exists():
            found.append(f"--weights={given.weights} exists already; export writes a new file")
        elif not Path(given.weights).absolute().parent.is_dir():
            found.append(f"--weights={given.weights}: there is no such folder")
    if mode == "evaluate" and given.name and given.weights:
        found.append("--name is for runs: the result of --weights is only printed")
    if mode in ("evaluate", "predict") and has_workdir and find_included(given):
        found.append(f"--weights={given.weights} is an included network with data of its own: leave out --workdir")
    if mode == "visualize" and given.invert and not given.images:
        found.append("--invert is for --images")
    if mode == "evaluate" and "/" in given.name:
        found.append(f"--name={given.name}: it is part of a file name, so it has no /")
    if mode != "export" and given.weights and mode in OPENS and not is_file(given.weights) and not find_included(given):
        found.append(f"--weights={given.weights} does not exist, and no included network has this name:"
                     f" {', '.join(included.names())}")  # fmt: skip
    if mode in TAKEN_BY["figure"] and given.figure:
        figure = Path(given.figure).absolute()
        if figure.suffix not in (".svg", ".pdf", ".png") or figure.is_dir():
            found.append(f"--figure={given.figure}: give a file that ends in .svg, .pdf or .png")
        elif not os.access(figure.parent, os.W_OK):
            found.append(f"--figure={given.figure}: there is no folder {figure.parent} that can be written")
    if mode == "predict" and not given.images:
        found.append("--mode=predict needs --images=FILE[,FILE...], with folders and quoted globs too")
    if mode == "predict" and given.output and not given.output.endswith((".csv", ".json")):
        found.append(f"--output={given.output}: give a file that ends in .csv or .json")
    elif mode == "predict" and given.output and not Path(given.output).absolute().parent.is_dir():
        found.append(f"--output={given.output}: there is no such folder")
    if mode == "visualize" and members and (not has_workdir or given.images):
        found.append("--mode=visualize of --workdirs needs --workdir, the folder to draw into, and no --images")
    if mode == "visualize" and len(given.images) > 1:
        found.append("--mode=visualize looks at one image: give one --images=FILE")
    if mode == "compare" and members < 2:
        found.append("--mode=compare needs --workdirs=RUN,RUN[,RUN...]")
    what = lambda name: f"{name} holds no image" if Path(name).is_dir() else f"{name} does not exist"  # noqa: E731
    return found + ([f"--images: {', '.join(map(what, missing))}"] if missing else [])


def check_workdir(path: Path, mode: str, make: bool = True) -> list[str]:
    """Returns the problems with a workdir; with `make`, creates it if it does not exist."""
    if path.exists() and not path.is_dir():
        return [f"--workdir={path} is a file; give a folder"]
    if not (make or path.exists()):
        return []
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may have removed it
    except OSError as e:
        hint = (
            f"; draw elsewhere with --workdirs={path} --workdir=FOLDER" if mode == "visualize" and path.exists() else ""
        )
        return [f"--workdir={path} cannot be written: {e.strerror}{hint}"]
    return []
