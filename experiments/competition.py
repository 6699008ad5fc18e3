"""Local response normalization as competition between maps: high activations reduce each other.

    python -m experiments.competition              draws docs/competition.png and records the numbers

One pixel of some maps goes through the layer, with the constants of Krizhevsky et al. 2012, section 3.3: each activation
is divided by (2 + 0.0001 x the sum of squares over five neighbouring maps)^0.75. Nothing is trained and nothing is
random. Activations are of the size that first layers give for pixels of 0 to 255. Without neighbours, a map still
inhibits itself, and small activations are divided by 2^0.75 = 1.68; the figure shows both.

The constants are the formula's. The authors' program divided alpha by 5 (convnets/models/alexnet.py): there 93.10 % of an
activation of 100 remain alone, 92.10 % among four of 20 and 73.78 % among four as high.
"""

import time

import jax.numpy as jnp
import numpy as np

from convnets.layers import LRN
from convnets.models.alexnet import LRNS
from convnets.report import demonstration_plots, demonstrations

MAPS, MIDDLE = 25, 12  # of the profiles, and the place of the one high map
HIGH, LOW, MOST = 100.0, 20.0, 300.0  # activations
SIZE = LRNS["paper"]["size"]


def normalize(activations: np.ndarray) -> np.ndarray:
    """Returns the maps of one pixel, [..., maps], after the layer."""
    return np.asarray(LRN(**LRNS["paper"]).apply({}, jnp.asarray(activations, jnp.float32)))


def middle_of(own: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Returns a normalized map, [n], where the other maps of its window have the activations `around`, [n]."""
    window = np.repeat(np.asarray(around)[:, None], SIZE, axis=1)
    window[:, SIZE // 2] = own
    return normalize(window)[:, SIZE // 2]


def profiles() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the maps of a pixel before and after, where one is high and where all are."""
    one = np.full(MAPS, LOW)
    one[MIDDLE] = HIGH
    given = {
        "one map is high: its neighbours are reduced": one,
        "all maps are high: all are reduced a lot": np.full(MAPS, HIGH),
    }
    return {name: (maps, normalize(maps)) for name, maps in given.items()}


def metrics() -> dict[str, float]:
    """Returns how much of an activation of HIGH remains, in percent of what remains of a small one."""
    small = normalize(np.array([1e-3]))[0] / 1e-3
    around = {"alone": 0.0, "among_four_of_20": LOW, "among_four_as_high": HIGH}
    kept = {name: middle_of(np.array([HIGH]), np.array([value]))[0] / HIGH / small for name, value in around.items()}
    return {f"an_activation_of_100_{name}:_remains_(%)": round(100 * float(value), 2) for name, value in kept.items()}


def main() -> None:
    began, axis = time.monotonic(), np.linspace(0, MOST, 301)
    demonstrations.read_arguments(__doc__)
    found = metrics()
    print("\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in found.items()))
    what = "a map among four neighbours, AlexNet's constants"
    demonstrations.keep([demonstrations.entry("competition", what, None, found, dataset="none", steps=0,
                                              seconds=time.monotonic() - began)])  # fmt: skip
    responses = {"0": 0 * axis, "half as high": axis / 2, "as high": axis}
    pair = normalize(np.stack([np.full_like(axis, HIGH), axis], axis=1))
    with demonstrations.draw_into_docs("competition") as path:
        curves = {name: (axis, middle_of(axis, around)) for name, around in responses.items()}
        demonstration_plots.plot_competition(profiles(), curves, (axis, pair[:, 0], pair[:, 1]), HIGH, path)


if __name__ == "__main__":
    demonstrations.run(main)
