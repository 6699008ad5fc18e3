"""Two columns: grouped convolutions whose feature maps see only their own half of the input.

The order of layers and the LRN are those of AlexNet's text, not of its authors' program (convnets/models/alexnet.py). The
initial weights are He's. The LRN is for pixels of 0 to 255; here they are divided by their deviation, about 64. ReLU networks
scale with their input, so the same network needs an alpha of 64^2 x 1e-4 = 0.41.

tests/models/test_sequential.py shows that two groups equal two networks.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

# AlexNet's convolutions with a third of its feature maps, for 32 x 32 images, and one hidden layer instead of its two.
NET = ("conv({0}, 5, padding=2)|relu|lrn(alpha=0.41)|max(3, 2, ceil=True)"
       "|conv({1}, 5, padding=2{2})|relu|lrn(alpha=0.41)|max(3, 2, ceil=True)"
       "|conv({3}, 3, padding=1)|relu|conv({3}, 3, padding=1{2})|relu|conv({1}, 3, padding=1{2})|relu"
       "|max(3, 2, ceil=True)|fc(512)|relu|dropout(0.5)|out")  # fmt: skip
ROWS = {"half": (16, 42, "", 64), "two columns": (32, 84, ", groups=2", 128), "ungrouped": (32, 84, "", 128)}

EXPERIMENT = Experiment(
    "Two columns", "test_error", source="Krizhevsky et al. 2012, section 3.2",
    full=Scale(
        rows=[
            Row(label, "configs/ablation.py:cifar_aug", cost="2 min, 1 x H100",
                overrides=(f"--config.model.layers={NET.format(*numbers)}",))
            for label, numbers in ROWS.items()
        ],
        claims=[
            Claim("two columns are better than one of half the width", "section 3.2", better="two columns", worse="half",
                  size=1.7, elsewhere="ImageNet", note="the paper's half net keeps the last convolution whole"),
            Claim("all connections are no better than two columns", "ours", within=0.5, one_sided=True, better="ungrouped",
                  worse="two columns", note="the margin is ours"),
        ],
        seeds=3,
    ),
)  # fmt: skip
