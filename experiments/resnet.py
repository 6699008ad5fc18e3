"""ResNets and plain networks on ILSVRC-2012: tables 2 to 5 of He et al. 2015.

Table 5 has the hidden test set: the ensemble of "six models of different depth", "only with two 152-layer ones", has a
top-5 error of 3.57 %. Our reading takes the five networks of table 4 and a second one of 152 layers.

The networks of fb.resnet.torch (v1_5) follow, with the errors of its README.md, and of pretrained/README.md for ten crops.
"""

from convnets.sweep import Claim, Evaluation, Experiment, Row, Scale
from experiments._overrides import ONE_UNIT

# Top-1 and top-5 errors: ten crops (tables 2 and 3), several scales (table 4), one crop (the authors' readme).
Pair = tuple[float | None, float | None]
NONE: Pair = (None, None)
ERRORS: dict[str, tuple[Pair, Pair, Pair]] = {
    "plain18": ((27.94, None), NONE, NONE), "plain34": ((28.54, 10.02), NONE, NONE), "18A": ((27.88, None), NONE, NONE),
    "34A": ((25.03, 7.76), NONE, NONE), "34": ((24.52, 7.46), (21.84, 5.71), NONE),
    "34C": ((24.19, 7.40), (21.53, 5.60), NONE), "50": ((22.85, 6.71), (20.74, 5.25), (24.7, 7.8)),
    "101": ((21.75, 6.05), (19.87, 4.60), (23.6, 7.1)), "152": ((21.43, 5.71), (19.38, 4.49), (23.0, 6.7)),
}  # fmt: skip
# Top-1 errors of one crop and of ten crops, whose raw scores are summed.
TORCH = {"50_v1_5": (24.01, 22.24), "101_v1_5": (22.44, 21.08), "152_v1_5": (22.16, 20.69)}
DAYS = {"50": 2, "101": 3, "152": 4, "50_v1_5": 2, "101_v1_5": 3, "152_v1_5": 4}
SCALES = "multi_scale(224, 256, 384, 480, 640)"


def row(name: str, ten: Pair, scales: Pair, single: Pair) -> Row:
    table = {"plain18": "table 2", "18A": "table 2", "plain34": "tables 2, 3", "34A": "tables 2, 3"}.get(
        name, "table 3"
    )
    tests = {"ten": Evaluation(("--config.evaluate.protocol=ten_crop",), ten[0], table, top5=ten[1])}
    if scales[0]:
        tests["multi-scale"] = Evaluation(
            (f"--config.evaluate.protocol={SCALES}",), scales[0], "table 4", top5=scales[1]
        )
    days = f"{DAYS[name]} days" if name in DAYS else "1 day"
    return Row(name, f"configs/resnet.py:{name}", single[0], "authors' readme" if single[0] else "", tests=tests,
               cost=f"{days}, 1 x H100", top5=single[1])  # fmt: skip


ROWS = {name: row(name, *errors) for name, errors in ERRORS.items()}
SIX = Row("six networks", members=[(ROWS[name], 1 + (name == "152")) for name in ("34", "34C", "50", "101", "152")],
          tests={"multi-scale": Evaluation((), None, "table 5, on the test set", top5=3.57)},
          cost="15 days for its members, then 8 h, 1 x H100")  # fmt: skip


def torch_row(name: str, single: float, ten: float) -> Row:
    test = Evaluation(("--config.evaluate.protocol=ten_crop(average='score')",), ten, "fb.resnet.torch, pretrained")
    return Row(name, f"configs/resnet.py:{name}", single, "fb.resnet.torch's readme", tests={"ten": test},
               cost=f"{DAYS[name]} days, 1 x H100")  # fmt: skip


def better(text: str, good: str, bad: str, table: int) -> Claim:
    size = round((ERRORS[bad][0][0] or 0) - (ERRORS[good][0][0] or 0), 2)
    return Claim(text, f"table {table}", better=(good, "ten"), worse=(bad, "ten"), size=size)


EXPERIMENT = Experiment(
    "ResNets on ImageNet", "test_error", source="He et al. 2015",
    full=Scale(
        rows=[*ROWS.values(), SIX, *(torch_row(name, *errors) for name, errors in TORCH.items())],
        claims=[
            better("the plain network of 34 layers is worse than the one of 18", "plain18", "plain34", 2),
            better("the residual network of 34 layers is better than the one of 18", "34A", "18A", 2),
            better("34 layers: residual is better than plain", "34A", "plain34", 2),
            better("B is better than A", "34", "34A", 3),
            better("C is better than B", "34C", "34", 3),
            better("50 layers are better than 34", "50", "34", 3),
            better("101 layers are better than 50", "101", "50", 3),
            better("152 layers are better than 101", "152", "101", 3),
            Claim("six networks are better than the best one", "tables 4 and 5", metric="top5_error", elsewhere="six networks on the test set",
                  better=("six networks", "multi-scale"), worse=("152", "multi-scale"), size=0.92,
                  note=ONE_UNIT),
        ],
        seeds=3,
    ),
)  # fmt: skip
