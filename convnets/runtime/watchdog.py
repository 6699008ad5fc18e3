"""The end of a process that would wait for ever: for another one that has failed, or for a step that does not end.

What kills a process at once, its host with it, JAX notices: the others do not hear from it, name it and abort.
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

GRACE = 3.0  # seconds in which processes that fail alike are expected to say so
TOPIC = "failed"  # {process: [exit code, text]}; no text: one that has heard of another


def fail(code: int, text: str, trace: str = "") -> None:
    """Prints an error and ends this process, and within seconds the others, with `code`; alone, it only prints.

    What all of them found is said once, what one found with its number; who does not answer is named.

    Args:
        trace: of a crash, printed above.
    """
    if distributed.process_count() == 1:
        return _print(text)
    threading.Thread(target=_end_anyway, args=(code, text), daemon=True).start()
    earlier = [code for code, text in _reported().values() if text]
    if code == 1 and earlier:  # a broken connection is what follows of that
        _end(earlier[0])
    told = _gather(code, text)
    alike = [n for n, (_, t) in told.items() if t == text]
    if distributed.process_index() == min(alike, default=distributed.process_index()):
        print(trace, end="", file=sys.stderr)
        _print(text if len(alike) == distributed.process_count() else f"{distributed.name()}: {text}")
    _name_silent(told)
    _end(code)


def listen() -> None:
    """From now on this process ends soon after another one has failed."""
    if distributed.process_count() > 1:
        threading.Thread(target=_listen, daemon=True).start()


def _listen() -> None:
    with contextlib.suppress(Exception):  # process 0 is gone, and this one soon
        while not (told := distributed.published(TOPIC)):
            time.sleep(1)
        code = next(iter(told.values()))[0]
        with contextlib.suppress(Exception):  # it has failed itself
            distributed.publish(TOPIC, [code, ""], over=False)
        time.sleep(1.5 * GRACE)  # it may be about to find the same
        os._exit(code)


def _reported() -> dict[int, tuple[int, str]]:
    """What processes have reported."""
    with contextlib.suppress(Exception):  # process 0 is gone
        return {n: tuple(v) for n, v in distributed.published(TOPIC).items()}
    return {}


def _gather(code: int, text: str) -> dict[int, tuple[int, str]]:
    """Reports a failure; what all processes have reported once all have, or after a while."""
    with contextlib.suppress(Exception):
        distributed.publish(TOPIC, [code, text])
    until = time.monotonic() + GRACE
    while len(told := _reported()) < distributed.process_count() or not all(t for _, t in told.values()):
        if time.monotonic() > until:
            break
        time.sleep(0.1)
    return told


def _name_silent(told: dict[int, Any]) -> None:
    """Says who reported nothing, once: the first of those who did."""
    if told and distributed.process_index() == min(told):
        for n in set(range(distributed.process_count())) - set(told):
            _print(f"process {n} of {distributed.process_count()} does not answer")


def _end_anyway(code: int, text: str) -> None:
    """What the processes meet by does not answer, and neither would it in a minute."""
    time.sleep(3 * GRACE)
    _print(f"{distributed.name()}: {text}")
    _print(f"process 0 of {distributed.process_count()} does not answer")
    os._exit(code)


def _end(code: int) -> None:
    if distributed.is_main():
        time.sleep(GRACE)  # through this process the others hear of each other
    sys.stdout.flush()
    os._exit(code)  # not through JAX, which waits for everybody


def _print(text: str) -> None:
    print("\n".join(f"error: {line}" for line in text.splitlines()), file=sys.stderr, flush=True)


class Watchdog:
    """Ends the process, with the stacks of its threads, where no step has been finished for `seconds`; 0: never.

    What lies between two steps counts too: compiling, a test on the way, a checkpoint.
    """

    def __init__(self, seconds: float, step: int):
        self.seconds, self.step, self.last = seconds, step, time.monotonic()
        self.waiting: deque[tuple[int, Any]] = deque()
        self.closed = threading.Event()
        if seconds:
            threading.Thread(target=self._look, daemon=True).start()

    def watch(self, step: int, result: Any) -> None:
        """Step `step` is done when the device array `result` is there."""
        if self.seconds:
            self.waiting.append((step, result))

    def close(self) -> None:
        self.closed.set()

    def _look(self) -> None:
        while not self.closed.wait(min(1.0, self.seconds / 10)):
            while self.waiting and self.waiting[0][1].is_ready():
                (self.step, _), self.last = self.waiting.popleft(), time.monotonic()
            if time.monotonic() - self.last > self.seconds:
                faulthandler.dump_traceback(all_threads=True)
                fail(1, f"no step was finished for {self.seconds:g} s after step {self.step}")
                os._exit(1)
