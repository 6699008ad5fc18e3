"""GoogLeNet on ILSVRC-2012: tables 2 and 3 of Szegedy et al. 2014.

The paper's seven networks share their initial weights and differ in the sampling of images; one is wider. Ours differ by
seed, initial weights included. On the hidden test set seven networks with 144 crops have the same 6.67 % (table 2).
"""

from convnets.sweep import Claim, Evaluation, Experiment, Row, Scale
from experiments._overrides import ONE_UNIT


def test(protocol: str, paper: float) -> Evaluation:
    return Evaluation((f"--config.evaluate.protocol={protocol}",), paper, "table 3")


NET = Row("1 crop", "configs/googlenet.py:paper", 10.07, "table 3", cost="2 days, 1 x H100",
          tests={"ten": test("ten_crop", 9.15), "crops_144": test("crops_144", 7.89)})  # fmt: skip
SEVEN = {"ten": Evaluation((), 7.62, "table 3"), "crops_144": Evaluation((), 6.67, "tables 2, 3")}

EXPERIMENT = Experiment(
    "GoogLeNet on ImageNet", "top5_error", source="Szegedy et al. 2014",
    full=Scale(
        rows=[
            NET,
            Row("7 networks, 1 crop", "", 8.09, "table 3", members=((NET, 7),), tests=SEVEN,
                cost="14 days for its members, then 4 h, 1 x H100"),
            Row("BVLC's recipe", "configs/googlenet.py:caffe", 11.1, "its readme", cost="12 h, 1 x H100"),
        ],
        claims=[
            Claim("ten crops instead of one", "table 3", better=("1 crop", "ten"), worse="1 crop", size=0.92),
            Claim("144 crops instead of ten", "table 3", better=("1 crop", "crops_144"), worse=("1 crop", "ten"),
                  size=1.26),
            Claim("seven networks instead of one", "table 3", better=("7 networks, 1 crop", "crops_144"),
                  worse=("1 crop", "crops_144"), size=1.22,
                  note=ONE_UNIT),
        ],
        seeds=3,
    ),
)  # fmt: skip
