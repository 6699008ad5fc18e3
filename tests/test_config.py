"""Config files of one's own: mistakes, paths, seeds."""

import json

import pytest

from configs import base
from convnets import config as configs
from convnets.config import load_config
from convnets.errors import CheckpointError, UsageError
from convnets.sweep import trials
from convnets.training import validation
from tests.conftest import ROOT

HEAD = "from configs import base\n\n\ndef get_config():\n    config = base.get_config()\n"

MISTAKES = {
    "syntax": ("def get_config(:\n    return 1\n", "line 1: SyntaxError: invalid syntax"),
    "indentation": (HEAD + "      x = 1\n", "line 6: IndentationError: unexpected indent"),
    "name": (HEAD + "    config.train.epochs = epochs\n    return config\n", "line 6: NameError: name 'epochs' is not"),
    "name at the top": ("x = 1\ny = z\n", "line 2: NameError: name 'z' is not defined"),
    "import": ("import no_such_package\n", "line 1: ModuleNotFoundError: No module named 'no_such_package'"),
    "import from": ("\nfrom configs import bases\n", "line 2: ImportError: cannot import name 'bases'"),
    "division": (HEAD + "    config.optim.lr = 1 / 0\n    return config\n", "line 6: ZeroDivisionError: "),
    "in a helper": ("def half(x):\n    return x / 0\n\n\ndef get_config():\n    return half(1)\n", "line 2: ZeroDivisionError"),
    "no return": (HEAD, "line 4: get_config returns NoneType, not a ConfigDict"),
    "a dict": ("def get_config():\n    return {}\n", "line 1: get_config returns dict, not a ConfigDict"),
    "no function": ("config = 1\n", "defines no function get_config"),
    "a constant": ("get_config = 1\n", "defines no function get_config"),
    "an argument": ("def get_config(a, b):\n    return a\n", "line 1: TypeError: get_config() missing 2 required"),
    "exit": ("import sys\nsys.exit('enough')\n", "line 2: SystemExit: enough"),
    "assertion": (HEAD + "    assert config.train.epochs == 3\n", "line 6: AssertionError"),
    "several lines": (HEAD + "    raise ValueError('one\\ntwo')\n", "line 6: ValueError: one two"),
    "a wrong type": (HEAD + "    config.train.epochs = 'ten'\n    return config\n", "line 6: TypeError: "),
    "a wrong key": (HEAD + "    config.optim.lrr = 1.0\n    return config\n", "unknown config key 'optim.lrr'; did you mean 'optim.lr'?"),
    "a wrong section": (HEAD + "    config.epochs = 1\n    return config\n", "unknown config key 'epochs'; did you mean 'train.epochs'?"),
    "a missing key": (HEAD + "    del config.optim.lr\n    return config\n", "config key 'optim.lr' is missing"),
    "from nothing": (
        "from ml_collections import ConfigDict\n\n\ndef get_config():\n    return ConfigDict({'model': {'name': 'lenet5'}})\n",
        "config key 'data.name' is missing",
    ),
    "a type from nothing": (
        HEAD + "    config.unlock()\n    del config.train.batch_size\n    config.train.batch_size = '32'\n    return config\n",
        "train.batch_size is '32': it must be of type int",
    ),
    "endless": ("def get_config():\n    return get_config()\n", "line 2: RecursionError"),
}  # fmt: skip


