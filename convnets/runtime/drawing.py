"""Turns a failure to draw a figure into a line of warning, so that the numbers of a run are not lost."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from convnets.errors import Preempted


@contextlib.contextmanager
def guard(what: Path | str) -> Iterator[None]:
    """Turns any failure to draw `what` into one line of warning."""
    try:
        yield
    except Preempted:
        raise
    except Exception as e:
        reason = next((line for line in str(e).splitlines() if line.strip()), "").strip()
        print(f"warning: {what} could not be drawn: {type(e).__name__}{': ' * bool(reason)}{reason[:200]}", flush=True)
