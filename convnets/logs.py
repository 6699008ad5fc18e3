"""What a run leaves behind and what a person sees of it: metrics.jsonl, TensorBoard events, the manifest, progress."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "ml-collections", "numpy")
PLAIN_EVERY = 10.0  # seconds between lines where there is no terminal


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def commit() -> str:
    """The commit of the code that runs, with '+changes' where the tree differs from it; 'unknown' outside git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = [*git, "status", "--porcelain", "--untracked-files=no"]
        changed = subprocess.run(status, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changed.stdout.strip() else "")


def manifest(**facts: Any) -> dict[str, Any]:
    """Where a run comes from: command, commit, versions, and the given facts."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    command = " ".join(["python", *sys.argv])
    return {"command": command, "commit": commit(), "versions": versions(), "started": now, **facts}


def write_json(path: Path, content: Any) -> None:
    """All or nothing: a reader never sees half a file."""
    scratch = path.with_name(path.name + ".tmp")
    scratch.write_text(json.dumps(content, indent=2) + "\n")
    scratch.replace(path)


class Metrics:
    """metrics.jsonl, one line a step, and the same as TensorBoard events.

    Opened at a step it drops all later lines, so a resumed run writes every step exactly once.
    """

    def __init__(self, workdir: Path, step: int):
        from tensorboardX import SummaryWriter

        self.path = workdir / "metrics.jsonl"
        kept = [line for line in read_lines(self.path) if line["step"] <= step]
        if self.path.exists():
            scratch = self.path.with_suffix(".tmp")
            scratch.write_text("".join(json.dumps(line) + "\n" for line in kept))
            scratch.replace(self.path)
        self.file = self.path.open("a")
        self.events = SummaryWriter(str(workdir / "events"), purge_step=step + 1, write_to_disk=True)

    def write(self, lines: Iterable[dict[str, float]]) -> None:
        """Lines with 'step' first; on disk when this returns."""
        for line in lines:
            self.file.write(json.dumps(line) + "\n")
            for key, value in line.items():
                if key not in ("step", "epoch"):
                    self.events.add_scalar(key, value, int(line["step"]))
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()
        self.events.close()


def read_lines(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl; a last line cut short by a crash is left out."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


class Progress:
    """A bar with loss, error, images/s and time left on a terminal; a line now and then elsewhere."""

    def __init__(self, total: int, done: int, batch_size: int):
        from rich import progress
        from rich.console import Console

        self.console, self.total, self.batch_size = Console(), total, batch_size
        self.started, self.first, self.last = time.monotonic(), done, time.monotonic()
        columns = ("step {task.completed}/{task.total}", progress.BarColumn(24), "{task.fields[text]}",
                   progress.TimeRemainingColumn(), progress.TextColumn("left"))  # fmt: skip
        self.bar = progress.Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self.task = self.bar.add_task("", total=total, completed=done, text="compiling")
        self.bar.start()

    def update(self, step: int, epoch: float, loss: float, error: float, images_per_second: float) -> None:
        text = f"epoch {epoch:.1f}  loss {loss:.4f}  error {error:.2f} %  {images_per_second:,.0f} images/s"
        self.bar.update(self.task, completed=step, text=text)
        if not self.console.is_terminal and time.monotonic() - self.last > PLAIN_EVERY:
            self.last = time.monotonic()
            left = (self.last - self.started) / max(step - self.first, 1) * (self.total - step)
            print(f"step {step}/{self.total}  {text}  {left:.0f} s left", flush=True)

    def say(self, text: str) -> None:
        """A line above the bar."""
        self.bar.print(text, highlight=False) if self.console.is_terminal else print(text, flush=True)

    def close(self) -> None:
        self.bar.stop()
