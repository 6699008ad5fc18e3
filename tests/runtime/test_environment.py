"""The process environment that run.py sets before JAX starts."""

import ctypes
import os
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np

from convnets.runtime import environment
from tests.conftest import ROOT


def test_what_helps_is_set_where_nobody_has_an_opinion(monkeypatch):
    calls = []
    monkeypatch.setattr(ctypes, "CDLL", lambda _: types.SimpleNamespace(mallopt=lambda *option: calls.append(option)))
    for name in [n for n in os.environ if n.startswith("MALLOC_") or n == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", "--mine")
    environment.tune(deterministic=True)
    assert (
        os.environ["XLA_FLAGS"] == f"--mine {environment.CPU_FLAGS[0][3]} --xla_gpu_deterministic_ops=true"
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


def test_compiled_programs_are_right():
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
