"""Rectification and contrast normalization after random filters, and how much less they matter with learned filters.

Rabs takes absolute values, N is local contrast normalization, PA and PM are average and max pooling. R has random
filters and a trained classifier; R+ trains all layers. The paper's table is for two stages on Caltech-101. The cpu size
has one stage on 1,000 digits, the full size both stages on 5,000 images.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

KINDS = {  # pooling, and the layers before it
    "PA": ("average", ""), "Rabs-PA": ("average", "|abs"), "N-PM": ("max", "|lcn{}"), "Rabs-N-PA": ("average", "|abs|lcn{}"),
}  # fmt: skip
ERRORS = {"R": {"PA": 91.2, "Rabs-PA": 66.3, "N-PM": 62.4, "Rabs-N-PA": 37.1},
          "R+": {"PA": 70.3, "Rabs-PA": 40.5, "N-PM": 40.0, "Rabs-N-PA": 35.3}}  # fmt: skip


def digits(filters: str, kind: str) -> Row:
    pooling, middle = KINDS[kind]
    line = f"conv(32, 9)|tanh{middle.format('')}|{pooling}(5)|out"
    net = (f"--config.model.layers={line}",) if kind != "Rabs-N-PA" else ()
    rates = ("--config.optim.lr_multipliers=*",) if filters == "R+" else ()
    return Row(f"{filters} {kind}", "configs/ablation.py:random", overrides=(*net, *rates), cost="15 s, 1 core")


def cifar(filters: str, kind: str) -> Row:
    pooling, middle = KINDS[kind]
    line = (f"conv(64, 9)|tanh{middle.format('')}|{pooling}(6, 2)|conv(256, 5)|tanh{middle.format('(5)')}"
            f"|{pooling}(3, 2)|out")  # fmt: skip
    net = (f"--config.model.layers={line}",) if kind != "Rabs-N-PA" else ()
    rates = ("--config.optim.lr_multipliers=*",) if filters == "R+" else ()
    return Row(f"{filters} {kind}", "configs/ablation.py:random2", overrides=(*net, *rates), cost="1 min, 1 x H100")


def claims(*kinds: str) -> list[Claim]:
    paper = ERRORS["R"]
    found = [Claim(f"random filters: Rabs-N-PA is better than {kind}", "table 1", better="R Rabs-N-PA", worse=f"R {kind}",
                   size=round(paper[kind] - paper["Rabs-N-PA"], 1), elsewhere="Caltech-101") for kind in kinds]  # fmt: skip
    shrinks = Claim("the gap is smaller where filters learn", "table 1", better=["R Rabs-N-PA", "R+ PA"],
                    worse=["R PA", "R+ Rabs-N-PA"], size=19.1, elsewhere="Caltech-101", note="a difference of differences")  # fmt: skip
    return [*found, shrinks]


EXPERIMENT = Experiment(
    "Rectification and contrast normalization", "test_error", source="Jarrett et al. 2009",
    cpu=Scale(
        rows=[*(digits("R", kind) for kind in KINDS), digits("R+", "PA"), digits("R+", "Rabs-N-PA")],
        claims=claims("PA", "Rabs-PA", "N-PM"),
    ),
    full=Scale(rows=[cifar(f, kind) for f in ERRORS for kind in KINDS], claims=claims("PA", "Rabs-PA", "N-PM")),
)  # fmt: skip
