"""Preemption by SIGTERM: saves a checkpoint and exits; the same command resumes."""

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

ECHO = 1.0  # seconds; a second SIGTERM within this time may be a launcher forwarding the first


class Preemption:
    """Context manager within which SIGTERM ends the process with exit code 75.

    Single process: within `steps`, the signal sets a flag; the training loop stops after this dispatch and saves.
    Outside `steps` there is nothing to save, so the process exits. A second signal ends it at once, even during
    compilation or while waiting for data. Python runs no signal handler then, but its signal module writes to a pipe
    that a thread reads.

    Several processes: JAX receives the signal on one of them, and all stop at the same step. A Python handler would
    take the signal from JAX, so none is installed; outside `steps` the signal has no effect.
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
        """Marks the training loop, in which `asked` is called after every dispatch."""
        self.stepping = True
        try:
            yield
        finally:
            self.stepping = False

    def asked(self, step: int) -> bool:
        """Returns whether to stop after this step; call it after every dispatch. Does not wait for a device."""
        if self.handles:  # the event loop of a checkpoint save may have replaced the wakeup fd
            signal.set_wakeup_fd(self.pipe, warn_on_full_buffer=False)
        elif distributed.preempted(step):
            self.noted = time.monotonic()
        return self.noted > 0

    def leave(self) -> None:
        """Raises Preempted if SIGTERM was received; call it once everything is saved."""
        if self.noted:
            raise Preempted("preempted and saved; the same command resumes")

    def _handle(self, *_: Any) -> None:
        if not self.stepping:
            _say("preempted; all that was done is saved, the same command resumes")
            sys.exit(Preempted.code)  # SystemExit is no Exception, so no caller's `except Exception` catches it
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
    os.write(2, f"{text}\n".encode())  # the handler may have interrupted a print
