"""Style of all figures, whatever the user's matplotlib is set to. Only this file imports matplotlib."""

import logging
import os
import warnings
from importlib.util import find_spec
from pathlib import Path

from convnets.errors import UsageError
from convnets.runtime.files import atomic_path

# The import itself reads the user's settings, and fails on some of them: a notebook's backend, or a damaged file.
if (package := find_spec("matplotlib")) and package.origin:
    os.environ["MATPLOTLIBRC"] = str(Path(package.origin).parent / "mpl-data" / "matplotlibrc")
os.environ["MPLBACKEND"] = "Agg"
logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs each unknown key of a matplotlibrc

try:
    import matplotlib
except UnicodeDecodeError as e:
    raise UsageError(f"matplotlib reads {Path('matplotlibrc').absolute()}, which is no text: {e}") from None

matplotlib.rcdefaults()  # a matplotlibrc in the working directory precedes MATPLOTLIBRC
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import FancyBboxPatch, PathPatch  # noqa: E402, F401
from matplotlib.path import Path as Outline  # noqa: E402, F401
from matplotlib.ticker import LogFormatter, LogFormatterMathtext  # noqa: E402
from matplotlib.transforms import offset_copy  # noqa: E402, F401

INK, QUIET, FIRST, SECOND = "#222222", "#888888", "#1f5fa8", "#c8501e"
plt.rcParams.update({
    "figure.dpi": 120, "savefig.bbox": "tight", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": QUIET, "axes.labelcolor": INK, "axes.titlesize": 10, "axes.titlelocation": "left",
    "xtick.color": INK, "ytick.color": INK, "legend.frameon": False,
    "text.parse_math": False,  # a class may be called ba$$
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "convnets",  # the names in an SVG file are random otherwise
})  # fmt: skip


# What a file says of its making, without versions and dates: equal figures give equal files.
METADATA: dict[str, dict[str, str | None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


class PlainLogFormatter(LogFormatter):
    """Writes the labels that a logarithmic axis shows as plain numbers, 0.01 and not 1e-02."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Returns the label at x; '' if the axis shows none there."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def save_figure(figure, path: Path) -> None:
    """Writes a figure as the file that its name says (a key of METADATA), atomically, and closes it."""
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if isinstance(axis.get_major_formatter(), LogFormatterMathtext):  # it writes for the parser that is off
            axis.set_major_formatter(PlainLogFormatter())
        if isinstance(minor := axis.get_minor_formatter(), LogFormatterMathtext):
            axis.set_minor_formatter(PlainLogFormatter(labelOnlyBase=minor.labelOnlyBase))
    try:
        with atomic_path(path) as scratch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a letter that the font lacks is a box, a long name leaves little room
            figure.savefig(scratch, metadata=METADATA[path.suffix])
    finally:
        plt.close(figure)
