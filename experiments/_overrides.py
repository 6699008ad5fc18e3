"""Overrides and a metric that several experiments share."""

# For the pilots of experiments on mnist10k: training digits that it uses neither for training nor for testing.
HELD_OUT = ("--config.data.train_split=train[40000:50000]", "--config.data.test_split=train[50000:]")
LEARNED = "test_error_below(50)"  # of runs that do not stay at the 90 % of chance


def cosine(epochs: int) -> tuple[str, str]:
    """Returns the overrides for so many epochs with a cosine schedule."""
    return f"--config.optim.schedule=cosine({epochs})", f"--config.train.epochs={epochs}.0"
