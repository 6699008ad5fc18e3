"""How much faster ReLU learns than tanh: steps to 25 % training error on CIFAR-10, as in figure 1 of the paper.

The number of steps depends on the initial weights too, so both are varied. As in the paper there is neither
augmentation nor weight decay. The cpu size has a narrow network and the first 10,000 training images. Each row has the
learning rate that was best for it in a pilot by the same metric, in 16 epochs on training images that the cpu size does not
use. It is 0.02 for all four; at 0.05 no network reached 25 %:

    python run.py --mode=sweep --experiment=experiments/relu_vs_tanh.py --size=pilot --workdir=runs/relu_vs_tanh-pilot

The full size is a grid of rates. Its claims use 0.02 until a pilot on an accelerator finds the best rate of each row. An
earlier cpu size had digits; there tanh was ahead.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

NARROW = "conv(16, 5, padding=2)|{0}|max(2)|conv(16, 5, padding=2)|{0}|max(2)|conv(32, 3, padding=1)|{0}|out"
WIDE = "conv(64, 5, padding=2)|{0}|max(2)|conv(64, 5, padding=2)|{0}|max(2)|conv(64, 3, padding=1)|{0}|out"
KINDS = {"ReLU, Glorot": ("relu", "glorot"), "ReLU, Gaussian": ("relu", "normal({})"),
         "tanh, Glorot": ("tanh", "glorot"), "tanh, Gaussian": ("tanh", "normal({})")}  # fmt: skip
RATE = 0.02
TRIED = {"relu": (0.01, 0.02, 0.05, 0.1), "tanh": (0.005, 0.01, 0.02, 0.05)}


def cifar(kind: str, rate: float, net: str, std: float, *more: str, suffix: str = "", cost: str = "") -> Row:
    act, init = KINDS[kind]
    overrides = (f"--config.model.layers={net.format(act)}", f"--config.model.init_weights={init.format(std)}",
                 f"--config.optim.lr={rate}", *more)  # fmt: skip
    return Row(kind + suffix, "configs/ablation.py:cifar", overrides=overrides, cost=cost)


def narrow(kind: str, rate: float, epochs: int, images: str = "train[:10000]", suffix: str = "") -> Row:
    more = (
        f"--config.data.train_split={images}",
        f"--config.train.epochs={epochs}.0",
        "--config.train.eval_every_epochs=0.0",
    )
    # A quarter of the inputs in the second and third convolution, so twice the standard deviation of the full size.
    return cifar(kind, rate, NARROW, 0.02, *more, suffix=suffix, cost="90 s, 1 core")


def claims(images: str = "") -> list[Claim]:
    elsewhere = f"another network of four layers{images}"
    return [
        Claim("ReLU reaches the error in fewer steps, Glorot's initial weights", "figure 1", better="ReLU, Glorot",
              worse="tanh, Glorot", size=6, ratio=True, elsewhere=elsewhere),
        Claim("ReLU reaches the error in fewer steps, small Gaussian initial weights", "figure 1", better="ReLU, Gaussian",
              worse="tanh, Gaussian", size=6, ratio=True, elsewhere=elsewhere),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    "ReLU against tanh", "steps_to_train_error(25)", source="Krizhevsky et al. 2012, section 3.1",
    cpu=Scale(
        rows=[narrow(kind, RATE, 20) for kind in KINDS],
        claims=claims(", all 50,000 images"),
        seeds=8,
    ),
    full=Scale(
        rows=[
            cifar(kind, rate, WIDE, 0.01, suffix=suffix, cost="1 min, 1 x H100")
            for kind in KINDS for suffix, rate in (("", 0.02), (", rate 0.005", 0.005), (", rate 0.05", 0.05))
        ],
        claims=claims(),
        seeds=3,
    ),
    pilot=Scale(
        rows=[narrow(kind, rate, 16, "train[40000:]", f", rate {rate}") for kind, (act, _) in KINDS.items() for rate in TRIED[act]],
        seeds=2, first_seed=1000,
    ),
)  # fmt: skip
