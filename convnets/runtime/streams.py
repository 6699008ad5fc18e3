"""Standard streams that cannot fail: a closed or full standard output does not end a run."""

import contextlib
import io
import os
import sys
from typing import Any


class _Stream(io.FileIO):
    """A descriptor whose failed writes are dropped, except to a pipe that nobody reads any more."""

    noted = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            raise
        except OSError as e:  # a full disk, a closed terminal
            if not _Stream.noted:
                _Stream.noted = True
                with contextlib.suppress(OSError):
                    os.write(2, f"note: output is lost: {e.strerror}; the program goes on\n".encode())
            return len(data)


def open_streams() -> None:
    """Replaces sys.stdout and sys.stderr by streams that drop what cannot be written or encoded.

    A closed stream is opened on /dev/null: a file that got its descriptor would receive the output of C++ code.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
    sys.stdout, sys.stderr = _open(1, sys.stdout), _open(2, sys.stderr)
    if not sys.stdout.isatty():  # Jupyter sets FORCE_COLOR, by which rich takes a pipe for a terminal and draws bars
        os.environ.setdefault("TTY_COMPATIBLE", "0")


def _open(number: int, before: Any) -> io.TextIOWrapper:
    """Opens a descriptor with the encoding and the buffering of the stream that it replaces."""
    return io.TextIOWrapper(
        io.BufferedWriter(_Stream(number, "w", closefd=False)), encoding=getattr(before, "encoding", "utf-8"),
        errors="backslashreplace", line_buffering=getattr(before, "line_buffering", True),
        write_through=getattr(before, "write_through", False),
    )  # fmt: skip
