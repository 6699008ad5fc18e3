"""Overlapping pooling: windows of 3 with stride 2 versus windows of 2.

All feature maps have the same sizes either way: 24 to 12 and 8 to 4. Each row of the cpu size has the learning rate that was
best for it in a pilot, on training digits that the cpu size does not use:

    python run.py --mode=sweep --experiment=experiments/overlap_pool.py --size=pilot --workdir=runs/overlap_pool-pilot

A few runs stay at chance; errors and claims are about the others. This was decided when seeds 0 to 19 were seen, which are not
counted, as in pool_kind.py.
"""

from convnets.sweep import Claim, Experiment, Row, Scale
from experiments._overrides import HELD_OUT, LEARNED, cosine

NET = "--config.model.layers=conv(16, 5)|relu|max({0})|conv(32, 5)|relu|max({0})|fc(64)|relu|out"
WINDOWS = {"2, stride 2": "2", "3, stride 2": "3, 2, ceil=True"}
TRIED = (0.02, 0.05, 0.1, 0.2)
RATES = {"2, stride 2": 0.1, "3, stride 2": 0.05}


def digits(window: str, rate: float, *more: str, suffix: str = "") -> Row:
    overrides = (NET.format(WINDOWS[window]), f"--config.optim.lr={rate}", *cosine(10), *more)
    return Row(window + suffix, "configs/ablation.py:mnist10k", overrides=overrides, cost="25 s, 1 core")


def claim(metric: str = "") -> Claim:
    return Claim("overlapping windows are better", "section 3.4", better="3, stride 2", worse="2, stride 2", metric=metric,
                 size=0.4, elsewhere="ImageNet", note="Scherer et al. 2010 find no significant difference")  # fmt: skip


EXPERIMENT = Experiment(
    "Overlapping pooling", LEARNED, source="Krizhevsky et al. 2012",
    cpu=Scale(
        rows=[digits(window, rate) for window, rate in RATES.items()],
        claims=[claim()],
        seeds=40, first_seed=20,
    ),
    full=Scale(
        rows=[
            Row("2, stride 2", "configs/ablation.py:13pct", overrides=("--config.model.pool_size=2",),
                cost="5 min, 1 x H100"),
            Row("3, stride 2", "configs/ablation.py:13pct", cost="5 min, 1 x H100"),
        ],
        claims=[claim("test_error")],
        seeds=8,
    ),
    pilot=Scale(
        rows=[digits(window, rate, *HELD_OUT, suffix=f", rate {rate}") for window in WINDOWS for rate in TRIED],
        seeds=2, first_seed=1000,
    ),
)  # fmt: skip
