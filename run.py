"""Train, test, use and describe the classic convolutional networks.

    python run.py                                                          LeNet-5 on handwritten digits
    python run.py --config=configs/lenet.py:mnist --workdir=runs/lenet5    another config, its run kept in a folder
    python run.py --config=configs/lenet.py:mnist --config.optim.lr=0.002  any leaf of a config overridden
    srun python run.py --config=configs/resnet.py:50 --workdir=DIR         on several hosts as one, see docs/scale-out.md
    python run.py --config=... --workdir=runs/traced --profile=20          with a trace of 20 steps, see docs/speed.md
    python run.py --config=... --workdir=runs/five --seeds=5               five seeds as one program, a run's folder each
    python run.py --mode=evaluate --workdir=runs/lenet5                    test a run again
    python run.py --mode=evaluate --workdir=runs/a --config.evaluate.protocol=ten_crop    by another protocol
    python run.py --mode=evaluate --workdirs=runs/a,runs/b                 test runs and their ensemble
    python run.py --mode=evaluate --config=FILE.py:VARIANT --weights=FILE  test published weights
    python run.py --mode=predict --workdir=runs/lenet5 --images=a.png,b.png
    python run.py --mode=export --workdir=runs/lenet5 --weights=FILE       write its weights as .safetensors
    python run.py --mode=describe --config=configs/lenet.py:mnist          the layers of a network
    python run.py --mode=visualize --workdir=runs/lenet5                   draw what a run has learned
    python run.py --mode=visualize --config=FILE.py:VARIANT --weights=FILE --images=a.png    or published weights
    python run.py --mode=prepare --config=... [--manual_dir=DIR]           make its data set ready, count it
    python run.py --mode=sweep --experiment=experiments/lenet.py           every row of a table, with every seed
    python run.py --mode=report --workdirs=runs/a,runs/b                   record runs and sweeps, renew the tables

The same command again resumes a run, or says that it is complete. Exit codes: 0 done, 1 crash, 2 wrong usage, 3 data,
4 diverged, 5 checkpoint, 75 preempted and saved.
"""

import contextlib
import ctypes
import os
import sys
import traceback
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from absl import flags

from convnets import processes, validate, watchdog
from convnets.errors import Error, Preempted, UsageError

DEFAULT_CONFIG = "configs/lenet.py:digits"
MODES = ("train", "evaluate", "predict", "export", "describe", "visualize", "prepare", "sweep", "report")

FLAGS = flags.FLAGS
flags.DEFINE_enum("mode", "train", MODES, "What to do.")
flags.DEFINE_string("config", None, f"Config file and variant, FILE.py:VARIANT; {DEFAULT_CONFIG} where nothing says "
                    "otherwise. --config.KEY=VALUE overrides a leaf.")  # fmt: skip
flags.DEFINE_string("workdir", None, "Folder of the run; runs/FILE-VARIANT for training where it is not given.")
flags.DEFINE_bool("allow_config_change", False, "Resume a run although its config differs.")
flags.DEFINE_string("weights", "", "For evaluate and visualize: a file of weights (.safetensors, .pth) in place of a run. "
                    "For export: the .safetensors file to write.")  # fmt: skip
flags.DEFINE_string("name", "", "For evaluate: the result goes into evaluation-NAME.json, beside those of other tests.")
flags.DEFINE_list("images", [], "For predict: image files. For visualize: one, in place of the first test image.")
flags.DEFINE_bool(
    "invert", False, "For predict and visualize: the images are dark on light and the training set is light on dark."
)
flags.DEFINE_string("manual_dir", "", "For prepare: the folder of archives that were downloaded by hand.")
flags.DEFINE_list("workdirs", [], "For report: folders of finished runs and of sweeps to record. "
                  "For evaluate: an ensemble of runs. For visualize: runs side by side, drawn into --workdir.")  # fmt: skip
flags.DEFINE_string("experiment", None, "For sweep: a file of experiments/.")
flags.DEFINE_enum("size", "cpu", ("cpu", "full"), "For sweep: minutes on two cores, or the paper's own size.")
flags.DEFINE_integer("seeds", None, "For sweep: how many seeds; the experiment's own number where it is not given. For "
                     "train: so many runs as one program, with the seeds from train.seed on, in WORKDIR/seed0, ...", 1)  # fmt: skip
