"""Overrides, a metric and words that several experiments share."""

# For the pilots of experiments on mnist10k: training digits that it uses neither for training nor for testing.
HELD_OUT = ("--config.data.train_split=train[40000:50000]", "--config.data.test_split=train[50000:]")
ONE_UNIT = "one ensemble is one unit, and a verdict needs three"  # a note
CURVATURE = "16 digits a step, curvature as a running mean"  # how `levenberg` differs from the recipe of LeNet-5
LEARNED = "test_error_below(50)"  # of runs that do not stay at the 90 % of chance


def cosine(epochs: int) -> tuple[str, str]:
    """Returns the overrides for so many epochs with a cosine schedule."""
    return f"--config.optim.schedule=cosine({epochs})", f"--config.train.epochs={epochs}.0"
