"""Architecture rules that a program can check: import layers, config arguments, no machine paths."""

import ast
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from configs import base
from convnets import models
from convnets.config import leaf_keys, load_config
from convnets.data import dataset
from convnets.evaluation.evaluator import Evaluator
from convnets.sweep.experiment import load_experiments
from convnets.training import checkpoint, validation
from convnets.training.optimizer import make_recipe
from tests.conftest import ROOT

FILES = sorted((ROOT / "convnets").rglob("*.py"))
# Layers of convnets/, lowest first. A module imports only from its own or lower layers, and never in a cycle.
LEVELS = (
    ("errors",),
    ("op_string", "config", "losses", "plotting", "layers", "runtime"),
    ("models", "augment"),
    ("data",),
    ("evaluation",),
    ("training",),
    ("analysis", "sweep"),
    ("modes", "report"),
    ("api", "convnets"),
)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "convnets").with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts) or "convnets"


def level(name: str) -> int:
    """Returns the layer of a module's top-level file or package; every one must be listed in LEVELS."""
    (found,) = (i for i, names in enumerate(LEVELS) if name.split(".")[0] in names)
    return found


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "convnets":
            rest = node.module.removeprefix("convnets").lstrip(".")
            for alias in node.names:
                full = f"{rest}.{alias.name}".lstrip(".")
                is_file = (ROOT / "convnets" / f"{full.replace('.', '/')}.py").exists()
                is_package = (ROOT / "convnets" / full.replace(".", "/") / "__init__.py").exists()
                found.add(full if is_file or is_package else rest or "convnets")
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("convnets.") for a in node.names if a.name.startswith("convnets.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down_or_sideways(path):
    own = level(name_of(path))
    for other in imports(path):
        assert level(other) <= own, f"{name_of(path)} imports {other}, which lies above it"


def test_nothing_imports_in_circles():
    graph = {name_of(p): imports(p) for p in FILES}

    def visit(name, path):
        assert name not in path, " -> ".join([*path, name])
        for other in graph.get(name, ()):
            visit(other, [*path, name])

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("word, home", [(r"\bpmap\b|lax\.scan", "runtime.parallel"), ("matplotlib", "plotting")])
def test_some_words_have_one_home(word, home):
    users = {name_of(p) for p in FILES if re.search(word, re.sub(r'"""[\s\S]*?"""|#.*', "", p.read_text()))}
    assert users == {home}


def test_functions_and_files_are_short():
    """Guides are 60 and 230 lines; these are the limits."""
    for path in [*FILES, ROOT / "run.py"]:
        text = path.read_text()
        assert text.count("\n") <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 65, f"{path}: {node.name}"


def test_tensorflow_is_imported_only_inside_functions():
    for path in FILES:
        if path.parent.name == "builders":  # TFDS builders are imported only to prepare a data set
            continue
        for node in ast.parse(path.read_text()).body:
            names = (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "") or ""]
            )
            assert not any(n.startswith("tensorflow") for n in names), path


def test_base_config_is_the_arguments_of_functions():
    config = base.get_config()
    assert len(leaf_keys(config)) <= 40
    for section, function, own in [
        ("model", models.create, {"options"}),
        ("data", dataset.load_splits, set()),
        ("optim", make_recipe, {"steps_per_epoch", "batch_size"}),
        ("checkpoint", checkpoint.Checkpoints.__init__, {"self", "directory"}),
        ("evaluate", Evaluator.__init__, {"self", "model", "loss", "split"}),
    ]:
        parameters = inspect.signature(function).parameters
        assert set(config[section]) - {"every_steps"} == set(parameters) - own, section


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_every_variant_of_every_config_is_right(path):
    module = importlib.import_module(f"configs.{path.stem}")
    # Those of experiments are validated, at the cost of tracing their networks, in tests/sweep/test_launcher.py.
    sizes = [size for e in load_experiments().values() for size in (e.cpu, e.full) if size]
    rows = {row.config for size in sizes for row in size.rows if not row.overrides}
    for variant in getattr(module, "VARIANTS", {}):
        config, problems = load_config(f"{path}:{variant}", [])
        assert problems == [], variant
        if f"configs/{path.name}:{variant}" not in rows:
            assert [p for p in validation.problems(config) if "devices" not in p] == [], variant
        assert set(leaf_keys(base.get_config())) <= set(leaf_keys(config))
        assert re.search(rf"^    {re.escape(variant)}\b", module.__doc__, re.M), f"{variant} is not in the docstring"


