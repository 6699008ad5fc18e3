"""GoogLeNet on ILSVRC-2012: the half of table 3 of Szegedy et al. 2014 for a single network.

The other half is for an ensemble of seven.
"""

from convnets.sweep import Claim, Evaluation, Experiment, Row, Scale


def test(protocol: str, paper: float) -> Evaluation:
    return Evaluation((f"--config.evaluate.protocol={protocol}",), paper, "table 3")


EXPERIMENT = Experiment(
    "GoogLeNet on ImageNet", "top5_error", source="Szegedy et al. 2014",
    full=Scale(
        rows=[
            Row("1 crop", "configs/googlenet.py:paper", 10.07, "table 3", cost="2 days, 1 x H100",
                tests={"ten": test("ten_crop", 9.15), "crops_144": test("crops_144", 7.89)}),
            Row("BVLC's recipe", "configs/googlenet.py:caffe", 11.1, "its readme", cost="12 h, 1 x H100"),
        ],
        claims=[
            Claim("ten crops instead of one", "table 3", better=("1 crop", "ten"), worse="1 crop", size=0.92),
            Claim("144 crops instead of ten", "table 3", better=("1 crop", "crops_144"), worse=("1 crop", "ten"),
                  size=1.26),
        ],
        seeds=3,
    ),
)  # fmt: skip
