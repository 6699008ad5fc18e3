"""ResNets and plain networks on ILSVRC-2012: tables 2, 3 and 4 of He et al. 2015. Table 5 adds an ensemble of six.

The networks of fb.resnet.torch (v1_5) follow, with their readme's errors.
"""

from convnets.sweep import Claim, Evaluation, Experiment, Row, Scale

# Top-1 errors: ten crops (tables 2 and 3), several scales (table 4), one crop (the authors' readme).
ERRORS: dict[str, tuple[float | None, ...]] = {
    "plain18": (27.94, None, None), "plain34": (28.54, None, None), "18A": (27.88, None, None),
    "34A": (25.03, None, None), "34": (24.52, 21.84, None), "34C": (24.19, 21.53, None),
    "50": (22.85, 20.74, 24.7), "101": (21.75, 19.87, 23.6), "152": (21.43, 19.38, 23.0),
}  # fmt: skip
# Top-1 errors of one crop and of ten crops, whose raw scores are summed.
TORCH = {"50_v1_5": (24.01, 22.24), "101_v1_5": (22.44, 21.08), "152_v1_5": (22.16, 20.69)}
DAYS = {"50": 2, "101": 3, "152": 4, "50_v1_5": 2, "101_v1_5": 3, "152_v1_5": 4}


def row(name: str, ten: float | None, scales: float | None, single: float | None) -> Row:
    tests = {"ten": Evaluation(("--config.evaluate.protocol=ten_crop",), ten, "tables 2, 3")}
    if scales:
        protocol = "multi_scale(224, 256, 384, 480, 640, average='score')"
        tests["multi-scale"] = Evaluation((f"--config.evaluate.protocol={protocol}",), scales, "table 4")
    return Row(name, f"configs/resnet.py:{name}", single, "authors' readme" if single else "", tests=tests,
               cost=f"{DAYS.get(name, 1)} days, 1 x H100")  # fmt: skip


def torch_row(name: str, single: float, ten: float) -> Row:
    test = Evaluation(("--config.evaluate.protocol=ten_crop(average='score')",), ten, "fb.resnet.torch's readme")
    return Row(name, f"configs/resnet.py:{name}", single, "fb.resnet.torch's readme", tests={"ten": test},
               cost=f"{DAYS[name]} days, 1 x H100")  # fmt: skip


def better(text: str, good: str, bad: str, table: int) -> Claim:
    size = round((ERRORS[bad][0] or 0) - (ERRORS[good][0] or 0), 2)
    return Claim(text, f"table {table}", better=(good, "ten"), worse=(bad, "ten"), size=size)


EXPERIMENT = Experiment(
    "ResNets on ImageNet", "test_error", source="He et al. 2015",
    full=Scale(
        rows=[row(name, *errors) for name, errors in ERRORS.items()] + [torch_row(name, *e) for name, e in TORCH.items()],
        claims=[
            better("the plain network of 34 layers is worse than that of 18", "plain18", "plain34", 2),
            better("the residual network of 34 layers is better than that of 18", "34A", "18A", 2),
            better("34 layers: residual is better than plain", "34A", "plain34", 2),
            better("B is better than A", "34", "34A", 3),
            better("C is better than B", "34C", "34", 3),
            better("50 layers are better than 34", "50", "34", 3),
            better("101 layers are better than 50", "101", "50", 3),
            better("152 layers are better than 101", "152", "101", 3),
        ],
        seeds=3,
    ),
)  # fmt: skip
