"""The inputs of each layer during training, with and without batch normalization: Ioffe & Szegedy 2015, figure 1 b, c.

    python -m experiments.drift --data_dir=DIR              draws docs/drift.png and records 5 seeds
    python -m experiments.drift --data_dir=DIR --seeds=1

The networks are the paper's: three hidden layers of 100 sigmoids (configs/ablation.py:bn_mnist), for the paper's 50,000
steps of 60 digits, both at the rate 1, with which both learn (experiments/bn_lr.py looks for their best rates). As in the
figure, the 15th, 50th and 85th percentile of a sigmoid's input are followed. They are taken over 1,000 training digits, with
the statistics of these digits in batch normalization, as in training.

The drift of a unit is the standard deviation of a percentile over the steps, in percent of the unit's mean width from
the 15th to the 85th percentile; the mean over the three percentiles. The drift of a layer is the mean over its units.
The paper shows one unit of the last hidden layer and gives no number. The figure shows the unit of median drift.
"""

import time

import jax
import numpy as np

from convnets.augment import pipeline
from convnets.report import demonstration_plots, demonstrations
from convnets.training.components import Components
from convnets.training.train_loop import train_in_memory

CONFIG = "configs/ablation.py:bn_mnist"
# The network, and the layer before a sigmoid.
NETWORKS = {"without batch norm": ("bn_mnist_baseline", "fc"), "batch norm": ("bn_mnist", "norm")}
HIDDEN = 3
STEPS, EVERY = 50_000, 500
DIGITS = 1000
PERCENTILES = (15, 50, 85)


def inputs(model, variables, images, kind: str):
    """Returns the inputs of the sigmoids, the outputs of layers of a kind, [hidden layers, n, units]."""
    wanted = [f"{kind}{i + 1}" for i in range(HIDDEN)]
    _, state = model.apply(variables, images, train=True, mutable=["batch_stats", "intermediates"],
                           capture_intermediates=lambda module, _: module.name in wanted)  # fmt: skip
    return np.stack([state["intermediates"][name]["__call__"][0] for name in wanted])


def measure_drift(seen: np.ndarray) -> np.ndarray:
    """Returns the drift of each unit in percent, [..., units], from percentiles [marks, 3, ..., units]."""
    width = np.mean(seen[:, 2] - seen[:, 0], axis=0)
    return 100 * np.mean(np.std(seen, axis=0), axis=0) / width


def follow(components: Components, kind: str, marks: range) -> np.ndarray:
    """Trains a network and returns the percentiles before the first step and at the marks, [marks, 3, layers, units]."""
    split, seen = components.train_split, []
    images = pipeline.apply(split.device_ops, None, split.resident_arrays["images"][:DIGITS])

    def watch(step: int, variables) -> None:
        seen.append(
            np.percentile(inputs(components.model, jax.device_get(variables), images, kind), PERCENTILES, axis=1)
        )

    train_in_memory(components, watch, marks)
    return np.stack(seen)


def entries_of(name: str, seed: int, drift: np.ndarray, seconds: float) -> list[dict]:
    """Returns the entries of results.jsonl of one run, one for each hidden layer; `drift` is [layers]."""
    return [
        demonstrations.entry("drift", f"{name}, hidden layer {i + 1}", seed, {"drift_(%)": round(float(value), 3)},
                             dataset="mnist", steps=STEPS, seconds=seconds / HIDDEN)
        for i, value in enumerate(drift)
    ]  # fmt: skip


def main() -> None:
    given = demonstrations.read_arguments(__doc__, seeds=5, data=True)
    marks = range(EVERY, STEPS + 1, EVERY)
    entries, drifts, typical = [], {name: [] for name in NETWORKS}, {}
    for name, (model, kind) in NETWORKS.items():
        for seed in range(given.seeds):
            began = time.monotonic()
            overrides = [f"--config.model.name={model}", "--config.train.epochs=50.0"]  # 1,000 steps an epoch
            components = Components(demonstrations.open_config(CONFIG, overrides, seed, given.data_dir))
            assert components.total == STEPS
            seen = follow(components, kind, marks)
            units = measure_drift(seen)
            drifts[name].append(units.mean(axis=1))
            entries += entries_of(name, seed, drifts[name][-1], time.monotonic() - began)
            print(f"{name}, seed {seed}: drift {np.round(drifts[name][-1], 1)} % by layer", flush=True)
            if seed == 0:
                middle = np.argsort(units, axis=1)[:, units.shape[1] // 2]
                typical[name] = np.stack([seen[:, :, layer, unit] for layer, unit in enumerate(middle)])
    demonstrations.keep(entries)
    with demonstrations.draw_into_docs("drift") as path:
        found = {name: np.stack(values) for name, values in drifts.items()}
        demonstration_plots.plot_drift((0, *marks), typical, found, path)


if __name__ == "__main__":
    demonstrations.run(main)
