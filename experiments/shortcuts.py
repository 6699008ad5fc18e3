"""Shortcut options A, B and C on CIFAR-10; for ImageNet see experiments/resnet.py."""

from convnets.sweep import Claim, Experiment, Row, Scale

ROWS = [
    Row(f"{option}, {depth} layers", f"configs/ablation.py:cifar_resnet{depth}", x=depth, line=option,
        overrides=(f"--config.model.shortcut={option}",) if option != "A" else (), cost=f"{1 if depth == 20 else 2} min, 1 x H100")
    for depth in (20, 56) for option in "ABC"
]  # fmt: skip
NOTE = "0.5 and 0.3 points on ImageNet with 34 layers"

EXPERIMENT = Experiment(
    "Shortcut options", "test_error", source="He et al. 2015, table 3", x="layers",
    full=Scale(
        rows=ROWS,
        claims=[
            Claim("B is better than A, 20 layers", "table 3", better="B, 20 layers", worse="A, 20 layers", note=NOTE),
            Claim("C is better than B, 20 layers", "table 3", better="C, 20 layers", worse="B, 20 layers", note=NOTE),
            Claim("B is better than A, 56 layers", "table 3", better="B, 56 layers", worse="A, 56 layers", note=NOTE),
            Claim("C is better than B, 56 layers", "table 3", better="C, 56 layers", worse="B, 56 layers", note=NOTE),
        ],
    ),
)  # fmt: skip
