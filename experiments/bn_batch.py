"""Batch normalization couples the images of a batch: the same batches every epoch versus reshuffled batches.

tests/sweep/test_experiment.py shows that the score of an image depends on the other images in its batch. Every batch
size divides the number of images, so a fixed order gives fixed batches. The learning rate is proportional to the batch
size. The paper attributes the gain of reshuffling to batch normalization, so the cpu size has networks without it too, which
are to gain less.

The first five seeds, with batches of 16, 64 and 256, chose 64 for the cpu size, and are not counted. By their deviations
20 seeds were expected to resolve a gain of 0.15 points and a difference of two gains of 0.2; the gains with 16 and 256 may be
smaller. At full size the statistics are of the whole batch, not of ghost batches as in the recipe of the ResNets.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

FIXED = "--config.train.reshuffle=False"
LAYERS = "--config.model.layers=conv(8, 5)|{0}relu|max(2)|conv(16, 5)|{0}relu|max(2)|out"
SUBSET = ("--config.data.train_split=train[:10240]", "--config.optim.lr_batch=128", "--config.train.batch_size=64")


def digits(fixed: bool, norm: bool) -> Row:
    given = (LAYERS.format("norm|" if norm else ""), *SUBSET, *((FIXED,) if fixed else ()))
    return Row(_label(64, fixed) + ", no BN" * (not norm), "configs/ablation.py:mnist10k", overrides=given,
               cost="15 s, 1 core")  # fmt: skip


def cifar(batch: int, fixed: bool) -> Row:
    size = (f"--config.train.batch_size={batch}", "--config.optim.lr_batch=128", "--config.model.ghost_batch=0")
    given = (*size, *((FIXED,) if fixed else ()))
    return Row(_label(batch, fixed), "configs/ablation.py:cifar_resnet20", overrides=given, cost="1 min, 1 x H100", x=batch,
               line="fixed" if fixed else "reshuffled")  # fmt: skip


def _label(batch: int, fixed: bool) -> str:
    return f"{'fixed' if fixed else 'reshuffled'} batches of {batch}"


def claim(batch: int) -> Claim:
    return Claim(f"batches of {batch}: reshuffled ones are better", "section 4.2.1", better=_label(batch, False),
                 worse=_label(batch, True), size=1.0, elsewhere="ImageNet")  # fmt: skip


EXPERIMENT = Experiment(
    "Batch normalization and the order of examples", "test_error", source="Ioffe & Szegedy 2015", x="images in a batch",
    cpu=Scale(
        rows=[digits(fixed, norm) for norm in (True, False) for fixed in (True, False)],
        claims=[
            claim(64),
            Claim("with batch normalization reshuffling gains more than without", "section 4.2.1",
                  better=["reshuffled batches of 64", "fixed batches of 64, no BN"],
                  worse=["fixed batches of 64", "reshuffled batches of 64, no BN"],
                  note="a difference of differences; without batch normalization fresh batches gain 0.2 points, too"),
        ],
        seeds=20, first_seed=5,
    ),
    full=Scale(
        rows=[cifar(batch, fixed) for batch in (16, 80, 400) for fixed in (True, False)],
        claims=[claim(batch) for batch in (16, 80, 400)],
        seeds=3,
    ),
)  # fmt: skip
