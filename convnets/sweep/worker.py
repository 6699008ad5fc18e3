"""Worker process of one trial: python -m convnets.sweep.worker FOLDER [CORE,CORE,...]."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from convnets import errors
from convnets.runtime import files
from convnets.runtime.distributed import signals_to_handle
from convnets.sweep.trials import FINAL, ROOT, STOPPED, commands, hold_trial, read_json, read_trial


def run_trial(folder: Path) -> int:
    """Runs the remaining commands of a trial in sequence and updates its status.json; returns the exit code.

    Waits while another worker, possibly one whose launcher was killed, holds the same trial's lock.
    """
    with hold_trial(folder, wait=True) as lock, (folder / "log.txt").open("a") as log:
        before = read_json(folder / "status.json")
        if before.get("state") in FINAL:
            return 0
        began, spent = time.time(), before.get("seconds", 0.0)
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "started": now, "began": began - spent}

        def write(state: str, **more: Any) -> None:
            seconds = round(spent + time.time() - began, 1)  # of all sessions but those that were killed
            files.write_json(folder / "status.json", {**facts, "state": state, "seconds": seconds, **more})

        write("running")
        code, text = 0, ""
        for command in commands(folder, read_trial(folder)):
            start = (folder / "log.txt").stat().st_size
            process = subprocess.Popen([sys.executable, *command[1:]], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log, pass_fds=[lock])  # fmt: skip
            try:
                code = process.wait()
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
                    write("pending")
            if code in STOPPED:
                write("pending")
                sys.exit(code)
            if code:
                text = (folder / "log.txt").read_bytes()[start:].decode(errors="replace")
                break
        state = {0: "done", errors.DivergedError.code: "diverged"}.get(code, "failed")
        write(state, rc=code, last=text.splitlines()[-5:])
        return code


if __name__ == "__main__":
    for number in signals_to_handle():
        signal.signal(number, lambda *_: sys.exit(143))
    if len(sys.argv) > 2 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, map(int, sys.argv[2].split(",")))
    sys.exit(run_trial(Path(sys.argv[1])))
