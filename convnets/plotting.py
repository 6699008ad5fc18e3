"""Style of all figures. Only this file imports matplotlib."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

INK, QUIET, FIRST, SECOND = "#222222", "#888888", "#1f5fa8", "#c8501e"
plt.rcParams.update({
    "figure.dpi": 120, "savefig.bbox": "tight", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": QUIET, "axes.labelcolor": INK, "axes.titlesize": 10, "axes.titlelocation": "left",
    "xtick.color": INK, "ytick.color": INK, "legend.frameon": False,
})  # fmt: skip


def save_figure(figure, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None})  # omits the version, so that equal figures give equal files
    plt.close(figure)
