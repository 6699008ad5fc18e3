"""Batch normalization couples the images of a batch: the same batches every epoch versus reshuffled batches.

tests/sweep/test_experiment.py shows that the score of an image depends on the other images in its batch. Every batch
size divides the number of images, so a fixed order gives fixed batches. The learning rate is proportional to the batch
size.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

FIXED = "--config.train.reshuffle=False"
LAYERS = "--config.model.layers=conv(8, 5)|{0}relu|max(2)|conv(16, 5)|{0}relu|max(2)|out"
SUBSET = ("--config.data.train_split=train[:10240]", "--config.optim.lr_batch=128")


def digits(batch: int, fixed: bool, norm: bool = True) -> Row:
    given = (LAYERS.format("norm|" if norm else ""), *SUBSET, *((FIXED,) if fixed else ()))
    return Row(_label(batch, fixed) + ", no BN" * (not norm), "configs/ablation.py:mnist10k", cost="20 s, 1 core",
               overrides=(*given, *((f"--config.train.batch_size={batch}",) if batch != 128 else ())), x=batch,
               line=("fixed" if fixed else "reshuffled") + ", no BN" * (not norm))  # fmt: skip


def cifar(batch: int, fixed: bool) -> Row:
    given = (f"--config.train.batch_size={batch}", "--config.optim.lr_batch=128", *((FIXED,) if fixed else ()))
    return Row(_label(batch, fixed), "configs/ablation.py:cifar_resnet20", overrides=given, cost="4 min, 1 x H100", x=batch,
               line="fixed" if fixed else "reshuffled")  # fmt: skip


def _label(batch: int, fixed: bool) -> str:
    return f"{'fixed' if fixed else 'reshuffled'} batches of {batch}"


def claims(batches: tuple[int, ...]) -> list[Claim]:
    return [Claim(f"batches of {b}: reshuffled ones are better", "section 4.2.1", better=_label(b, False),
                  worse=_label(b, True), size=1.0, elsewhere="ImageNet") for b in batches]  # fmt: skip


EXPERIMENT = Experiment(
    "Batch normalization and the order of examples", "test_error", source="Ioffe & Szegedy 2015", x="images in a batch",
    cpu=Scale(
        rows=[*(digits(batch, fixed) for batch in (16, 64, 256) for fixed in (True, False)),
              *(digits(64, fixed, norm=False) for fixed in (True, False))],
        claims=[
            *claims((16, 64, 256)),
            Claim("reshuffling gains more with batch normalization than without", "section 4.2.1",
                  better=["reshuffled batches of 64", "fixed batches of 64, no BN"],
                  worse=["fixed batches of 64", "reshuffled batches of 64, no BN"], note="a difference of differences"),
        ],
    ),
    full=Scale(
        rows=[cifar(batch, fixed) for batch in (16, 80, 400) for fixed in (True, False)],
        claims=claims((16, 80, 400)),
        seeds=3,
    ),
)  # fmt: skip
