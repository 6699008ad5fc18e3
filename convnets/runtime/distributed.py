"""Process group: initialization, ranks, and host-side collectives, on one machine or on many.

Process 0 writes the files and prints. Arrays are exchanged between devices. Small JSON values go through the key-value
store of the `jax.distributed` coordination service, which runs in process 0; JAX has no public name for its client.
Recovery is all-or-nothing: if one process fails, all end, and the same command restarts all of them.
"""

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from convnets import errors
from convnets.errors import Error, UsageError
from convnets.runtime import environment

MODES = ("auto", "off", "manual")
# What schedulers, submitit and closed terminals send before they kill; the default action of each ends the process.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGXCPU)
GRACE = 5.0  # seconds within which every process must see a new file
LONG = 7 * 24 * 3600 * 1000  # timeout in milliseconds; if a peer dies, JAX ends the waiting process
SHUTDOWN = 120  # max seconds between the first and the last process that finishes


class _Group:
    index, count = 0, 1
    client: Any = None
    gathers = queried_step = 0  # number of all_gather_json calls; last step passed to `preempted`


def process_index() -> int:
    """Returns the index (rank) of this process; does not initialize JAX devices."""
    return _Group.index


def process_count() -> int:
    """Returns the number of processes of this run; 1 unless it was started as several."""
    return _Group.count


def is_main() -> bool:
    """Returns whether this is process 0, which writes files and prints."""
    return _Group.index == 0


# Initialization -----------------------------------------------------------------------------------------------------


def problems(
    mode: str, address: str, processes: int | None, process: int | None, devices: str = "auto"
) -> list[str]:  # fmt: skip
    """Returns the problems with the process-group flags, one line each; opens no connection."""
    if not re.fullmatch(r"auto|all|\d+(,\d+)*", devices):
        return [f"--local_device_ids={devices}: all, auto, or numbers with commas"]
    manual = {"--coordinator_address": address or None, "--num_processes": processes, "--process_id": process}
    if mode == "manual":
        missing = [flag for flag, value in manual.items() if value is None]
        if missing:
            return [f"--distributed=manual needs {', '.join(missing)}"]
        assert processes is not None and process is not None
        if not address.rpartition(":")[0] or not address.rpartition(":")[2].isdigit():
            return [f"--coordinator_address={address}: give HOST:PORT of process 0"]
        if process >= processes:
            return [f"--process_id={process}: the {processes} processes count from 0 to {processes - 1}"]
        return []
    given = [flag for flag, value in manual.items() if value is not None]
    found = [f"{', '.join(given)}: only with --distributed=manual"] if given else []
    if mode == "auto":
        try:
            _launched()
        except UsageError as e:
            found.append(str(e))
    return found


def is_wanted(mode: str) -> bool:
    """Returns whether `start` will join a process group."""
    return mode == "manual" or (mode == "auto" and _launched() is not None)


def start(mode: str, address: str, processes: int | None, process: int | None, devices: str, silence: int) -> None:
    """Joins the process group, if there is one; must run before any call that initializes JAX devices.

    Args:
        mode: 'auto' detects a launcher with more than one task (Slurm, Open MPI, a TPU pod, Kubernetes); 'manual' uses
            the next three arguments; 'off' runs a single process.
        address: HOST:PORT of process 0.
        processes: number of processes.
        process: index of this process.
        devices: local accelerators of this process: 'auto', 'all' or comma-separated numbers.
        silence: heartbeat timeout in seconds; the timeout for joining the group is five times as long.
    """
    if not is_wanted(mode):
        return
    import jax
    from jax._src import distributed

    who = f"process {process} of {processes} on {socket.gethostname()}" if mode == "manual" else socket.gethostname()

    def give_up() -> None:  # JAX would end the process without saying what it waited for
        print(f"error: {who}: the processes did not meet within {5 * silence} s"
              + (f" at {address}" if address else ""), file=sys.stderr, flush=True)  # fmt: skip
        os._exit(1)

    timer = threading.Timer(5 * silence, give_up)
    timer.daemon = True
    timer.start()
    jax.distributed.initialize(
        address or None, processes, process, _local_devices(mode, devices),
        cluster_detection_method="deactivate" if mode == "manual" else None, initialization_timeout=5 * silence + 60,
        heartbeat_timeout_seconds=silence, shutdown_timeout_seconds=SHUTDOWN,
    )  # fmt: skip
    timer.cancel()
    state = distributed.global_state
    _Group.index, _Group.count, _Group.client = state.process_id, state.num_processes, state.client
    if not is_main():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # also silences output from C++


