"""The included trained networks: a folder each in experiments/weights/.

It has the files of a run's folder (config.json, manifest.json, statistics.npz), but WEIGHTS in place of the checkpoints.
The manifest is its card: command, commit, seed, error. `--mode=export --name=NAME` writes it.
"""

from pathlib import Path

from convnets.runtime.provenance import ROOT

FOLDER = ROOT / "experiments" / "weights"
WEIGHTS = "weights.safetensors"


def names() -> list[str]:
    """Returns the names of the networks."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{WEIGHTS}"))


def find(name: str) -> Path | None:
    """Returns the folder of the network of this name; None if there is none."""
    return FOLDER / name if name in names() else None
