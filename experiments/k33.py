"""Two 3x3 convolutions versus one 5x5: the same receptive field with one more nonlinearity.

tests/models/test_sequential.py counts their weights.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

NET = "--config.model.layers=conv(16, 5)|relu|max(2)|{}|relu|max(2)|fc(64)|relu|out"
PAIR = "conv(32, 3, padding=1)|relu|conv(32, 3, padding=1)"
NOTE = "the pair is deeper too, and cheaper only where the maps do not double: 18 C^2 against 25 C^2 weights"


def claim(size: float | None = None, suffix: str = "") -> Claim:
    return Claim(f"the pair is better{suffix}", "section 2.3", better=f"two 3x3{suffix}", worse=f"one 5x5{suffix}",
                 size=size, elsewhere="ImageNet", note=NOTE)  # fmt: skip


EXPERIMENT = Experiment(
    "Two 3x3 convolutions against one 5x5", "test_error", source="Simonyan & Zisserman 2015",
    cpu=Scale(
        rows=[
            Row("one 5x5", "configs/ablation.py:mnist10k", cost="17 s, 1 core",
                overrides=(NET.format("conv(32, 5, padding=2)"), "--config.train.epochs=3.0")),
            Row("two 3x3", "configs/ablation.py:mnist10k", cost="17 s, 1 core",
                overrides=(NET.format(PAIR), "--config.train.epochs=3.0")),
        ],
        claims=[claim()],
    ),
    full=Scale(
        rows=[
            Row("one 5x5", "configs/vgg_cifar.py:B-5x5", cost="2 min, 1 x H100"),
            Row("two 3x3", "configs/vgg_cifar.py:B", cost="2 min, 1 x H100"),
            Row("one 5x5, batch norm", "configs/vgg_cifar.py:B-5x5_bn", cost="2 min, 1 x H100"),
            Row("two 3x3, batch norm", "configs/vgg_cifar.py:B_bn", cost="2 min, 1 x H100"),
        ],
        claims=[claim(7.0), claim(None, ", batch norm")],
        seeds=3,
    ),
)  # fmt: skip
