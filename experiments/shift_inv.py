"""Shift tolerance: networks with and without pooling, trained on unshifted digits, tested on digits shifted to the right.

Pooling with windows of 2 is compared with convolutions of stride 2, whose feature maps have the same size. The fully connected network has no
convolutions either, so what it loses says nothing of pooling.
"""

from convnets.sweep import Claim, Evaluation, Experiment, Row, Scale

NETS = {
    "full": "fc(200)|relu|out",
    "stride": "conv(16, 5, 2)|relu|conv(32, 5, 2)|relu|out",
    "maximum of 2": "conv(16, 5)|relu|max(2)|conv(32, 5)|relu|max(2)|out",
    "maximum of 4": "conv(16, 5)|relu|max(2)|conv(32, 5)|relu|max(4)|out",
    "average of 2": "conv(16, 5)|relu|average(2)|conv(32, 5)|relu|average(2)|out",
    "L2 of 2": "conv(16, 5)|relu|l2(2)|conv(32, 5)|relu|l2(2)|out",
}


def tests(ops: str, *shifts: int) -> dict[str, Evaluation]:
    return {f"{n}px": Evaluation((f"--config.data.test_ops={ops.format(n)}",), x=n) for n in shifts}


def digits(label: str, line: str) -> Row:
    return Row(label, "configs/ablation.py:mnist10k", cost="20 s, 1 core", x=0, line=label,
               overrides=(f"--config.model.layers={line}", "--config.train.epochs=3.0"),
               tests=tests("decode|shift(0, {})|value_range(0.0, 1.0)", 1, 2, 4))  # fmt: skip


def source(less: str, more: str) -> str:
    """Returns who claims that `less` is more tolerant of shifts than `more`: LeCun et al. of convolution and of averages."""
    if less == "maximum of 4" or (more == "full" and less != "stride"):
        return "ours"
    return "section II.A" if less in ("stride", "average of 2") else "lecture: local translation (due to pooling)"


def loses_less(less: str, more: str, shift: str = "4px") -> Claim:
    return Claim(f"{less} loses less than {more} under {shift}", source(less, more), better=[(less, shift), more],
                 worse=[less, (more, shift)], note="the increase of the error, not the error")  # fmt: skip


def cifar(label: str, pooling: str) -> Row:
    overrides = (f"--config.model.pooling={pooling}",) if pooling else ()
    return Row(label, "configs/ablation.py:13pct", cost="5 min, 1 x H100", x=0, line=label,
               overrides=(*overrides, "--config.data.train_ops=decode|center(24)|subtract_mean('center')"),
               tests=tests("decode|shift(0, {})|center(24)|subtract_mean('center')", 1, 2, 3, 4))  # fmt: skip


DIGITS = [digits(label, line) for label, line in NETS.items()]

EXPERIMENT = Experiment(
    "Translation invariance", "test_error", source="LeCun et al. 1998", x="shift in pixels",
    cpu=Scale(
        rows=DIGITS,
        claims=[
            loses_less("stride", "full"), loses_less("maximum of 2", "stride"), loses_less("maximum of 4", "maximum of 2"),
            loses_less("maximum of 2", "stride", "2px"), loses_less("maximum of 2", "full", "2px"),
            loses_less("average of 2", "stride"), loses_less("L2 of 2", "stride"),
        ],
        seeds=8,
    ),
    full=Scale(
        rows=[cifar("maximum", ""), cifar("stride", "stride")],
        claims=[loses_less("maximum", "stride")], seeds=3,
    ),
)  # fmt: skip
