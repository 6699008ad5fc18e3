"""Kinds of pooling: maximum, average, L1 and L2 norm, LeNet's trained subsampling, or a strided convolution.

After a ReLU the L1 norm of four values is four times their average. The two rows differ in scale alone and are to be alike.
Each row of the cpu size has the next lower learning rate than the one that was best for it in a pilot, on training digits that
the cpu size does not use. At the best rates themselves, with seeds 0 to 14, five of 90 runs stayed at chance; they are
not counted:

    python run.py --mode=sweep --experiment=experiments/pool_kind.py --size=pilot --workdir=runs/pool_kind-pilot
"""

from convnets.sweep import Claim, Experiment, Row, Scale
from experiments._overrides import HELD_OUT, cosine

DIGITS = {
    "maximum": "conv(16, 5)|relu|max(2)|conv(32, 5)|relu|max(2)|fc(64)|relu|out",
    "average": "conv(16, 5)|relu|average(2)|conv(32, 5)|relu|average(2)|fc(64)|relu|out",
    "L1": "conv(16, 5)|relu|l1(2)|conv(32, 5)|relu|l1(2)|fc(64)|relu|out",
    "L2": "conv(16, 5)|relu|l2(2)|conv(32, 5)|relu|l2(2)|fc(64)|relu|out",
    "subsampling": "conv(16, 5)|relu|subsample|conv(32, 5)|relu|subsample|fc(64)|relu|out",
    "stride": "conv(16, 5, 2)|relu|conv(32, 5, 2)|relu|fc(64)|relu|out",
}
TRIED = {**dict.fromkeys(DIGITS, (0.05, 0.1, 0.2, 0.4)), "L1": (0.005, 0.01, 0.02, 0.05), "L2": (0.01, 0.02, 0.05, 0.1),
         "subsampling": (0.01, 0.02, 0.05, 0.1)}  # fmt: skip
RATES = {"maximum": 0.05, "average": 0.05, "L1": 0.01, "L2": 0.02, "subsampling": 0.02, "stride": 0.1}
CIFAR = {"maximum": "", "average": "average", "L2": "l2", "stride": "stride"}


def digits(kind: str, rate: float, *more: str, suffix: str = "") -> Row:
    net = (f"--config.model.layers={DIGITS[kind]}",) if kind != "maximum" else ()
    return Row(kind + suffix, "configs/ablation.py:mnist10k", overrides=(*net, f"--config.optim.lr={rate}", *cosine(10), *more),
               cost="25 s, 1 core")  # fmt: skip


def claims(*kinds: str) -> list[Claim]:
    return [Claim(f"the maximum is better than {kind}", "abstract", better="maximum", worse=kind) for kind in kinds]


EXPERIMENT = Experiment(
    "Kinds of pooling", "test_error", source="Scherer, Mueller & Behnke 2010",
    cpu=Scale(
        rows=[digits(kind, rate) for kind, rate in RATES.items()],
        claims=[
            *claims("average", "L2", "subsampling", "stride"),
            Claim("L1 and average differ in scale alone and are alike", "ours", within=0.2, better="average", worse="L1",
                  note="the margin is ours"),
        ],
        seeds=15, first_seed=15,
    ),
    full=Scale(
        rows=[
            Row(label, "configs/ablation.py:13pct", cost="5 min, 1 x H100",
                overrides=(f"--config.model.pooling={kind}",) if kind else ())
            for label, kind in CIFAR.items()
        ],
        claims=claims("average", "L2", "stride"), seeds=3,
    ),
    pilot=Scale(
        rows=[digits(kind, rate, *HELD_OUT, suffix=f", rate {rate}") for kind in DIGITS for rate in TRIED[kind]],
        seeds=2, first_seed=1000,
    ),
)  # fmt: skip
