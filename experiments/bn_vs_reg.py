"""Batch normalization as a replacement for dropout and local response normalization.

The cpu size trains a wide layer on 2,000 digits until it overfits, so that dropout has something to gain.
"""

from convnets.sweep import Claim, Experiment, Row, Scale
from experiments._overrides import cosine

NET = "conv(16, 5)|{0}relu|max(2)|conv(32, 5)|{0}relu|max(2)|fc(512)|{0}relu|{1}out"
FEW = ("--config.data.train_split=train[:2000]", *cosine(40))


def digits(label: str, norm: str, dropout: str) -> Row:
    overrides = (f"--config.model.layers={NET.format(norm, dropout)}", *FEW)
    return Row(label, "configs/ablation.py:mnist10k", overrides=overrides, cost="35 s, 1 core")


def cifar(norm: bool, dropout: bool, lrn: bool) -> Row:
    label = " and ".join(filter(None, ("BN" * norm, "dropout" * dropout, "LRN" * lrn))) or "none"
    overrides = ("--config.model.lrn=across",) * lrn + ("--config.model.batch_norm=True",) * norm
    return Row(label, "configs/ablation.py:13pct", cost="5 min, 1 x H100",
               overrides=overrides + ("--config.model.dropout=0.5",) * dropout)  # fmt: skip


CLAIMS = [
    Claim("dropout helps without batch normalization", "section 3.4", better="dropout", worse="none"),
    Claim("dropout gains less with batch normalization than without", "section 3.4", better=["dropout", "BN"],
          worse=["none", "BN and dropout"], note="a difference of differences"),
    Claim("with batch normalization alone the error is lower than with dropout alone", "ours", better="BN", worse="dropout"),
    Claim("with batch normalization dropout can be left out", "section 4.2.1", within=0.3, one_sided=True,
          better="BN and dropout", worse="BN", note="the margin is ours"),
]  # fmt: skip

EXPERIMENT = Experiment(
    "Batch normalization and other regularizers", "test_error", source="Ioffe & Szegedy 2015",
    cpu=Scale(
        rows=[
            digits("none", "", ""), digits("dropout", "", "dropout(0.5)|"), digits("BN", "norm|", ""),
            digits("BN and dropout", "norm|", "dropout(0.5)|"),
        ],
        claims=CLAIMS,
        seeds=20,
    ),
    full=Scale(
        rows=[cifar(norm, dropout, lrn) for norm in (False, True) for dropout in (False, True) for lrn in (False, True)],
        claims=[
            *CLAIMS,
            Claim("with batch normalization LRN gains less", "section 4.2.1", better=["LRN", "BN"],
                  worse=["none", "BN and LRN"]),
        ],
        seeds=3,
    ),
)  # fmt: skip
