"""Augmentation component by component: distortions of digits; crops, flips and colour noise on CIFAR-10."""

from convnets.sweep import Claim, Evaluation, Experiment, Row, Scale

DIGITS = ("--config.model.layers=conv(8, 5)|relu|max(2)|conv(16, 5)|relu|max(2)|out",
          "--config.data.train_split=train[:5000]")  # fmt: skip
LENGTH = ("--config.optim.schedule=cosine(20)", "--config.train.epochs=20.0")
DISTORTED = "decode|distort(translate=2, scale=0.15, squeeze=0.15, shear=0.3)|value_range(0.0, 1.0)"
TEN = {"ten": Evaluation(("--config.evaluate.protocol=ten_crop",))}


def cifar(label: str, ops: str, after: str = "") -> Row:
    given = (
        (f"--config.data.train_ops=decode|{ops}|subtract_mean('center'){after}",)
        if ops + after != "crop(24)|flip"
        else ()
    )
    return Row(label, "configs/ablation.py:13pct", overrides=given, tests=TEN, cost="5 min, 1 x H100")


EXPERIMENT = Experiment(
    "Augmentation", "test_error", source="Krizhevsky et al. 2012, section 4.1",
    cpu=Scale(
        rows=[
            Row("5,000 digits", "configs/ablation.py:mnist10k", overrides=(*DIGITS, *LENGTH), cost="18 s, 1 core"),
            Row("distorted", "configs/ablation.py:mnist10k", cost="29 s, 1 core",
                overrides=(*DIGITS, f"--config.data.train_ops={DISTORTED}", *LENGTH)),
        ],
        claims=[
            Claim("distortions lower the error on test digits", "LeCun et al. 1998, III.B", better="distorted",
                  worse="5,000 digits", size=0.15, elsewhere="60,000 digits"),
            Claim("they raise the training error", "LeCun et al. 1998, III.B", metric="train_error",
                  better="5,000 digits", worse="distorted"),
        ],
    ),
    full=Scale(
        rows=[
            cifar("none", "center(24)"), cifar("mirror images", "center(24)|flip"), cifar("crops", "crop(24)"),
            cifar("both", "crop(24)|flip"), cifar("both and colours", "crop(24)|flip", "|lighting(0.1, 'deviation')"),
        ],
        claims=[
            Claim("crops and mirror images lower the error", "section 4.1", better="both", worse="none"),
            Claim("crops alone", "section 4.1", better="crops", worse="none"),
            Claim("mirror images alone", "section 4.1", better="mirror images", worse="none"),
            Claim("colours", "section 4.1", better="both and colours", worse="both", size=1.0,
                  elsewhere="ImageNet"),
            Claim("ten views instead of one", "section 4.1", better=("both", "ten"), worse="both", size=1.5,
                  elsewhere="ImageNet"),
        ],
    ),
)  # fmt: skip
