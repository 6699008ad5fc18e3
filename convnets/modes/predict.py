"""--mode=predict: the most probable classes of image files."""

import contextlib
import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from convnets.data import image_files
from convnets.errors import UsageError
from convnets.modes.output import CONSOLE, make_table
from convnets.runtime import drawing, files
from convnets.training.trained_run import BATCH, TrainedRun

GUESSES = 3
SHEET = 100  # images on the contact sheet, at most


def predict(
    config: ConfigDict,
    workdir: Path,
    file: str,
    images: Sequence[str],
    invert: bool,
    output: str,
    as_json: bool = False,
) -> None:
    """Prints the most probable classes of images; writes them, and a contact sheet of the images, if `output` is given.

    Args:
        workdir: the run, or the folder of an included network.
        file: weights file in place of the run's checkpoint; or ''.
        images: files, folders and globs.
        output: FILE.csv or FILE.json; the contact sheet is FILE.png. Or ''.
        as_json: prints the guesses as JSON in place of the table.

    Raises:
        UsageError: there is no image, or the contact sheet would replace one; or files cannot be read as images: the
            guesses of all others were printed, written and drawn before.
    """
    drawn = Path(output).with_suffix(".png").resolve() if output else None
    # Where the guesses of an earlier call are, an image of that name in a folder or glob is its contact sheet.
    earlier = drawn if output and Path(output).exists() else None
    names = list(dict.fromkeys(name for given in images for name in image_files.find(given)
                               if name == given or Path(name).resolve() != earlier))  # fmt: skip
    if not names:
        raise UsageError(f"--images: {', '.join(images)} holds no image but {drawn}, the contact sheet of --output")
    if drawn in [Path(name).resolve() for name in names]:
        raise UsageError(
            f"--output={output}: its contact sheet would replace {drawn}, one of the images; give another name"
        )
    run = TrainedRun(config, workdir, file)
    if not run.has_probabilities and not as_json:
        print(f"this network was trained on loss={config.loss}: its outputs are shown, not probabilities")
    read: list[str] = []
    values: list[np.ndarray] = []
    shown: list[np.ndarray] = []
    problems: list[str] = []
    for start in range(0, len(names), BATCH):
        pixels = []
        for name in names[start : start + BATCH]:
            try:
                with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):  # its notes
                    pixels.append(run.read([name], invert)[0])
                read.append(name)
            except UsageError as e:
                problems.append(str(e))
        if pixels:
            values += list(run.score(np.stack(pixels)))
            shown += pixels[: SHEET - len(shown)]
    if read:
        _report(run, read, values, shown, output, as_json)
    if problems:
        raise UsageError("\n".join(problems))


def _report(
    run: TrainedRun, names: Sequence[str], values: Sequence[np.ndarray], shown: Sequence[np.ndarray], output: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Prints the guesses of images; writes them, and draws the first images as `shown`, if `output` is given."""
    guesses = [best_guesses(run.class_names, row, run.has_probabilities) for row in values]
    text = [[f"{name}  {show(run, value)}" for name, value in row] for row in guesses]
    table = make_table("image", *(f"guess {i + 1}" for i in range(len(text[0]))))
    for name, row in zip(names, text, strict=True):
        table.add_row(files.escape_unprintable(name), *row)
    if as_json:
        print(format_guesses(".json", names, guesses, run.has_probabilities), end="", flush=True)
    else:
        CONSOLE.print(table)
    if not output:
        return
    path, sheet = Path(output), Path(output).with_suffix(".png")
    files.write_text(path, format_guesses(path.suffix, names, guesses, run.has_probabilities))
    said = sys.stderr if as_json else sys.stdout  # standard output is for the JSON alone
    print(f"written to {path}", file=said)
    with drawing.guard(sheet):
        from convnets.analysis import run_plots

        titles = [row[0] for row in text[: len(shown)]]
        more = f", the first {len(shown)}" if len(names) > len(shown) else ""
        many = len(names) > 1
        title = f"{len(names):,} image{'s' * many}{more}, as {run.config.model.name} sees {'them' if many else 'it'}"
        run_plots.plot_contact_sheet(shown, titles, sheet, title)
        print(f"drawn: {sheet}", file=said)


def best_guesses(class_names: Sequence[str], values: np.ndarray, logarithms: bool = False) -> list[tuple[str, float]]:
    """Returns the GUESSES classes with the largest values [classes], the largest first.

    Args:
        logarithms: the values are logarithms, in which small probabilities still differ; returns the probabilities.
    """
    return [
        (class_names[i], float(np.exp(values[i]) if logarithms else values[i])) for i in np.argsort(-values)[:GUESSES]
    ]


def show(run: TrainedRun, value: float) -> str:
    """Formats a probability in percent, or an output that is no probability."""
    return f"{100 * value:.2f} %" if run.has_probabilities else f"{value:.2f}"


def format_guesses(
    suffix: str, names: Sequence[str], guesses: Sequence[Sequence[tuple[str, float]]], probabilities: bool
) -> str:
    """Returns the content of a .json file, a list of images with their guesses, or of a .csv file, a line an image."""
    unit = "probability" if probabilities else "output"
    if suffix == ".json":
        rows = [{"image": name, "guesses": [{"class": c, unit: round(v, 6)} for c, v in row]}
                for name, row in zip(names, guesses, strict=True)]  # fmt: skip
        return json.dumps(rows, indent=2) + "\n"
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["image", *(f"{what} {i + 1}" for i in range(len(guesses[0])) for what in ("guess", unit))])
    for name, row in zip(names, guesses, strict=True):
        writer.writerow([files.escape_unprintable(name), *(cell for c, v in row for cell in (c, f"{v:.6f}"))])
    return file.getvalue()
