"""XLA flags and C allocator settings, applied before JAX starts."""

import contextlib
import ctypes
import os
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from convnets.errors import UsageError

# XLA flags for CPUs. XLA aborts on an unknown flag, so each is set only for the jaxlib versions it was measured on.
ONEDNN = "--xla_cpu_experimental_onednn_custom_call=true"
CPU_FLAGS = (
    # (first jaxlib version, first excluded version, dtype, required processor flag, XLA flag)
    # Nothing by the library YNNPACK. In 0.10.2 and 0.12.0.1 some of its fused sums are wrong (jax-ml/jax#39103;
    # tests/runtime/test_environment.py, tests/training/test_multi_seed.py). XLA's own convolution is also faster.
    ((0, 10), (0, 13), "", "", "--xla_cpu_experimental_ynn_fusion_type="),
    # Convolutions and products by the library oneDNN, which jaxlib contains since 0.11. XLA itself computes both in
    # float32. In float32 oneDNN is faster for some networks and slower for others (`make bench-parts`).
    ((0, 11), (0, 13), "bfloat16", "avx512_bf16", ONEDNN),
)


NO_HOME = os.devnull  # home of a user without one: nothing can be written there


def processor_flags() -> list[str]:
    """Returns the processor's instruction sets by their Linux names, such as avx512_bf16; empty if unknown."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split() for line in lines if line.startswith("flags")), [])


def count_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tune(deterministic: bool = False, dtype: str = "float32") -> None:
    """Applies the settings that were measured to help, before JAX starts; settings of the user take precedence."""
    correct_variables()
    set_xla_flags(deterministic, dtype)
    if has_only_cpus():
        keep_memory()


def has_only_cpus() -> bool:
    """Whether JAX has no accelerator's plugin, or is told to use CPUs."""
    plugins = metadata.entry_points(group="jax_plugins") or find_spec("libtpu")
    return os.environ.get("JAX_PLATFORMS") == "cpu" or not plugins


def correct_variables() -> None:
    """Corrects environment variables that libraries take literally, with folders in the working directory as result."""
    if platforms := os.environ.get("JAX_PLATFORMS"):
        os.environ["JAX_PLATFORMS"] = platforms.strip().lower()  # JAX knows no CPU, only cpu
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):  # an empty or relative one is to be ignored, says their standard
        if not Path(os.environ.get(name, "/")).is_absolute():
            del os.environ[name]
    try:
        Path.home()
    except RuntimeError:  # a user id without an entry in /etc/passwd
        os.environ["HOME"] = NO_HOME


def start_jax(devices: bool) -> None:
    """Imports JAX; with `devices`, also initializes its devices.

    Raises:
        UsageError: the environment asks for what JAX does not have, such as JAX_PLATFORMS=cuda on a machine without.
    """
    try:
        import jax

        jax.config.update("jax_numpy_rank_promotion", "allow")  # the layers broadcast, whatever the environment says
        _ = devices and jax.devices()
    except Exception as e:  # RuntimeError, ValueError, AssertionError
        asked = {k: v for k, v in os.environ.items() if k.startswith("JAX_") and k != "JAX_COMPILATION_CACHE_DIR"}
        said = " ".join((str(e) or "there is no such device").split())[:200]
        settings = " ".join(f"{k}={v}" for k, v in asked.items())
        raise UsageError(f"JAX does not start with {settings or 'this environment'}: {said}") from None


def set_xla_flags(deterministic: bool = False, dtype: str = "float32") -> None:
    """Appends XLA flags to XLA_FLAGS, unless the user has set them. They count until JAX initializes its devices.

    Args:
        deterministic: adds the GPUs' flag for deterministic operations.
        dtype: the compute dtype of the networks, for the flags of CPU_FLAGS.
    """
    version = tuple(map(int, metadata.version("jaxlib").split(".")[:2]))
    flags_set = os.environ.get("XLA_FLAGS", "").split()
    for first, last, only, unit, flag in CPU_FLAGS:
        known = any(given.startswith(flag.split("=")[0]) for given in flags_set)
        # The flag for one dtype calls oneDNN, which disables the cache of compiled programs (`can_cache_programs`).
        # So it is set only where JAX has no accelerator, whose programs are cached.
        fits = (not only or (only == dtype and has_only_cpus())) and (not unit or unit in processor_flags())
        if first <= version < last and not known and fits:
            flags_set.append(flag)
    if deterministic:
        flags_set.append("--xla_gpu_deterministic_ops=true")
    if flags_set:
        os.environ["XLA_FLAGS"] = " ".join(flags_set)


def can_cache_programs() -> bool:
    """Whether JAX can store compiled programs: serializing one that calls oneDNN fails with `std::bad_alloc`."""
    name = ONEDNN.partition("=")[0]
    given = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if flag.startswith(name)]
    return not given or given[-1].endswith(("=false", "=0"))


def keep_memory() -> None:
    """Stops glibc returning freed memory to the OS, which would page-fault the large buffers again every step.

    Training becomes faster but needs more memory, because a freed buffer does not always fit the next request of its
    size. `make bench-parts` measures the time without this setting, `make bench` the memory.

    Alternatives tried: a fresh mapping for each buffer of at least 512 MiB (M_MMAP_THRESHOLD) saved memory for GoogLeNet
    alone and made ResNet-18 and ResNet-50 slower. Pages of 2 MB (GLIBC_TUNABLES=glibc.malloc.hugetlb=1) gave the same
    speed with less memory on one day, but half the speed on another.

    Runs on an accelerator gain nothing: their buffers are in device memory, and data-loading threads would contend for
    the single arena.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return  # the user has configured the allocator
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        option = ctypes.CDLL("libc.so.6").mallopt
        arenas, mapped, trim = -8, -4, -1  # from malloc.h: M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD
        never = -1  # disables trimming; the int maximum, 2 GB, is only one buffer of a large network
        for name, value in ((arenas, 1), (mapped, 0), (trim, never)):
            option(name, value)
