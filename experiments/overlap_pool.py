"""Overlapping pooling: windows of 3 with stride 2 versus windows of 2.

All feature maps have the same sizes either way: 24 to 12 and 8 to 4.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

NET = "--config.model.layers=conv(16, 5)|relu|max({0})|conv(32, 5)|relu|max({0})|fc(64)|relu|out"
EPOCHS = "--config.train.epochs=3.0"


def claim(size: float | None, note: str = "") -> Claim:
    return Claim("overlapping windows are better", "section 3.4", better="3, stride 2", worse="2, stride 2", size=size,
                 elsewhere="ImageNet", note=note)  # fmt: skip


EXPERIMENT = Experiment(
    "Overlapping pooling", "test_error", source="Krizhevsky et al. 2012",
    cpu=Scale(
        rows=[
            Row("2, stride 2", "configs/ablation.py:mnist10k", overrides=(NET.format("2"), EPOCHS), cost="15 s, 1 core"),
            Row("3, stride 2", "configs/ablation.py:mnist10k",
                overrides=(NET.format("3, 2, ceil=True"), EPOCHS), cost="15 s, 1 core"),
        ],
        claims=[claim(0.4)],
        seeds=40,
    ),
    full=Scale(
        rows=[
            Row("2, stride 2", "configs/ablation.py:13pct", overrides=("--config.model.pool_size=2",),
                cost="5 min, 1 x H100"),
            Row("3, stride 2", "configs/ablation.py:13pct", cost="5 min, 1 x H100"),
        ],
        claims=[claim(0.4, "Scherer et al. 2010 find no significant difference")],
        seeds=8,
    ),
)  # fmt: skip
