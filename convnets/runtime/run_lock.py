"""Run lock: one run per folder. `lock.json` names the process that trains there and holds its heartbeat.

On the same host, a kernel file lock tells at once whether that process is alive, even if its PID has been reused. Other
hosts may not see the lock, so they watch for a change of the heartbeat, which needs no synchronized clocks.
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

BEAT = 5.0  # seconds between heartbeats
STALE = 30.0  # seconds without a heartbeat after which another host takes over the lock
NAME = "lock.json"


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Locks the folder for this process; takes over the lock of a killed process.

    Raises:
        UsageError: another process trains there, the message gives its host, PID and age; or the lock may not be opened.
    """
    try:
        file = os.open(workdir / NAME, os.O_RDWR | os.O_CREAT, 0o666)  # the umask may let a group resume the run
    except OSError as e:
        raise UsageError(f"--workdir={workdir} cannot be locked: {NAME}: {e.strerror}") from None
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
            os.ftruncate(file, 0)  # releases it on other hosts too; deleting it would race with an opening process
    finally:
        os.close(file)


def _take(file: int, workdir: Path) -> None:
    """Returns once this process holds the lock; raises UsageError if another one is alive."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(_busy(workdir, _read(file))) from None
    except OSError:
        watched = True  # the file system has no locks
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
            return  # the holder has ended
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
        with contextlib.suppress(OSError):  # checkpoint writes report a full disk
            _write(file, content)


def _write(file: int, content: dict[str, Any]) -> None:
    text = json.dumps({**content, "beat": time.time()}).encode()
    os.pwrite(file, text.ljust(256) + b"\n", 0)  # fixed size: a shorter text leaves no remains of an older one


def _read(file: int) -> dict[str, Any]:
    """Returns the content of the lock file; {} if nobody holds the lock."""
    try:
        content = json.loads(os.pread(file, 1000, 0))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and "began" in content else {}
