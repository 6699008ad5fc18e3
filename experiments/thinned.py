"""Dropout as a family of networks: the scaled network beside the mean of 1,000 thinned ones.

    python -m experiments.thinned --data_dir=DIR              draws docs/thinned.png and records 5 seeds
    python -m experiments.thinned --data_dir=DIR --seeds=1

The network is a row of experiments/dropout.py. In training, each pass drops other units, so each is a random network of
the family; at test time the scaled network has all units. For linear units the scaled network is exactly the mean over
the family; further up it is an approximation. Srivastava et al. 2014, section 7.5, compare test errors on MNIST: the mean
of 50 thinned networks is as good as the scaled one, and the mean of more is slightly better (from memory).

The difference is between the mean over thinned networks and the scaled network, in the Euclidean norm over all units and
images, as a share of the scaled network's. It is measured on every fifth test image.
"""

import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np

from convnets.augment import pipeline
from convnets.report import demonstration_plots, demonstrations
from convnets.report.demonstration_plots import Thinned
from convnets.training.components import Components
from convnets.training.train_loop import train_in_memory
from experiments import dropout

ROW = next(row for row in dropout.EXPERIMENT.cpu.rows if row.label == "hidden units 0.5")
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # thinned networks in a mean
TOGETHER = 10  # thinned networks in one call; they share the first layer
LAYERS = {"fc2": "inputs of the second hidden layer", "out": "scores"}  # of the network, with their names in the figure


def run_layers(model, variables, images, keys=None):
    """Returns {layer: outputs} of the scaled network, [n, units], or of the thinned networks of some keys, [k, n, units]."""

    def run(**how):
        wanted = lambda module, _: module.name in LAYERS  # noqa: E731
        _, state = model.apply(variables, images, mutable="intermediates", capture_intermediates=wanted, **how)
        return {name: state["intermediates"][name]["__call__"][0] for name in LAYERS}

    return run(train=False) if keys is None else jax.vmap(lambda key: run(train=True, rngs={"dropout": key}))(keys)


def compare(model, variables, images, labels, seed: int, counts=COUNTS) -> dict:
    """Compares the scaled network with means over thinned networks; Thinned documents the values, here without seeds."""
    scaled = jax.jit(lambda v, x: run_layers(model, v, x))(variables, images)

    @jax.jit
    def add(sums, keys, variables, images, scaled):
        found = run_layers(model, variables, images, keys)
        found["probability"] = jax.nn.softmax(found["out"])
        squares = {name: jnp.sum(jnp.square(found[name] - scaled[name])) for name in LAYERS}
        return jax.tree.map(lambda a, b: a + b.sum(0), sums, found), squares, found["fc2"][:, 0, 0]

    def error(scores):
        return 100 * float(np.mean(np.argmax(np.asarray(scores), axis=1) != labels))

    def size(name, values):
        return 100 * float(jnp.linalg.norm(values) / jnp.linalg.norm(scaled[name]))

    sums = jax.tree.map(jnp.zeros_like, {**scaled, "probability": scaled["out"]})
    keys = jax.random.split(jax.random.key(seed), counts[-1])
    total, unit = dict.fromkeys(LAYERS, 0.0), []
    differences, errors = {name: [] for name in LAYERS}, []
    for first, last in itertools.pairwise((0, *counts)):
        for start in range(first, last, TOGETHER):
            sums, squares, units = add(sums, keys[start : min(start + TOGETHER, last)], variables, images, scaled)
            total = {name: total[name] + float(squares[name]) for name in LAYERS}
            unit.append(np.asarray(units))
        for name in LAYERS:
            differences[name].append(size(name, sums[name] / last - scaled[name]))
        errors.append(error(sums["probability"]))
    norms = {name: float(jnp.linalg.norm(scaled[name])) for name in LAYERS}
    mean_square = {name: 1e4 * total[name] / counts[-1] / norms[name] ** 2 for name in LAYERS}
    chance = {name: np.sqrt(max(mean_square[name] - differences[name][-1] ** 2, 0.0)) for name in LAYERS}
    return {"differences": differences, "chance": chance, "errors": errors, "scaled": error(scaled["out"]),
            "unit": np.concatenate(unit), "whole": float(scaled["fc2"][0, 0])}  # fmt: skip


def entry(seed: int, found: dict, steps: int, seconds: float) -> dict:
    """Returns one entry of results.jsonl."""
    last = np.sqrt(COUNTS[-1])
    metrics = {
        "test_error_of_the_scaled_network_(%)": found["scaled"],
        "test_error_of_one_thinned_network_(%)": found["errors"][0],
        "test_error_of_the_mean_of_1,000_(%)": found["errors"][-1],
    }
    for name, said in LAYERS.items():
        metrics |= {f"{said}:_difference_from_the_mean_of_1,000_(%)": found["differences"][name][-1],
                    f"{said}:_of_this_by_chance_(%)": found["chance"][name] / last}  # fmt: skip
    metrics = {name: round(float(value), 4) for name, value in metrics.items()}
    what = "the scaled network and 1,000 thinned ones"
    return demonstrations.entry("thinned", what, seed, metrics, dataset="mnist", steps=steps, seconds=seconds)


def main() -> None:
    given = demonstrations.read_arguments(__doc__, seeds=5, data=True)
    entries, found = [], []
    for seed in range(given.seeds):
        began = time.monotonic()
        components = Components(demonstrations.open_config(ROW.config, ROW.overrides, seed, given.data_dir))
        variables = train_in_memory(components)
        test = components.test_split
        images = pipeline.apply(test.device_ops, None, test.resident_arrays["images"][::5])
        found.append(compare(components.model, variables, images, test.resident_arrays["labels"][::5], seed))
        entries.append(entry(seed, found[-1], components.total, time.monotonic() - began))
        print(f"seed {seed}: {entries[-1]['metrics']}", flush=True)
    demonstrations.keep(entries)
    with demonstrations.draw_into_docs("thinned") as path:
        demonstration_plots.plot_thinned(gather(found), path)


def gather(found: list[dict]) -> Thinned:
    """Returns what the figure shows: arrays over the seeds, and the unit of the first seed."""
    differences, chance = (
        {said: np.array([one[key][name] for one in found]) for name, said in LAYERS.items()}
        for key in ("differences", "chance")
    )
    errors, scaled = (np.array([one[key] for one in found]) for key in ("errors", "scaled"))
    return Thinned(COUNTS, differences, chance, errors, scaled, found[0]["unit"], found[0]["whole"])


if __name__ == "__main__":
    demonstrations.run(main)
