"""Metrics of a run: metrics.jsonl, TensorBoard events, and the progress of training."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from convnets.runtime.files import read_lines, write_text, writing
from convnets.runtime.progress import Progress


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Hides PyTorch from tensorboardX, which imports it if installed; that takes seconds and is not needed here."""
    hide = "torch" not in sys.modules
    if hide:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hide:
            del sys.modules["torch"]


class Metrics:
    """Writes metrics.jsonl, one line per step, and the same values as TensorBoard events.

    Opening it at a step drops all later lines, so a resumed run writes every step exactly once.
    """

    def __init__(self, workdir: Path, step: int):
        with _without_torch():
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog

        self.path = workdir / "metrics.jsonl"
        kept = [line for line in read_lines(self.path) if line["step"] <= step]
        if len(kept) < step:
            print(
                f"note: {self.path} holds {len(kept):,} of the {step:,} steps so far; the curves leave out the others"
            )
        if self.path.exists():
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        with writing(workdir / "events"):
            (workdir / "events").mkdir(exist_ok=True)
            self.file = self.path.open("a")
            # Not SummaryWriter: it writes in a thread, and hangs forever after that thread hits a full disk.
            self.events = EventsWriter(str(workdir / "events" / "events"))
            began = SessionLog(status=SessionLog.START)  # TensorBoard drops earlier sessions' events from here on
            self.events.write_event(Event(step=step + 1, session_log=began, wall_time=time.time()))

    def write(self, lines: Iterable[dict[str, float]]) -> None:
        """Appends lines, each with 'step' as its first key; they are on disk when this returns.

        Raises:
            CheckpointError: a write failed, for example on a full disk.
        """
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        lines = list(lines)
        with writing(self.path):
            self.file.write("".join(json.dumps(line) + "\n" for line in lines))
            self.file.flush()
            os.fsync(self.file.fileno())
            for line in lines:
                values = [Summary.Value(tag=k, simple_value=v) for k, v in line.items() if k not in ("step", "epoch")]
                at = {"step": int(line["step"]), "wall_time": time.time()}
                # an event per value takes thrice the time
                self.events.write_event(Event(summary=Summary(value=values), **at))
            self.events.flush()

    def close(self) -> None:
        """Closes the files."""
        with contextlib.suppress(OSError):  # failed writes were reported already
            self.file.close()
        with contextlib.suppress(OSError):
            self.events.close()


class TrainingProgress(Progress):
    """The progress of training, with epoch, loss, error and speed; shown from the start."""

    def __init__(self, total: int, done: int):
        super().__init__("step", total, done=done, text="compiling", show_after=0)

    def update_step(self, step: int, epoch: float, loss: float, error: float, images_per_second: float) -> None:
        """Shows a step's metrics; the error is in percent."""
        self.update(step, f"epoch {epoch:.1f}  loss {loss:.4f}  error {error:.2f} %  {images_per_second:,.0f} images/s")
