"""Residual versus plain networks of growing depth, compared by training loss: the degradation is not overfitting.

The cpu size has narrow networks on digits of half the size, distorted anew in every epoch: both residual networks fit
undistorted digits to the last one, which leaves nothing to compare. Its schedule has the paper's form: the rate
is divided by 10 after one half and again after three quarters of the steps. Losses are compared as ratios. The rows of 2 epochs at a constant rate,
without distortions, are the first version of this experiment: there the deeper residual network is behind the shallower one,
so that the claim on them, which is ours, fails. Figure 6 shows errors; the cpu size compares training losses, which are not
rounded.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

DISTORTED = "decode|resize(14)|distort(translate=1, scale=0.15, squeeze=0.15, shear=0.3)|value_range(0.0, 1.0)"
DECAY = ("--config.optim.schedule=steps(0.1, 10, 15)", "--config.train.epochs=20.0", "--config.train.eval_every_epochs=0.0",
         f"--config.data.train_ops={DISTORTED}")  # fmt: skip
SHORT = ", 2 epochs"
# A fifth of the schedule of 64,000 iterations.
FIFTH = ("--config.optim.schedule=steps(0.1, 16.384, 24.576)", "--config.train.epochs=32.768")


def digits(kind: str, depth: int, suffix: str = "") -> Row:
    name = (f"--config.model.name=resnet{depth}_cifar",) if depth != 20 else ()
    plain = ("--config.model.shortcut=none",) if kind == "plain" else ()
    length = () if suffix else DECAY
    return Row(f"{kind}-{depth}{suffix}", "configs/ablation.py:resnet", overrides=(*name, *plain, *length), x=depth,
               line=kind + suffix, cost="20 s, 1 core" if suffix else f"{2 if depth == 20 else 4} min, 1 core")  # fmt: skip


def claim(text: str, better: str | list[str], worse: str | list[str], note: str = "", where: str = "figure 6") -> Claim:
    return Claim(text, where, better=better, worse=worse, ratio=True, note=note)


EXPERIMENT = Experiment(
    "Residual against plain networks", "train_loss", source="He et al. 2015, section 4.2", x="layers",
    cpu=Scale(
        rows=[*(digits(kind, depth) for kind in ("plain", "residual") for depth in (20, 44)),
              *(digits("residual", depth, SHORT) for depth in (20, 44))],
        claims=[
            claim("a deeper plain network has the higher training loss", "plain-20", "plain-44"),
            claim("a deeper residual network has the lower training loss", "residual-44", "residual-20",
                  "its loss varies thrice as much; the paper's gain is on CIFAR-10"),
            claim("a deeper residual network has the lower training loss, 2 epochs", f"residual-44{SHORT}",
                  f"residual-20{SHORT}", "the paper's networks train for 164 epochs with decay", "ours"),
            claim("a deep residual network trains better than its plain twin", "residual-44", "plain-44"),
            claim("depth costs the residual network less than the plain one", ["residual-44", "plain-20"],
                  ["residual-20", "plain-44"], "a ratio of ratios"),
        ],
        seeds=8,
    ),
    full=Scale(
        rows=[
            Row(f"{kind}-{depth}", f"configs/resnet_cifar.py:{prefix}{depth}", overrides=FIFTH, x=depth, line=kind,
                cost=f"{1 if depth == 20 else 2} min, 1 x H100")
            for kind, prefix in (("plain", "plain"), ("residual", "")) for depth in (20, 56)
        ],
        claims=[
            Claim("plain networks get worse with depth, in training", "figure 6", better="plain-20", worse="plain-56",
                  metric="train_error"),
            Claim("plain networks get worse with depth, in the test", "figure 6", better="plain-20", worse="plain-56",
                  metric="test_error"),
            Claim("residual networks get better with depth", "table 6", better="residual-56", worse="residual-20",
                  metric="test_error", size=1.78, elsewhere="all 64,000 iterations"),
        ],
        seeds=3,
    ),
)  # fmt: skip
