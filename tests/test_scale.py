"""A data set of ImageNet's true size and layout, 1,281,167 + 50,000 examples in 1,024 + 64 shards, under `ulimit -n 256`.

The network and the images are tiny, so that it takes minutes. The test prints the seconds to the first step, the peak
memory and the most open descriptors.
"""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from convnets.training.checkpoint import Checkpoints
from tests.conftest import SHARED
from tests.processes import end, logged, start, steps
from tests.processes import lines as log_of

pytestmark = [pytest.mark.scale, pytest.mark.timeout(3600), pytest.mark.usefixtures("optimized")]

WRITER = SHARED / "scale" / "imagenet_sized.py"
LIMIT, BATCH, STEPS = 256, 256, 100
TINY = ("--config=configs/ablation.py:mnist10k", "--config.model.layers=conv(4, 3)|relu|max(2)|out",
        "--config.model.num_classes=1000", "--config.model.side=16", "--config.model.channels=3",
        "--config.data.name=imagenet2012", "--config.data.loader=stream", "--config.data.train_split=train",
        "--config.data.test_split=validation", "--config.data.train_ops=decode|inception_crop(16)|flip|value_range(-1, 1)",
        "--config.data.test_ops=decode|resize_center_crop(16)|value_range(-1, 1)", f"--config.train.batch_size={BATCH}",
        f"--config.train.epochs={STEPS * BATCH / 1_281_167}", "--config.train.log_every_steps=1",
        "--config.checkpoint.every_steps=20", "--config.checkpoint.keep=10", "--config.evaluate.batch_size=500")  # fmt: skip


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Writes the set, 2.7 GB, and removes it after the tests."""
    if not WRITER.exists():
        pytest.skip(f"{WRITER} is missing; set CONVNETS_SHARED")
    folder = tmp_path_factory.mktemp("imagenet")
    subprocess.run([sys.executable, str(WRITER), str(folder)], check=True)
    yield folder
    shutil.rmtree(folder)


def limited(imagenet: Path, workdir: Path) -> subprocess.Popen:
    process = start(*TINY, f"--config.data.data_dir={imagenet}", f"--workdir={workdir}")
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
    return process


def watch(process: subprocess.Popen, workdir: Path, until: int | None) -> dict[str, float]:
    """Waits until a run has saved step `until`, or has ended; returns what it needed meanwhile."""
    began, own = time.monotonic(), Path("/proc", str(process.pid))
    need: dict[str, float] = {"seconds to the first step": 0, "most descriptors": 0, "peak MB": 0}
    while process.poll() is None and (until is None or until not in steps(workdir)):
        try:
            need["most descriptors"] = max(need["most descriptors"], len(list((own / "fd").iterdir())))
            status = dict(line.split(":", 1) for line in (own / "status").read_text().splitlines())
            need["peak MB"] = int(status["VmHWM"].split()[0]) // 1000
        except (OSError, KeyError):  # it ends while it is looked at
            continue
        if not need["seconds to the first step"] and logged(workdir):  # of a new run
            need["seconds to the first step"] = round(time.monotonic() - began, 1)
        time.sleep(0.05)
    assert until is None or process.poll() is None, process.communicate()
    return need


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_imagenets_size_is_trained_killed_resumed_and_counted(imagenet, tmp_path):
    whole, workdir = tmp_path / "whole", tmp_path / "killed"
    process = limited(imagenet, whole)
    first = watch(process, whole, until=80)["seconds to the first step"]
    kill(process)  # it is only needed up to here, the test of 50,000 images takes longer
    process = limited(imagenet, workdir)
    watch(process, workdir, until=40)
    kill(process)
    process = limited(imagenet, workdir)
    need = {**watch(process, workdir, until=None), "seconds to the first step": first}
    out, _ = end(process)
    print("; ".join(f"{key} {value:g}" for key, value in need.items()))
    assert "resumed at step " in out
    result = json.loads((workdir / "result.json").read_text())
    assert result["num_examples"] == result["split_examples"] == 50_000 and result["steps"] == STEPS
    assert [row["step"] for row in log_of(workdir)] == list(range(1, STEPS + 1))
    assert log_of(workdir)[:80] == log_of(whole)[:80]
    ours, theirs = (arrays(w, 80) for w in (workdir, whole))
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert need["most descriptors"] < LIMIT - 64  # some are left for the user's own libraries


def arrays(workdir: Path, step: int) -> dict[str, np.ndarray]:
    with Checkpoints(workdir / "checkpoints")._open() as files:
        return files.load(step)
