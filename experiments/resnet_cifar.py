"""ResNets and plain networks on CIFAR-10: table 6 and figure 6 of He et al. 2015."""

from convnets.sweep import Claim, Experiment, Row, Scale

EIGHTH = ("--config.optim.schedule=steps(0.1, 10.24, 15.36)", "--config.train.epochs=20.48")
PAPER = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.61, 1202: 7.93}
PLAIN = (20, 32, 44, 56)


def minutes(depth: int) -> str:
    return f"{3 * depth // 20} min, 1 x H100"


EXPERIMENT = Experiment(
    "ResNets on CIFAR-10", "test_error", source="He et al. 2015", x="layers",
    cpu=Scale(
        rows=[Row("ResNet-20, an eighth of the iterations", "configs/resnet_cifar.py:20", 8.75, "table 6, all of them", EIGHTH,
                  cost="45 min, 2 cores")],
        seeds=3,
    ),
    full=Scale(
        rows=[
            *(Row(f"ResNet-{n}", f"configs/resnet_cifar.py:{n}", error, "table 6", x=n, line="residual", cost=minutes(n))
              for n, error in PAPER.items()),
            *(Row(f"plain-{n}", f"configs/resnet_cifar.py:plain{n}", x=n, line="plain", cost=minutes(n)) for n in PLAIN),
            Row("plain-110", "configs/resnet_cifar.py:plain110", cost=minutes(110)),
        ],
        claims=[
            *(Claim(f"{deep} layers are better than {less}", "table 6", better=f"ResNet-{deep}", worse=f"ResNet-{less}",
                    size=round(PAPER[less] - PAPER[deep], 2)) for less, deep in ((20, 32), (32, 44), (44, 56), (56, 110))),
            Claim("1202 layers are worse than 110", "table 6", better="ResNet-110", worse="ResNet-1202", size=1.32),
            *(Claim(f"plain: {deep} layers are worse than {less}", "figure 6", better=f"plain-{less}", worse=f"plain-{deep}")
              for less, deep in ((20, 32), (32, 44), (44, 56))),
            Claim("plain: 110 layers are worse than 56", "figure 6, caption: above 60 %", better="plain-56", worse="plain-110"),
            Claim("plain: 56 layers are worse than 20, in training", "figure 6", metric="train_error", better="plain-20",
                  worse="plain-56"),
        ],
        seeds=5,
    ),
)  # fmt: skip
