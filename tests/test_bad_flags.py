"""Rows 14 and 15 of docs/reliability.md: wrong flags, keys and values, each one clear line.

The number in a test's name is its row. Most run in the process of the tests; one of each kind has a process of its own.
"""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, run_here
from tests.processes import TINY, last_line, run

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


SLOW = {"tensorflow", "tensorflow_datasets", "orbax.checkpoint", "matplotlib", "tensorboardX", "sklearn"}
REFUSE = """if True:
    import json, sys
    from tests.conftest import run_here
    for arguments in json.load(sys.stdin):
        try:
            said = run_here(*arguments, code=2)
        except AssertionError as e:
            said = [str(e), ""]
        print(json.dumps([*said, sorted(sys.modules)]), flush=True)
"""


@pytest.fixture(scope="module")
def refused():
    """Returns what run.py says to each of WRONG, and the modules that are imported by then: one process for all."""
    done = subprocess.run([sys.executable, "-c", REFUSE], input=json.dumps([arguments for arguments, _ in WRONG]), text=True,
                          cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True)  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(WRONG), done.stderr
    return {repr(case): answer for case, answer in zip(WRONG, found, strict=True)}


@pytest.fixture(scope="module")
def import_seconds():
    began = time.monotonic()
    packages = "import jax, flax.linen, optax, ml_collections.config_flags"
    subprocess.run([sys.executable, "-c", packages], check=True, env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
                   capture_output=True)  # fmt: skip
    return time.monotonic() - began


WRONG = [
    (["--config.optim.lrr=1"], ["unknown config key 'optim.lrr'; did you mean 'optim.lr'?"]),
    (["--config.lr=1"], ["unknown config key 'lr'; did you mean 'optim.lr'?"]),
    (["--config.optim.learning_rate=1"], ["unknown config key 'optim.learning_rate'; optim has "]),
    (["--mod=train"], ["Unknown command line flag 'mod'. Did you mean: mode"]),
    (["train"], ["stray argument 'train'"]),
    (["--config.train.epochs=ten"], ["train.epochs: cannot read 'ten' as float"]),
    (["--config.train.batch_size=1.5"], ["train.batch_size: cannot read '1.5' as int"]),
    (["--config=configs/lenett.py"], ["configs/lenett.py does not exist; did you mean configs/lenet.py?"]),
    (["--config="], ["--config is empty; give a path"]),
    (["--config=configs"], ["config file configs is a folder"]),
    (["--config=configs/lenet.py:minst"], ["unknown variant 'minst': choose one of"]),
    (["--config=configs/handcrafted.py:conv-mnist-500"], ["unknown variant 'conv-mnist-500': choose one of conv-mnist-100"]),
    (["--config=configs/handcrafted.py:hog-mnist-1"], ["unknown variant 'hog-mnist-1': -1 is not a number of training images"]),
    (["--config.model.init_layers=C1"], ["model.init_layers: give the file that they come from, model.init_from"]),
    (["--config.optim.lr=nan"], ["optim.lr is nan"]),
    (["--config.optim.schedule=steps(0.1, 30, 20)"], ["optim.schedule: steps: the epochs 30, 20 must rise"]),
    (["--config=configs/ablation.py:mnist10k", "--config.model.layers=fc(20)|dropout(1.5)|out"], ["model: dropout is 1.5: it must be"]),
    (["--config=configs/ablation.py:mnist10k", "--config.model.layers=lrn(0)|out"], ["model: operation 'lrn(0)': size must be int of at least 1"]),
    (["--config=configs/ablation.py:13pct", "--config.model.pool_size=0"], ["model: pool_size must be int of at least 1, not 0"]),
    (["--config.model.num_classes=5"], ["model: lenet5 has codes for 10 classes, not 5"]),
    (["--config.data.train_ops=decode|standardize(0.5, 0.5)"], ["data.train_ops: operation 'standardize(0.5, 0.5)': mean must be (float, ...)"]),
    (["--config=configs/alexnet_controls.py:no_dropout", "--config.model.dropout=-0.5"], ["model: dropout is -0.5: it must be"]),
    (["--config=configs/alexnet.py:paper", "--config.data.train_ops=decode|resize_short(200)|crop(224)"], ["crop(224): the shorter side of the image may be only 200"]),
    (["--config.train.batch_size=33"], ["train.batch_size is 33: it must be divisible by the 2 devices, like 32 or 34"]),
    (["--config.evaluate.protocol=ten_crop"], ["evaluate.protocol: ten_crop puts its crops in the place of center(n)"]),
    (["--config.evaluate.protocol=dense(64)"], ["and this network takes 32 x 32 alone"]),
    (["--config.evaluate.protocol=single|tencrop", "--config.optim.lr=0"], ["did you mean 'ten_crop'?", "optim.lr is 0"]),
    (["--mode=evaluate", "--workdirs=tests", "--config=configs/lenet.py:digits"], ["leave out --config and --weights", "tests holds no run"]),
    (["--workdir=setup.cfg"], ["setup.cfg is a file; give a folder"]),
    (["--workdir=/proc/nothing"], ["--workdir=/proc/nothing cannot be written"]),
    (["--mode=predict", "--workdir=/nowhere"], ["/nowhere holds no run", "--mode=predict needs --images"]),
    (["--mode=describe", "--figure=a.jpg"], ["--figure=a.jpg: give a file that ends in .svg, .pdf or .png"]),
    (["--mode=describe", "--figure=/nowhere/a.svg"], ["there is no folder /nowhere that can be written"]),
    (["--mode=sweep"], ["--mode=sweep needs --experiment"]),
    (["--profile=5", "--seeds=2"], ["--profile traces the steps of one run"]),
    (["--profile=-1"], ["--profile=-1"]),
    (["--mode=tran"], ["--mode=tran: value should be one of <train|"]),
    (["--json=a.json"], ["flag --json=a.json: it is --json or --nojson, without a value"]),
    (["--mode=predict", "--weights=lenet5", "--images=run.py", "--figure=a.png"], ["--figure is for --mode=describe"]),
    (["on", "--config.optim.lrr=1", "--weights=/nowhere"], ["stray argument 'on'", "--weights is for --mode=evaluate, predict, visualize, export; --config.model.init_from=FILE", "did you mean 'optim.lr'?"]),
    (["--mode=evaluate"], ["--mode=evaluate needs --workdir"]),
    (["--mode=visualize"], ["--mode=visualize needs --workdir"]),
    (["--mode=visualize", "--config=configs/lenet.py:mnist", "--weights=setup.cfg", "--images=setup.cfg,run.py"], ["looks at one image: give one --images"]),
    (
        ["--config.optim.lr=-1", "--config.train.epochs", "0", "--config.model.name=lenet6", "--config.data.x=1",
         "--config.data.train_ops=decode|padd(2)", "--config.optim.schedule=steps", "--config.loss=hinge",
         "--config.train.batch_size=15"],
        ["unknown config key 'data.x'", "optim.lr is -1.0", "train.epochs is 0.0", "unknown model 'lenet6'",
         "unknown operation 'padd'", "optim.schedule: operation 'steps': missing", "loss is 'hinge'", "divisible by the 2 devices"],
    ),
]  # fmt: skip


