"""Two 3x3 convolutions versus one 5x5: the same receptive field with one more nonlinearity.

tests/models/test_sequential.py counts their weights.
"""

from convnets.sweep import Claim, Experiment, Row, Scale
from experiments._overrides import cosine

# From 32 maps to 32: 2 x 3 x 3 C^2 = 18 C^2 weights against 25 C^2. The paper counts so for three of them and one of 7 x 7.
NET = "--config.model.layers=conv(32, 5)|relu|max(2)|{}|relu|max(2)|fc(64)|relu|out"
DECAY = cosine(10)
PAIR = "conv(32, 3, padding=1)|relu|conv(32, 3, padding=1)"
NOTE = "the pair is deeper too; both fit the training digits, which leaves neither much to gain"


def claim(size: float | None = None, suffix: str = "", note: str = "") -> Claim:
    return Claim(f"the pair is better{suffix}", "section 4.1", better=f"two 3x3{suffix}", worse=f"one 5x5{suffix}",
                 size=size, elsewhere="ImageNet", note=note)  # fmt: skip


EXPERIMENT = Experiment(
    "Two 3x3 convolutions against one 5x5", "test_error", source="Simonyan & Zisserman 2015",
    cpu=Scale(
        rows=[
            Row("one 5x5", "configs/ablation.py:mnist10k", cost="70 s, 1 core",
                overrides=(NET.format("conv(32, 5, padding=2)"), *DECAY)),
            Row("two 3x3", "configs/ablation.py:mnist10k", cost="70 s, 1 core",
                overrides=(NET.format(PAIR), *DECAY)),
        ],
        claims=[claim(note=NOTE)],
        seeds=30,
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
