"""1x1 reductions in inception modules: an error within a point of that without them, at a fraction of the multiply-adds.

The paper argues from the multiply-adds alone (section 4); that the error stays the same is our claim. The naive module hands on
its pooled input whole, 88 maps instead of 64 at the cpu size, so the layer after it is larger too.

tests/models/test_sequential.py counts the multiply-adds.
"""

from convnets.models.googlenet import MODULES
from convnets.sweep import Claim, Experiment, Row, Scale

DIGITS = "conv(32, 5)|relu|max(2)|{}|max(2)|out"
CIFAR = "conv(48, 3, padding=1)|relu|max(2)|{}|max(2)|{}|max(2)|mean|out"
WIDTHS = [[n // 4 for n in MODULES[name]] for name in ("3a", "4a")]
FULL = [f"inception({', '.join(map(str, row))})" for row in WIDTHS]
NAIVE = [f"inception({n1}, 0, {n3}, 0, {n5}, 0)" for n1, _, n3, _, n5, _ in WIDTHS]
# At mnist10k's default rate of 0.05, one of the seeds 0 to 4 of the naive module does not learn. These seeds, which then also ran at
# 0.02, are not counted.
RECIPE = ("--config.optim.lr=0.02", "--config.train.epochs=3.0")


def claims(note: str) -> list[Claim]:
    return [Claim("the reduced module has the same error, within a point", "ours", within=1.0, better="reduced",
                  worse="naive", note=note)]  # fmt: skip


EXPERIMENT = Experiment(
    "1x1 bottlenecks", "test_error", source="Szegedy et al. 2014, figure 2",
    cpu=Scale(
        rows=[
            Row("naive", "configs/ablation.py:mnist10k", cost="30 s, 1 core",
                overrides=(f"--config.model.layers={DIGITS.format(NAIVE[0])}", *RECIPE)),
            Row("reduced", "configs/ablation.py:mnist10k", cost="30 s, 1 core",
                overrides=(f"--config.model.layers={DIGITS.format(FULL[0])}", *RECIPE)),
        ],
        claims=claims("the 5x5 branch alone costs 6,400 weights instead of 928; the margin is ours"),
        seeds=10, first_seed=5,
    ),
    full=Scale(
        rows=[
            Row("naive", "configs/ablation.py:cifar_aug", overrides=(f"--config.model.layers={CIFAR.format(*NAIVE)}",),
                cost="2 min, 1 x H100"),
            Row("reduced", "configs/ablation.py:cifar_aug", overrides=(f"--config.model.layers={CIFAR.format(*FULL)}",),
                cost="2 min, 1 x H100"),
        ],
        claims=claims("the naive module hands on the pooled input whole, so the next one has more to do; the margin is ours"),
        seeds=3,
    ),
)  # fmt: skip
