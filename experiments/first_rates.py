"""Which initial weights the learning rates of LeCun et al. 1998 speak for: those that LeNet-5 has in its first pass.

    python -m experiments.first_rates --data_dir=DIR     draws docs/first_rates.png and records the numbers

The paper divides the rate of each weight by 0.02 + h, with h the second derivative of the error by the weight (appendix C,
convnets/training/curvature.py), and says that the rates of the first pass "varied between approximately 7 x 10^-5 and 0.016"
(section III.B). Its appendix A draws the initial weights from U(-2.4/F, 2.4/F), where F is the fan-in; others read 2.4/sqrt(F).
Here are the rates of the weights of all convolutions and fully connected layers of LeNet-5, before the first step, for both.
The measure is the share of weights whose rate lies in the paper's range, and the range of ours.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from convnets import models
from convnets.augment import pipeline
from convnets.data import dataset
from convnets.report import demonstration_plots, demonstrations
from convnets.training.curvature import EXAMPLES, curvature_of
from convnets.training.optimizer import make_recipe
from convnets.training.state import create_state

SEEDS = 3
PAPER = (7e-5, 0.016)  # section III.B
READINGS = {"2.4 / sqrt(F)": True, "2.4 / F": False}


def measure(root: bool, seed: int, data_dir: str) -> tuple[dict[str, np.ndarray], str]:
    """Returns the rate of each weight by layer, [weights], and the name of the data set."""
    config = demonstrations.open_config("configs/lenet.py:paper", [f"--config.model.init_root={root}"], seed, data_dir)
    train, _ = dataset.load_splits(**config.data)
    model = models.create(**config.model)
    recipe = make_recipe(**config.optim, steps_per_epoch=1.0, batch_size=1)
    params = create_state(model, recipe.optimizer, seed).params
    chosen = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation(train.info.num_examples)[:EXAMPLES]
    images = pipeline.apply(train.device_ops, None, jnp.asarray(train.resident_arrays["images"][chosen]))
    h = jax.jit(lambda images: curvature_of(model, {}, images)(params))(images)
    rates = {name: config.optim.lr / (config.optim.damping + np.ravel(layer["kernel"]))
             for name, layer in h.items() if "kernel" in layer}  # fmt: skip
    return rates, f"{train.info.name}:{train.info.version}"


def main() -> None:
    arguments = demonstrations.read_arguments(__doc__, SEEDS, data=True)
    found: dict[str, dict[str, np.ndarray]] = {}
    entries = []
    for reading, root in READINGS.items():
        for seed in range(arguments.seeds):
            began = time.monotonic()
            rates, data = measure(root, seed, arguments.data_dir)
            found.setdefault(reading, rates)
            every = np.concatenate(list(rates.values()))
            inside = np.mean((every >= PAPER[0]) & (every <= PAPER[1]))
            metrics = {"weights_in_the_paper's_range_(%)": round(100 * float(inside), 2),
                       "smallest_rate": float(f"{every.min():.3g}"), "largest_rate": float(f"{every.max():.3g}")}  # fmt: skip
            print(f"initial weights {reading}, seed {seed}: {metrics}")
            entries.append(demonstrations.entry("first_rates", f"initial weights from {reading}", seed, metrics, dataset=data, steps=0,
                                                seconds=time.monotonic() - began))  # fmt: skip
    demonstrations.keep(entries)
    with demonstrations.draw_into_docs("first_rates") as path:
        demonstration_plots.plot_first_rates(found, PAPER, path)


if __name__ == "__main__":
    demonstrations.run(main)
