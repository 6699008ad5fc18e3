"""Preemption by a signal: saves a checkpoint and exits; the same command resumes."""

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
from convnets.runtime.distributed import signals_to_handle

ECHO = 1.0  # seconds; a second SIGTERM within this time may be a launcher forwarding the first


class Preemption:
    """Context manager within which a signal of SIGNALS ends the process with exit code 75.

    Single process: within `steps`, the signal sets a flag; the training loop stops after this dispatch and saves.
    Outside `steps` there is nothing to save, so the process exits. A second SIGTERM ends it at once, even during
    compilation or while waiting for data; a SIGTERM after another signal, as at a time limit, does not. Python runs no
    signal handler then, but its signal module writes to a pipe that a thread reads. Ctrl-C is such a signal within `steps`;
    a second one, or one outside them, interrupts as ever.

    Several processes: JAX receives SIGTERM on one of them, and all stop at the same step. A Python handler would take
    SIGTERM from JAX, so only the other signals have one, which sends SIGTERM; outside `steps` it has no effect.
    """

    def __init__(self) -> None:
        self.noted, self.stepping, self.handles = 0.0, False, False

    def __enter__(self) -> "Preemption":
        self.handles = distributed.process_count() == 1
        self.before = {}
        handler = self._handle if self.handles else lambda *_: os.kill(os.getpid(), signal.SIGTERM)
        for number in signals_to_handle():
            if self.handles or number != signal.SIGTERM:
                self.before[number] = signal.signal(number, handler) or signal.SIG_DFL
        if self.handles:
            reader, self.pipe = os.pipe()
            os.set_blocking(self.pipe, False)
            signal.set_wakeup_fd(self.pipe, warn_on_full_buffer=False)
            threading.Thread(target=self._listen, args=(reader,), daemon=True).start()
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # no shell has put it in the background
                self.before[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupt) or signal.SIG_DFL
        return self

    def __exit__(self, *_: Any) -> None:
        if self.handles:
            signal.set_wakeup_fd(-1)
            os.close(self.pipe)
        for number, before in self.before.items():
            signal.signal(number, before)

    @contextlib.contextmanager
    def steps(self) -> Iterator[None]:
        """Marks the training loop, in which `should_stop` is called after every dispatch."""
        self.stepping = True
        try:
            yield
        finally:
            self.stepping = False

    def should_stop(self, step: int) -> bool:
        """Returns whether to stop after this step; call it after every dispatch. Does not wait for a device."""
        if self.handles:  # the event loop of a checkpoint save may have replaced the wakeup fd
            signal.set_wakeup_fd(self.pipe, warn_on_full_buffer=False)
        elif distributed.preempted(step):
            self.noted = time.monotonic()
        return self.noted > 0

    def raise_if_preempted(self) -> None:
        """Raises Preempted if a signal was received; call it once everything is saved."""
        if self.noted:
            raise Preempted("preempted and saved; the same command resumes")

    def _handle(self, number: int, _: Any) -> None:
        if not self.stepping:
            _say("preempted; the same command resumes from what was saved")
            sys.exit(Preempted.code)  # SystemExit is no Exception, so no caller's `except Exception` catches it
        if not self.noted:
            self.noted = time.monotonic()
            again = "; another one ends the run at once" if number == signal.SIGTERM else ""
            _say(f"{signal.Signals(number).name}: the step is finished and saved{again}")

    def _interrupt(self, *_: Any) -> None:
        if self.noted or not self.stepping:
            raise KeyboardInterrupt
        self.noted = time.monotonic()
        _say("interrupted: the step is finished and saved; Ctrl-C again ends the run at once")

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
