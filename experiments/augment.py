"""Augmentation component by component: distortions of digits; crops, flips and colour noise on CIFAR-10.

The cpu size on CIFAR-10 has the layers of cuda-convnet's 26 % network, its convolutions at half their width, with He's initial
weights and the recipe of configs/ablation.py:cifar. It trains on crops of 24 x 24 of the first 10,000 images. Tests use the
central crop, and so does the row without augmentation in training. How much a network overfits is the difference of its errors
on test images and on its own training images, both without augmentation. The colour noise of the cpu size follows the
formula of the paper's text, with the colours' variances. The full size has that of its authors' program, with a deviation of a
tenth of the colours' own (configs/alexnet.py).
"""

from convnets.sweep import Claim, Evaluation, Experiment, Row, Scale
from experiments._overrides import cosine

DIGITS = ("--config.model.layers=conv(8, 5)|relu|max(2)|conv(16, 5)|relu|max(2)|out",
          "--config.data.train_split=train[:5000]")  # fmt: skip
SEEN = {"seen": Evaluation(("--config.data.test_split=train[:10000]",))}
LENGTH = cosine(20)
DISTORTED = "decode|distort(translate=2, scale=0.15, squeeze=0.15, shear=0.3)|value_range(0.0, 1.0)"
HALF = ("conv(16, 5, padding=2)|max(3, 2, ceil=True)|relu|conv(16, 5, padding=2)|relu|average(3, 2, ceil=True)"
        "|conv(32, 5, padding=2)|relu|average(3, 2, ceil=True)|fc(64)|relu|out")  # fmt: skip
FEW = (f"--config.model.layers={HALF}", "--config.model.side=24", "--config.data.train_split=train[:10000]",
       "--config.data.test_ops=decode|standardize|center(24)", "--config.optim.schedule=cosine(30)",
       "--config.train.eval_every_epochs=0.0")  # fmt: skip
TEN = {"ten": Evaluation(("--config.evaluate.protocol=ten_crop",))}
COLOURS = "both and colours"
KINDS = {"none": "center(24)", "mirror images": "center(24)|flip", "crops": "crop(24)", "both": "crop(24)|flip",
         COLOURS: "crop(24)|flip"}  # fmt: skip


def small(label: str) -> Row:
    colours = "lighting(0.1)|" * (label == COLOURS)
    overrides = (*FEW, f"--config.data.train_ops=decode|{colours}standardize|{KINDS[label]}")
    return Row(label, "configs/ablation.py:cifar", overrides=overrides, tests=SEEN, cost="3 min, 1 core")


def cifar(label: str) -> Row:
    after = "|lighting(0.1, 'deviation')" * (label == COLOURS)
    ops = (f"--config.data.train_ops=decode|{KINDS[label]}|subtract_mean('center'){after}",) if label != "both" else ()
    return Row(label, "configs/ablation.py:13pct", overrides=ops, tests=TEN, cost="5 min, 1 x H100")


# Of the cpu size.
NARROW = "five runs of so narrow a network, whose errors have deviations of 1 to 2 points"


def claims(note: str = "") -> list[Claim]:
    return [
        Claim("crops and mirror images lower the error", "section 4.1", better="both", worse="none", note=note),
        Claim("crops alone lower the error", "ours", better="crops", worse="none", note=note),
        Claim("mirror images alone lower the error", "ours", better="mirror images", worse="none", note=note),
        Claim("colour noise lowers the error", "section 4.1", better=COLOURS, worse="both", size=1.0, elsewhere="ImageNet",
              note=note),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    "Augmentation", "test_error", source="Krizhevsky et al. 2012",
    cpu=Scale(
        rows=[
            Row("5,000 digits", "configs/ablation.py:mnist10k", overrides=(*DIGITS, *LENGTH), cost="18 s, 1 core"),
            Row("distorted", "configs/ablation.py:mnist10k", cost="29 s, 1 core",
                overrides=(*DIGITS, f"--config.data.train_ops={DISTORTED}", *LENGTH)),
            *map(small, KINDS),
        ],
        claims=[
            Claim("distortions lower the error on test digits", "LeCun et al. 1998, III.B", better="distorted",
                  worse="5,000 digits", size=0.15, elsewhere="60,000 digits"),
            Claim("distortions raise the training error", "ours", metric="train_error", better="5,000 digits",
                  worse="distorted", note="of the digits as they were trained on, distorted or not"),
            *claims(NARROW),
            Claim("without crops and mirror images the network overfits more", "section 4.1",
                  better=["both", ("none", "seen")], worse=["none", ("both", "seen")], note="a difference of differences"),
        ],
        seeds=5,
    ),
    full=Scale(
        rows=[*map(cifar, KINDS)],
        claims=[
            *claims(),
            Claim("ten views are better than one", "section 6", better=("both", "ten"), worse="both", size=1.5,
                  elsewhere="ILSVRC-2010"),
        ],
    ),
)  # fmt: skip