def check(out, err, messages):
    lines = err.splitlines()
    assert not out and len(lines) == len(messages) and all(line.startswith("error: ") for line in lines), (out, lines)
    for message in messages:
        assert message in err


@pytest.mark.parametrize("arguments, messages", WRONG)
def test_14_and_15_a_wrong_flag_key_or_value_is_one_clear_line_each(arguments, messages, refused):
    """Nothing slow is imported for it."""
    out, err, imported = refused[repr((arguments, messages))]
    assert "absl.flags" in imported and not SLOW & set(imported)
    check(out, err, messages)


@pytest.mark.parametrize("arguments, messages", [WRONG[0], WRONG[-1]], ids=["one", "many"])
def test_14_and_15_errors_come_at_once(arguments, messages, monkeypatch, import_seconds):
    """Within 2 s, or 1.5 times the imports of JAX, Flax and optax on a slow machine."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    began = time.monotonic()
    out, err = run(*arguments, code=2, devices=2)
    seconds = time.monotonic() - began
    imported = {line.split("|")[-1].strip() for line in err.splitlines()}
    assert "absl.flags" in imported and not SLOW & imported
    check(out, "".join(line for line in err.splitlines(keepends=True) if not line.startswith("import time:")), messages)
    assert seconds < max(2, 1.5 * import_seconds) or os.getloadavg()[0] > 2, (
        f"{seconds:.1f} s, {import_seconds:.1f} s of imports"
    )


def test_15_all_that_does_not_fit_the_data_is_said_at_once(tmp_path):
    _, err = run_here(*TINY, "--config.model.num_classes=7", "--config.train.batch_size=2000",
                 "--config.data.test_ops=decode|resize(28)", f"--workdir={tmp_path}", code=2)  # fmt: skip
    found = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(found) == 3, err
    for message in ("data.test_ops gives images of (28, 28, 1)", "model.num_classes is 7, digits has 10 classes",
                    "train.batch_size is 2000, digits has 1437 examples"):  # fmt: skip
        assert message in err


def test_15_a_layer_that_cannot_be_is_named(tmp_path):
    _, err = run_here("--config=configs/ablation.py:mnist10k", "--config.model.layers=conv(4, 30)|out", "--config.data.name=digits",
                 "--config.data.train_split=train", "--config.data.train_ops=decode|resize(28)",
                 "--config.data.test_ops=decode|resize(28)", f"--workdir={tmp_path}", code=2)  # fmt: skip
    assert last_line(err).startswith("error: model.layers: conv on (28, 28, 1): a window of 30 pixels does not fit")
