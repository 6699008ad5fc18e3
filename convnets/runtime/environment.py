"""Settings of XLA and of the C library's allocator, made before JAX starts."""

import contextlib
import ctypes
import os
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

# Flags of XLA on CPUs. An XLA that does not know a flag ends the program, so only versions that were measured are given it.
CPU_FLAGS = (
    # jaxlib from, before   processor has   the flag and what it gives
    # XLA's own convolution in place of a library's: ResNet-20 trains 1.9 times as fast (make bench-parts)
    ((0, 10), (0, 13), "", "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"),
)


def processor_flags() -> list[str]:
    """The instruction sets that the processor has, by Linux's names such as avx512_bf16; none where nothing tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split() for line in lines if line.startswith("flags")), [])


def tune(deterministic: bool) -> None:
    """Before JAX starts: what was measured to help, unless the user has an opinion."""
    if os.environ.get("JAX_PLATFORMS") == "cpu" or not (
        metadata.entry_points(group="jax_plugins") or find_spec("libtpu")
    ):
        keep_memory()
    version = tuple(map(int, metadata.version("jaxlib").split(".")[:2]))
    flags_set = os.environ.get("XLA_FLAGS", "").split()
    for first, last, unit, flag in CPU_FLAGS:
        known = any(given.startswith(flag.split("=")[0]) for given in flags_set)
        if first <= version < last and not known and (not unit or unit in processor_flags()):
            flags_set.append(flag)
    if deterministic:
        flags_set.append("--xla_gpu_deterministic_ops=true")
    if flags_set:
        os.environ["XLA_FLAGS"] = " ".join(flags_set)


def keep_memory() -> None:
    """Stops glibc returning freed memory to the system, which would page-fault the buffers again in every step.

    Networks gain speed by it and need more memory, since a freed buffer does not always fit the next request of its size:
    `make bench-parts` has the time without it, `make bench` the memory. Mapping the buffers of 512 MiB and more anew each
    time brought GoogLeNet from 3.5 to 1.9 GB, but made ResNet-18 and ResNet-50 a fifth slower, the latter without saving
    any. Pages of 2 MB (GLIBC_TUNABLES=glibc.malloc.hugetlb=1) did as well for a third of the memory on one day, and on
    another cost half of the speed. Runs on an accelerator gain nothing: their buffers lie elsewhere, and threads that read
    data would wait for each other.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return  # the user has an opinion
    with contextlib.suppress(OSError, AttributeError):  # another C library
        option = ctypes.CDLL("libc.so.6").mallopt
        arenas, mapped, trim = -8, -4, -1  # of malloc.h: M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD
        never = -1  # an int's 2 GB would be one buffer of a large network
        for name, value in ((arenas, 1), (mapped, 0), (trim, never)):
            option(name, value)
