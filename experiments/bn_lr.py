"""Batch normalization and the learning rate: the paper's own network on MNIST, and VGG at a quarter of the width.

The cpu size trains for the paper's 50,000 steps, on grey images, where the paper's are binary. The paper does not print its
rate, so figure 1a is compared at the best rate of each network, and both at the rate of the network without batch
normalization. BEST is from a pilot by the steps to 95 %, in 5 epochs on 50,000 training images, tested on the other 10,000:

    python run.py --mode=sweep --experiment=experiments/bn_lr.py --size=pilot --workdir=runs/bn_lr-pilot

Rates are constant, so that a large one keeps the error of the last step high. Larger rates are therefore compared by the steps
to 95 %. The last errors are compared at each network's best rate and at the same rate, as figure 1a draws them. The paper's
step counts are for ImageNet; see experiments/inception_bn.py.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

# Best in the pilot, of TRIED. The rates of the rows are multiples of the one without.
BEST = {"without": 2.0, "BN": 10.0}
TRIED = {"without": (0.5, 1.0, 2.0, 5.0), "BN": (1.0, 2.0, 5.0, 10.0, 20.0)}
TIMES = (1, 5, 30)
EPOCHS = "--config.train.epochs=10.0"
HELD_OUT = (
    "--config.data.train_split=train[:50000]",
    "--config.data.test_split=train[50000:]",
    "--config.train.epochs=5.0",
)


def digits(kind: str, rate: float, label: str, *more: str, cost: str = "70 s, 1 core") -> Row:
    name = ("--config.model.name=bn_mnist_baseline",) if kind == "without" else ()
    return Row(f"{kind}, {label}", "configs/ablation.py:bn_mnist", cost=cost,
               overrides=(*name, f"--config.optim.lr={rate}", *more))  # fmt: skip


def times(kind: str, factor: float) -> Row:
    return digits(kind, factor * BEST["without"], f"rate x {factor:g}", "--config.train.epochs=50.0")


def cifar(variant: str, factor: float) -> Row:
    label = f"{'BN' if 'bn' in variant else 'without'}, rate x {factor:g}"
    return Row(label, f"configs/vgg_cifar.py:{variant}", cost="1 min, 1 x H100",
               overrides=(f"--config.optim.lr={0.01 * factor}", "--config.optim.schedule=constant", EPOCHS))  # fmt: skip


OWN = f"BN, rate x {BEST['BN'] / BEST['without']:g}"  # batch normalization at its best rate

EXPERIMENT = Experiment(
    "Batch normalization and the learning rate", "steps_to_test_error(5)", source="Ioffe & Szegedy 2015",
    cpu=Scale(
        rows=[times(kind, factor) for kind in BEST for factor in TIMES],
        claims=[
            Claim("fewer steps to 95 %, each at its best rate", "figure 1a", better=OWN, worse="without, rate x 1",
                  ratio=True),
            Claim("a lower error in the end, each at the rate of its fewest steps", "figure 1a", metric="test_error", better=OWN,
                  worse="without, rate x 1", note="a constant rate that is the fastest keeps the last error high"),
            Claim("fewer steps to 95 % at the same rate", "figure 1a", better="BN, rate x 1", worse="without, rate x 1",
                  ratio=True),
            Claim("a lower error in the end at the same rate", "figure 1a", metric="test_error", better="BN, rate x 1",
                  worse="without, rate x 1"),
            Claim("without batch normalization five times the rate needs more steps to 95 %", "section 4.2.2", better="without, rate x 1",
                  worse="without, rate x 5", ratio=True, note="the pilot chose the rate x 1 by this metric"),
            Claim("with batch normalization five times the rate needs fewer steps to 95 %", "figure 3", better="BN, rate x 5",
                  worse="BN, rate x 1", ratio=True, size=6.3, elsewhere="ImageNet, with the other changes of section 4.2.1",
                  note="so small a network gets there within two epochs at either rate"),
            Claim("thirty times the rate costs fewer steps with batch normalization than without", "section 3.3",
                  better=["BN, rate x 30", "without, rate x 1"], worse=["BN, rate x 1", "without, rate x 30"], ratio=True,
                  note="at thirty times the rate neither network learns"),
        ],
        seeds=15,
    ),
    full=Scale(
        rows=[cifar(variant, factor) for variant in ("A", "A_bn") for factor in TIMES],
        claims=[
            Claim("fewer steps at the same rate", "figure 3", better="BN, rate x 1", worse="without, rate x 1", ratio=True,
                  metric="steps_to_test_error(40)", size=2.3, elsewhere="ImageNet"),
            Claim("batch normalization at five times the rate needs fewer steps than none at its own rate", "figure 3", better="BN, rate x 5",
                  worse="without, rate x 1", ratio=True, metric="steps_to_test_error(40)", size=14.8,
                  elsewhere="ImageNet, with the other changes of section 4.2.1"),
            Claim("at five times the rate the error is lower with batch normalization", "section 4.2.2", metric="test_error", better="BN, rate x 5",
                  worse="without, rate x 5"),
        ],
        seeds=3,
    ),
    pilot=Scale(
        rows=[digits(kind, rate, f"rate {rate:g}", *HELD_OUT, cost="14 s, 1 core") for kind, rates in TRIED.items()
              for rate in rates],
        seeds=2, first_seed=1000,
    ),
)  # fmt: skip
