"""The lecture's four activation functions in one network on digits, and the variant with a trained gain.

A run counts the steps to a training error of 2 %. Each activation has the rate that was best for it by this
metric in a pilot with seed 1000: the sigmoid 0.2 of 0.1, 0.2 and 0.5 (with 0.5 it stayed at chance), tanh 0.1 of 0.1 and 0.2,
ReLU and leaky ReLU 0.1 of 0.05 and 0.1. "tanh with gain" is the lecture's variant
y = c g(W * x) + b, with one c and b per map; its fully connected layers also have the usual bias inside g.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

NET = "conv(16, 5)|{0}|max(2)|conv(32, 5)|{0}|max(2)|fc(64)|{0}|out"
GAIN = NET.replace("5)", "5, bias='none')").format("tanh|gain")
RATES, EPOCHS = {"sigmoid": 0.2}, {"sigmoid": 20.0}  # the others: 0.1 and 8, since they get there early
NAMES = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "ReLU", "leaky_relu": "leaky ReLU"}


def row(label: str, layers: str, name: str) -> Row:
    overrides = (f"--config.model.layers={layers}", "--config.model.init_weights=glorot",
                 f"--config.optim.lr={RATES.get(name, 0.1)}", f"--config.train.epochs={EPOCHS.get(name, 8.0)}")  # fmt: skip
    return Row(label, "configs/ablation.py:mnist10k", overrides=overrides, cost="40 s, 1 core")


EXPERIMENT = Experiment(
    "Activation functions", "steps_to_train_error(2, 0.5)",
    cpu=Scale(
        rows=[
            *(row(label, NET.format(name), name) for name, label in NAMES.items()),
            row("tanh with gain", GAIN, "tanh"),
        ],
        claims=[
            Claim("ReLU gets there in fewer steps than the sigmoid", "Krizhevsky et al. 2012, section 3.1", better="ReLU",
                  worse="sigmoid", ratio=True),
            Claim("so does tanh, which is symmetric about 0", "LeCun et al. 1998, Efficient BackProp, section 4.4",
                  better="tanh", worse="sigmoid", ratio=True),
            Claim("leaky ReLU is as fast as ReLU", "Maas et al. 2013, from memory", better="leaky ReLU", worse="ReLU",
                  ratio=True, within=1.25),
            Claim("a trained gain and bias do not raise the error", "ours; the lecture only shows the variant",
                  metric="test_error", better="tanh", worse="tanh with gain", within=0.3, one_sided=True),
        ],
        seeds=6,
    ),
)  # fmt: skip
