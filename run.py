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
    python run.py --mode=predict --weights=lenet5 --images=a.png,b.png     classes of images, by an included network
    python run.py --mode=predict --workdir=runs/lenet5 --images=FOLDER --output=guesses.csv    by a run, into a file
    python run.py --mode=export --workdir=runs/lenet5 --weights=FILE       write its weights as .safetensors
    python run.py --mode=describe --config=configs/lenet.py:mnist          the layers of a network
    python run.py --mode=describe --config=... --figure=FILE.svg           and its drawing
    python run.py --mode=visualize --workdir=runs/lenet5                   draw what a run has learned
    python run.py --mode=visualize --config=FILE.py:VARIANT --weights=FILE --images=a.png    or published weights
    python run.py --mode=prepare --config=... [--manual_dir=DIR]           make its data set ready, count it
    python run.py --mode=prepare --config=... --figure=inputs.png          and draw training images, augmented
    python run.py --mode=sweep --experiment=experiments/pool_kind.py       every row of a table, with every seed; verdicts
    python run.py --mode=sweep --config=FILE.py:VARIANT --grid=optim.lr=0.02,0.05 --grid=train.batch_size=32,128 --seeds=3
    python run.py --mode=compare --workdirs=runs/a,runs/b                  runs side by side: configs, errors, costs, curves
    python run.py --mode=report --workdirs=runs/a,runs/b                   record runs and sweeps, renew the tables
    python run.py --mode=doctor                                            versions, devices, data, cache; faults and slow settings

