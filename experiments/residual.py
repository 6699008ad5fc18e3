"""Residual versus plain networks of growing depth, compared by training loss: the degradation is not overfitting.

The cpu size has narrow networks on digits of half the size. Its schedule has the paper's form: a tenth of the rate after a
half and after three quarters of the steps. After 2 epochs at a constant rate, as we ran it first, the deeper residual
network was behind the shallower one.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

DECAY = ("--config.optim.schedule=steps(0.1, 10, 15)", "--config.train.epochs=20.0")
# A fifth of the schedule of 64,000 iterations.
FIFTH = ("--config.optim.schedule=steps(0.1, 16.384, 24.576)", "--config.train.epochs=32.768")


def digits(kind: str, depth: int, shortcut: str) -> Row:
    name = (f"--config.model.name=resnet{depth}_cifar",) if depth != 20 else ()
    plain = ("--config.model.shortcut=none",) if shortcut == "none" else ()
    return Row(f"{kind}-{depth}", "configs/ablation.py:resnet", overrides=(*name, *plain, *DECAY), x=depth, line=kind,
               cost=f"{2 if depth == 20 else 5} min, 1 core")  # fmt: skip


EXPERIMENT = Experiment(
    "Residual against plain networks", "train_loss", source="He et al. 2015, section 4.2", x="layers",
    cpu=Scale(
        rows=[digits(kind, depth, shortcut) for kind, shortcut in (("plain", "none"), ("residual", "A")) for depth in (20, 44)],
        claims=[
            Claim("a deeper plain network has the higher training loss", "figure 6", better="plain-20", worse="plain-44"),
            Claim("a deeper residual network has the lower training loss", "figure 6", better="residual-44",
                  worse="residual-20"),
            Claim("a deep residual network trains better than its plain twin", "figure 6", better="residual-44",
                  worse="plain-44"),
            Claim("depth costs the residual network less than the plain one", "figure 6",
                  better=["residual-44", "plain-20"], worse=["residual-20", "plain-44"],
                  note="a difference of differences"),
        ],
        seeds=8,
    ),
    full=Scale(
        rows=[
            Row(f"{kind}-{depth}", f"configs/resnet_cifar.py:{prefix}{depth}", overrides=FIFTH, x=depth, line=kind,
                cost=f"{2 + depth // 10} min, 1 x H100")
            for kind, prefix in (("plain", "plain"), ("residual", "")) for depth in (20, 56)
        ],
        claims=[
            Claim("plain networks get worse with depth, in training", "figure 6", better="plain-20", worse="plain-56",
                  metric="train_error"),
            Claim("plain networks get worse with depth, in the test", "figure 6", better="plain-20", worse="plain-56",
                  metric="test_error"),
            Claim("residual networks get better with depth", "table 6", better="residual-56", worse="residual-20",
                  metric="test_error", size=1.78),
        ],
        seeds=3,
    ),
)  # fmt: skip
