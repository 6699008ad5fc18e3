"""Shared weights versus locally and fully connected layers: LeCun's five networks, and cuda-convnet's unshared layers.

Each seed trains on a different 320 digits and tests on all 10,000 test digits. The paper uses its own 320 training
and 160 test digits, which are not public and easier. Every network has the learning rate with the lowest test error for
seed 0 (RATES).
"""

from convnets.sweep import Claim, Experiment, Row, Scale

# LeCun 1989 as quoted in table 11.1 of Hastie et al.: 100 - percent correct.
ERRORS = {"Net-1": 20.0, "Net-2": 13.0, "Net-3": 11.5, "Net-4": 6.0, "Net-5": 1.6}
RATES = {"Net-1": 0.03, "Net-2": 0.1, "Net-3": 0.3, "Net-4": 0.1, "Net-5": 0.1}  # best of 0.03, 0.1, 0.3

SMALL = "MNIST's 10,000 are harder than the paper's 160 test digits, which are not public"


def digits(net: str) -> Row:
    name = f"lecun_{net.lower().replace('-', '')}"
    overrides = (f"--config.model.name={name}",) if net != "Net-5" else ()
    overrides += (f"--config.optim.lr={RATES[net]}",) if RATES[net] != 0.1 else ()
    return Row(net, "configs/ablation.py:digits320", ERRORS[net], "table 11.1", overrides, cost="8 s, 1 core")


def claim(text: str, better: str, worse: str, note: str = "") -> Claim:
    return Claim(
        text,
        "table 11.1",
        better=better,
        worse=worse,
        size=round(ERRORS[worse] - ERRORS[better], 1),
        elsewhere="160 test digits of its own",
        note=note,
    )


EXPERIMENT = Experiment(
    "Weight sharing: Net-1 to Net-5", "test_error", source="LeCun 1989, by Hastie et al. table 11.1",
    cpu=Scale(
        rows=[digits(net) for net in ERRORS],
        claims=[
            claim("a hidden layer helps", "Net-2", "Net-1", SMALL),
            claim("local connections are better than full ones", "Net-3", "Net-2", SMALL),
            claim("shared weights in the first layer help", "Net-4", "Net-3"),
            claim("shared weights in both layers help more", "Net-5", "Net-4"),
        ],
        seeds=10,
    ),
    full=Scale(
        rows=[
            Row("unshared", "configs/ablation.py:13pct", cost="5 min, 1 x H100"),
            Row("shared", "configs/ablation.py:13pct", overrides=("--config.model.shared=True",), cost="5 min, 1 x H100"),
        ],
        claims=[Claim("late layers gain from unshared weights", "Krizhevsky et al. 2012, section 3.3", better="unshared",
                      worse="shared", note="the paper says only that its nets have them")],
    ),
)  # fmt: skip