@pytest.mark.parametrize("content, message", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_a_config_is_one_line_with_file_and_line_number(content, message, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(content)
    config, problems = load_config(str(file), [])
    assert config is None and problems
    assert all(p.startswith(str(file)) and "\n" not in p for p in problems), problems
    assert any(message in p for p in problems), problems
    assert len(problems) == 1 or "nothing" in message or "is missing" in message


@pytest.mark.parametrize("content", [b"\xff\xfe# no text\n", b"x = 1\0\n", b"# coding: none\n"])
def test_a_config_that_is_no_text_is_one_line(content, tmp_path):
    (tmp_path / "mine.py").write_bytes(content)
    config, (problem,) = load_config(tmp_path / "mine.py", [])
    assert config is None and f"{tmp_path / 'mine.py'}, line " in problem and "SyntaxError" in problem


def test_a_mistake_in_an_imported_file_names_that_file(tmp_path):
    (tmp_path / "own_configs").mkdir()
    (tmp_path / "own_configs" / "helper.py").write_text("x = (\n")
    file = tmp_path / "own_configs" / "mine.py"
    file.write_text("from own_configs import helper\n")
    _, (problem,) = load_config(file, [])
    assert problem.startswith(f"{tmp_path / 'own_configs' / 'helper.py'}, line 1: SyntaxError")


def test_a_mistake_in_an_experiment_is_one_line_too(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("a = 1\nb = a / 0\n")
    with pytest.raises(UsageError, match=r"mine\.py, line 2: ZeroDivisionError: division by zero$"):
        trials.load_experiment(str(file), "cpu")


@pytest.mark.parametrize("folder", ["a:b", "x.py:y", "run [1], #2 50%", "ü", " "])
def test_configs_are_found_in_any_folder(folder, tmp_path):
    (tmp_path / folder).mkdir()
    file = tmp_path / folder / "mine.py"
    file.write_text("from configs import base\n\n\ndef get_config(name='lenet5'):\n    return base.get_config(name)\n")
    assert load_config(str(file), [])[0].model.name == "lenet5"
    if ".py:" not in folder:  # the first ends the path
        assert load_config(f"{file}:lenet1", [])[0].model.name == "lenet1"
    kept = tmp_path / folder / "config.json"
    kept.write_text(json.dumps(base.get_config().to_dict()))
    assert load_config(kept, ["--config.train.epochs=3"])[0].train.epochs == 3


def test_paths_in_a_config_hold_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    given = ["--config.data.name=folder:birds [1]", "--config.model.init_from=~/a.pth", "--config.data.data_dir=sets"]
    config, problems = load_config(configs.BASE, given)
    assert problems == [] and config.data.name == f"folder:{tmp_path / 'birds [1]'}"
    assert config.model.init_from == str(tmp_path / "home" / "a.pth") and config.data.data_dir == str(tmp_path / "sets")
    config, _ = load_config(configs.BASE, ["--config.data.name=folder:~/birds"])
    assert config.data.name == f"folder:{tmp_path / 'home' / 'birds'}"
    kept = base.get_config()
    kept.data.name = "folder:birds"  # as an earlier version wrote it
    (tmp_path / "config.json").write_text(json.dumps(kept.to_dict()))
    assert load_config(tmp_path / "config.json", [])[0].data.name == f"folder:{tmp_path / 'birds'}"


@pytest.mark.parametrize("key, value", [("data.name", "folder:gs://b/c"), ("data.data_dir", "gs://b"), ("model.init_from", "https://a/b.pth")])  # fmt: skip
def test_a_url_in_a_config_is_one_line(key, value):
    _, (problem,) = load_config(configs.BASE, [f"--config.{key}={value}"])
    assert problem.startswith(f"{key}: ") and "is a URL: give a path on this machine" in problem


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", bytes(9), b"[]"])
def test_a_damaged_config_of_a_run_is_one_line(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json is damaged: .*; remove it"):
        load_config(tmp_path / "config.json", [])


def test_a_json_file_that_is_no_config_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text('{"model": {}}')
    config, (problem,) = load_config(tmp_path / "config.json", [])
    assert config is None and problem.endswith("config.json: it holds no config: 'checkpoint' is missing")


@pytest.mark.parametrize("seed", [-1, 2**32, 2**32 + 1, 2**63, 2**64, 10**30])
def test_a_seed_that_does_not_fit_is_refused(seed):
    config, problems = load_config(configs.BASE, [f"--config.train.seed={seed}"])
    problems += validation.problems(config, devices=False)
    assert len(problems) == 1 and f"train.seed is {seed}" in problems[0]


def test_the_last_seed_is_allowed_and_so_is_the_last_of_several():
    boosted = [f"--config.train.seed={2**31}"]  # of three networks, the last would have a seed above 2^32
    config, _ = load_config(ROOT / "configs/lecun_1998.py:lenet4-boosted", boosted)
    assert validation.problems(config, devices=False) == [
        f"train.seed is {2**31}: it must be at most {(2**32 - 3) // 3}"
    ]
    last = [f"--config.train.seed={2**32 - 1}"]
    config, problems = load_config(configs.BASE, last)
    assert problems + validation.problems(config, devices=False) == []
    assert validation.configs_of_seeds(configs.BASE, last, 1)[1] == []
    assert validation.configs_of_seeds(configs.BASE, last, 2)[1] == [
        f"--seeds: the last seed would be {2**32}, above {2**32 - 1}"
    ]
