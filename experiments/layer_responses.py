"""Responses of the layers of deeper and shallower ResNets: He et al. 2015, section 4.2, figure 7.

    python -m experiments.layer_responses              draws docs/layer_responses.png and records the numbers

"The responses are the outputs of each 3x3 layer, after BN and before other nonlinearity (ReLU/addition)." The paper plots
their standard deviations, and says that deeper ResNets have smaller ones: "when there are more layers, an individual layer of
ResNets tends to modify the signal less". It compares ResNet-20, 56 and 110 on CIFAR-10, and gives no number. Here are the
published weights of ResNet-20, 32, 44 and 56 (experiments/published.py) on 1,000 test images. All values of a layer count alike:
all images, positions and maps. The other half of the figure, larger responses of plain networks, needs weights of these.
"""

import time
from collections.abc import Sequence

import flax.linen as nn
import numpy as np

from convnets.analysis.activations import collect_statistics
from convnets.augment import pipeline
from convnets.models.summary import summarize
from convnets.report import demonstration_plots, demonstrations, results
from convnets.training import network
from experiments import published

IMAGES, BATCH = 1000, 200


def deviations(model: nn.Module, variables, batches: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the standard deviation of each layer's response, [layers], in the order of the layers.

    Args:
        model: a network whose batch norms each follow a 3x3 layer.
        batches: preprocessed images, [n, h, w, c] each.
    """
    found = collect_statistics(model, variables, [(images, np.ones(len(images))) for images in batches])
    layers = [found[row.name] for row in summarize(model) if row.kind == "BatchNorm"]
    return np.array([np.sqrt(np.mean(layer.std**2) + np.var(layer.mean)) for layer in layers])


def measure(variant: str) -> tuple[np.ndarray, str]:
    """Returns the deviations of a published network, and the name of the data set; raises as `published.test_weights`."""
    config = published.config_of(variant, f"--config.data.test_split=test[:{IMAGES}]")
    opened = network.open_network(config, results.ROOT, str(published.path(variant)))
    split = network.open_test_split(config, opened.model, results.ROOT)
    images = np.asarray(pipeline.apply(split.device_ops, None, split.resident_arrays["images"]))
    batches = np.split(images, range(BATCH, len(images), BATCH))
    return deviations(opened.model, opened.variables, batches), f"{split.info.name}:{split.info.version}"


def main() -> None:
    demonstrations.read_arguments(__doc__)
    found, entries = {}, []
    for variant in published.PUBLISHED:
        if not published.path(variant).exists():
            print(f"{published.path(variant)}: not there; see experiments/published.py")
            continue
        began, name = time.monotonic(), f"ResNet-{variant}"
        found[name], data = measure(variant)
        metrics = {"mean_deviation_of_a_response": round(float(found[name].mean()), 4)}
        entries.append(demonstrations.entry("layer_responses", name, None, metrics, dataset=data, steps=0,
                                            seconds=time.monotonic() - began))  # fmt: skip
        print(f"{name}: {len(found[name])} layers, {metrics}", flush=True)
    if not found:
        return
    demonstrations.keep(entries)
    with demonstrations.draw_into_docs("layer_responses") as path:
        demonstration_plots.plot_responses(found, path)


if __name__ == "__main__":
    demonstrations.run(main)