def test_no_machine_paths_in_the_tree():
    for path in [*FILES, *ROOT.glob("*.md"), *(ROOT / "configs").glob("*.py"), *(ROOT / "experiments").glob("*")]:
        if path.is_file():
            assert not re.search(r"/work/|/root/|/home/|/tmp/", path.read_text()), path


# What CONTRIBUTING.md says under "Adding": the files that a network, an operation and an experiment need, and no others.

NETWORK = '''"""A network of one layer."""

import flax.linen as nn
import jax.numpy as jnp

from convnets.layers import Dense


class Dummy(nn.Module):
    num_classes: int
    dtype: jnp.dtype = jnp.float32
    input_shape = (8, 8, 1)

    @nn.compact
    def __call__(self, x, *, train: bool):
        return Dense(self.num_classes, dtype=self.dtype, name="fc")(x.reshape(len(x), -1))
'''
OPERATION = '''
def nudge(seed: Any, image: Image, n: int) -> Image:
    """Takes n x n pixels at one of the two top corners."""
    corner = _draw(seed, 1) * (image.size[1] - n)
    return _cut(image, [[0, corner]], [n, n])


HOST = make_table(
    Op(nudge, size="fixed", random=True, still=lambda n: Call("center", center, {"n": n})),'''
EXPERIMENT = '''"""One row and one claim."""

from convnets.sweep import Claim, Experiment, Row, Scale

EXPERIMENT = Experiment(
    "Dummy", "test_error",
    cpu=Scale(
        rows=[Row("a", "configs/ablation.py:mnist10k"), Row("b", "configs/ablation.py:mlp")],
        claims=[Claim("a is better", "nowhere", better="a", worse="b")],
        seeds=2,
    ),
)
'''


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Returns a copy of the program."""
    root = tmp_path_factory.mktemp("house")
    for name in ("convnets", "configs", "experiments"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run.py", root)
    return root


def insert(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def run_in(house: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=house, capture_output=True, text=True,
                          env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(house)})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_network_is_a_file_and_a_line(house):
    (house / "convnets/models/dummy.py").write_text(NETWORK)
    registry = house / "convnets/models/__init__.py"
    insert(registry, "MODELS: dict[str, Any] = {\n", 'MODELS: dict[str, Any] = {\n    "dummy": dummy.Dummy,\n')
    insert(registry, "import alexnet, googlenet", "import alexnet, dummy, googlenet")
    said = json.loads(run_in(house, "run.py", "--mode=describe", "--config=configs/base.py:dummy", "--json"))
    assert said["totals"]["parameters"] == 8 * 8 * 10 + 10


def test_a_random_host_operation_is_a_function_and_a_row(house):
    insert(house / "convnets/augment/host_ops.py", "\nHOST = make_table(", OPERATION)
    run_in(house, "-c", """if True:
        import io
        import numpy as np
        from PIL import Image
        from convnets.augment import host_ops, pipeline
        from convnets.errors import UsageError
        file = io.BytesIO()
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 12)).save(file, "png")
        host, device = pipeline.parse("decode|resize_short(4)|nudge(3)|flip")
        shown = [host_ops.apply(host, [0, 256 * i], file.getvalue(), 1).numpy() for i in [*range(9), 3]]
        assert {image.shape for image in shown} == {(3, 3, 1)} and len({image.tobytes() for image in shown}) == 2
        assert (shown[3] == shown[-1]).all() and host_ops.remove_chance(host[2]).name == "center"
        try:
            pipeline.parse("decode|resize_short(4)|nudge(3)", test=True)
        except UsageError as e:
            assert "'nudge' is random" in str(e)
        else:
            raise AssertionError("a random operation was taken for a test")
        """)  # fmt: skip


def test_an_experiment_is_a_file(house):
    (house / "experiments/dummy.py").write_text(EXPERIMENT)
    said = run_in(house, "run.py", "--mode=sweep", "--experiment=experiments/dummy.py", "--launcher=print",
                  f"--workdir={house / 'runs'}")  # fmt: skip
    assert said.count("--config=configs/ablation.py:mnist10k") == said.count("--config=configs/ablation.py:mlp") == 2
