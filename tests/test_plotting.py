"""Figures of any names, under any settings of the user; a figure that fails costs one line."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from convnets.analysis import network_plots, run_figures, run_plots
from convnets.errors import DataError
from convnets.evaluation.evaluator import Evaluated
from convnets.modes import train
from convnets.modes.output import CONSOLE
from convnets.runtime.files import escape_unprintable
from convnets.runtime.progress import Progress
from convnets.sweep import launcher
from tests.conftest import ROOT

# What a class, a run or a picture may be called: a file name is any bytes without / and \0.
NAMES = ["ba$$", "$x$", r"\$5$", "$\\frac{$", r"\alpha_1^2", "[red]", "[/red]", "[/]", ":smile:", "{x}", "%s", "a\nb",
         "caf\udce9", "日本", "\u05d0\u0628", "_a", " ", "#1", "x" * 255]  # fmt: skip
LINES = [{"step": n + 1, "epoch": n / 4, "loss": 10.0 ** (2 - n), "error": 100.0 / 4**n, "test_loss": 1.0, "test_error": 9.0}
         for n in range(5)]  # fmt: skip
LAYER = {"layer": "a", "norm": "n", "mean": [0.0, 1.0], "std": [1e-3, 2.0], "raw": [3.0, 1.0], "dead": 0.0}


@pytest.fixture
def no_mathtext(monkeypatch):
    import matplotlib.mathtext

    monkeypatch.setattr(matplotlib.mathtext.MathTextParser, "parse", lambda *args, **kwargs: pytest.fail("parsed"))


@pytest.mark.parametrize("plot", ["confusion", "mistakes", "statistics", "units"])
def test_any_name_is_drawn_as_it_is(plot, tmp_path, no_mathtext):
    names, path = [escape_unprintable(name) for name in NAMES], tmp_path / "a.png"
    labels, guesses, images = np.arange(len(names)), np.roll(np.arange(len(names)), 1), np.zeros((len(names), 4, 4, 1))
    for title in (" ".join(names), *(names[:3] if plot == "units" else ())):
        {
            "confusion": lambda title: run_plots.plot_confusion(labels, guesses, names, path, title),
            "mistakes": lambda title: run_plots.plot_mistakes(images, labels, guesses, names, path, title),
            "statistics": lambda title: network_plots.plot_statistics({n: [LAYER] * 2 for n in names}, path, title),
            "units": lambda title: network_plots.plot_units([(0, [(images[0], (0, 0, 2, 2))])], path, title),
        }[plot](title)
        with Image.open(path) as figure:
            assert figure.size[0] > 100


def test_logarithmic_axes_have_plain_numbers(tmp_path, no_mathtext, monkeypatch):
    figures = []
    monkeypatch.setattr("convnets.plotting.plt.close", figures.append)
    run_plots.plot_curves(LINES, tmp_path / "a.png", "title")
    (figure,) = figures
    assert figure.axes[0].get_yscale() == "log"
    texts = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert any(texts) and all(re.fullmatch(r"|[\d.]+", text) for text in texts), texts


SETTINGS = "text.usetex: True\nfont.family: NoSuchFont\nfigure.dpi: 30\nsavefig.format: pdf\nno.such.key: 1\nno colon\n"
PROGRAM = f"from pathlib import Path; from convnets.analysis import run_plots; run_plots.plot_curves({LINES}, Path('a.png'), '$')"


def test_figures_do_not_depend_on_the_users_settings(tmp_path):
    found = {}
    for case in ("none", "home", "named", "here"):
        folder = tmp_path / case
        folder.mkdir()
        environment = {"PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(tmp_path / "fonts")} if case != "home" else {
            "PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(folder)
        }  # fmt: skip
        backend = {"home": "module://matplotlib_inline.backend_inline", "named": "no such", "here": "TkAgg"}.get(case)
        environment |= {"MPLBACKEND": backend} if backend else {}
        environment |= {"MATPLOTLIBRC": str(folder / "mine")} if case == "named" else {}
        if case != "none":
            (folder / ("mine" if case == "named" else "matplotlibrc")).write_text(SETTINGS + "backend: TkAgg\n")
        done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, capture_output=True, text=True,
                              env={**os.environ, **environment})  # fmt: skip
        assert done.returncode == 0 and not done.stderr, (case, done.stderr)
        found[case] = (folder / "a.png").read_bytes()
    assert len(set(found.values())) == 1
    (folder / "matplotlibrc").write_bytes(b"\xff")
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, **environment})  # fmt: skip
    assert f"UsageError: matplotlib reads {folder / 'matplotlibrc'}, which is no text" in done.stderr


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Returns a stand-in for a finished run with three test images, and the outcome of its test."""
    monkeypatch.setattr(
        run_figures,
        "_draw_filters",
        lambda run, path, title: run_plots.plot_filters(np.ones((3, 3, 1, 2)), path, title),
    )
    info = SimpleNamespace(name="folder:$", label_names=NAMES[:2], num_classes=2)
    run = SimpleNamespace(workdir=tmp_path, config=SimpleNamespace(model=SimpleNamespace(name="m")), components=SimpleNamespace(
        model=None, test_split=SimpleNamespace(info=info, images=lambda index: np.zeros((3, 4, 4, 1), np.uint8)[index])))  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return run, Evaluated({}, np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([0, 1, 1]))


