"""Ends processes that would otherwise wait forever, for a failed peer or for a step that hangs.

JAX itself detects a killed process or a lost host by missing heartbeats; the other processes then name it and abort.
"""

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections import deque
from typing import Any

from convnets.runtime import distributed

GRACE = 3.0  # seconds to wait for the other processes to report the same failure
TOPIC = "failed"  # {process: [exit code, text]}; an empty text acknowledges another process's failure


def fail(code: int, text: str, trace: str = "") -> None:
    """Prints an error and ends all processes with `code`, the others within seconds; a single process only prints.

    An error common to all processes is printed once, without a rank; any other is printed with the rank. Processes that
    do not answer are named.

    Args:
        code: exit code.
        text: error message.
        trace: stack trace of a crash, printed above the message.
    """
    if distributed.process_count() == 1:
        return _print(text)
    threading.Thread(target=_end_anyway, args=(code, text), daemon=True).start()
    earlier = [code for code, text in _reported().values() if text]
    if code == 1 and earlier:  # probably a broken connection, caused by the earlier failure
        _end(earlier[0])
    told = _gather(code, text)
    alike = [n for n, (_, t) in told.items() if t == text]
    if distributed.process_index() == min(alike, default=distributed.process_index()):
        print(trace, end="", file=sys.stderr)
        _print(text if len(alike) == distributed.process_count() else f"{distributed.describe_process()}: {text}")
    _name_silent(told)
    _end(code)


def listen() -> None:
    """Starts a thread that ends this process soon after another one has failed."""
    if distributed.process_count() > 1:
        threading.Thread(target=_listen, daemon=True).start()


def _listen() -> None:
    with contextlib.suppress(Exception):  # process 0 is gone; JAX will end this process soon
        while not (told := distributed.published(TOPIC)):
            time.sleep(1)
        code = next(iter(told.values()))[0]
        with contextlib.suppress(Exception):  # this process has already reported a failure
            distributed.publish(TOPIC, [code, ""], over=False)
        time.sleep(1.5 * GRACE)  # this process may be about to report the same failure
        os._exit(code)


def _reported() -> dict[int, tuple[int, str]]:
    """Returns the failures reported so far, by process index."""
    with contextlib.suppress(Exception):  # process 0 is gone
        return {n: tuple(v) for n, v in distributed.published(TOPIC).items()}
    return {}


def _gather(code: int, text: str) -> dict[int, tuple[int, str]]:
    """Reports a failure; returns all reports once every process has sent one, or after GRACE seconds."""
    with contextlib.suppress(Exception):
        distributed.publish(TOPIC, [code, text])
    until = time.monotonic() + GRACE
    while len(told := _reported()) < distributed.process_count() or not all(t for _, t in told.values()):
        if time.monotonic() > until:
            break
        time.sleep(0.1)
    return told


def _name_silent(told: dict[int, Any]) -> None:
    """Names the processes without a report; only the lowest-ranked reporting process prints."""
    if told and distributed.process_index() == min(told):
        for n in set(range(distributed.process_count())) - set(told):
            _print(f"process {n} of {distributed.process_count()} does not answer")


def _end_anyway(code: int, text: str) -> None:
    """Ends this process after 3 * GRACE seconds if the coordination service in process 0 does not answer."""
    time.sleep(3 * GRACE)
    _print(f"{distributed.describe_process()}: {text}")
    _print(f"process 0 of {distributed.process_count()} does not answer")
    os._exit(code)


def _end(code: int) -> None:
    if distributed.is_main():
        time.sleep(GRACE)  # the others communicate through process 0, so it exits last
    sys.stdout.flush()
    os._exit(code)  # skips JAX's shutdown, which waits for all processes


def _print(text: str) -> None:
    print("\n".join(f"error: {line}" for line in text.splitlines()), file=sys.stderr, flush=True)


class Watchdog:
    """Prints all thread stacks and ends the process if no step finishes within `seconds`; 0 = off.

    The time between two steps counts too: compilation, validation, a checkpoint.
    """

    def __init__(self, seconds: float, step: int):
        self.seconds, self.step, self.last = seconds, step, time.monotonic()
        self.waiting: deque[tuple[int, Any]] = deque()
        self.closed = threading.Event()
        if seconds:
            threading.Thread(target=self._look, daemon=True).start()

    def watch(self, step: int, result: Any) -> None:
        """Registers a dispatched step; it counts as finished once the device array `result` is ready."""
        if self.seconds:
            self.waiting.append((step, result))

    def close(self) -> None:
        """Stops watching."""
        self.closed.set()

    def _look(self) -> None:
        while not self.closed.wait(min(1.0, self.seconds / 10)):
            while self.waiting and self.waiting[0][1].is_ready():
                (self.step, _), self.last = self.waiting.popleft(), time.monotonic()
            if time.monotonic() - self.last > self.seconds:
                faulthandler.dump_traceback(all_threads=True)
                fail(1, f"no step was finished for {self.seconds:g} s after step {self.step}")
                os._exit(1)
