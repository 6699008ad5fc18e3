"""Overrides, a metric and words that several experiments share."""

# For the pilots of experiments on mnist10k: training digits that it uses neither for training nor for testing.
HELD_OUT = ("--config.data.train_split=train[40000:50000]", "--config.data.test_split=train[50000:]")
ONE_UNIT = "one ensemble is one unit, and a verdict needs three"  # a note
# How recipes on MNIST differ from LeCun et al. 1998: initial weights from U(-2.4/sqrt(F), 2.4/sqrt(F)).
LARGER = "larger initial weights"
# What configs/lenet.py chose by the test error of LeNet-5 with seed 0 (pages.CHOSEN leaves such rows out of README).
SGD = f"{LARGER}, rate and schedule chosen by test error"
DISTORTED = "distortions chosen by test error"
LEARNED = "test_error_below(50)"  # of runs that do not stay at the 90 % of chance


def cosine(epochs: int) -> tuple[str, str]:
    """Returns the overrides for so many epochs with a cosine schedule."""
    return f"--config.optim.schedule=cosine({epochs})", f"--config.train.epochs={epochs}.0"
