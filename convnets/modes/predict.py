"""--mode=predict: the most probable classes of image files."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.table import Table

from convnets.augment import pipeline
from convnets.data import image_files
from convnets.losses import NO_PROBABILITIES
from convnets.modes.output import CONSOLE
from convnets.runtime import files
from convnets.training.network import open_network


def predict(config: ConfigDict, workdir: Path, images: Sequence[str], invert: bool) -> None:
    """Prints the most probable classes of image files."""
    facts = files.read_json(workdir / "manifest.json")["dataset"]
    pixels = image_files.read(images, facts, config.data.test_ops, invert)
    network = open_network(config, workdir)
    ops = image_files.operations(config.data.test_ops, workdir)
    inputs = pipeline.apply(ops, None, pixels)
    scores = np.asarray(network.model.apply(network.variables, inputs, train=False), np.float32)
    if config.loss in NO_PROBABILITIES:
        print(f"this network was trained on loss={config.loss}: its outputs are shown, not probabilities")
        values, unit = scores, ""
    else:
        values, unit = 100 * np.asarray(jax.nn.softmax(scores, axis=1)), " %"
    names = facts["label_names"]
    table = Table("image", *(f"guess {i + 1}" for i in range(min(3, len(names)))))
    for name, row in zip(images, values, strict=True):
        best = np.argsort(-row)[: min(3, len(names))]
        table.add_row(name, *(f"{names[i]}  {row[i]:.2f}{unit}" for i in best))
    CONSOLE.print(table)
