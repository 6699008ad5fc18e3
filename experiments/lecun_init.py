"""Initial weights of LeCun et al. 1998: from U(-2.4/F, 2.4/F), as appendix A says, or from U(-2.4/sqrt(F), 2.4/sqrt(F)).

F is the fan-in. The learning rates that the paper prints speak for the root (`experiments/first_rates.py`), which the recipes
in `configs/lenet.py` and `configs/lecun_1998.py` have. From 2.4/F nearly all rates begin at their largest value. An image for
which all outputs of a network are equal counts as an error.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

ROOT, WORDS = "2.4/sqrt(F)", "2.4/F"
NETS = {"300 hidden units": ("configs/lecun_1998.py:300", "--config.model.init_weights=lecun(2.4)"),
        "300-100 hidden units": ("configs/lecun_1998.py:300-100", "--config.model.init_weights=lecun(2.4)"),
        "LeNet-5": ("configs/lenet.py:paper", "--config.model.init_root=False")}  # fmt: skip
NOTES = {"300-100 hidden units": "from 2.4/F two of three runs stay at chance, and one learns from the ninth pass on"}

EXPERIMENT = Experiment(
    "Initial weights of LeCun et al. 1998", "test_error", source="LeCun et al. 1998",
    full=Scale(
        rows=[Row(f"{net}, {label}", config, overrides=overrides, cost="10 min, 1 core")
              for net, (config, words) in NETS.items() for label, overrides in ((ROOT, ()), (WORDS, (words,)))],
        claims=[Claim(f"{net}: larger initial weights lower the error", "ours", better=f"{net}, {ROOT}",
                      worse=f"{net}, {WORDS}", note=NOTES.get(net, "")) for net in NETS],
        seeds=3, first_seed=1,
    ),
)  # fmt: skip