flags.DEFINE_enum(
    "launcher", "local", ("local", "slurm", "print"), "For sweep: this machine, Slurm, or the commands only."
)
flags.DEFINE_integer("jobs", 1, "For sweep: trials at a time; they share the cores and an accelerator's memory.", 1)
flags.DEFINE_list("slurm", [], "For sweep: KEY=VALUE for sbatch, such as partition=gpu,gres=gpu:1.")
flags.DEFINE_enum("distributed", "auto", processes.MODES, "For train and evaluate, several processes as one: as Slurm, "
                  "Open MPI, a TPU pod or Kubernetes started them; by the next three flags; or this one alone.")  # fmt: skip
flags.DEFINE_string("coordinator_address", "", "HOST:PORT of process 0, where the processes meet.")
flags.DEFINE_integer("num_processes", None, "How many they are.", 1)
flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.", 0)
flags.DEFINE_string("local_device_ids", "auto", "The accelerators of this host that the process takes: all, numbers with "
                    "commas, or auto: all of them where it is alone there, else one each.")  # fmt: skip
flags.DEFINE_integer("peer_timeout", 60, "Seconds after which a process that is not heard of counts as dead; five times "
                     "as long is waited until all have met.", 1)  # fmt: skip
flags.DEFINE_float("step_timeout", 0, "Seconds after which the program ends if no training step was finished; more than "
                   "compiling, a test on the way or a checkpoint takes. 0: never.", 0)  # fmt: skip
flags.DEFINE_integer("profile", 0, "For train: trace so many steps, once the program is warm, into WORKDIR/profile; see "
                     "docs/speed.md.", 0)  # fmt: skip
flags.DEFINE_bool("deterministic", False, "On GPUs too the same command gives the same bits; slower. CPUs do anyway.")
flags.DEFINE_bool("json", False, "For describe: print JSON.")


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

    Buffers of 512 MiB and more are returned all the same. Kept, they double or triple the peak memory of large networks,
    since a freed one rarely fits the next request (GoogLeNet: 4.3 GB in place of 1.9), and their page faults cost the
    smallest share of a step. `make bench-parts` compares with the C library's own setting. Pages of 2 MB (GLIBC_TUNABLES=
    glibc.malloc.hugetlb=1) did as well for a third of the memory on one day, and on another cost half of the speed. Runs on
    an accelerator gain nothing: their buffers lie elsewhere, and threads that read data would wait for each other.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return  # the user has an opinion
    with contextlib.suppress(OSError, AttributeError):  # another C library
        option = ctypes.CDLL("libc.so.6").mallopt
        arenas, map_from, trim = -8, -3, -1  # of malloc.h: M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
        never = -1
        for name, value in ((arenas, 1), (map_from, 512 * 2**20), (trim, never)):
            option(name, value)


