"""VGG at a quarter of its width on CIFAR-10: table 1 of Simonyan & Zisserman 2015, for the claims about depth.

    python run.py --config=configs/vgg_cifar.py:D_bn --config.data.data_dir=DIR --workdir=runs/vgg-cifar-D

The argument is the column of table 1; '_bn' adds batch normalization between each convolution and its ReLU:
    A         11 layers
    B         13 layers
    D         16 layers
    E         19 layers
    B-5x5     B with one 5x5 convolution in place of each pair of 3x3 (section 4.1)
    A_bn
    B_bn
    D_bn
    E_bn
    B-5x5_bn

Our own, without a published number: 32 x 32 pixels, which five poolings reduce to one; two fully connected layers of
128 units with dropout; He initialization; the recipe of configs/ablation.py:cifar_aug.
"""

from configs import ablation, base
from convnets.models.vgg import TABLE


def get_config(variant: str = "A_bn"):
    config = ablation.cifar_aug()
    config.model.layers = base.pick(VARIANTS, variant)()
    return config


def line(row: str, norm: str) -> str:
    """Returns a column of table 1 as a layer string of convnets/models/sequential.py."""
    words = []
    for stage in TABLE[row]:
        for word in stage.split():
            kernel, maps = map(int, word.split("-"))
            words.append(f"conv({maps // 4}, {kernel}, padding={kernel // 2}){norm}|relu")
        words.append("max(2)")
    return "|".join([*words, *2 * ["fc(128)|relu|dropout(0.5)"], "out"])


VARIANTS = {
    f"{row}{suffix}": lambda row=row, norm=norm: line(row, norm)
    for suffix, norm in (("", ""), ("_bn", "|norm"))
    for row in ("A", "B", "D", "E", "B-5x5")
}
