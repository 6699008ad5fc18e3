"""The neocognitron's digits 0 to 4, told apart without a teacher, wherever they stand.

The paper has figures and no error rate. The percentage here is that of runs (seeds) with any wrong image; which class the
winning plane of UC3 stands for is what it won most often in training, ours (convnets/models/neocognitron.py).
"""

from convnets.ledger import Claim, Experiment, Row, Size, Test

DIGITS = "configs/neocognitron.py:digits"
MIDDLE = "--config.data.test_split=train"
DEFORMED = "--config.data.test_split=deformed"

EXPERIMENT = Experiment(
    "Neocognitron", "any_error", source="Fukushima 1980",
    cpu=Size(
        rows=[
            Row("20 presentations, all shifts by up to 2", DIGITS, 0.0, "figures 6 and 7", cost="10 s, 1 core",
                tests={"in the middle".replace(" ", "-"): Test((MIDDLE,), 0.0, "figure 6"), "deformed": Test((DEFORMED,))}),
            Row("1 presentation", DIGITS, overrides=("--config.train.epochs=1.0",), cost="5 s, 1 core"),
        ],
        claims=[],
        seeds=10,
    ),
)  # fmt: skip
