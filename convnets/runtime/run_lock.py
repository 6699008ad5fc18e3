"""One run per folder: `lock.json` says who trains there, and beats.

On one host the kernel's lock tells whether that process lives, at once and also after its number went to another. Other
hosts may not see that lock, so they watch whether the beat goes on, which needs no clocks that agree.
"""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convnets.errors import UsageError
from convnets.runtime import files

BEAT = 5.0  # seconds
STALE = 30.0  # seconds without a beat, as seen from another host
NAME = "lock.json"


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """The folder for this process alone; one that a killed process left is taken over.

    Raises:
        UsageError: another process trains there; its host, number and age are named.
    """
    file = os.open(workdir / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(file, workdir)
        done, content = threading.Event(), {"host": socket.gethostname(), "pid": os.getpid(), "began": time.time()}
        beating = threading.Thread(target=_beat, args=(file, content, done), daemon=True)
        with files.writing(workdir / NAME):
            _write(file, content)
        beating.start()
        try:
            yield
        finally:
            done.set()
            beating.join()
            os.ftruncate(file, 0)  # free, also for other hosts; removing it would be a race with whoever opens it
    finally:
        os.close(file)


def _take(file: int, workdir: Path) -> None:
    """Returns once the folder is ours."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(_busy(workdir, _read(file))) from None
    except OSError:
        watched = True  # a file system without locks
    else:
        watched = _read(file).get("host") not in (None, socket.gethostname())
    holder, until = _read(file), time.monotonic() + STALE
    if not (watched and holder):
        return
    print(f"{workdir} was in use by {_who(holder)}; waiting up to {STALE:.0f} s for a sign of life", flush=True)
    while time.monotonic() < until:
        time.sleep(BEAT / 10)
        if (now := _read(file)) != holder:
            if now:
                raise UsageError(_busy(workdir, now))
            return  # it has ended
    print("there was none: its lock is taken over", flush=True)


def _busy(workdir: Path, holder: dict[str, Any]) -> str:
    return f"--workdir={workdir} is in use by {_who(holder)}; wait for it, stop it, or take another folder"


def _who(holder: dict[str, Any]) -> str:
    if not holder:
        return "a run that is just beginning"
    age = max(time.time() - holder["began"], 0)
    return f"process {holder['pid']} on {holder['host']}, which began {age:.0f} s ago"


def _beat(file: int, content: dict[str, Any], done: threading.Event) -> None:
    while not done.wait(BEAT):
        with contextlib.suppress(OSError):  # a full disk is the checkpoint's matter
            _write(file, content)


def _write(file: int, content: dict[str, Any]) -> None:
    text = json.dumps({**content, "beat": time.time()}).encode()
    os.pwrite(file, text.ljust(256) + b"\n", 0)  # one size: a reader never sees the end of an older one


def _read(file: int) -> dict[str, Any]:
    """Who holds it; {} where nobody does."""
    try:
        return json.loads(os.pread(file, 1000, 0))
    except (OSError, ValueError):
        return {}
