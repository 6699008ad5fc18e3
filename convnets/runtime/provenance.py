"""The commit, the package versions and the command of a run."""

import contextlib
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from convnets.runtime import environment

ROOT = Path(__file__).parents[2]  # of the repository
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "ml-collections", "numpy")
CODE = ("convnets", "configs", "experiments")  # the folders of Python files that a run may import


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the installed PACKAGES; TFDS is missing where only decoded data are used."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def commit() -> str:
    """Returns the commit of the running code, with '+changes' for a modified tree.

    A Python file that git does not track is a change if it can be a part of a run: CODE. Changes of `*.jsonl` files do not count:
    they are recorded results, not code. Outside git the commit is the variable CONVNETS_COMMIT, to be set by the script that
    copies the tree, or 'unknown'.
    """
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = ["status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(top,exclude)*.jsonl"]
        unknown = ["ls-files", "--others", "--exclude-standard", "--", *(f":(top){folder}/*.py" for folder in CODE)]
        changed = "".join(subprocess.run([*git, *c], capture_output=True, text=True).stdout for c in (status, unknown))
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("CONVNETS_COMMIT") or "unknown"
    return head + ("+changes" if changed.strip() else "")


def shorten(commit: str) -> str:
    """Returns the first seven digits of a commit, with a + for a modified tree."""
    return commit[:7] + "+" * commit.endswith("+changes")


def list_environment_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns in words what two manifests differ in that changes the rounding of a run: versions, devices, and a CPU's cores."""
    old, new = ({**m["versions"], "devices": f"{m['device']['count']} x {m['device']['kind']}"} for m in (before, now))
    if now["device"]["platform"] == "cpu":
        old, new = ({**words, "cores": m.get("cores")} for words, m in ((old, before), (new, now)))
    return [f"{name}: {old[name]}, now {new.get(name)}" for name in old if old[name] not in (new.get(name), None)]


def manifest(**facts: Any) -> dict[str, Any]:
    """Returns a run's provenance: command, commit, versions, start time, cores, and the given facts."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    command = shlex.join(["python", *sys.argv])
    return {"command": command, "commit": commit(), "versions": versions(), "started": now,
            "cores": environment.count_cores(), **facts}  # fmt: skip
