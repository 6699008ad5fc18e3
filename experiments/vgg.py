"""VGG on ILSVRC-2012: tables 3 to 7 of Simonyan & Zisserman 2015.

The networks at S = 384 and with jitter start from Glorot initialization, not from a trained network. They therefore use
VGG's initial learning rate. Dense tests crop images to multiples of 32 pixels, where the paper takes the whole image
(`multiple=1` in evaluation/protocols.py), because the network is compiled for each size. The ensembles of table 6 average the networks' own protocols. In the submission of seven networks
only the fully connected layers of D-jitter were fine-tuned; ours is trained as a whole. On the hidden test set seven networks
have a top-5 error of 7.3 %, two 6.8 %, and one 7.0 % (tables 6 and 7).
"""

from convnets.sweep import Claim, Evaluation, Experiment, Row, Scale

# Column of table 1 and training scale: top-1 and top-5 errors of table 3, of table 4, and of multi-crop and both in table 5.
JITTER = "256, 384, 512"
TABLES: dict[str, tuple[tuple[float, float], ...]] = {
    "A": ((29.6, 10.4),), "A-LRN": ((29.7, 10.5),), "B": ((28.7, 9.9), (28.2, 9.6)), "B-5x5": (),
    "C": ((28.1, 9.4), (27.7, 9.2)), "C-384": ((28.1, 9.3), (27.8, 9.2)), "C-jitter": ((27.3, 8.8), (26.3, 8.2)),
    "D": ((27.0, 8.8), (26.6, 8.6)), "D-384": ((26.8, 8.7), (26.5, 8.6)),
    "D-jitter": ((25.6, 8.1), (24.8, 7.5), (24.6, 7.5), (24.4, 7.2)),
    "E": ((27.3, 9.0), (26.9, 8.7)), "E-384": ((26.9, 8.7), (26.7, 8.6)),
    "E-jitter": ((25.5, 8.0), (24.8, 7.5), (24.6, 7.4), (24.4, 7.1)),
}  # fmt: skip
SUBMITTED = ("C", "C-384", "D", "D-384", "D-jitter", "E", "E-384")  # to ILSVRC-2014
LATER = ("D-jitter", "E-jitter")
PLACES = {"dense": "table 3", "multi-scale": "table 4", "multi-crop": "table 5", "both": "table 5"}


def row(name: str, errors: tuple[tuple[float, float], ...]) -> Row:
    scale = 384 if "-384" in name or "-jitter" in name else 256
    sizes = JITTER if "-jitter" in name else f"{scale - 32}, {scale}, {scale + 32}"
    protocols = {"dense": f"dense({scale})", "multi-scale": f"multi_scale({sizes})", "multi-crop": f"multi_crop({JITTER})",
                 "both": f"multi_scale({JITTER})|multi_crop({JITTER})"}  # fmt: skip
    tests = {
        test: Evaluation((f"--config.evaluate.protocol={protocols[test]}",), top1, PLACES[test], top5=top5)
        for test, (top1, top5) in zip(protocols, errors, strict=False)
    } or {"dense": Evaluation((f"--config.evaluate.protocol={protocols['dense']}",))}
    rate = ("--config.optim.lr=0.01",) if scale == 384 else ()
    return Row(name, f"configs/vgg.py:{name}", overrides=rate, tests=tests, cost="3 days, 1 x H100")


ROWS = {name: row(name, errors) for name, errors in TABLES.items()}


def ensemble(label: str, names: tuple[str, ...], errors: dict[str, tuple[float, float]]) -> Row:
    tests = {test: Evaluation((), top1, "table 6", top5=top5) for test, (top1, top5) in errors.items()}
    return Row(label, members=[(ROWS[name], 1) for name in names], tests=tests,
               cost=f"{3 * len(names)} days for its members, then {len(names)} h, 1 x H100")  # fmt: skip


def better(text: str, place: str, good: str, bad: str, size: float) -> Claim:
    return Claim(text, place, better=(good, "dense"), worse=(bad, "dense"), size=size)


EXPERIMENT = Experiment(
    "VGG on ImageNet", "test_error", source="Simonyan & Zisserman 2015",
    full=Scale(
        rows=[
            *ROWS.values(),
            ensemble("7 networks", SUBMITTED, {"multi-scale": (24.7, 7.5)}),
            ensemble("D and E", LATER, {"multi-scale": (24.0, 7.1), "multi-crop": (23.9, 7.2), "both": (23.7, 6.8)}),
        ],
        claims=[
            Claim("local response normalization does not help", "table 3", better=("A-LRN", "dense"), worse=("A", "dense"),
                  within=0.5, one_sided=True, note="the margin is ours"),
            better("13 layers are better than 11", "table 3", "B", "A", 0.9),
            better("3x3 is better than 1x1 in the added layers", "table 3", "D", "C", 1.1),
            better("16 layers are better than 13", "table 3", "D", "B", 1.7),
            Claim("two 3x3 are better than one 5x5", "section 4.1", better="B", worse="B-5x5", size=7.0),
            better("jitter of the scale helps, tested at the same scale", "table 3", "D-jitter", "D-384", 1.2),
            Claim("several scales in the test help", "table 4", better=("D-jitter", "multi-scale"),
                  worse=("D-jitter", "dense"), size=0.8),
            Claim("crops and dense maps together are better than dense maps", "table 5", better=("D-jitter", "both"),
                  worse=("D-jitter", "multi-scale"), size=0.4),
            Claim("crops and dense maps together are better than crops", "table 5", better=("D-jitter", "both"),
                  worse=("D-jitter", "multi-crop"), size=0.2),
            Claim("two networks are better than one", "tables 5 and 6", better=("D and E", "both"), worse=("E-jitter", "both"),
                  size=0.7),
        ],
        seeds=3,
    ),
)  # fmt: skip
