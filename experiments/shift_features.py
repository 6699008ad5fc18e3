"""Shift tolerance of the features: how much they change under a shift, for the runs of experiments/shift_inv.py.

Features are the input of the last layer. Their change is relative to the features of the same digit without the shift.
"""

from convnets.sweep import Claim, Experiment, Scale
from experiments import shift_inv


def changes_less(less: str, more: str, shift: str) -> Claim:
    note = "of eight networks some change more and some less" * (more == "full" and shift == "2px")
    return Claim(f"{less} changes less than {more} under {shift}", shift_inv.source(less, more), better=(less, shift),
                 worse=(more, shift), note=note)  # fmt: skip


EXPERIMENT = Experiment(
    "Translation invariance of the features", "feature_change", source="LeCun et al. 1998", x="shift in pixels",
    cpu=Scale(
        rows=[row._replace(x=None, line="") for row in shift_inv.DIGITS],
        claims=[
            *(changes_less("maximum of 2", other, shift) for other in ("stride", "full") for shift in ("1px", "2px", "4px")),
            *(changes_less(pooling, "stride", "1px") for pooling in ("average of 2", "L2 of 2")),
            changes_less("maximum of 4", "maximum of 2", "1px"),
        ],
        seeds=8,
    ),
)  # fmt: skip
