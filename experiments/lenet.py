"""LeNet-5 on MNIST: LeCun et al. 1998, section III.B and figure 9."""

from convnets.report import Row

ROWS = [
    Row("LeNet-5, 20 passes", "configs/lenet.py:mnist", 0.95, "1998, fig. 9"),
    Row("LeNet-5, 20 passes, the paper's schedule", "configs/lenet.py:passes", 0.95, "1998, fig. 9"),
    Row("LeNet-5, 25 passes, distorted digits", "configs/lenet.py:distorted", 0.80, "1998, fig. 9"),
    Row("LeNet-5 as built today, 20 epochs", "configs/lenet.py:modern", None, ""),
]
