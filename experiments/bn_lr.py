"""Batch normalization and the learning rate: the paper's own network on MNIST, and VGG at a quarter of the width.

Rate 1 is the best of 0.3, 1 and 3 for the network without batch normalization, in a pilot with one seed and 2,000 steps
(cpu). The paper's step counts are for ImageNet; see experiments/inception_bn.py.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

WITHOUT = ("--config.model.name=bn_mnist_baseline",)
EPOCHS = "--config.train.epochs=10.0"

BEST = "the rate is the best one for the network without it, and 100 units are easy to train"


def digits(label: str, without: bool, lr: float) -> Row:
    rate = (f"--config.optim.lr={lr}",) if lr != 1 else ()
    return Row(
        label, "configs/ablation.py:bn_mnist", overrides=(*(WITHOUT if without else ()), *rate), cost="18 s, 1 core"
    )


def cifar(variant: str, times: float) -> Row:
    label = f"{'BN' if 'bn' in variant else 'without'}, rate x {times:g}"
    return Row(label, f"configs/vgg_cifar.py:{variant}", cost="1 min, 1 x H100",
               overrides=(f"--config.optim.lr={0.01 * times}", "--config.optim.schedule=constant", EPOCHS))  # fmt: skip


EXPERIMENT = Experiment(
    "Batch normalization and the learning rate", "steps_to_test_error(5)", source="Ioffe & Szegedy 2015, section 4",
    cpu=Scale(
        rows=[
            digits(f"{'without' if without else 'BN'}, rate {lr}", without, lr)
            for without in (True, False)
            for lr in (1, 5, 30)
        ],
        claims=[
            Claim("fewer steps to 95 % with batch normalization", "figure 1a", better="BN, rate 1", worse="without, rate 1",
                  ratio=True, note=BEST),
            Claim("a lower error in the end", "figure 1a", metric="test_error", better="BN, rate 1",
                  worse="without, rate 1", note=BEST),
            Claim("five times the rate: fewer steps still", "figure 2", better="BN, rate 5", worse="without, rate 1",
                  ratio=True),
            Claim("thirty times the rate costs it less", "section 3.3", metric="test_error",
                  better=["BN, rate 30", "without, rate 1"], worse=["BN, rate 1", "without, rate 30"],
                  note="a difference of differences"),
        ],
    ),
    full=Scale(
        rows=[cifar(variant, times) for variant in ("A", "A_bn") for times in (1, 5, 30)],
        claims=[
            Claim("fewer steps at the same rate", "figure 2", better="BN, rate x 1", worse="without, rate x 1", ratio=True,
                  metric="steps_to_test_error(40)", size=2.3),
            Claim("five times the rate: fewer still", "figure 2", better="BN, rate x 5", worse="without, rate x 1",
                  ratio=True, metric="steps_to_test_error(40)", size=14.8),
            Claim("without it five times the rate fails", "section 4.2.2", metric="test_error", better="BN, rate x 5",
                  worse="without, rate x 5"),
        ],
        seeds=3,
    ),
)  # fmt: skip
