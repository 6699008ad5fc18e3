"""The lecture's four activation functions in one network on digits, and the variant with a trained gain.

A run counts the steps to a training error of 2 %. Each activation has the rate that was best for it by this metric in a pilot,
on training digits that the cpu size does not use:

    python run.py --mode=sweep --experiment=experiments/activations.py --size=pilot --workdir=runs/activations-pilot

"tanh with gain" is the lecture's variant y = c g(W * x) + b, with one c and b per map, at the rate of tanh; its fully connected
layers also have the usual bias inside g. experiments/relu_vs_tanh.py compares tanh with ReLU on photographs.
"""

from convnets.sweep import Claim, Experiment, Row, Scale
from experiments._overrides import HELD_OUT

NET = "conv(16, 5)|{0}|max(2)|conv(32, 5)|{0}|max(2)|fc(64)|{0}|out"
GAIN = NET.replace("5)", "5, bias='none')").format("tanh|gain")
RATES = {"sigmoid": 0.2, "tanh": 0.1, "relu": 0.05, "leaky_relu": 0.05}
TRIED = {"sigmoid": (0.1, 0.2, 0.5), **dict.fromkeys(("tanh", "relu", "leaky_relu"), (0.02, 0.05, 0.1, 0.2))}
EPOCHS = {"sigmoid": 20.0}  # the others: 8, since they get there early
NAMES = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "ReLU", "leaky_relu": "leaky ReLU"}


def row(label: str, layers: str, name: str, rate: float, *more: str) -> Row:
    overrides = (f"--config.model.layers={layers}", "--config.model.init_weights=glorot",
                 f"--config.optim.lr={rate}", f"--config.train.epochs={EPOCHS.get(name, 8.0)}", *more)  # fmt: skip
    return Row(label, "configs/ablation.py:mnist10k", overrides=overrides, cost="40 s, 1 core")


EXPERIMENT = Experiment(
    "Activation functions", "steps_to_train_error(2, 0.5)",
    cpu=Scale(
        rows=[
            *(row(label, NET.format(name), name, RATES[name]) for name, label in NAMES.items()),
            row("tanh with gain", GAIN, "tanh", RATES["tanh"]),
        ],
        claims=[
            Claim("ReLU reaches the error in fewer steps than the sigmoid", "Krizhevsky et al. 2012, section 3.1", better="ReLU",
                  worse="sigmoid", ratio=True),
            Claim("tanh, which is symmetric about 0, reaches it in fewer steps than the sigmoid", "LeCun et al. 1998, Efficient BackProp, section 4.4",
                  better="tanh", worse="sigmoid", ratio=True),
            Claim("ReLU reaches it in fewer steps than tanh", "Krizhevsky et al. 2012, section 3.1", better="ReLU", worse="tanh",
                  size=6, ratio=True, elsewhere="CIFAR-10"),
            Claim("leaky ReLU is as fast as ReLU", "Maas et al. 2013, from memory", better="leaky ReLU", worse="ReLU",
                  ratio=True, within=1.25, note="the margin is ours"),
            Claim("a trained gain and bias do not raise the error", "ours; the lecture only shows the variant",
                  metric="test_error", better="tanh", worse="tanh with gain", within=0.3, one_sided=True,
                  note="the margin is ours"),
        ],
        seeds=12,
    ),
    pilot=Scale(
        rows=[row(f"{label}, rate {rate}", NET.format(name), name, rate, *HELD_OUT)
              for name, label in NAMES.items() for rate in TRIED[name]],
        seeds=3, first_seed=1000,
    ),
)  # fmt: skip
