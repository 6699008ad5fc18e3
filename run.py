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

import os
import sys
import traceback
from pathlib import Path
from typing import Any

from absl import flags

from convnets.config import configs_of_seeds, load_config, split_arguments
from convnets.errors import Error, Preempted, UsageError
from convnets.modes import usage
from convnets.runtime import distributed, environment, streams, watchdog
from convnets.training import validation

DEFAULT_CONFIG = "configs/lenet.py:digits"
MODES = ("train", "evaluate", "predict", "export", "describe", "visualize", "prepare", "sweep", "report")

FLAGS = flags.FLAGS
flags.DEFINE_enum("mode", "train", MODES, "What to do.")
flags.DEFINE(usage.PathParser(), "config", None, f"Config file and variant, FILE.py:VARIANT; {DEFAULT_CONFIG} where nothing says "
                    "otherwise. --config.KEY=VALUE overrides a leaf.")  # fmt: skip
flags.DEFINE(
    usage.PathParser(), "workdir", None, "Folder of the run; runs/FILE-VARIANT for training where it is not given."
)
flags.DEFINE_bool("allow_config_change", False, "Resume a run although its config differs.")
flags.DEFINE_bool("restart", False, "Train a finished run again whose checkpoints are gone, and replace its result.")
flags.DEFINE(usage.PathParser(), "weights", "", "For evaluate and visualize: a file of weights (.safetensors, .pth) in place of a run. "
                    "For export: the .safetensors file to write.")  # fmt: skip
flags.DEFINE_string("name", "", "For evaluate: the result goes into evaluation-NAME.json, beside those of other tests.")
flags.DEFINE(
    usage.PathListParser(),
    "images",
    [],
    "For predict: image files. For visualize: one, in place of the first test image.",
)
flags.DEFINE_bool(
    "invert", False, "For predict and visualize: the images are dark on light and the training set is light on dark."
)
flags.DEFINE(usage.PathParser(), "manual_dir", "", "For prepare: the folder of archives that were downloaded by hand.")
flags.DEFINE(usage.PathListParser(), "workdirs", [], "For report: folders of finished runs and of sweeps to record. "
                  "For evaluate: an ensemble of runs. For visualize: runs side by side, drawn into --workdir. "
                  "A comma within the name of an existing path does not split it.")  # fmt: skip
flags.DEFINE(usage.PathParser(), "experiment", None, "For sweep: a file of experiments/.")
flags.DEFINE_enum("size", "cpu", ("cpu", "full"), "For sweep: minutes on two cores, or the paper's own size.")
flags.DEFINE_integer("seeds", None, "For sweep: how many seeds; the experiment's own number where it is not given. For "
                     "train: so many runs as one program, with the seeds from train.seed on, in WORKDIR/seed0, ...", 1)  # fmt: skip
