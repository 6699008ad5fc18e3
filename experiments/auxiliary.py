"""GoogLeNet's auxiliary classifiers: nine modules at a quarter of the width on CIFAR-10, with and without them.

Tests show that their losses have weight 0.3 and that they are absent at test time. Their parameters and
multiply-adds are in tests/golden/models.json.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

ROWS = {
    "without, Xavier": ("inception", "caffe"), "with, Xavier": ("inception_aux", "caffe"),
    "without, N(0, 0.01)": ("inception", "normal(0.01)"), "with, N(0, 0.01)": ("inception_aux", "normal(0.01)"),
}  # fmt: skip

EXPERIMENT = Experiment(
    "Auxiliary classifiers", "test_error", source="Szegedy et al. 2014, section 5",
    full=Scale(
        rows=[
            Row(label, f"configs/ablation.py:{variant}", cost="3 min, 1 x H100",
                overrides=(f"--config.model.init_weights={init}",) if init != "caffe" else ())
            for label, (variant, init) in ROWS.items()
        ],
        claims=[
            Claim("they lower the error a little", "CVPR text, from memory", better="with, Xavier", worse="without, Xavier",
                  size=0.5),
            Claim("they hasten training", "section 5", metric="steps_to_train_error(40)", ratio=True,
                  better="with, Xavier", worse="without, Xavier",
                  note="Szegedy et al. 2015 (Rethinking) find no faster beginning"),
            Claim("they hasten training from small initial weights", "section 5", metric="steps_to_train_error(60)",
                  ratio=True, better="with, N(0, 0.01)", worse="without, N(0, 0.01)"),
        ],
        seeds=3,
    ),
)  # fmt: skip
