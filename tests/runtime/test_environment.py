"""The process environment that run.py sets before JAX starts."""

import ctypes
import os
import pwd
import re
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convnets.data import cache, sources
from convnets.errors import DataError
from convnets.runtime import environment
from convnets.runtime.import_tensorflow import import_tensorflow
from tests.conftest import ROOT, run_here


def test_what_helps_is_set_where_nobody_has_an_opinion(monkeypatch):
    calls = []
    monkeypatch.setattr(ctypes, "CDLL", lambda _: types.SimpleNamespace(mallopt=lambda *option: calls.append(option)))
    for name in [n for n in os.environ if n.startswith("MALLOC_") or n == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", "--mine")
    environment.tune(deterministic=True)
    assert (
        os.environ["XLA_FLAGS"] == f"--mine {environment.CPU_FLAGS[0][-1]} --xla_gpu_deterministic_ops=true"
        and len(calls) == 3
    )
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=x")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "8")
    environment.tune()
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_experimental_ynn_fusion_type=x" and len(calls) == 3
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr(environment.metadata, "entry_points", lambda group: ["an accelerator's plugin"])
    environment.tune()
    assert len(calls) == 3


@pytest.mark.parametrize(
    "jaxlib, units, dtype, given, wanted",
    [("0.12.0.1", ["avx512_bf16"], "bfloat16", "", True), ("0.12.0.1", ["avx512_bf16"], "float32", "", False),
     ("0.12.0.1", ["avx2"], "bfloat16", "", False), ("0.10.2", ["avx512_bf16"], "bfloat16", "", False),
     ("0.13.0", ["avx512_bf16"], "bfloat16", "", False),
     ("0.12.0.1", ["avx512_bf16"], "bfloat16", environment.ONEDNN.replace("true", "false"), False),
     ("0.12.0.1", ["avx2"], "float32", environment.ONEDNN, True)],
)  # fmt: skip
def test_bfloat16_is_computed_by_onednn_where_the_processor_has_units(jaxlib, units, dtype, given, wanted, monkeypatch):
    """The user's own setting wins. Programs that call oneDNN are not cached, whoever asked for it."""
    monkeypatch.setattr(environment.metadata, "version", lambda name: jaxlib)
    monkeypatch.setattr(environment, "processor_flags", lambda: units)
    monkeypatch.setenv("XLA_FLAGS", given)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    environment.set_xla_flags()
    environment.set_xla_flags(dtype=dtype)
    flags_set = os.environ["XLA_FLAGS"].split()
    assert (environment.ONEDNN in flags_set) == wanted == (not environment.can_cache_programs())
    assert len({flag.split("=")[0] for flag in flags_set}) == len(flags_set)  # set once


def test_programs_of_an_accelerator_are_cached_in_bfloat16_too(monkeypatch):
    monkeypatch.setattr(environment.metadata, "version", lambda name: "0.12.0.1")
    monkeypatch.setattr(environment, "processor_flags", lambda: ["avx512_bf16"])
    monkeypatch.setattr(environment.metadata, "entry_points", lambda group: ["an accelerator's plugin"])
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    environment.set_xla_flags(dtype="bfloat16")
    assert environment.can_cache_programs() and environment.ONEDNN not in os.environ["XLA_FLAGS"]


@pytest.mark.parametrize(
    "value, cached", [("", False), ("=1", False), ("=true", False), ("=0", True), ("=false", True)]
)
def test_every_spelling_of_onednns_flag_decides_the_cache(value, cached, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", environment.ONEDNN.partition("=")[0] + value)
    assert environment.can_cache_programs() == cached


def test_compiled_programs_are_right(optimized):
    """The sum of products of jax-ml/jax#39103: with YNNPACK, jaxlib 0.10.2 computes the last rows wrongly."""
    rows = jnp.stack([jnp.arange(32_769.0)] * 3, axis=1)
    function = jax.vmap(lambda row: jnp.sum(jnp.square(jnp.eye(3) @ row)))
    np.testing.assert_allclose(jax.jit(function)(rows), 3 * np.arange(32_769.0) ** 2, rtol=1e-6)


def test_a_buffer_of_more_than_2_GiB_is_kept_too():
    code = """if True:
        import resource, numpy as np
        from convnets.runtime import environment
        environment.keep_memory()
        for _ in range(2):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            buffer = np.empty(9 * 2**28, np.uint8)
            buffer[::4096] = 1
            del buffer
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k != "GLIBC_TUNABLES"}
    environment["NUMPY_MADVISE_HUGEPAGE"] = "0"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert int(done.stdout) < 100, done.stderr  # page faults, for more than half a million pages


@pytest.mark.parametrize("given, wanted", [("CPU", "cpu"), (" cpu ", "cpu"), ("Cuda,CPU", "cuda,cpu"), ("", "")])
def test_platforms_are_read_without_regard_to_case(given, wanted, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", given)
    environment.correct_variables()
    assert os.environ["JAX_PLATFORMS"] == wanted


def test_variables_that_would_make_folders_here_are_dropped(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", "/somewhere")
    environment.correct_variables()
    assert not {"XDG_CACHE_HOME", "XDG_CONFIG_HOME"} & set(os.environ) and os.environ["HOME"] == "/somewhere"
    monkeypatch.setenv("XDG_CACHE_HOME", "/absolute")
    environment.correct_variables()
    assert os.environ["XDG_CACHE_HOME"] == "/absolute"


def test_a_user_without_a_home_has_one_where_nothing_is_written(monkeypatch):
    for name in ("HOME", "CONVNETS_CACHE", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    environment.correct_variables()
    assert cache.cache_dir().is_relative_to(os.devnull)
    with pytest.raises(DataError, match="no home folder to hold data sets"):
        sources.directory("")
    assert sources.directory("/sets") == Path("/sets")


def test_an_empty_variable_names_no_folder_of_data_sets(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "")
    monkeypatch.setenv("HOME", "/somewhere")
    assert sources.directory("") == Path("/somewhere/tensorflow_datasets")


@pytest.mark.parametrize(
    "variable, said",
    [("JAX_PLATFORMS=cuda", ""), ("JAX_PLATFORMS=gpu", "backend"), ("JAX_PLATFORMS=tpux", "tpux"),
     ("JAX_ENABLE_X64=maybe", "invalid truth value 'maybe'")],
)  # fmt: skip
def test_what_jax_does_not_have_is_one_line(variable, said):
    code = "from convnets.runtime import environment as e; e.start_jax(devices=True)"
    name, _, value = variable.partition("=")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, name: value}, capture_output=True, text=True
    )
    if done.returncode:  # a machine may have the accelerator
        line = done.stderr.splitlines()[-1]
        assert (
            line.startswith("convnets.errors.UsageError: JAX does not start with ")
            and variable in line
            and said in line
        )


def test_a_lack_of_device_memory_is_one_line(monkeypatch):
    from convnets.modes import describe

    monkeypatch.setattr(describe, "describe", lambda *_: jax.numpy.zeros(2**50, np.uint8))
    _, err = run_here("--mode=describe", code=1)
    assert re.fullmatch(r"error: RESOURCE_EXHAUSTED: [^.]*; take a smaller train.batch_size or .*\n", err)


def test_the_tensorflow_of_the_user_stays_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "tensorflow.py").write_text("""if True:
        import os
        keras, hidden = os.environ["TF_USE_LEGACY_KERAS"], []
        class config:
            set_visible_devices = lambda *what: hidden.append(what)
        """)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # to be restored
    del sys.modules["tensorflow"]
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    for _ in range(2):
        assert import_tensorflow().hidden == [([], "GPU")]
        assert "TF_USE_LEGACY_KERAS" not in os.environ  # tf.keras of the user would look for the legacy package
    monkeypatch.setitem(sys.modules, "tensorflow", types.SimpleNamespace())
    import_tensorflow()  # does not touch its devices
