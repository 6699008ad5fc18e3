"""GoogLeNet's auxiliary classifiers: nine modules at a quarter of the width on CIFAR-10, with and without them.

The paper expects of them a larger gradient in the lower stages, and regularization (section 5); that they hasten training is the
lecture's claim. Szegedy et al. 2015 (Rethinking, section 4) found no faster convergence early in training. That it depends
on the initial weights is our guess. N(0, 0.01) is hardly the paper's start: its deviations were probably 0.02 to 0.2, one
for each kind of layer, and 0.001 for the heads' classifiers ('gaussian' in convnets/models/googlenet.py). It stands here for
weights that are too small.

The cpu size has the nine modules at a sixteenth of the width on 10,000 digits, with heads behind modules 4a and 4d, as in the
paper. Small weights are 0.6 of He's, so that every layer weakens the signal: the longest path to the end has 20 layers, that
to the first head 7. This factor was not chosen by a pilot. A network of small weights may never leave chance; it then counts
with all its steps, which is a lower bound, and with the error of chance. So the error in the end is claimed as well as the
steps.

RATES are from a pilot on training digits that the cpu size does not use, with two seeds of each rate of TRIED: of the rates at
which both runs left chance, the one with the fewest steps on average. At 0.05 one run of two, or both, stayed at chance in every
row.

    python run.py --mode=sweep --experiment=experiments/auxiliary.py --size=pilot --workdir=runs/auxiliary-pilot

Seeds 0 to 4 were tried first, for 8 epochs at the rate 0.05, and are not counted: most of them stayed at chance, in every row,
and one that had begun to learn fell back to it.

Tests show that the losses of the heads have weight 0.3 and that they are absent at test time. Their parameters and
multiply-adds are in tests/golden/models.json.
"""

from configs import ablation
from convnets.sweep import Claim, Experiment, Row, Scale

ROWS = {
    "without, Xavier": ("inception", "caffe"), "with, Xavier": ("inception_aux", "caffe"),
    "without, N(0, 0.01)": ("inception", "normal(0.01)"), "with, N(0, 0.01)": ("inception_aux", "normal(0.01)"),
}  # fmt: skip

SMALL = 0.6
CPU = {"Xavier": "caffe", "small weights": f"he({SMALL})"}
TRIED = (0.01, 0.02, 0.05)
RATES = {"without, Xavier": 0.01, "with, Xavier": 0.02, "without, small weights": 0.02, "with, small weights": 0.02}
STEPS = "steps_to_train_error(20, 0.5)"


def digits(heads: bool, init: str, rate: float = 0.0, images: str = "train[:10000]") -> Row:
    label = f"{'with' if heads else 'without'}, {init}"
    layers = ablation.googlenet_line(16, "head(8, 64)" if heads else "")
    overrides = (f"--config.model.layers={layers}", f"--config.model.init_weights={CPU[init]}",
                 f"--config.optim.lr={rate or RATES[label]}", f"--config.data.train_split={images}", "--config.train.epochs=20.0",
                 "--config.train.eval_every_epochs=0.0")  # fmt: skip
    return Row(label + f", rate {rate}" * bool(rate), "configs/ablation.py:mnist10k", overrides=overrides,
               cost="2 min, 1 core")  # fmt: skip


def hasten(xavier: str, small: str, kind: str, rates: str = "") -> list[Claim]:
    """Returns the claims on steps, by a metric for each kind of initial weights; `kind` names the small ones."""
    return [
        Claim("auxiliary classifiers shorten training", "lecture: improve convergence", metric=xavier, ratio=True, better="with, Xavier", worse="without, Xavier",
              note=rates + "Szegedy et al. 2015 (Rethinking) find no faster beginning"),
        Claim("auxiliary classifiers shorten training from small initial weights", "lecture: improve convergence", metric=small, ratio=True,
              better=f"with, {kind}", worse=f"without, {kind}"),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    "Auxiliary classifiers", STEPS, source="Szegedy et al. 2014, section 5",
    cpu=Scale(
        rows=[digits(heads, init) for init in CPU for heads in (False, True)],
        claims=[
            *hasten("", "", "small weights", "at the rates of the pilot, 0.01 without and 0.02 with heads; "),
            Claim("auxiliary classifiers lower the error in the end", "ours", metric="test_error", better="with, Xavier",
                  worse="without, Xavier", note="ten runs, whose errors have deviations of 1 to 2 points"),
            Claim("auxiliary classifiers get a network of small initial weights off chance", "ours", metric="test_error", better="with, small weights",
                  worse="without, small weights"),
        ],
        seeds=10, first_seed=5,
    ),
    full=Scale(
        rows=[
            Row(label, f"configs/ablation.py:{variant}", cost="3 min, 1 x H100",
                overrides=(f"--config.model.init_weights={init}",) if init != "caffe" else ())
            for label, (variant, init) in ROWS.items()
        ],
        claims=[
            Claim("auxiliary classifiers lower the error a little", "CVPR text, from memory", metric="test_error", better="with, Xavier", worse="without, Xavier",
                  size=0.5, elsewhere="ImageNet"),
            *hasten("steps_to_train_error(40)", "steps_to_train_error(60)", "N(0, 0.01)"),
        ],
        seeds=3,
    ),
    pilot=Scale(
        rows=[digits(heads, init, rate, "train[40000:50000]") for init in CPU for heads in (False, True) for rate in TRIED],
        seeds=2, first_seed=1000,
    ),
)  # fmt: skip
