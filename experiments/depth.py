"""Depth: one to three convolutions with a similar number of weights, and VGG's table 1 at a quarter of the width.

The cpu size counts convolutions, the full size layers with weights, as the paper does.
"""

from convnets.sweep import Claim, Experiment, Row, Scale
from experiments._overrides import cosine

# 20,000 weights each. The 10 output units see all of the last feature maps, so shallower networks have fewer maps.
LINES = {
    "one convolution": "conv(14, 5)|relu|max(2)|out",
    "two convolutions": "conv(14, 5)|relu|max(2)|conv(36, 5)|relu|max(2)|out",
    "three convolutions": "conv(14, 5)|relu|max(2)|conv(24, 5)|relu|max(2)|conv(32, 3, padding=1)|relu|out",
}
DECAY = cosine(10)

EXPERIMENT = Experiment(
    "Depth", "test_error", source="Simonyan & Zisserman 2015, table 3", x="layers",
    cpu=Scale(
        rows=[
            Row(label, "configs/ablation.py:mnist10k", cost="40 s, 1 core", x=n,
                overrides=(f"--config.model.layers={line}", *DECAY))
            for n, (label, line) in enumerate(LINES.items(), 1)
        ],
        claims=[
            Claim("two convolutions are better than one", "table 3, by analogy", better="two convolutions",
                  worse="one convolution"),
            Claim("three are better than two", "table 3, by analogy", better="three convolutions",
                  worse="two convolutions", note="digits leave a third layer little to do; the paper's nets have 11 and more"),
        ],
        seeds=12,
    ),
    full=Scale(
        rows=[
            Row(f"{name}{suffix}", f"configs/vgg_cifar.py:{name}{suffix}", x=layers, line="batch norm" if suffix else "plain",
                cost="2 min, 1 x H100")
            for suffix in ("", "_bn") for name, layers in (("A", 11), ("B", 13), ("D", 16), ("E", 19))
        ],
        claims=[
            Claim("16 layers are better than 11", "table 3", better="D_bn", worse="A_bn", size=2.6,
                  elsewhere="ImageNet, without batch normalization"),
            Claim("from 16 to 19 layers the error saturates", "table 3", within=0.5, better="E_bn", worse="D_bn",
                  note="the margin is ours; the paper has no batch normalization"),
        ],
        seeds=3,
    ),
)  # fmt: skip