def _launched() -> Any:
    """Returns the multi-process launcher that JAX detects, or None for a single process.

    Raises:
        UsageError: the Slurm allocation has several tasks, but srun did not start this process; it would train alone.
    """
    environment.start_jax(devices=False)
    from jax._src import clusters

    tasks = os.environ.get("SLURM_NTASKS") or "1"
    if "SLURM_JOB_ID" in os.environ and "SLURM_STEP_NODELIST" not in os.environ and tasks != "1":
        raise UsageError(f"this Slurm allocation is for {tasks} tasks and here only one was started: write srun before"
                         " the command, or --distributed=off behind it")  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns if the Kubernetes package is missing
        for kind in clusters.ClusterEnv._cluster_types:
            with contextlib.suppress(Exception):  # a pod outside a job has no process count: single process
                if not kind.opt_in_only_method and kind.is_env_present():
                    return kind if kind.get_process_count() > 1 else None
    return None


def _local_devices(mode: str, devices: str) -> list[int] | None:
    """Returns JAX's `local_device_ids`: [] selects all visible devices, None one device per process of a host."""
    if devices not in ("auto", "all"):
        return [int(n) for n in devices.split(",")]
    env = os.environ.get
    alone = env("SLURM_STEP_NUM_TASKS", "0") == env("SLURM_STEP_NUM_NODES") or env("OMPI_COMM_WORLD_LOCAL_SIZE") == "1"
    own = env("CUDA_VISIBLE_DEVICES", "").isdigit()  # the launcher has assigned one GPU
    return [] if devices == "all" or mode == "manual" or alone or own else None


def describe_process() -> str:
    """Returns the process and its host in words, for messages."""
    return f"process {process_index()} of {process_count()}, on {socket.gethostname()}"


def say(text: str) -> None:
    """Prints a line from any process: process 0 to stdout, others to stderr with their name."""
    print(
        text if is_main() else f"{describe_process()}: {text}", file=sys.stdout if is_main() else sys.stderr, flush=True
    )


# Host-side communication --------------------------------------------------------------------------------------------


def all_gather_json(value: Any) -> list[Any]:
    """Returns the JSON-serializable value of every process; all must call it, and the next five functions too."""
    if process_count() == 1:
        return [value]
    _Group.gathers += 1
    key = f"share/{_Group.gathers}"
    _Group.client.key_value_set(f"{key}/{process_index()}", json.dumps(value))
    return [json.loads(_Group.client.blocking_key_value_get(f"{key}/{n}", LONG)) for n in range(process_count())]


def list_unequal(value: Any) -> list[Any]:
    """Returns the JSON-serializable value of every process if they differ, and [] if all are equal."""
    told = all_gather_json(value)
    return told if any(other != told[0] for other in told) else []


def all_gather_rows(rows: np.ndarray) -> np.ndarray:
    """Returns the rows of all processes in rank order, [k0 + k1 + ..., ...]; bit-exact."""
    if process_count() == 1:
        return rows
    from jax.experimental import multihost_utils

    lengths = all_gather_json(len(rows))
    width = rows.itemsize * int(np.prod(rows.shape[1:]))
    padded = np.zeros((max(lengths), width), np.uint8)
    padded[: len(rows)] = np.frombuffer(rows.tobytes(), np.uint8).reshape(len(rows), width)
    everything = np.asarray(multihost_utils.process_allgather(padded))
    own = b"".join(part[:n].tobytes() for part, n in zip(everything, lengths, strict=True))
    return np.frombuffer(own, rows.dtype).reshape(-1, *rows.shape[1:]).copy()


