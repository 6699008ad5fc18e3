"""Relative change of the last layer's input features under another test string."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from convnets.data import dataset, sampler
from convnets.evaluation import eval_step
from convnets.models.summary import summarize
from convnets.runtime import parallel


def feature_change(
    model: nn.Module, variables: dict[str, Any], split: dataset.Split, ops: str, batch_size: int
) -> float:
    """Returns the mean of `|f' - f| / |f|` in percent; f' are the features under the split's ops, f those under `ops`.

    Features are the input of the last layer with parameters. Images with `|f| = 0` are excluded. Both test strings must
    give one view per image.
    """
    layer = [row.name for row in summarize(model) if row.parameters][-1]
    devices, sides = jax.local_device_count(), []
    for s in (split, split.with_test_ops(ops)):
        look = parallel.parallel(eval_step.layer_input_step(model, layer, s.device_ops, 0), train=False)
        schedule = sampler.evaluation_schedule(s.info.num_examples, -(-batch_size // devices) * devices)
        sides.append((s.feed(schedule), look, parallel.replicate(s.resident_arrays)))
    ratios: list[np.ndarray] = []
    for pair in zip(*(feed for feed, _, _ in sides), strict=True):
        real = pair[0]["mask"] > 0
        shown = [
            look(variables, parallel.shard([b], devices), resident_arrays)[1][0]
            for b, (_, look, resident_arrays) in zip(pair, sides, strict=True)
        ]
        changed, plain = (np.asarray(x, np.float64).reshape(len(real), -1)[real] for x in shown)
        length = np.linalg.norm(plain, axis=1)
        ratios.append(np.linalg.norm(changed - plain, axis=1)[length > 0] / length[length > 0])
    return 100 * float(np.mean(np.concatenate(ratios)))
