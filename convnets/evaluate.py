"""Testing by the papers' protocols: every example of the split exactly once."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from convnets import data, metrics, steps
from convnets.state import TrainState

# Each protocol: how the views of an image that `data.test_ops` describes are scored together.
PROTOCOLS = {"single": "one view of each image"}


class Evaluator:
    """Scores a split, compiled once.

    Args:
        batch_size: examples a step, over all devices, rounded up to a multiple of them; has no influence on the result.
        protocol: a key of PROTOCOLS.
    """

    def __init__(self, model: nn.Module, loss: str, split: data.Split, *, protocol: str, batch_size: int):
        self.split, self.protocol = split, protocol
        self.devices = jax.local_device_count()
        self.batch_size = -(-batch_size // self.devices) * self.devices
        self.step = steps.parallel(steps.eval_step(model, loss, split.device_ops), train=False)
        self.constants = steps.replicate(split.constants)

    def __call__(self, state: TrainState) -> tuple[dict[str, Any], np.ndarray]:
        """{'loss', 'top1_error', 'top5_error', 'num_examples'} and the scores [examples, classes], in order."""
        total: dict[str, Any] = {}
        scores = []
        for batch in self.split.feed(data.evaluation_schedule(self.split.info.num_examples, self.batch_size)):
            sums, part = self.step(state, steps.shard([batch], self.devices), self.constants)
            total = metrics.add(total, sums)
            scores.append(np.asarray(part).reshape(self.batch_size, -1))
        summary = metrics.summarise(total)
        if summary["num_examples"] != self.split.info.num_examples:
            raise AssertionError(f"{summary['num_examples']} examples counted, {self.split.info.num_examples} expected")
        return summary, np.concatenate(scores)[: self.split.info.num_examples]


def images_and_labels(split: data.Split, wanted: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 [n, h, w, c], [n]) of the `wanted` examples, or (no images, [n]) labels of all where that is None."""
    if split.constants:
        images, labels = split.constants["images"], split.constants["labels"]
        return (images[:0], labels) if wanted is None else (images[wanted], labels[wanted])
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    keep = set() if wanted is None else set(wanted.tolist())
    for batch in split.feed(data.evaluation_schedule(split.info.num_examples, 256)):
        rows = [i for i, (n, m) in enumerate(zip(batch["index"], batch["mask"], strict=True)) if m and int(n) in keep]
        labels = batch["label"][batch["mask"] > 0] if wanted is None else batch["label"][rows]
        parts.append((batch["image"][rows], labels))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