RESULT = {"dataset": "[/d]", "split": "s", "num_examples": 3, "protocol": "single", "top1_error": 1.0, "top5_error": 0.0,
          "parameters": 7, "steps": 5, "seconds": 2.0}  # fmt: skip
FIGURES = {"curves", "filters", "confusion", "mistakes"}


@pytest.mark.parametrize("broken, error", [
    ("curves", ValueError("one\ntwo")), ("filters", MemoryError()), ("confusion", KeyError("k")), ("images", DataError("a.jpg")),
    ("mistakes", OSError(28, "No space left on device")), ("all", RuntimeError("tex")), ("import", ImportError("no"))
])  # fmt: skip
def test_a_figure_that_fails_costs_one_line_and_no_number(finished, tmp_path, monkeypatch, capsys, broken, error):
    run, tested = finished

    def fail(*args, **kwargs):
        raise error

    where = {"images": (run.components.test_split, "images"), "all": (run_figures, "draw_run_figures"),
             "filters": (run_figures, "_draw_filters")}.get(broken, (run_plots, f"plot_{broken}"))  # fmt: skip
    if broken == "import":
        monkeypatch.setitem(sys.modules, "convnets.analysis.run_figures", None)
        monkeypatch.delattr("convnets.analysis.run_figures")
    else:
        monkeypatch.setattr(*where, fail)
    (tmp_path / "curves.png").write_text("of an earlier result")
    train.finish(run, RESULT, tested)
    assert json.loads((tmp_path / "result.json").read_text()) == RESULT
    lost = {"images": {"mistakes"}, "all": FIGURES, "import": FIGURES}.get(broken, {broken})
    if broken not in ("all", "import"):
        assert {p.stem for p in tmp_path.glob("*.png")} == FIGURES - lost
    out = capsys.readouterr().out
    assert "[/d]" in out
    (line,) = [line for line in out.splitlines() if line.startswith("warning: ")]
    assert "could not be drawn: " in line and (broken not in lost or f"{broken}.png" in line)
    assert not list(tmp_path.glob("tmp*"))


def test_a_disk_that_is_full_leaves_no_half_a_figure(tmp_path, monkeypatch):
    def fill(figure, path, **kwargs):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fill)
    with pytest.raises(OSError):
        run_plots.plot_curves(LINES, tmp_path / "a.png", "title")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [name for name in NAMES if len(name) < 100], ids=ascii)
def test_tables_and_the_progress_bar_read_no_markup(name):
    from rich.table import Table

    name = escape_unprintable(name)
    for console in (CONSOLE, launcher.CONSOLE, Progress("", 1).console):
        table = Table(name, title=name)
        table.add_row(name)
        with console.capture() as shown:
            console.print(table)
            console.print(name)
        assert all(shown.get().count(line.strip()) >= 4 for line in name.split("\n"))
