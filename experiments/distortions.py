"""Which variations of the training digits help: translation, which pooling already tolerates, against those not built in.

The lecture: "most useful are those that are not built in: rotation, scaling, noise". Each kind has the strength that was best
for it in a pilot, on training digits that the cpu size does not use, so that no kind loses by a bad choice. The three kinds
together keep these strengths, which were not tuned for the combination:

    python run.py --mode=sweep --experiment=experiments/distortions.py --size=pilot --workdir=runs/distortions-pilot

Translations are in pixels, rotations in degrees, scalings are the largest factor. Noise has its deviation where digits range
from 0 to 1.
"""

from convnets.sweep import Claim, Experiment, Row, Scale
from experiments._overrides import cosine

NET = ("--config.model.layers=conv(8, 5)|relu|max(2)|conv(16, 5)|relu|max(2)|out", *cosine(20))
FEW, OTHERS = ("--config.data.train_split=train[:5000]",), ("--config.data.train_split=train[40000:45000]",
                                                            "--config.data.test_split=train[50000:]")  # fmt: skip
# The operations before and after the scaling of pixels.
KINDS = {"translation": ("|distort(translate={})", ""), "rotation": ("|rotate({})", ""), "scaling": ("|scale({})", ""),
         "noise": ("", "|noise({})")}  # fmt: skip
TRIED = {
    "translation": (1, 2, 3, 4),
    "rotation": (10, 20, 30),
    "scaling": (1.2, 1.4, 1.6),
    "noise": (0.05, 0.1, 0.2, 0.4),
}
BEST = {"translation": 2, "rotation": 20, "scaling": 1.4, "noise": 0.2}
NEW = ("rotation", "scaling", "noise")  # those that are not built in


def row(label: str, strengths: dict[str, float], images: tuple[str, ...] = FEW) -> Row:
    before, after = (
        "".join(KINDS[kind][side].format(strength) for kind, strength in strengths.items()) for side in (0, 1)
    )
    ops = (f"--config.data.train_ops=decode{before}|value_range(0.0, 1.0){after}",) if strengths else ()
    return Row(label, "configs/ablation.py:mnist10k", overrides=(*NET, *images, *ops), cost="40 s, 1 core")


WHERE = "lecture, types of variations"
NOTE = "two poolings of 2 x 2 tolerate small shifts; translations of two pixels still help most here"

EXPERIMENT = Experiment(
    "Variations of digits", "test_error",
    cpu=Scale(
        rows=[row("none", {}), *(row(kind, {kind: best}) for kind, best in BEST.items()),
              row("rotation, scaling and noise", {kind: BEST[kind] for kind in NEW})],
        claims=[
            *(Claim(f"{kind} lowers the error", WHERE, better=kind, worse="none",
                    note="test digits have no noise" * (kind == "noise")) for kind in NEW),
            *(Claim(f"{kind} lowers it more than translation", WHERE, better=kind, worse="translation", note=NOTE)
              for kind in NEW),
            Claim("the three together lower it more than translation", WHERE, better="rotation, scaling and noise",
                  worse="translation", note=NOTE),
        ],
        seeds=8,
    ),
    pilot=Scale(
        rows=[row(f"{kind} {strength}", {kind: strength}, OTHERS) for kind, tried in TRIED.items() for strength in tried],
        seeds=4, first_seed=1000,
    ),
)  # fmt: skip
