"""Learned features by the number of training digits. The other half, histograms of gradients with a linear SVM, is not here yet.

The paper's claim is AlexNet's, 17.0 % top-5 against 25.7 % of Fisher vectors (table 1), on a set that is not public.
"""

from convnets.ledger import Experiment, Row, Size

EPOCHS = {100: 200, 1000: 40, 10000: 5}  # enough for the training error to reach 0


def row(digits: int, epochs: int) -> Row:
    split = (f"--config.data.train_split=train[:{digits}]",) if digits != 10000 else ()
    batch = ("--config.train.batch_size=50",) if digits < 10000 else ()
    return Row(f"convolutional, {digits:,} digits", "configs/ablation.py:mnist10k", x=digits, line="convolutional",
               overrides=(*split, *((f"--config.train.epochs={epochs}.0",) if digits != 10000 else ()), *batch),
               cost="16 s, 1 core")  # fmt: skip


EXPERIMENT = Experiment(
    "Learned against hand-made features", "test_error", source="Krizhevsky et al. 2012, table 1", x="training digits",
    cpu=Size(rows=[row(digits, epochs) for digits, epochs in EPOCHS.items()]),
    full=Size(rows=[Row("LeNet-5, 60,000 digits", "configs/lenet.py:modern", x=60_000, line="convolutional",
                        cost="4 min, 2 cores")], seeds=3),
)  # fmt: skip
