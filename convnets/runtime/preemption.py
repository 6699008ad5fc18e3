"""SIGTERM as a scheduler means it: keep what is done and go; the same command resumes."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from convnets.errors import Preempted
from convnets.runtime import distributed

ECHO = 1.0  # seconds: a launcher passes on a signal that the process may have had already


class Preemption:
    """While it is entered SIGTERM ends this process with exit code 75.

    Of several processes JAX takes the signal, from one of them, and all stop at the same step. A handler of Python's
    would keep it from JAX, so there is none, and outside of `steps` the signal has no effect.

    Within `steps` it is noted, and whoever asks at a step's end saves and leaves. Outside there is nothing to save, so it
    ends the process. A second signal does so at once, also where the program waits for a compiler or for the data: then
    Python calls no handler, but its signal module writes to a pipe that a thread reads.
    """

    def __init__(self) -> None:
        self.noted, self.stepping, self.handles = 0.0, False, False

    def __enter__(self) -> "Preemption":
        self.handles = distributed.process_count() == 1
        if self.handles:
            self.before = signal.signal(signal.SIGTERM, self._handle)
            reader, self.pipe = os.pipe()
            os.set_blocking(self.pipe, False)
            signal.set_wakeup_fd(self.pipe, warn_on_full_buffer=False)
            threading.Thread(target=self._listen, args=(reader,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.handles:
            signal.set_wakeup_fd(-1)
            os.close(self.pipe)
            signal.signal(signal.SIGTERM, self.before)

    @contextlib.contextmanager
    def steps(self) -> Iterator[None]:
        """The time in which `asked` is called."""
        self.stepping = True
        try:
            yield
        finally:
            self.stepping = False

    def asked(self, step: int) -> bool:
        """Whether to stop after this step. To be called at every one; waits for no device."""
        if self.handles:  # the event loop of a save may have taken it
            signal.set_wakeup_fd(self.pipe, warn_on_full_buffer=False)
        elif distributed.preempted(step):
            self.noted = time.monotonic()
        return self.noted > 0

    def leave(self) -> None:
        """Raises Preempted if the process is to end. To be called where everything is saved."""
        if self.noted:
            raise Preempted("preempted and saved; the same command resumes")

    def _handle(self, *_: Any) -> None:
        if not self.stepping:
            _say("preempted; all that was done is saved, the same command resumes")
            sys.exit(Preempted.code)  # not an Exception, which somebody on the way might take for one of his own
        if not self.noted:
            self.noted = time.monotonic()
            _say("SIGTERM: the step is finished and saved; another one ends the run at once")

    def _listen(self, reader: int) -> None:
        first = 0.0
        while number := os.read(reader, 1):
            if number[0] == signal.SIGTERM:
                if first and time.monotonic() - first > ECHO:
                    os._exit(128 + signal.SIGTERM)
                first = first or time.monotonic()
        os.close(reader)


def _say(text: str) -> None:
    os.write(2, f"{text}\n".encode())  # a handler may have come in the middle of a print
