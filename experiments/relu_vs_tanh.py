"""How much faster ReLU learns than tanh.

The ratio depends on the initial weights as much as on the activation, so both are varied. Every row on digits uses the
learning rate that was best for it in a pilot with one seed: the lowest training error after 6 epochs (Glorot) or 2
(Gaussian), among 0.02, 0.05, 0.1 and 0.2. N(0, 0.03) for inputs of 0 to 1 corresponds to N(0, 0.01) for the inputs of
CIFAR-10. The rows on CIFAR-10 form a grid of rates; their claims use 0.02 until a pilot on an accelerator finds the
best rate of each.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

NET = "conv(16, 5)|{0}|max(2)|conv(32, 5)|{0}|max(2)|fc(64)|{0}|out"
CIFAR = "conv(64, 5, padding=2)|{0}|max(2)|conv(64, 5, padding=2)|{0}|max(2)|conv(64, 3, padding=1)|{0}|out"


def row(label: str, variant: str, net: str, act: str, init: str, *more: str, cost: str = "") -> Row:
    overrides = (f"--config.model.layers={net.format(act)}", f"--config.model.init_weights={init}", *more)
    return Row(label, f"configs/ablation.py:{variant}", overrides=overrides, cost=cost)


def digits(label: str, act: str, init: str, lr: float) -> Row:
    return row(
        label, "mnist10k", NET, act, init, f"--config.optim.lr={lr}", "--config.train.epochs=6.0", cost="20 s, 1 core"
    )


def cifar(label: str, act: str, init: str, lr: float) -> Row:
    return row(label, "cifar", CIFAR, act, init, f"--config.optim.lr={lr}", cost="1 min, 1 x H100")


def claims(size: float | None, note: str = "") -> list[Claim]:
    return [
        Claim("ReLU gets there in fewer steps, Glorot's initial weights", "figure 1", better="ReLU, Glorot",
              worse="tanh, Glorot", size=size, ratio=True, note=note),
        Claim("ReLU gets there in fewer steps, small Gaussian initial weights", "figure 1", better="ReLU, Gaussian",
              worse="tanh, Gaussian", size=size, ratio=True, note=note),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    "ReLU against tanh", "steps_to_train_error(2, 0.5)", source="Krizhevsky et al. 2012, section 3.1",
    cpu=Scale(
        rows=[
            digits("ReLU, Glorot", "relu", "glorot", 0.05),
            digits("tanh, Glorot", "tanh", "glorot", 0.1),
            digits("ReLU, Gaussian", "relu", "normal(0.03)", 0.1),
            digits("tanh, Gaussian", "tanh", "normal(0.03)", 0.2),
        ],
        # The paper's factor is for CIFAR-10.
        claims=claims(None, "digits are learned before tanh saturates; the claim is made of CIFAR-10, the full size"),
    ),
    full=Scale(
        rows=[
            cifar(f"{label}, {name}{suffix}", act, init, lr)
            for label, act in (("ReLU", "relu"), ("tanh", "tanh"))
            for name, init in (("Glorot", "glorot"), ("Gaussian", "normal(0.01)"))
            for suffix, lr in (("", 0.02), (", rate 0.005", 0.005), (", rate 0.05", 0.05))
        ],
        claims=[c._replace(metric="steps_to_train_error(25)") for c in claims(6)],
        seeds=3,
    ),
)  # fmt: skip
