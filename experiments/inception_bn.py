"""Batch normalization on ILSVRC-2012: figures 2, 3 and 4 of Ioffe & Szegedy 2015; errors are 100 - accuracy.

The six networks of figure 4 vary BN-x30's initial weights, dropout and the normalization of the last layers; ours differ
by seed. On the hidden test set the six have a top-5 error of 4.82 %.

Figure 3 prints the maximum accuracy of a run, so the claim on it compares the lowest errors (`best_test_error`). The errors of
the rows are those after the last step, since their top-5 errors, tests and ensembles are of the last weights.
"""

from convnets.sweep import Claim, Evaluation, Experiment, Row, Scale
from experiments._overrides import ONE_UNIT

STEPS = "steps_to_test_error(27.8)"  # steps to the accuracy of Inception, 72.2 %
CROPS = {"crops_144": Evaluation(("--config.evaluate.protocol=crops_144",), 21.99, "figure 4", top5=5.82)}
ROWS = {
    "Inception": ("inception", 27.8), "BN-Baseline": ("baseline", 27.3), "BN-x5": ("x5", 27.0), "BN-x30": ("x30", 25.2),
    "BN-x5-Sigmoid": ("x5_sigmoid", 30.2),
}  # fmt: skip


def sooner(better: str, worse: str, ratio: float) -> Claim:
    return Claim(f"{better} needs fewer steps than {worse} to 72.2 %", "figure 3", metric=STEPS, better=better,
                 worse=worse, size=ratio, ratio=True)  # fmt: skip


RUNS = {
    label: Row(label, f"configs/inception_bn.py:{variant}", error, "figure 4" if variant == "x30" else "figure 3",
               tests=CROPS if variant == "x30" else {},
               cost=f"{30 if variant in ('inception', 'baseline') else 6} days, 1 x H100",
               top5=7.82 if variant == "x30" else None)
    for label, (variant, error) in ROWS.items()
}  # fmt: skip
SIX = Row("6 x BN-x30", members=((RUNS["BN-x30"], 6),), cost="36 days for its members, then 4 h, 1 x H100",
          tests={"crops_144": Evaluation((), 20.1, "figure 4", top5=4.9)})  # fmt: skip

EXPERIMENT = Experiment(
    "Batch normalization on ImageNet", "test_error", source="Ioffe & Szegedy 2015",
    full=Scale(
        rows=[*RUNS.values(), SIX],
        claims=[
            sooner("BN-Baseline", "Inception", 2.3), sooner("BN-x5", "Inception", 14.8), sooner("BN-x30", "Inception", 11.5),
            Claim("the lowest error of BN-x30 is below Inception's", "figure 3", metric="best_test_error", better="BN-x30",
                  worse="Inception", size=2.6),
            Claim("144 crops of BN-x30", "figure 4", better=("BN-x30", "crops_144"), worse="BN-x30", size=3.2),
            Claim("six networks instead of one", "figure 4", better=("6 x BN-x30", "crops_144"),
                  worse=("BN-x30", "crops_144"), size=1.89, note=ONE_UNIT),
        ],
        seeds=3,
    ),
)  # fmt: skip
