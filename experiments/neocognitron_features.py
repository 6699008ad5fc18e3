"""The neocognitron as a feature extractor: MNIST at 16 x 16, a linear read-out of each stage.

The experiment is our own, without a published number. The S-cells learn without labels on 2,000 digits, each shown
twice, while the read-out is trained on the same digits. The baseline is a linear read-out of the pixels, trained for the
same number of steps.
"""

from convnets.sweep import Experiment, Row, Scale

MNIST = "configs/neocognitron.py:mnist"
OPS = "decode|resize(16)|value_range(0.0, 1.0)"
PIXELS = tuple(f"--config.{leaf}" for leaf in (
    "model.layers=out", "model.side=16", f"data.train_ops={OPS}", f"data.test_ops={OPS}", "data.train_split=train[:2000]",
    "optim.lr=0.02", "optim.momentum=0.0", "train.batch_size=1", "train.epochs=2.0",
))  # fmt: skip

EXPERIMENT = Experiment(
    "Neocognitron as a feature extractor", "test_error", source="ours, after Fukushima 1980",
    cpu=Scale(
        rows=[
            Row("pixels", "configs/ablation.py:mnist10k", overrides=PIXELS, cost="20 s, 1 core"),
            *(Row(f"cells of {layer}", MNIST, overrides=(f"--config.model.read={layer}",) * (layer != "UC3"),
                  cost="20 s, 1 core") for layer in ("UC1", "UC2", "UC3")),
        ],
    ),
)  # fmt: skip
