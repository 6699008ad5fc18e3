"""What the demonstrations share: programs in experiments/ that are no tables of runs. Their numbers go into RESULTS.md."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from convnets.config import load_config
from convnets.errors import Error, UsageError
from convnets.report import results
from convnets.runtime import drawing, environment, provenance


def run(main: Callable[[], None]) -> None:
    """Runs a program; an error is one line and its exit code."""
    environment.tune()
    try:
        main()
    except Error as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(e.code)


def read_arguments(doc: str, seeds: int = 0, data: bool = False) -> argparse.Namespace:
    """Returns the arguments of a program: `seeds`, if the argument here is above 0, and `data_dir`, if `data`.

    Args:
        doc: the docstring of the program, whose first line describes it.
        seeds: number of seeds where none is given.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    if seeds:
        parser.add_argument("--seeds", type=int, default=seeds, help=f"how many learn; {seeds} where it is not given")
    if data:
        parser.add_argument("--data_dir", default="", help="data directory of TensorFlow Datasets; its own default")
    return parser.parse_args()


def open_config(source: str, overrides: Sequence[str], seed: int, data_dir: str) -> ConfigDict:
    """Returns the config `source`, relative to the repository root, with overrides; raises UsageError if it is wrong."""
    place = [f"--config.data.data_dir={data_dir}"] if data_dir else []
    config, problems = load_config(results.ROOT / source, [*overrides, f"--config.train.seed={seed}", *place])
    if config is None or problems:
        raise UsageError("\n".join(problems))
    return config


def entry(
    program: str, what: str, seed: int | None, metrics: Mapping[str, float], *, dataset: str, steps: int, seconds: float
) -> dict[str, Any]:
    """Returns one entry of results.jsonl.

    Args:
        program: the name of the file in experiments/.
        what: of what the metrics are.
        seed: None of a program whose numbers have no chance in them.
    """
    device = jax.devices()[0]
    return {
        "config": f"experiments/{program}.py", "overrides": [what],
        "command": f"python -m experiments.{program}" + (f" --seeds={seed + 1}" if seed is not None else ""),
        "dataset": dataset, "protocol": f"{what}, seed {seed or 0}", "seed": seed or 0, "steps": steps,
        "seconds": round(seconds, 2), "commit": provenance.commit(), "versions": provenance.versions(),
        "device": {"kind": device.device_kind, "count": 1}, "metrics": dict(metrics),
    }  # fmt: skip


def keep(entries: Sequence[Mapping[str, Any]]) -> None:
    """Records the entries of committed code in experiments/results.jsonl."""
    if "+" in provenance.commit():
        print("not recorded: the code is not committed")
    else:
        print(f"{results.keep_results(entries)} new results recorded; python run.py --mode=report lists them")


@contextlib.contextmanager
def draw_into_docs(program: str) -> Iterator[Path]:
    """Yields the path of a program's figure, docs/PROGRAM.png; a failure to draw it costs one line of warning."""
    path = results.ROOT / "docs" / f"{program}.png"
    with drawing.guard(path):
        yield path
        print(f"drawn: {path.relative_to(results.ROOT)}")