flags.DEFINE_enum(
    "launcher", "local", ("local", "slurm", "print"), "For sweep: this machine, Slurm, or the commands only."
)
flags.DEFINE_integer("jobs", 1, "For sweep: trials at a time; they share the cores and an accelerator's memory.", 1)
flags.DEFINE_list("slurm", [], "For sweep: KEY=VALUE for sbatch, such as partition=gpu,gres=gpu:1.")
flags.DEFINE_enum("distributed", "auto", distributed.MODES, "For train and evaluate, several processes as one: as Slurm, "
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


def main(argv: list[str]) -> int:
    try:
        Path.cwd()
    except OSError:
        raise UsageError("the working directory does not exist any more; change to another one") from None
    try:
        sys.argv = argv = [argv[0], *FLAGS.read_flags_from_files(argv[1:])]  # the manifest names all arguments
    except (flags.Error, OSError, UnicodeDecodeError) as e:
        raise UsageError(f"--flagfile: {e}") from None
    overrides, others = split_arguments(argv)
    if {"--help", "-h", "-help", "--helpfull"} & set(others):
        print(__doc__ + "\nFlags:\n" + FLAGS.main_module_help())
        return 0
    try:
        stray = FLAGS(others)[1:]
    except flags.Error as e:
        raise UsageError(str(e).replace("\n", " ")) from None
    environment.tune(FLAGS.deterministic)
    source, problems = usage.usage(FLAGS, stray, DEFAULT_CONFIG)
    if source is None or (problems and FLAGS.mode in ("report", "sweep")):
        raise UsageError("\n".join(problems))
    given = Path(FLAGS.workdir).absolute() if FLAGS.workdir else None
    members = [Path(name).absolute() for name in FLAGS.workdirs]

    if FLAGS.mode == "report":
        from convnets.report import generate

        generate.generate(members)
        return 0

    if FLAGS.mode == "sweep":
        from convnets.sweep import launcher

        folder = given or Path("runs", f"{Path(FLAGS.experiment).stem}-{FLAGS.size}").absolute()
        return launcher.run_sweep(FLAGS.experiment, FLAGS.size, folder, FLAGS.seeds, overrides, FLAGS.launcher, FLAGS.jobs,
                           FLAGS.slurm)  # fmt: skip

    config, wrong = load_config(source, overrides)
    problems += wrong
    several = FLAGS.mode == "train" and FLAGS.seeds is not None
    configs, wrong = configs_of_seeds(source, overrides, FLAGS.seeds) if several and not problems else ([], [])
    problems += wrong
    group = (FLAGS.distributed, FLAGS.coordinator_address, FLAGS.num_processes, FLAGS.process_id)
    meets = FLAGS.mode in ("train", "evaluate")
    problems += distributed.problems(*group, FLAGS.local_device_ids) if meets else []
    meets = meets and not problems and distributed.is_wanted(FLAGS.distributed)
    if several and meets:
        problems.append("--seeds: these runs are trained by one process: take --distributed=off")
    if FLAGS.profile and (FLAGS.mode != "train" or several or (config is not None and config.loss == "svm")):
        problems.append(
            "--profile traces the steps of one run that trains step by step: not several seeds, not loss=svm"
        )
    if config is not None:
        environment.start_jax(devices=False)
        problems += validation.problems(config, devices=FLAGS.mode == "train" and not meets)
    workdir = given or Path("runs", str(source).removesuffix(".py").split("/")[-1].replace(".py:", "-")).absolute()
    if FLAGS.mode in ("train", "visualize") or (FLAGS.mode == "evaluate" and members and given):
        problems += usage.check_workdir(workdir, FLAGS.mode)
    if problems:
        raise UsageError("\n".join(problems))

    import jax

    from convnets.data import cache
    from convnets.modes import describe, evaluate, export, predict, prepare, train, train_seeds

    jax.config.update("jax_default_prng_impl", "threefry2x32")
    jax.config.update("jax_threefry_partitionable", True)
    probed = cache.cache_dir() / "writable"
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR") and cache.keep(
        probed, lambda file: file.write_bytes(bytes(4096))
    ):
        jax.config.update("jax_compilation_cache_dir", str(probed.with_name("xla")))  # compile once for all runs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if meets:
        distributed.start(*group, FLAGS.local_device_ids, FLAGS.peer_timeout)
        watchdog.listen()
        distributed.check_same_folder(workdir)
        if FLAGS.mode == "train" and (problem := validation.divisible(config)):
            raise UsageError(problem)
    environment.start_jax(devices=FLAGS.mode not in ("describe", "prepare"))
    run_mode = {
        "train": lambda: (
            train_seeds.train(configs, workdir, FLAGS.allow_config_change, FLAGS.step_timeout, FLAGS.restart)
            if several
            else train.train(
                config, workdir, FLAGS.allow_config_change, FLAGS.step_timeout, FLAGS.profile, FLAGS.restart
            )
        ),
        "evaluate": lambda: (
            evaluate.ensemble(members, overrides, given, FLAGS.name)
            if members
            else evaluate.evaluate(config, workdir, FLAGS.weights, FLAGS.name)
        ),
        "predict": lambda: predict.predict(config, workdir, FLAGS.images, FLAGS.invert),
        "export": lambda: export.export(config, workdir, Path(FLAGS.weights)),
        "visualize": lambda: look_inside(config, members, overrides, workdir),
        "describe": lambda: describe.describe(config, FLAGS.json),
        "prepare": lambda: prepare.prepare(config, FLAGS.manual_dir),
    }[FLAGS.mode]
    run_mode()
    return 0


def look_inside(config: Any, members: list[Path], overrides: list[str], workdir: Path) -> None:
    from convnets.modes import visualize  # with all that draws and fits, for which no other mode should wait

    if members:
        visualize.compare(members, overrides, workdir)
    else:
        visualize.visualize(config, workdir, FLAGS.weights, FLAGS.images, FLAGS.invert)


if __name__ == "__main__":
    streams.open_streams()
    try:
        code = main(sys.argv)
    except Preempted as e:
        code = e.code
        if distributed.is_main():
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
        if distributed.process_count() > 1:
            watchdog.fail(code, "interrupted")
    except (
        Exception
    ) as e:  # not raised again: all that it holds is to be freed before Python ends, see data/tf_pipeline.py
        code = 1
        if distributed.process_count() == 1:
            traceback.print_exc()
        else:
            watchdog.fail(code, f"{type(e).__name__}: {e}".splitlines()[0], traceback.format_exc())
    if distributed.process_count() > 1:
        distributed.exit_together(code)
    sys.exit(code)
