"""Shared test setup, stricter than a run: two CPU devices, strict dtype promotion, and warnings are errors.

Two devices make pmap run on more than one device. XLA has the flags of a run, but LLVM compiles without optimization: most
programs run once, and optimizing them would take most of the time. What is about the numbers of optimized programs uses the
fixture `optimized`.
"""

import contextlib
import gzip
import io
import os
import re
import sys
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest

from convnets.errors import Error
from convnets.runtime import environment, watchdog

environment.set_xla_flags()
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # of the programs that tests start
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "allow")


def pytest_configure(config):
    """Enables the XLA compilation cache, shared by tests, the programs they start, and later pytest runs."""
    if not hasattr(config, "cache"):  # switched off by -p no:cacheprovider
        return
    compiled = str(config.cache.mkdir("xla"))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled
    jax.config.update("jax_compilation_cache_dir", compiled)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


# The files that take longest, of the processor or of the clock.
LONGEST = ("test_configs", "test_faults", "test_lecture", "test_hosts", "test_gradients", "test_surroundings", "test_launcher",
           "test_run", "test_slurm", "test_damage", "test_bad_data", "test_bad_flags", "test_docs", "test_train_step", "test_trainer",
           "test_models")  # fmt: skip


def pytest_collection_modifyitems(items):
    """Schedules the slowest test files first, so that no worker starts one of them last."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


# Networks that have more of the layers of a smaller one of their family, and nothing else.
DEEPER = re.compile(r"(resnet|plain)(32|44|56|110|1202)_cifar|(resnet|plain)34|resnet(101|152)(_v1_5)?|vgg_[bde](_bn)?")

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("CONVNETS_SHARED", ROOT / ".." / "shared"))


@pytest.fixture(scope="session")
def shared_data() -> str:
    """Returns the folder of prepared TFDS data sets; skips the test if there is none."""
    path = SHARED / "tfds"
    if not path.exists():
        pytest.skip(f"no prepared data sets in {path}; set CONVNETS_SHARED")
    return str(path)


@pytest.fixture(scope="session")
def scratch(tmp_path_factory) -> Path:
    """Returns a temporary folder for prepared data and caches, shared by all tests of a session."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(autouse=True, scope="session")
def _isolated(scratch):
    os.environ["CONVNETS_CACHE"] = str(scratch / "cache")
    os.environ["TFDS_DATA_DIR"] = str(scratch / "tfds")


@pytest.fixture(scope="module")
def optimized():
    """Compiles the programs of a file, and of the processes that it starts, as a run does."""
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    with mock.patch.dict(os.environ, JAX_DISABLE_MOST_OPTIMIZATIONS="0"):
        yield
    jax.config.update("jax_disable_most_optimizations", True)


def run_here(*arguments, code: int = 0) -> tuple[str, str]:
    """Runs run.py in this process, on its two devices; returns what it wrote to standard output and error."""
    import run

    for flag in run.FLAGS.flags_by_module_dict()["run"]:
        flag.unparse()
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(ROOT), mock.patch.object(sys, "argv", []), mock.patch.object(environment, "keep_memory"),
        mock.patch.dict(os.environ),  # XLA flags of a config
        contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
    ):  # fmt: skip
        try:
            found = run.main(["run.py", *map(str, arguments)])
        except Error as e:
            found = e.code
            watchdog.fail(found, str(e))
    assert found == code, (out.getvalue(), err.getvalue())
    return out.getvalue(), err.getvalue()


def write_zip_codes(folder: Path, sizes: dict[str, int], suffix: str = "") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Writes made-up files zip.SPLIT of so many digits, with all 2,001 grey levels in 8 of them.

    Returns the values, [n, 256] from -1 to 1, and the labels, [n], of each split.
    """
    folder.mkdir()
    made = {}
    for split, n in sizes.items():
        rng = np.random.default_rng(n)
        values = rng.permutation(np.resize(np.arange(-1000, 1001), n * 256)).reshape(n, 256) / 1000
        labels = rng.integers(0, 10, n)
        lines = [f"{label:.4f} " + " ".join(f"{v:.4f}" for v in row) for label, row in zip(labels, values, strict=True)]
        text = "".join(f"{line} \n" for line in lines).encode()
        (folder / f"zip.{split}{suffix}").write_bytes(gzip.compress(text) if suffix else text)
        made[split] = (values, labels)
    return made


def filled(like, seed=0):
    """Draws random variables with NumPy, which is fast: He variance for weights, scales and biases off 0 and 1."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        values = rng.standard_normal(leaf.shape, np.float32)
        if len(leaf.shape) == 1:
            return values * np.float32(0.1) + np.float32(path[-1].key in ("scale", "var"))
        return values * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))

    return jax.tree_util.tree_map_with_path(fill, like)


def reached(jaxpr):
    """Returns one bool per input of a jaxpr: whether any output depends on it."""
    needed = set(jaxpr.outvars)
    for equation in reversed(jaxpr.eqns):
        if not needed.isdisjoint(equation.outvars):
            needed.update(v for v in equation.invars if not hasattr(v, "val"))
    return [v in needed for v in jaxpr.invars]


def products(traced):
    """Returns the precision of every matrix product of a traced function, that of an inner function too."""
    found = []
    for equation in traced.eqns:
        found += [equation.params["precision"]] if equation.primitive.name == "dot_general" else []
        inner = [
            jaxpr for value in equation.params.values() for jaxpr in (value if isinstance(value, tuple) else [value])
        ]
        found += [precision for jaxpr in inner if hasattr(jaxpr, "eqns") for precision in products(jaxpr)]
    return found
