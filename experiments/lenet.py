"""LeNet-5 on MNIST: LeCun et al. 1998, section III.B and figure 9."""

from convnets.sweep import Claim, Experiment, Row, Scale

EXPERIMENT = Experiment(
    "LeNet-5 on MNIST", "test_error", source="LeCun et al. 1998",
    full=Scale(
        rows=[
            Row("LeNet-5, 20 passes", "configs/lenet.py:mnist", 0.95, "1998, fig. 9"),
            Row("LeNet-5, 20 passes, the paper's schedule", "configs/lenet.py:passes", 0.95, "1998, fig. 9",
                cost="6 min, 2 cores"),
            Row("LeNet-5, 25 passes, distorted digits", "configs/lenet.py:distorted", 0.80, "1998, fig. 9"),
            Row("LeNet-5 as built today, 20 epochs", "configs/lenet.py:modern"),
        ],
        claims=[
            Claim("distorted training digits help", "section III.C", better="LeNet-5, 25 passes, distorted digits",
                  worse="LeNet-5, 20 passes", size=0.15, note="three seeds"),
        ],
        seeds=3,
    ),
)  # fmt: skip
