"""Progress of long work with the time left: bars on a terminal, a line now and then in a log.

Process 0 alone shows it. The time left is an estimate from the mean speed so far, tests and checkpoints included.
"""

import time
from datetime import timedelta
from typing import Any, ClassVar

from convnets.runtime import distributed

SHOW_AFTER = 1.0  # seconds: shorter work shows no bar
LINE_EVERY, AT_MOST = 10.0, 60.0  # seconds between the lines of a log: at first, and from 20 minutes on
SHARE = 0.05  # lines also become as rare as this part of the time that has passed


def clock(seconds: float) -> str:
    """Returns a duration as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))


class Estimate:
    """Estimates the time left from the mean speed since the first update; what compiling cost before it does not recur.

    Args:
        total: 0 if it is unknown.
    """

    def __init__(self, total: int, done: int):
        self.total, self.done = total, done
        self.first: tuple[float, int] | None = None

    def update(self, done: int) -> None:
        """Sets the number that are done; the first call starts the clock."""
        self.done = min(done, self.total) if self.total else done
        self.first = self.first or (time.monotonic(), done)

    def left(self) -> float | None:
        """Returns the seconds left; None if that is unknown, as before the second update, or nothing is left."""
        since, start = self.first or (0.0, self.done)
        if self.done == start or self.done >= self.total:
            return None
        return (time.monotonic() - since) / (self.done - start) * (self.total - self.done)


class Progress:
    """The progress of one piece of work; a context manager, which may be opened within another.

    Args:
        what: name of the work, shown before the count.
        total: how much there is to do; 0 if that is unknown.
        unit: name of the counted things, shown after the count.
        done: how much was done before; it does not count for the speed.
        show_after: seconds after which the bar appears.
    """

    shared: ClassVar[Any] = None  # rich's display: the open bars of a process are its lines
    count: ClassVar[int] = 0  # open bars

    def __init__(
        self, what: str, total: int, unit: str = "", done: int = 0, text: str = "", show_after: float = SHOW_AFTER
    ):
        from rich.console import Console

        self.what, self.unit, self.text, self.show_after = what, unit, text, show_after
        self.console = Console(markup=False, emoji=False, highlight=False)  # names are no markup
        self.estimate, self.task = Estimate(total, done), None
        self.began = self.said = time.monotonic()
        self._show()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def advance(self, more: int = 1) -> None:
        """Adds to the number that are done, and shows it."""
        self.update(self.estimate.done + more, self.text)

    def update(self, done: int, text: str = "") -> None:
        """Shows that `done` of the total is done, with a text after it."""
        self.text = text
        self.estimate.update(done)
        self._show()

    def say(self, text: str) -> None:
        """Prints a line above the bars."""
        if Progress.shared:
            Progress.shared.console.print(text, highlight=False)
        elif distributed.is_main():
            print(text, flush=True)

    def close(self) -> None:
        """Closes the bar; the last one of a process stays on the screen."""
        if self.task is None:
            return
        Progress.count -= 1
        if Progress.count:
            Progress.shared.remove_task(self.task)
        else:
            Progress.shared.stop()
            Progress.shared = None
        self.task = None

    def _words(self) -> tuple[str, str]:
        """Returns the text before and after the bar; the time left comes first, since a narrow terminal cuts the end."""
        left = self.estimate.left()
        of = f"/{self.estimate.total:,}" if self.estimate.total else ""
        before = f"{self.what} {self.estimate.done:,}{of} {self.unit}".strip()
        return before, "  ".join(filter(None, ["" if left is None else f"{clock(left)} left", self.text]))

    def _show(self) -> None:
        now = time.monotonic()
        if not distributed.is_main():
            return
        if self.console.is_terminal:
            if now - self.began >= self.show_after:
                self._draw()
        elif now - self.said > max(LINE_EVERY, min(SHARE * (now - self.began), AT_MOST)):
            self.said = now
            print("  ".join(filter(None, self._words())), flush=True)

    def _draw(self) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Display

        if Progress.shared is None:
            columns = (TextColumn("{task.description}", markup=False), BarColumn(24),
                       TextColumn("{task.fields[after]}", markup=False))  # fmt: skip
            Progress.shared = Display(*columns, console=self.console)
            Progress.shared.start()
        before, after = self._words()
        total = self.estimate.total or None
        if self.task is None:
            Progress.count += 1
            self.task = Progress.shared.add_task(before, total=total, after=after)
        Progress.shared.update(self.task, description=before, total=total, completed=self.estimate.done, after=after)