The same command again resumes a run, or says that it is complete. Exit codes: 0 done, 1 crash, 2 wrong usage, 3 data,
4 diverged, 5 checkpoint, 75 preempted and saved.
"""

import importlib
import os
import sys
import traceback
from pathlib import Path

try:
    from absl import flags

    from convnets.config import split_arguments
    from convnets.errors import Error, Preempted, UsageError, first_line
    from convnets.modes import parsing, usage
    from convnets.runtime import distributed, environment, streams, watchdog
    from convnets.training import validation
except Exception as e:  # a package is missing, or fails
    from convnets.modes import doctor

    sys.exit(doctor.explain_import(e, sys.argv[1:]))

DEFAULT_CONFIG = "configs/lenet.py:digits"
MODES = ("train", "evaluate", "predict", "export", "describe", "visualize", "prepare", "sweep", "compare", "report",
         "doctor")  # fmt: skip

FLAGS = flags.FLAGS
flags.DEFINE_enum("mode", "train", MODES, "What to do.")
flags.DEFINE(parsing.PathParser(), "config", None, f"Config file and variant, FILE.py:VARIANT; {DEFAULT_CONFIG} where nothing says "
                    "otherwise. --config.KEY=VALUE overrides a leaf.")  # fmt: skip
flags.DEFINE(
    parsing.PathParser(),
    "workdir",
    None,
    "Folder of the run, or of what a mode writes; where it is not given runs/FILE-VARIANT for training, runs/EXPERIMENT-SIZE for a sweep, runs/compared for compare, runs/weights-NAME for an included network.",
)
flags.DEFINE_bool("allow_config_change", False, "For train: resume a run although its config differs.")
flags.DEFINE_bool("restart", False, "Train a finished run again whose checkpoints are gone, and replace its result.")
flags.DEFINE(parsing.PathParser(), "weights", "", "For evaluate, predict and visualize, in place of a run: a file of weights (.safetensors, .pth), or "
                    "the name of an included network, a folder of experiments/weights. For export: the .safetensors file to write.")  # fmt: skip
flags.DEFINE_string("name", "", "For evaluate: the result is written to evaluation-NAME.json, beside the results of other tests. "
                    "For export: adds the run to the included networks, as experiments/weights/NAME.")  # fmt: skip
flags.DEFINE(
    parsing.PathListParser(),
    "images",
    [],
    "For predict: image files, folders, and globs in quotes. For visualize: one file, in place of the first test image.",
)
flags.DEFINE(parsing.PathParser(), "output", "", "For predict: write the guesses to FILE.csv or FILE.json, and to FILE.png a contact "
                    "sheet of the images.")  # fmt: skip
flags.DEFINE_bool(
    "invert", False, "For predict and visualize: the images are dark on light and the training set is light on dark."
)
flags.DEFINE(
    parsing.PathParser(), "manual_dir", "", "For prepare: the folder of archives that were downloaded by hand."
)
flags.DEFINE(parsing.PathListParser(), "workdirs", [], "For report: folders of finished runs and of sweeps to record. "
                  "For evaluate: an ensemble of runs. For compare: runs side by side, drawn into --workdir. For visualize: each run is drawn "
                  "into its own folder, and their statistics side by side into --workdir. "
                  "A comma within the name of an existing path does not split it.")  # fmt: skip
flags.DEFINE(parsing.PathParser(), "experiment", None, "For sweep: a file of experiments/.")
flags.DEFINE_multi_string("grid", [], "For sweep: LEAF=VALUE,VALUE,..., in place of --experiment: every combination with the "
                          "other --grid flags, on --config. A comma within brackets or quotes is part of a value.")  # fmt: skip
flags.DEFINE_enum("size", "cpu", ("cpu", "full", "pilot"), "For sweep: minutes on two cores, the paper's own size, or the "
                  "pilot that chose the rates.")  # fmt: skip
flags.DEFINE_integer("seeds", None, "For sweep: how many seeds; the experiment's own number, or 1 for a grid, where it is not given. For "
                     "train: so many runs as one program, with the seeds from train.seed on, in WORKDIR/seed0, ...", 1)  # fmt: skip
flags.DEFINE_enum(
    "launcher", "local", ("local", "slurm", "print"), "For sweep: this machine, Slurm, or the commands only."
)
flags.DEFINE_integer("jobs", 1, "For sweep: trials at a time; they share the cores and an accelerator's memory.", 1)
flags.DEFINE_list("slurm", [], "For sweep: KEY=VALUE for sbatch, such as partition=gpu,gres=gpu:1.")
flags.DEFINE_enum("distributed", "auto", distributed.MODES, "For train and evaluate, several processes as one. auto: as Slurm, "
                  "Open MPI, a TPU pod or Kubernetes started them; manual: by --coordinator_address, --num_processes and "
                  "--process_id; off: this process alone.")  # fmt: skip
flags.DEFINE_string("coordinator_address", "", "HOST:PORT of process 0, where the processes meet.")
flags.DEFINE_integer("num_processes", None, "Number of processes.", 1)
flags.DEFINE_integer("process_id", None, "Index of this process, from 0.", 0)
flags.DEFINE_string("local_device_ids", "auto", "The accelerators of this host that the process takes: all, numbers with "
                    "commas, or auto: all of them where it is alone there or --distributed=manual, else one each.")  # fmt: skip
flags.DEFINE_integer("peer_timeout", 60, "Seconds without a heartbeat after which a process counts as dead. At the start "
                     "the processes wait five times as long for each other.", 1)  # fmt: skip
flags.DEFINE_float("step_timeout", 0, "Seconds after which the program ends if no training step was finished; more than "
                   "compiling, a test on the way or a checkpoint takes. 0: never.", 0)  # fmt: skip
flags.DEFINE_integer("profile", 0, "For train: trace so many steps, once the program is warm, into WORKDIR/profile; see "
                     "docs/speed.md.", 0)  # fmt: skip
flags.DEFINE_bool("deterministic", False, "On GPUs too the same command gives the same bits; slower. CPUs do anyway.")
flags.DEFINE_bool("json", False, "For describe and predict: print JSON.")
flags.DEFINE(
    parsing.PathParser(),
    "figure",
    "",
    "For describe: draw the network into this file, .svg, .pdf or .png. For "
    "prepare: draw training images as the network sees them, after data.train_ops.",
)


def main(argv: list[str]) -> int:
    """Runs a command; returns the exit code."""
    overrides, others = split_arguments(parsing.expand_flagfiles(FLAGS, argv))
    if {"--help", "-h", "-help", "--helpfull"} & set(others):
        print(__doc__ + "\nFlags:\n" + FLAGS.main_module_help())
        return 0
    stray = parsing.parse_flags(FLAGS, others)
    if FLAGS.mode == "doctor" and not stray:
        from convnets.modes import doctor

        return doctor.examine(overrides)
    environment.tune(FLAGS.deterministic)
    command = usage.check_command(FLAGS, stray, overrides, DEFAULT_CONFIG)
    if FLAGS.mode == "report":
        from convnets.report import generate

        generate.generate(command.members)
        return 0
    if FLAGS.mode == "sweep":
        from convnets.modes import sweep

        return sweep.sweep(FLAGS, command.source, command.workdir, overrides)
    if FLAGS.mode == "compare":
        from convnets.modes import compare

        compare.compare(command.members, command.workdir)
        return 0
    start_program(command)
    try:
        run_mode(command)
    except RuntimeError as e:  # JaxRuntimeError
        if not str(e).startswith("RESOURCE_EXHAUSTED"):
            raise
        advice = "take a smaller train.batch_size or evaluate.batch_size, or data.loader=stream"
        raise Error(f"{first_line(e).rstrip('.')}; {advice}") from None
    return 0


def start_program(command: usage.Command) -> None:
    """Sets up JAX, its compilation cache and, if wanted, the process group."""
    import jax

    from convnets.data import cache

    jax.config.update("jax_default_prng_impl", "threefry2x32")
    jax.config.update("jax_threefry_partitionable", True)
    probed = cache.cache_dir() / "writable"
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if not given and cache.keep(probed, lambda file: file.write_bytes(bytes(4096))):
        jax.config.update("jax_compilation_cache_dir", str(probed.with_name("xla")))  # compile once for all runs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_enable_compilation_cache", environment.can_cache_programs())
    if command.distributed:
        distributed.start(*usage.process_group(FLAGS), FLAGS.local_device_ids, FLAGS.peer_timeout)
        watchdog.listen()
        if FLAGS.mode == "train":  # who only reads a run never writes
            distributed.check_same_folder(command.workdir)
        validation.check_processes(command.config)
        if FLAGS.mode == "train" and (problem := validation.explain_indivisible(command.config)):
            raise UsageError(problem)
    environment.start_jax(devices=FLAGS.mode not in ("describe", "prepare"))


def run_mode(command: usage.Command) -> None:
    """Runs the mode of a checked command."""
    several = FLAGS.mode == "train" and command.configs
    name = "train_seeds" if several else FLAGS.mode
    mode = importlib.import_module(f"convnets.modes.{name}")  # alone: no mode waits for what others import
    config, workdir, members, overrides = command.config, command.workdir, command.members, command.overrides
    if FLAGS.mode == "train":
        what = {"configs": command.configs} if several else {"config": config, "profile": FLAGS.profile}
        mode.train(**what, workdir=workdir, allow_config_change=FLAGS.allow_config_change, step_timeout=FLAGS.step_timeout,
                   restart=FLAGS.restart, origin={"config": command.source, "overrides": overrides})  # fmt: skip
    elif FLAGS.mode == "evaluate" and members:
        mode.ensemble(members, overrides, workdir if FLAGS.workdir else None, FLAGS.name)
    elif FLAGS.mode == "evaluate":
        mode.evaluate(config, command.opened, command.weights, FLAGS.name)
    elif FLAGS.mode == "predict":
        mode.predict(config, command.opened, command.weights, FLAGS.images, FLAGS.invert, FLAGS.output, FLAGS.json)
    elif FLAGS.mode == "export" and FLAGS.name:
        mode.include(config, workdir, FLAGS.name)
    elif FLAGS.mode == "export":
        mode.export(config, workdir, Path(command.weights))
    elif FLAGS.mode == "describe":
        mode.describe(config, FLAGS.json, FLAGS.figure)
    elif FLAGS.mode == "prepare":
        mode.prepare(config, FLAGS.manual_dir, FLAGS.figure)
    elif FLAGS.mode == "visualize" and members:
        mode.compare(members, overrides, workdir)
    elif FLAGS.mode == "visualize":
        mode.visualize(config, command.opened, command.weights, FLAGS.images, FLAGS.invert, workdir)


if __name__ == "__main__":
    streams.open_streams()
    try:
        code = main(sys.argv)
        sys.stdout.flush()  # a reader that has left is noticed here, not at the end of Python
    except Preempted as e:
        code = e.code
        if distributed.is_main():
            print(e, file=sys.stderr)
    except Error as e:
        code = e.code
        watchdog.fail(code, str(e))
    except ImportError as e:  # of a package that only this mode needs
        code = 1
        watchdog.fail(code, f"{e}; python run.py --mode=doctor looks at this environment")
    except BrokenPipeError:  # the reader has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
        if distributed.process_count() > 1:
            watchdog.fail(code, "the reader of standard output has left")
    except KeyboardInterrupt:
        print("interrupted; the same command resumes from the last checkpoint, if one was saved", file=sys.stderr)
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
