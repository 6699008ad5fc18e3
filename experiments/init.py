"""Initial weights of the wrong scale: He initialization times a factor, with and without batch normalization.

The factor applies to every layer. The cpu size has a rate at which the network trains without batch normalization too,
from He's own weights and every seed; at 0.05 some seeds do not. It trains for three epochs, so that "as good" compares
trained networks.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

STAGE = "conv({1}, 3, padding=1)|{0}relu|conv({1}, 3, padding=1)|{0}relu|max(2)"
SIX = "|".join([*(STAGE.replace("{1}", maps) for maps in ("8", "16", "16")), "out"])  # sides 28, 14, 7, finally 3
SCALES = (0.1, 0.3, 1.0, 3.0)
WIDE = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def label(scale: float, norm: bool) -> str:
    return f"{'BN' if norm else 'without'}, x {scale:g}"


def init(scale: float) -> tuple[str, ...]:
    return (f"--config.model.init_weights=he({scale})",) if scale != 1 else ()


def digits(scale: float, norm: bool) -> Row:
    overrides = (f"--config.model.layers={SIX.format('norm|' * norm)}", *init(scale), "--config.optim.lr=0.02",
                 "--config.train.epochs=3.0")  # fmt: skip
    return Row(label(scale, norm), "configs/ablation.py:mnist10k", overrides=overrides, x=scale,
               line="BN" if norm else "without", cost="25 s, 1 core")  # fmt: skip


def cifar(scale: float, norm: bool) -> Row:
    overrides = (*init(scale), "--config.optim.schedule=constant", "--config.train.epochs=3.0")
    return Row(label(scale, norm), f"configs/vgg_cifar.py:D{'_bn' * norm}", overrides=overrides, x=scale,
               line="BN" if norm else "without", cost="1 min, 1 x H100")  # fmt: skip


CLAIMS = [
    Claim(f"at {scale:g} times He's weights batch normalization saves the network", "section 1",
          better=label(scale, True), worse=label(scale, False)) for scale in (0.1, 3)
] + [
    Claim(f"with batch normalization {scale:g} times He's weights are as good", "section 1", within=2.0,
          better=label(1, True), worse=label(scale, True),
          note="the margin is ours" + "; the factor also scales the last layer, which no normalization follows" * (scale > 1))
    for scale in (0.1, 3)
]  # fmt: skip

EXPERIMENT = Experiment(
    "Sensitivity to initial weights",
    "test_error",
    source="Ioffe & Szegedy 2015",
    x="factor on He's initial weights",
    cpu=Scale(rows=[digits(scale, norm) for norm in (False, True) for scale in SCALES], claims=CLAIMS, seeds=12),
    full=Scale(rows=[cifar(scale, norm) for norm in (False, True) for scale in WIDE], claims=CLAIMS, seeds=3),
)
