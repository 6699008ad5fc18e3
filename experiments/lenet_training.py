"""The training error of LeNet-5 by the paper's recipe: 0.35 % after 19 passes (LeCun et al. 1998, section III.B).

Ours is the error of the digits as they are trained on, in the 20th pass.
"""

from convnets.sweep import Experiment, Row, Scale
from experiments._overrides import LARGER

EXPERIMENT = Experiment(
    "Training error of LeNet-5", "train_error", source="LeCun et al. 1998",
    full=Scale(
        rows=[Row("LeNet-5, the paper's recipe", "configs/lenet.py:paper", 0.35, "section III.B", cost="10 min, 1 core", recipe=LARGER)],
        seeds=3, first_seed=1,
    ),
)  # fmt: skip