def main(argv: list[str]) -> int:
    overrides, others = validate.split_arguments(argv)
    if {"--help", "-h", "-help", "--helpfull"} & set(others):
        print(__doc__ + "\nFlags:\n" + FLAGS.main_module_help())
        return 0
    try:
        stray = FLAGS(others)[1:]
    except flags.Error as e:
        raise UsageError(str(e).replace("\n", " ")) from None
    tune(FLAGS.deterministic)
    source, problems = validate.usage(FLAGS, stray, DEFAULT_CONFIG)
    if source is None or (problems and FLAGS.mode in ("report", "sweep")):
        raise UsageError("\n".join(problems))
    given = Path(FLAGS.workdir).expanduser().absolute() if FLAGS.workdir else None
    members = [Path(name).expanduser().absolute() for name in FLAGS.workdirs]

    if FLAGS.mode == "report":
        from convnets import report

        report.report(members)
        return 0

    if FLAGS.mode == "sweep":
        from convnets import sweep

        folder = given or Path("runs", f"{Path(FLAGS.experiment).stem}-{FLAGS.size}").absolute()
        return sweep.sweep(FLAGS.experiment, FLAGS.size, folder, FLAGS.seeds, overrides, FLAGS.launcher, FLAGS.jobs,
                           FLAGS.slurm)  # fmt: skip

    config, wrong = validate.load(source, overrides)
    problems += wrong
    several = FLAGS.mode == "train" and FLAGS.seeds is not None
    configs, wrong = validate.population(source, overrides, FLAGS.seeds) if several and not problems else ([], [])
    problems += wrong
    group = (FLAGS.distributed, FLAGS.coordinator_address, FLAGS.num_processes, FLAGS.process_id)
    meets = FLAGS.mode in ("train", "evaluate")
    problems += processes.problems(*group, FLAGS.local_device_ids) if meets else []
    meets = meets and not problems and processes.wanted(FLAGS.distributed)
    if several and meets:
        problems.append("--seeds: these runs are trained by one process: take --distributed=off")
    if FLAGS.profile and (FLAGS.mode != "train" or several or (config is not None and config.loss == "svm")):
        problems.append(
            "--profile traces the steps of one run that trains step by step: not several seeds, not loss=svm"
        )
    if config is not None:
        problems += validate.problems(config, devices=FLAGS.mode == "train" and not meets)
    workdir = given or Path("runs", str(source).removesuffix(".py").split("/")[-1].replace(".py:", "-")).absolute()
    if FLAGS.mode in ("train", "visualize") or (FLAGS.mode == "evaluate" and members and given):
        problems += validate.workdir(workdir)
    if problems:
        raise UsageError("\n".join(problems))

    import jax

    from convnets import population, prepare, verbs
    from convnets.data import cache_dir

    jax.config.update("jax_default_prng_impl", "threefry2x32")
    jax.config.update("jax_threefry_partitionable", True)
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):  # what was compiled once is not compiled again
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if meets:
        processes.start(*group, FLAGS.local_device_ids, FLAGS.peer_timeout)
        watchdog.listen()
        processes.same_folder(workdir)
        if FLAGS.mode == "train" and (problem := validate.divisible(config)):
            raise UsageError(problem)
    verb = {
        "train": lambda: (
            population.train(configs, workdir, FLAGS.allow_config_change, FLAGS.step_timeout)
            if several
            else verbs.train(config, workdir, FLAGS.allow_config_change, FLAGS.step_timeout, FLAGS.profile)
        ),
        "evaluate": lambda: (
            verbs.ensemble(members, overrides, given, FLAGS.name)
            if members
            else verbs.evaluate(config, workdir, FLAGS.weights, FLAGS.name)
        ),
        "predict": lambda: verbs.predict(config, workdir, FLAGS.images, FLAGS.invert),
        "export": lambda: verbs.export(config, workdir, Path(FLAGS.weights)),
        "visualize": lambda: look_inside(config, members, overrides, workdir),
        "describe": lambda: verbs.describe(config, FLAGS.json),
        "prepare": lambda: prepare.prepare(config, FLAGS.manual_dir),
    }[FLAGS.mode]
    verb()
    return 0


def look_inside(config: Any, members: list[Path], overrides: list[str], workdir: Path) -> None:
    from convnets import visualize  # with all that draws and fits, for which no other mode should wait

    if members:
        visualize.compare(members, overrides, workdir)
    else:
        visualize.visualize(config, workdir, FLAGS.weights, FLAGS.images, FLAGS.invert)


if __name__ == "__main__":
    try:
        code = main(sys.argv)
    except Preempted as e:
        code = e.code
        if processes.first():
            print(e, file=sys.stderr)
    except Error as e:
        code = e.code
        watchdog.fail(code, str(e))
    except BrokenPipeError:  # who reads has seen enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:
        print("interrupted; the same command resumes from the last checkpoint", file=sys.stderr)
        code = 130
        if processes.count() > 1:
            watchdog.fail(code, "interrupted")
    except Exception as e:  # not raised again: all that it holds is to be freed before Python ends, see stream.py
        code = 1
        if processes.count() == 1:
            traceback.print_exc()
        else:
            watchdog.fail(code, f"{type(e).__name__}: {e}".splitlines()[0], traceback.format_exc())
    if processes.count() > 1:
        processes.leave(code)
    sys.exit(code)
