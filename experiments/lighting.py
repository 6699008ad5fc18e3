"""Unusual light: networks with each kind of normalization, tested in dim and slanted light.

The networks are trained in even light. Slanted light falls from the left, and is dimmer too: its factor goes from 0.96 to
0.24. The lecture says that local normalization makes a network invariant to a local change in lighting. No paper gives a
number, or names such light. Jarrett et al. 2009 (section 2.1) and Krizhevsky et al. 2012 (section 3.3) only say what their
normalizations do: to subtract and divide by the statistics of a neighbourhood, and to damp responses beside large ones. Local
contrast normalization of the pixels gives the same output in dim light, so no claim is made about it there. Each row has the learning
rate that was best for it in even light, in a pilot on training digits that the rows do not use:

    python run.py --mode=sweep --experiment=experiments/lighting.py --size=pilot --workdir=runs/lighting-pilot
"""

from convnets.sweep import Claim, Evaluation, Experiment, Row, Scale
from experiments._overrides import HELD_OUT, cosine

NET = "{1}conv(16, 5)|{0}|max(2)|conv(32, 5)|{0}|max(2)|out"
# LRN constants of cuda-convnet's 11% network (convnets/models/alexnet.py). Its pixels range from 0 to 255, these from 0 to 1.
# With an alpha of 255^2 x 0.001 = 65 each pixel counts as much as there. On initial weights LRN then multiplies half of all
# responses by less than 0.6.
NORMS = {"none": ("relu", ""), "LRN": ("relu|lrn(9, 65.0, k=1, divide=True)", ""), "LCN": ("relu|lcn", ""),
         "LCN of the pixels": ("relu", "lcn|"), "BN": ("norm|relu", "")}  # fmt: skip
TRIED = {"none": (0.05, 0.1, 0.2), "LRN": (0.2, 0.4, 0.8, 1.6), "LCN": (0.01, 0.02, 0.05, 0.1),
         "LCN of the pixels": (0.005, 0.01, 0.02, 0.05), "BN": (0.02, 0.05, 0.1, 0.2)}  # fmt: skip
RATES = {"none": 0.1, "LRN": 0.8, "LCN": 0.05, "LCN of the pixels": 0.01, "BN": 0.05}
VARIES = "the increase of the error, which differs much between networks"
LIGHTS = {"dim": "brightness_gradient(0.3)", "slanted": "brightness_gradient(0.6, 0.6)"}


def digits(label: str, rate: float, *more: str, suffix: str = "") -> Row:
    norm, first = NORMS[label]
    tests = {
        name: Evaluation((f"--config.data.test_ops=decode|{op}|value_range(0.0, 1.0)",)) for name, op in LIGHTS.items()
    }
    overrides = (f"--config.model.layers={NET.format(norm, first)}", f"--config.optim.lr={rate}",
                 *cosine(10), *more)  # fmt: skip
    return Row(label + suffix, "configs/ablation.py:mnist10k", tests={} if more else tests, cost="30 s, 1 core",
               overrides=overrides)  # fmt: skip


def cifar(label: str, options: tuple[str, ...]) -> Row:
    tests = {
        name: Evaluation((f"--config.data.test_ops=decode|{op}|center(24)|subtract_mean('center')",))
        for name, op in LIGHTS.items()
    }
    return Row(label, "configs/ablation.py:13pct", overrides=options, tests=tests, cost="5 min, 1 x H100")


def loses_less(label: str, *lights: str, note: str = VARIES) -> list[Claim]:
    local = "lecture: local change in lighting (due to local normalization)"
    return [Claim(f"{label} loses less under {light} light", local if light == "slanted" and label != "BN" else "ours",
                  better=[(label, light), "none"], worse=[label, ("none", light)], note=note) for light in lights]  # fmt: skip


EXPERIMENT = Experiment(
    "Light", "test_error",
    cpu=Scale(
        rows=[digits(label, rate) for label, rate in RATES.items()],
        claims=[Claim("LRN lowers the error, in even light", "Krizhevsky et al. 2012, section 3.3", better="LRN", worse="none",
                      size=2.0, elsewhere="CIFAR-10", note="on digits the network errs as little without it"),
                *loses_less("LCN", *LIGHTS), *loses_less("LCN of the pixels", "slanted"), *loses_less("LRN", *LIGHTS),
                *loses_less("BN", *LIGHTS, note="its mean and variance are those of even light")],
        seeds=10,
    ),
    full=Scale(
        rows=[cifar("none", ()), cifar("LRN", ("--config.model.lrn=across",)), cifar("BN", ("--config.model.batch_norm=True",))],
        claims=loses_less("LRN", *LIGHTS), seeds=3,
    ),
    pilot=Scale(
        rows=[digits(label, rate, *HELD_OUT, suffix=f", rate {rate}") for label in NORMS for rate in TRIED[label]],
        seeds=2, first_seed=1000,
    ),
)  # fmt: skip
