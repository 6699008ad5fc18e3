"""Kinds of pooling: maximum, average, L2 norm, LeNet's trained subsampling, or a strided convolution."""

from convnets.sweep import Claim, Experiment, Row, Scale

DIGITS = {
    "maximum": "conv(16, 5)|relu|max(2)|conv(32, 5)|relu|max(2)|fc(64)|relu|out",
    "average": "conv(16, 5)|relu|average(2)|conv(32, 5)|relu|average(2)|fc(64)|relu|out",
    "L1": "conv(16, 5)|relu|l1(2)|conv(32, 5)|relu|l1(2)|fc(64)|relu|out",
    "L2": "conv(16, 5)|relu|l2(2)|conv(32, 5)|relu|l2(2)|fc(64)|relu|out",
    "subsampling": "conv(16, 5)|relu|subsample|conv(32, 5)|relu|subsample|fc(64)|relu|out",
    "stride": "conv(16, 5, 2)|relu|conv(32, 5, 2)|relu|fc(64)|relu|out",
}
# The sum of four values is four times their average and its root twice: at the recipe's rate of 0.05 some seeds fail.
RATES = {"L1": 0.01, "L2": 0.02}
CIFAR = {"maximum": "", "average": "average", "L2": "l2", "stride": "stride"}


def digits(label: str, line: str) -> Row:
    net = (f"--config.model.layers={line}",) if label != "maximum" else ()
    rate = (f"--config.optim.lr={RATES[label]}",) if label in RATES else ()
    return Row(label, "configs/ablation.py:mnist10k", overrides=(*net, *rate, "--config.train.epochs=3.0"),
               cost="14 s, 1 core")  # fmt: skip


def claims(*kinds: str, note: str = "") -> list[Claim]:
    return [Claim(f"the maximum is better than {kind}", "abstract", better="maximum", worse=kind, note=note)
            for kind in kinds]  # fmt: skip


EXPERIMENT = Experiment(
    "Kinds of pooling", "test_error", source="Scherer, Mueller & Behnke 2010",
    cpu=Scale(
        rows=[digits(label, line) for label, line in DIGITS.items()],
        claims=[
            *claims("average", "L2", "stride"),
            Claim("on digits the maximum and subsampling are alike", "ours; the abstract has the maximum ahead", within=0.3,
                  better="maximum", worse="subsampling", note="a few networks with subsampling stay at chance at this rate"),
        ],
        seeds=40,
    ),
    full=Scale(
        rows=[
            Row(label, "configs/ablation.py:13pct", cost="5 min, 1 x H100",
                overrides=(f"--config.model.pooling={kind}",) if kind else ())
            for label, kind in CIFAR.items()
        ],
        claims=claims("average", "L2", "stride"), seeds=3,
    ),
)  # fmt: skip
