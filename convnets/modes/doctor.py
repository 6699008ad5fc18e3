"""--mode=doctor: examines the environment: versions, devices, data sets, cache; names faults and slow settings, and their remedies.

Imports nothing but the standard library before it has been tried in another process, so that it works where a package is
missing, fails, or ends Python.
"""

import json
import os
import platform
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from convnets.runtime import environment, import_probe, provenance

NEWEST_JAX = "0.12"  # CI runs every test on it; docs/speed.md compares it with 0.10.2, the last for Python 3.11
RECIPES = ("mnist", "cifar10", "imagenet2012")  # data sets of the papers' recipes
LITTLE_MEMORY, LITTLE_DISK, FEW_CORES = 4 * 2**30, 2 * 2**30, 4
MODULES = {"absl-py": "absl", "google-crc32c": "google_crc32c", "orbax-checkpoint": "orbax.checkpoint", "pillow": "PIL",
           "scikit-learn": "sklearn", "tensorflow-cpu": "tensorflow"}  # fmt: skip
SHOWN = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow", "tensorflow-cpu", "tensorflow-datasets",
         "numpy")  # fmt: skip


class Report:
    """Facts by section, faults that keep the program from running, and advice about slow or missing things."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, str]] = []
        self.broken: list[str] = []
        self.advice: list[str] = []

    def show(self) -> str:
        """Returns the report as text."""
        lines = []
        for name, text in self.facts:
            lines += textwrap.wrap(text, 100, initial_indent=f"{name:<10}", subsequent_indent=" " * 10)
        for mark, found in (("BROKEN", self.broken), ("advice", self.advice)):
            for text in dict.fromkeys(found):
                lines += textwrap.wrap(text, 100, initial_indent=f"{mark:<10}", subsequent_indent=" " * 10)
        return "\n".join(lines if self.broken or self.advice else [*lines, "all is well"])


def examine(arguments: Sequence[str]) -> int:
    """Prints the report; returns 1 if the program cannot run here, else 0.

    Args:
        arguments: of run.py; only --config.data.data_dir matters.
    """
    given = [a.partition("=")[2] for a in arguments if re.match("--?config.data.data_dir=", a)]
    environment.correct_variables()
    report = Report()
    for name, section in (
        ("python", look_at_python), ("packages", look_at_packages), ("processor", look_at_processor),
        ("data", lambda report: look_at_data(report, given[-1] if given else "")), ("cache", look_at_cache),
        ("code", look_at_code),
    ):  # fmt: skip
        try:
            section(report)
        except ModuleNotFoundError as e:
            report.broken.append(f"{e.name} is not installed into this Python: make run, or pip install -e .")
        except Exception as e:  # whatever it is, the other sections are still worth having
            report.facts.append((name, f"cannot be looked at: {type(e).__name__}: {' '.join(str(e).split())[:160]}"))
    print(report.show(), flush=True)
    return int(bool(report.broken))


def explain_import(e: Exception, arguments: Sequence[str]) -> int:
    """Prints why a package that run.py needs does not import, or examines everything for --mode=doctor; returns 1."""
    if any(re.fullmatch("--?mode=doctor", a) for a in arguments) or "doctor" in arguments:
        examine(arguments)
    else:
        print(f"error: {type(e).__name__}: {' '.join(str(e).split())}; python run.py --mode=doctor looks at this"
              " environment", file=sys.stderr)  # fmt: skip
    return 1


def look_at_python(report: Report) -> None:
    """Adds the version of Python."""
    report.facts.append(("python", f"{platform.python_version()}, {sys.executable}, {platform.platform(terse=True)}"))
    if not (3, 11) <= sys.version_info < (3, 14):
        report.advice.append("Python 3.11 to 3.13 are tested: 'rm -r .venv', then PYTHON=python3.13 make run")


def look_at_packages(report: Report) -> None:
    """Compares the versions with the bounds of setup.cfg, and imports every package in another process."""
    names, versions = list[str](), dict[str, str]()
    try:
        wanted = metadata.requires("convnets") or []
    except metadata.PackageNotFoundError:
        wanted = []
        report.broken.append("convnets is not installed into this Python: make run, or pip install -e .")
    from packaging.requirements import Requirement

    for requirement in map(Requirement, wanted):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = {"tensorflow-cpu": "tensorflow"}.get(requirement.name, requirement.name)
        found = next((v for n in (requirement.name, name) if (v := _version(n))), None)
        if found is None:
            report.broken.append(f"{requirement.name} is not installed: pip install -e .")
            continue
        versions[name] = found
        names.append(MODULES.get(name, name.replace("-", "_")))
        if not requirement.specifier.contains(found, prereleases=True):
            report.advice.append(f"{requirement} is wanted, {found} is installed: pip install -e .")
    versions["jaxlib"] = _version("jaxlib") or "none"
    report.facts.append(("packages", ", ".join(f"{n} {versions[n]}" for n in SHOWN if n in versions)))
    slow = [name for name in names if name.startswith("tensorflow")]  # these take as long as all others together
    others = [name for name in names if name not in ("jax", *slow)]
    failures, devices = import_probe.try_imports([["jax", *others], slow], provenance.ROOT)
    report.broken += failures
    _look_at_devices(report, devices)
    if versions.get("jax") and _numbers(versions["jax"]) < _numbers(NEWEST_JAX):
        report.advice.append(
            f"jax {versions['jax']} trains slower and takes more memory than {NEWEST_JAX}, which needs a newer Python:"
            " 'rm -r .venv', then PYTHON=python3.13 make run" if sys.version_info < (3, 12) else
            f"jax {versions['jax']} trains slower and takes more memory than {NEWEST_JAX}: pip install -U jax"
        )  # fmt: skip


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except Exception:  # it is missing, or its metadata are damaged
        return None


def _numbers(version: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", version)[:2]]


def _look_at_devices(report: Report, devices: Sequence[Sequence[str]]) -> None:
    kinds = [kind for _, kind in devices]
    words = [f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)]
    settings = " ".join(f"{k}={os.environ[k]}" for k in ("JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES") if k in os.environ)
    report.facts.append(
        ("devices", (", ".join(words) or "none: JAX does not start") + f" ({settings})" * bool(settings))
    )
    for name, files in (("cuda", ("/dev/nvidia0", "/dev/nvidiactl")), ("tpu", ("/dev/accel0", "/dev/vfio/0"))):
        if devices and all(p == "cpu" for p, _ in devices) and any(Path(file).exists() for file in files):
            report.advice.append(
                f"an accelerator is here that JAX does not use: unset JAX_PLATFORMS={os.environ['JAX_PLATFORMS']}"
                if "JAX_PLATFORMS" in os.environ else
                f"an accelerator is here that JAX does not use: pip install -e '.[{name}]'"
            )  # fmt: skip


def look_at_processor(report: Report) -> None:
    """Adds the processor, its instruction sets and the memory."""
    info, memory = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    model = re.search(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else None
    units = environment.processor_flags()
    known = [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if unit in units]
    usable = environment.count_cores()
    quota = Path("/sys/fs/cgroup/cpu.max")
    share, period = (quota.read_text().split() if quota.exists() else ["max", ""])[:2]
    cores = usable if share == "max" else min(usable, max(int(share) // int(period), 1))
    sizes = (
        {k: int(v) * 1024 for k, v in re.findall(r"(\w+):\s+(\d+) kB", memory.read_text())} if memory.exists() else {}
    )
    free = sizes.get("MemAvailable")
    report.facts.append(("processor", f"{cores} of {os.cpu_count()} cores, {model[1] if model else platform.processor()},"
                         f" {', '.join(known) or 'instruction sets unknown'}"
                         + (f"; {size(free)} of {size(sizes['MemTotal'])} memory are free" if free else "")))  # fmt: skip
    if units and "avx512f" not in units:
        report.advice.append("no AVX-512: matrix products have half the width here; docs/speed.md has both")
    if units and not {"avx512_bf16", "amx_bf16"} & set(units):
        report.advice.append("no bfloat16 instructions: keep model.dtype=float32 on this processor")
    elif units and _numbers(_version("jaxlib") or "0") >= [0, 11]:
        report.advice.append("bfloat16 instructions: --config.model.dtype=bfloat16 trains large networks faster here;"
                             " docs/speed.md has both")  # fmt: skip
    if cores < FEW_CORES:
        report.advice.append(f"{cores} cores: take the rows for two cores (--size=cpu) and --jobs=1 for networks of"
                             " more than seconds; photographs are decoded slower than a GPU trains")  # fmt: skip
    if free is not None and free < LITTLE_MEMORY:
        report.advice.append(
            f"{size(free)} of memory are free, which is little: take a smaller train.batch_size, or data.loader=stream"
        )


def look_at_data(report: Report, data_dir: str) -> None:
    """Adds the data sets that are prepared in `data_dir`."""
    from convnets.data import sources

    where = sources.directory(data_dir)
    found = list(_list_data_sets(where, sources.version_dir))
    names = [name for name, _ in found]
    shown = [f"{name} {version.name}" for name, version in found]
    more = f" and {len(shown) - 12} more" if len(shown) > 12 else ""
    report.facts.append(("data", f"{where}: {', '.join(shown[:12]) or 'no data sets'}{more}"))
    if not where.is_dir():
        report.advice.append(f"there is no folder {where}: --config.data.data_dir=DIR or TFDS_DATA_DIR says where data"
                             " sets are, or are to be downloaded to")  # fmt: skip
    missing = [name for name in RECIPES if name not in names]
    if missing:
        report.advice.append(f"not prepared: {', '.join(missing)}; --mode=prepare, or the first run, downloads a data set"
                             + "; imagenet2012 needs --manual_dir" * ("imagenet2012" in missing))  # fmt: skip
    for name, version in found:
        try:
            json.loads((version / "dataset_info.json").read_bytes())
        except (OSError, ValueError) as e:
            report.advice.append(f"{name}: {version / 'dataset_info.json'} is damaged ({type(e).__name__}); remove"
                                 f" {version}, and it is prepared again")  # fmt: skip


def _list_data_sets(where: Path, find: Callable[[Path], Path | None]) -> Iterator[tuple[str, Path]]:
    """Yields names and version folders of prepared data sets: NAME/VERSION and NAME/CONFIG/VERSION."""
    for folder in sorted(p for p in where.iterdir() if p.is_dir()) if where.is_dir() else []:
        if own := find(folder):
            yield folder.name, own
            continue
        for inner in sorted(p for p in folder.iterdir() if p.is_dir()):
            if own := find(inner):
                yield f"{folder.name}/{inner.name}", own


def look_at_cache(report: Report) -> None:
    """Adds the size of the cache and the free disk space."""
    from convnets.data import cache

    folder = cache.cache_dir()
    there = next(p for p in (folder, *folder.parents) if p.exists())
    compiled = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or folder / "xla")
    writable, free = there.is_dir() and os.access(there, os.W_OK | os.X_OK), shutil.disk_usage(there).free
    parts = {"decoded images": folder / "data", "statistics": folder / "statistics", "compiled programs": compiled}
    sizes = ", ".join(f"{size(_bytes(path))} {name}" for name, path in parts.items())
    report.facts.append(("cache", f"{folder}: {sizes}; {size(free)} of disk are free"))
    if not writable:
        report.advice.append(f"the cache {folder} cannot be written: every run decodes and compiles again;"
                             " CONVNETS_CACHE=FOLDER names another")  # fmt: skip
    if free < LITTLE_DISK:
        report.advice.append(f"{size(free)} of disk are free where the cache is: remove {folder}, which is made again")


def _bytes(path: Path) -> int:
    """Returns the size of a folder; what cannot be read counts as nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - a cache may hold 100,000 files
            except OSError:
                continue
    return total


def look_at_code(report: Report) -> None:
    """Adds the folder and the commit of the code."""
    found = provenance.commit()
    head = "" if found == "unknown" else provenance.shorten(found)
    report.facts.append(("code", f"{provenance.ROOT}, {f'commit {head}' if head else 'of no git commit'}"))
    if not head:
        report.advice.append("without git, results name no commit and --mode=report takes none: install git, clone")


def size(count: float) -> str:
    """Returns a number of bytes in a readable unit."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            break
        count, unit = count / 1024, "TiB"
    return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"
