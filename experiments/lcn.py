"""Rectification and contrast normalization after random filters, and whether they matter less with learned filters.

Rabs takes absolute values, N is local contrast normalization, PA and PM are average and max pooling. R has random filters and a
trained classifier; R+ trains all layers. The paper's table is for Caltech-101. The cpu size has one stage on 1,000 digits, the
full size both stages on 5,000 images. The paper's numbers for one stage are from memory.

Each row of the cpu size has the learning rate that was best for it in a pilot, on training digits that the cpu size does not
use, and enough epochs for its training error to settle:

    python run.py --mode=sweep --experiment=experiments/lcn.py --size=pilot --workdir=runs/lcn-pilot
"""

from convnets.sweep import Claim, Experiment, Row, Scale
from experiments._overrides import cosine

KINDS = {  # pooling, and the layers before it
    "PA": ("average", ""), "Rabs-PA": ("average", "|abs"), "N-PM": ("max", "|lcn{}"), "Rabs-N-PA": ("average", "|abs|lcn{}"),
}  # fmt: skip
ERRORS = {"R": {"PA": 91.2, "Rabs-PA": 66.3, "N-PM": 62.4, "Rabs-N-PA": 37.1},
          "R+": {"PA": 70.3, "Rabs-PA": 40.5, "N-PM": 40.0, "Rabs-N-PA": 35.3}}  # fmt: skip
ONE_STAGE = {"R": {"PA": 87.9, "Rabs-PA": 68.3, "N-PM": 67.9, "Rabs-N-PA": 46.7},
             "R+": {"PA": 85.7, "Rabs-N-PA": 45.2}}  # fmt: skip
TRIED = {"R PA": (0.05, 0.2, 0.8, 3.2), "R Rabs-PA": (0.05, 0.2, 0.8, 3.2), "R N-PM": (0.005, 0.02, 0.05, 0.2),
         "R Rabs-N-PA": (0.02, 0.05, 0.2, 0.8, 3.2), "R+ PA": (0.05, 0.1, 0.2, 0.4, 0.8, 1.6),
         "R+ Rabs-N-PA": (0.02, 0.05, 0.1, 0.2)}  # fmt: skip
RATES = {"R PA": 0.8, "R Rabs-PA": 0.8, "R N-PM": 0.02, "R Rabs-N-PA": 0.8, "R+ PA": 0.8, "R+ Rabs-N-PA": 0.1}
HELD_OUT = ("--config.data.train_split=train[40000:41000]", "--config.data.test_split=train[50000:]")


def digits(label: str, rate: float, *more: str, suffix: str = "") -> Row:
    filters, kind = label.split()
    pooling, middle = KINDS[kind]
    line = f"conv(32, 9)|tanh{middle.format('')}|{pooling}(5)|out"
    net = (f"--config.model.layers={line}",) if kind != "Rabs-N-PA" else ()
    rates = (f"--config.optim.lr={rate}", *(("--config.optim.lr_multipliers=*",) if filters == "R+" else ()))
    return Row(label + suffix, "configs/ablation.py:random", overrides=(*net, *rates, *cosine(60), *more),
               cost="40 s, 1 core")  # fmt: skip


def cifar(filters: str, kind: str) -> Row:
    pooling, middle = KINDS[kind]
    line = (f"conv(64, 9)|tanh{middle.format('')}|{pooling}(6, 2)|conv(256, 5)|tanh{middle.format('(5)')}"
            f"|{pooling}(3, 2)|out")  # fmt: skip
    net = (f"--config.model.layers={line}",) if kind != "Rabs-N-PA" else ()
    rates = ("--config.optim.lr_multipliers=*",) if filters == "R+" else ()
    return Row(f"{filters} {kind}", "configs/ablation.py:random2", overrides=(*net, *rates), cost="1 min, 1 x H100")


def claims(errors: dict[str, dict[str, float]], where: str) -> list[Claim]:
    """Returns what each part of Rabs-N-PA gains by the errors at `where`, and whether that is less with learned filters."""
    random, learned = errors.values()
    gains = {kind: round(error - random["Rabs-N-PA"], 1) for kind, error in random.items()}
    found = [Claim(f"random filters: Rabs-N-PA is better than {kind}", where, better="R Rabs-N-PA", worse=f"R {kind}",
                   size=gains[kind], elsewhere="Caltech-101") for kind in ("PA", "Rabs-PA", "N-PM")]  # fmt: skip
    less = round(gains["PA"] - (learned["PA"] - learned["Rabs-N-PA"]), 1)
    shrinks = Claim("the gap is smaller where filters learn", where, better=["R Rabs-N-PA", "R+ PA"],
                    worse=["R PA", "R+ Rabs-N-PA"], size=less, elsewhere="Caltech-101", note="a difference of differences")  # fmt: skip
    return [*found, shrinks]


EXPERIMENT = Experiment(
    "Rectification and contrast normalization", "test_error", source="Jarrett et al. 2009",
    cpu=Scale(
        rows=[digits(label, rate) for label, rate in RATES.items()],
        claims=claims(ONE_STAGE, "table 1, one stage, from memory"), seeds=8,
    ),
    full=Scale(rows=[cifar(f, kind) for f in ERRORS for kind in KINDS], claims=claims(ERRORS, "table 1")),
    pilot=Scale(
        rows=[digits(label, rate, *HELD_OUT, suffix=f", rate {rate}") for label, rates in TRIED.items() for rate in rates],
        seeds=2, first_seed=1000,
    ),
)  # fmt: skip
