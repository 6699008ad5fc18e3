"""Unusual light: networks with each kind of normalization, tested in dim and slanted light.

The networks are trained in even light. No paper gives a number. Each of the papers says that its normalization
reduces the influence of contrast.
"""

from convnets.sweep import Claim, Evaluation, Experiment, Row, Scale

NET = "{1}conv(16, 5)|{0}|max(2)|conv(32, 5)|{0}|max(2)|out"
# LRN constants of cuda-convnet's 11% network (convnets/models/alexnet.py). Its pixels range from 0 to 255, these from 0 to 1.
# ReLU networks scale with their input, so the same network needs an alpha of 255^2 x 0.001 = 65.
NORMS = {"none": ("relu", ""), "LRN": ("relu|lrn(9, 65.0, k=1, divide=True)", ""), "LCN": ("relu|lcn", ""),
         "LCN of the pixels": ("relu", "lcn|"), "BN": ("norm|relu", "")}  # fmt: skip
LIGHTS = {"dim": "brightness_gradient(0.3)", "slanted": "brightness_gradient(0.6, 0.6)"}


def digits(label: str, norm: str, first: str) -> Row:
    tests = {
        name: Evaluation((f"--config.data.test_ops=decode|{op}|value_range(0.0, 1.0)",)) for name, op in LIGHTS.items()
    }
    return Row(label, "configs/ablation.py:mnist10k", tests=tests, cost="30 s, 1 core",
               overrides=(f"--config.model.layers={NET.format(norm, first)}", "--config.train.epochs=10.0"))  # fmt: skip


def cifar(label: str, options: tuple[str, ...]) -> Row:
    tests = {
        name: Evaluation((f"--config.data.test_ops=decode|{op}|center(24)|subtract_mean('center')",))
        for name, op in LIGHTS.items()
    }
    return Row(label, "configs/ablation.py:13pct", overrides=options, tests=tests, cost="5 min, 1 x H100")


def loses_less(label: str, where: str) -> list[Claim]:
    return [Claim(f"{label} loses less under {light} light", where, better=[(label, light), "none"],
                  worse=[label, ("none", light)], note="the increase of the error, not the error") for light in LIGHTS]  # fmt: skip


EXPERIMENT = Experiment(
    "Light", "test_error",
    cpu=Scale(
        rows=[digits(label, *where) for label, where in NORMS.items()],
        claims=[*loses_less("LCN", "Jarrett et al. 2009, section 2.1"),
                *loses_less("LCN of the pixels", "Jarrett et al. 2009, section 2.1"),
                *loses_less("LRN", "Krizhevsky et al. 2012, section 3.3")],
        seeds=10,
    ),
    full=Scale(
        rows=[cifar("none", ()), cifar("LRN", ("--config.model.lrn=across",)), cifar("BN", ("--config.model.batch_norm=True",))],
        claims=loses_less("LRN", "Krizhevsky et al. 2012, section 3.3"), seeds=3,
    ),
)  # fmt: skip
