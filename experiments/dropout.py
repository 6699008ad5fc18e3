"""Dropout of hidden units and of inputs.

The paper trains for thousands of epochs on 60,000 digits; the cpu size uses 5,000 digits. Its networks with dropout also limit
the norm of the weights of each unit, and its error without dropout is the best that was published until then. How much slower
dropout reaches an early level is measured twice, on the same runs: by the training loss, which dropped units themselves raise,
and by the test error, for which no unit is dropped. experiments/thinned.py compares the network with the mean over thinned
networks. Seeds 0 to 4 were the first plan, too few for a verdict, and are not counted.
"""

from convnets.sweep import Claim, Experiment, Row, Scale
from experiments._overrides import cosine

PLAIN = "fc(800)|relu|fc(800)|relu|out"
HIDDEN = "fc(800)|relu|dropout(0.5)|fc(800)|relu|dropout(0.5)|out"
ROWS = (("none", PLAIN, 1.6), ("hidden units 0.5", HIDDEN, 1.3),
        ("hidden units 0.5, inputs 0.2", f"dropout(0.2)|{HIDDEN}", 1.1))  # fmt: skip


THREE = ("--config.model.layers=" + "|".join(["dropout(0.2)", *3 * ["fc(1024)|relu|dropout(0.5)"], "out"]),)
SLOWER = "Krizhevsky et al. 2012, section 4.2"  # "roughly doubles the number of iterations"


def takes_more_steps(to: str, metric: str, where: str = SLOWER, size: float | None = 2.0, note: str = "") -> Claim:
    return Claim(f"it takes more steps to {to}", where, metric=metric, better="none", worse="hidden units 0.5", ratio=True,
                 size=size, elsewhere="ImageNet" * bool(size), note=note)  # fmt: skip


def claims(*sizes: float | None) -> list[Claim]:
    return [
        Claim("dropping hidden units lowers the error", "figure 1", better="hidden units 0.5", worse="none", size=sizes[0]),
        Claim("dropping inputs too lowers it further", "figure 1 and text", better="hidden units 0.5, inputs 0.2",
              worse="hidden units 0.5", size=sizes[1]),
        Claim("the training loss is higher with it", "ours", metric="train_loss", better="none",
              worse="hidden units 0.5"),
        takes_more_steps("a training loss of 0.1", "steps_to_train_loss(0.1)", "ours", None, "dropped units raise this loss themselves"),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    "Dropout", "test_error", source="Hinton et al. 2012",
    cpu=Scale(
        rows=[
            Row(label, "configs/ablation.py:mlp", cost="25 s, 1 core",
                overrides=(f"--config.model.layers={line}", "--config.data.train_split=train[:5000]",
                           *cosine(25),
                           "--config.train.eval_every_epochs=0.5"))
            for label, line, _ in ROWS
        ],
        claims=[*claims(None, None), takes_more_steps("a test error of 7 %", "steps_to_test_error(7)")],
        seeds=12, first_seed=5,
    ),
    full=Scale(
        rows=[
            *(Row(label, "configs/ablation.py:mlp", paper, "2012, text", cost="3 min, 1 x H100",
                  recipe="no limit on the norm of weights" * (line != PLAIN), overrides=(f"--config.model.layers={line}",) if line != PLAIN else ()) for label, line, paper in ROWS),
            Row("3 x 1024", "configs/ablation.py:mlp", 1.25, "2014, table 2", THREE, cost="4 min, 1 x H100"),
            Row("3 x 1024, max-norm", "configs/ablation.py:mlp", 1.06, "2014, table 2",
                (*THREE, "--config.optim.max_norm=2.0"), cost="4 min, 1 x H100"),
        ],
        claims=[
            *claims(0.3, 0.2),
            Claim("a limit on the norm helps", "Srivastava et al. 2014, table 2", better="3 x 1024, max-norm",
                  worse="3 x 1024", size=0.19),
        ],
    ),
)  # fmt: skip