def run_on_main(work: Callable[[], Any]) -> Any:
    """Runs `work` on process 0 and broadcasts its JSON-serializable result; re-raises an `Error` on every process."""
    if process_count() == 1:
        return work()
    outcome, failure = None, None
    if is_main():
        try:
            outcome = work()
        except Error as e:
            failure = e
    kind, text, outcome = all_gather_json([type(failure).__name__, str(failure), outcome] if is_main() else None)[0]
    if kind == "NoneType":
        return outcome
    raise failure or getattr(errors, kind)(text)


def main_first(work: Callable[[], Any]) -> Any:
    """Runs `work` on process 0, then on the others, which find the files that process 0 put on a shared disk."""
    if process_count() == 1:
        return work()
    made: list[Any] = []
    run_on_main(lambda: made.append(work()))
    return made[0] if is_main() else work()


def check_same_folder(path: Path) -> None:
    """Raises UsageError if `path` is not the same folder on all processes; writes a file there for a moment."""
    if process_count() == 1:
        return
    mark = run_on_main(lambda: _mark(path))
    until = time.monotonic() + GRACE
    while not (seen := (path / mark).exists()) and time.monotonic() < until:  # shared file systems may lag
        time.sleep(0.1)
    told = all_gather_json([socket.gethostname(), str(path), seen])
    if is_main():
        (path / mark).unlink(missing_ok=True)
    if blind := [n for n, (_, _, found) in enumerate(told) if not found]:
        which = ", ".join(f"{told[n][1]} on {told[n][0]} (process {n})" for n in [0, *blind][:5])
        raise UsageError(f"--workdir is not the same folder for all processes: {which} and {len(blind) - 4} more"
                         if len(blind) > 4 else f"--workdir is not the same folder for all processes: {which}")  # fmt: skip


def _mark(path: Path) -> str:
    name = f".process0-{secrets.token_hex(8)}"
    (path / name).touch()
    return name


def publish(topic: str, value: Any, over: bool = True) -> None:
    """Stores this process's value under `topic` in the key-value store; `over` allows overwriting an earlier value."""
    _Group.client.key_value_set(f"{topic}/{process_index()}", json.dumps(value), allow_overwrite=over)


def published(topic: str) -> dict[int, Any]:
    """Returns the values published under `topic` so far, by process index."""
    return {int(k.rpartition("/")[2]): json.loads(v) for k, v in _Group.client.key_value_dir_get(f"{topic}/")}


def preempted(step: int) -> bool:
    """Returns whether all processes stop at this step because one of them received SIGTERM.

    All processes must call it at the same steps. JAX stops them at the step after the last one that any process has
    queried, so no process misses it. Orbax also queries the steps that it saves. A Python signal handler would take the
    signal from JAX.
    """
    if process_count() == 1:
        return False
    from jax.experimental import multihost_utils

    before, _Group.queried_step = _Group.queried_step, step
    return any(multihost_utils.reached_preemption_sync_point(s) for s in range(before + 1, step + 1))


def signals_to_handle() -> list[signal.Signals]:
    """Returns SIGNALS without those that the program was told to ignore, as nohup does with SIGHUP."""
    return [s for s in SIGNALS if s is signal.SIGTERM or signal.getsignal(s) is not signal.SIG_IGN]


def exit_together(code: int) -> None:
    """Waits at a shutdown barrier for all processes, then exits with `code`.

    After the first nonzero exit code, a launcher kills the processes still running and loses their exit codes.
    """
    import jax

    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.stdout.flush()
    sys.stderr.flush()
    jax.distributed.shutdown()  # barrier
    os._exit(code)
