"""What a command checks before it begins."""

import copy
import json
import shutil

import pytest

import run
from configs import base
from convnets.errors import UsageError
from convnets.modes import usage
from convnets.runtime import included


def parse(*arguments):
    """Returns the flags of a command of run.py."""
    given = copy.deepcopy(run.FLAGS)
    given.unparse_flags()
    given(["run.py", *arguments])
    return given


def check(tmp_path, mode, *overrides, weights="", more=()):
    """Checks a command of run.py on a workdir that is not there yet."""
    given = parse(f"--mode={mode}", f"--workdir={tmp_path / 'run'}", f"--weights={weights}", "--distributed=off", *more)
    return usage.check_command(given, [], list(overrides), "configs/lenet.py:digits")


def test_a_wrong_config_leaves_no_folder(tmp_path):
    with pytest.raises(UsageError, match=r"optim\.lr is -1"):
        check(tmp_path, "train", "--config.optim.lr=-1")
    assert not (tmp_path / "run").exists()
    check(tmp_path, "train")
    assert (tmp_path / "run").is_dir()


@pytest.mark.parametrize("mode", run.MODES[:-1])
@pytest.mark.parametrize("flag, value", [
    ("weights", "lenet5"), ("workdirs", "a,b"), ("images", "run.py"), ("manual_dir", "/nowhere"), ("name", "x"), ("invert", ""),
    ("json", ""), ("jobs", "3"), ("slurm", "a=b"), ("size", "full"), ("launcher", "print"), ("experiment", "experiments/k33.py"),
    ("seeds", "3"), ("restart", ""), ("allow_config_change", ""), ("step_timeout", "9"), ("profile", "5"), ("figure", "a.svg"),
    ("output", "a.csv"), ("grid", "optim.lr=1"),
])  # fmt: skip
def test_a_flag_that_the_mode_would_ignore_is_refused(flag, value, mode):
    given = parse(f"--mode={mode}", f"--{flag}" + f"={value}" * bool(value))
    refused = [line for line in usage.find_config(given, [], "configs/lenet.py:digits")[1] if "is for --mode=" in line]
    assert [line.split()[0] for line in refused] == [f"--{flag}"] * (mode not in usage.TAKEN_BY[flag])
    assert mode not in usage.TAKEN_BY[flag] or mode in given[flag].help.lower()


@pytest.mark.parametrize("source", ["configs/lecun_1998.py:linear", "configs/lecun_1998.py:lenet4-boosted"])
def test_what_one_process_trains_is_refused_to_several(source, tmp_path):
    """Before any of them waits for the others: each would write the log of a boosted network."""
    given = copy.deepcopy(run.FLAGS)
    given.unparse_flags()
    group = ["--distributed=manual", "--coordinator_address=localhost:1", "--num_processes=2", "--process_id=0"]
    given(["run.py", f"--config={source}", f"--workdir={tmp_path}", *group])
    with pytest.raises(UsageError, match="are trained by one process: take --distributed=off"):
        usage.check_command(given, [], [], source)


@pytest.mark.parametrize("arguments, said", [
    (["--mode=evaluate", "--weights=lenet5", "--name=x"], "--name is for runs"),
    (["--mode=evaluate", "--weights=lenet5", "--workdir=runs/a"], "is an included network with data of its own"),
    (["--mode=predict", "--weights=lenet5", "--workdir=runs/a", "--images=run.py"], "is an included network with data of its own"),
    (["--mode=export", "--workdir=runs/a", "--weights=a.safetensors", "--name=x"], "give one of them"),
    (["--mode=visualize", "--weights=lenet5", "--invert"], "--invert is for --images"),
    (["--mode=sweep", "--experiment=experiments/k33.py", "--slurm=a=b"], "--slurm is for --launcher=slurm"),
])  # fmt: skip
def test_a_flag_that_would_be_ignored_beside_another_is_refused(arguments, said):
    assert any(said in line for line in usage.find_config(parse(*arguments), [], "")[1])


def test_a_boosted_network_has_no_trace(tmp_path):
    with pytest.raises(UsageError, match="--profile traces the steps of one run"):
        given = parse(
            "--config=configs/lecun_1998.py:lenet4-boosted", "--profile=5", f"--workdir={tmp_path}", "--distributed=off"
        )
        usage.check_command(given, [], [], "")


@pytest.mark.parametrize("layers, loss, said", [("nearest(60000, 3)", "softmax", "least_squares or svm"), ("pairs", "svm", "least_squares"),
                                                ("polynomial(60000)", "least_squares", "svm")])  # fmt: skip
def test_a_loss_that_does_not_fit_the_output_layer_is_refused(layers, loss, said, tmp_path):
    wrong = (f"--config.model.layers={layers}", f"--config.loss={loss}")
    with pytest.raises(
        UsageError, match=rf"^loss: loss={loss} does not fit the layer '{layers.split('(')[0]}'; take {said}$"
    ):
        check(tmp_path, "train", *wrong, more=("--config=configs/lecun_1998.py:knn",))


def test_weights_beside_a_config_are_drawn_into_a_folder_of_their_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("config.json", "manifest.json", included.WEIGHTS):
        shutil.copy(included.FOLDER / "lenet5" / name, tmp_path)
    command = usage.check_command(
        parse("--mode=visualize", f"--weights={included.WEIGHTS}", "--distributed=off"), [], [], ""
    )
    assert command.workdir == tmp_path / "runs" / "weights-weights" and command.opened == tmp_path


def test_the_name_of_a_test_is_no_path():
    given = parse("--mode=evaluate", "--workdir=runs/a", "--name=a/b")
    assert "--name=a/b: it is part of a file name, so it has no /" in usage.find_config(given, [], "")[1]


def test_compare_takes_the_trials_of_a_sweep(tmp_path):
    for name in ("sweep/b", "sweep/a", "run"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "sweep" / "sweep.json").touch()
    (tmp_path / "sweep" / "pending").mkdir()
    given = parse("--mode=compare", f"--workdirs={tmp_path}/run,{tmp_path}/sweep", f"--workdir={tmp_path}/out")
    found = usage.check_command(given, [], [], "configs/lenet.py:digits").members
    assert found == [tmp_path / name for name in ("run", "sweep/a", "sweep/b")]


def test_only_a_training_that_begins_needs_the_weights_that_it_begins_with(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.safetensors does not exist"):
        check(tmp_path, "train", "--config.model.init_from=gone.safetensors")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text(json.dumps(base.get_config().to_dict()))
    for mode in ("train", "evaluate", "export"):
        weights = tmp_path / "written.safetensors" if mode == "export" else ""
        check(tmp_path, mode, "--config.model.init_from=gone.safetensors", weights=str(weights))
    with pytest.raises(UsageError, match=r"gone\.safetensors does not exist"):
        check(tmp_path, "train", "--config.model.init_from=gone.safetensors", more=("--seeds=2",))
    for seed in (0, 1):
        (tmp_path / "run" / f"seed{seed}" / "checkpoints").mkdir(parents=True)
    check(tmp_path, "train", "--config.model.init_from=gone.safetensors", more=("--seeds=2",))
