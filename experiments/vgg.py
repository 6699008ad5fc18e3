"""VGG on ILSVRC-2012: tables 3, 4 and 5 of Simonyan & Zisserman 2015. Table 6 is for ensembles of these networks.

The networks at S = 384 and with jitter start from Glorot initialization, not from a trained network. They therefore use
VGG's initial learning rate.
"""

from convnets.sweep import Claim, Evaluation, Experiment, Row, Scale

# Column of table 1 and training scale: top-1 errors of table 3, of table 4, and of multi-crop and both in table 5.
JITTER = "256, 384, 512"
TABLES: dict[str, tuple[float | None, ...]] = {
    "A": (29.6, None), "A-LRN": (29.7, None), "B": (28.7, 28.2), "B-5x5": (None, None),
    "C": (28.1, 27.7), "C-384": (28.1, 27.8), "C-jitter": (27.3, 26.3),
    "D": (27.0, 26.6), "D-384": (26.8, 26.5), "D-jitter": (25.6, 24.8, 24.6, 24.4),
    "E": (27.3, 26.9), "E-384": (26.9, 26.7), "E-jitter": (25.5, 24.8, 24.6, 24.4),
}  # fmt: skip


def test(protocol: str, paper: float | None, table: int) -> Evaluation:
    return Evaluation((f"--config.evaluate.protocol={protocol}",), paper, f"table {table}" if paper else "")


def row(
    name: str, single: float | None, several: float | None, crops: float | None = None, both: float | None = None
) -> Row:
    scale = 384 if "-384" in name or "-jitter" in name else 256
    tests = {"dense": test(f"dense({scale})", single, 3)}
    if several:
        sizes = JITTER if "-jitter" in name else f"{scale - 32}, {scale}, {scale + 32}"
        tests["multi-scale"] = test(f"multi_scale({sizes})", several, 4)
    if crops:
        tests["multi-crop"] = test(f"multi_crop({JITTER})", crops, 5)
        tests["both"] = test(f"multi_scale({JITTER})|multi_crop({JITTER})", both, 5)
    rate = ("--config.optim.lr=0.01",) if scale == 384 else ()
    return Row(name, f"configs/vgg.py:{name}", overrides=rate, tests=tests, cost="3 days, 1 x H100")


def better(text: str, place: str, good: str, bad: str, size: float) -> Claim:
    return Claim(text, place, better=(good, "dense"), worse=(bad, "dense"), size=size)


EXPERIMENT = Experiment(
    "VGG on ImageNet", "test_error", source="Simonyan & Zisserman 2015",
    full=Scale(
        rows=[row(name, *errors) for name, errors in TABLES.items()],
        claims=[
            Claim("local response normalization does not help", "table 3", better=("A", "dense"), worse=("A-LRN", "dense"),
                  within=0.5),
            better("13 layers are better than 11", "table 3", "B", "A", 0.9),
            better("3x3 is better than 1x1 in the added layers", "table 3", "D", "C", 1.1),
            better("16 layers are better than 13", "table 3", "D", "B", 1.7),
            Claim("two 3x3 are better than one 5x5", "section 2.3", better="B", worse="B-5x5", size=7.0),
            better("jitter of the scale helps", "table 3", "D-jitter", "D", 1.4),
            Claim("several scales in the test help", "table 4", better=("D-jitter", "multi-scale"),
                  worse=("D-jitter", "dense"), size=0.8),
            Claim("crops and dense maps together are best", "table 5", better=("D-jitter", "both"),
                  worse=("D-jitter", "multi-scale"), size=0.4),
        ],
        seeds=3,
    ),
)  # fmt: skip
