"""Learned versus hand-made features by the number of training images: the crossover of the lecture.

The lecture says that learned features outperform hand-made ones now that enough data are available. Its claims are the ones for
all images, and that images help learned features more. The claims for fewer images, which are ours, locate the crossing of the
lines. The first plan claimed for 100 images, too, that learned features are better; the first runs showed the opposite, and the
claim was turned round. The paper's claim is AlexNet's top-5 error of 17.0 % versus 25.7 % for Fisher vectors (table 1), on
ILSVRC-2010, which is not here. Each seed trains on different images, except where it uses all of them.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

CONV = {
    "mnist": ("LeNet-5", "configs/lenet.py:modern"),
    "cifar10": ("cuda-convnet 26pct", "configs/cuda_convnet.py:26pct"),
}
LECTURE = "lecture: trained features outperform handcrafted features"
DATA = "lecture: availability of data"
HAND = {"HOG, SVM": "hog", "SIFT, codebook, pyramid, SVM": "sift"}
# Where the lines cross, as measured.
EQUAL = {"mnist": "the lines cross between 1,000 and 10,000 images", "cifar10": "the lines cross near 1,000 images"}
ALL = {"mnist": 60_000, "cifar10": 50_000}


def rows(data: str, conv: dict[int, str], hand: dict[int, str]) -> list[Row]:
    """Returns the rows of the three methods at every number of images.

    Args:
        data: the data set, a key of CONV.
        conv, hand: time of a run on two cores, by the number of images.
    """
    label, whole = CONV[data]
    return [
        *(Row(f"{name}, {count(data, n)}", f"configs/handcrafted.py:{method}-{data}{f'-{n}' * (n < ALL[data])}", x=n,
              line=name, cost=cost) for name, method in HAND.items() for n, cost in hand.items()),
        *(Row(f"{label}, {count(data, n)}", f"configs/handcrafted.py:conv-{data}-{n}" if n < ALL[data] else whole, x=n,
              line=label, cost=cost) for n, cost in conv.items()),
    ]  # fmt: skip


def count(data: str, n: int) -> str:
    return f"{n:,} images" if n < ALL[data] else "all images"


def claims(data: str) -> list[Claim]:
    """Returns the two sides of the crossover with each kind of hand-made features, and what images gain in between."""
    label, found, first = CONV[data][0], [], count(data, 100)
    for hand in HAND:
        found += [
            Claim(f"{hand} is better than learned features, {first}", "ours", better=f"{hand}, {first}", worse=f"{label}, {first}",
                  note="its direction was chosen after the first runs"),
            *(Claim(f"learned features are better than {hand}, {count(data, n)}", LECTURE if n == ALL[data] else "ours",
                    better=f"{label}, {count(data, n)}", worse=f"{hand}, {count(data, n)}", note=EQUAL[data] * (n == 1000)) for n in (1000, 10_000, ALL[data])),
            Claim(f"more training images lower the error of learned features more than the error of {hand}", DATA, better=[f"{label}, all images", f"{hand}, {first}"],
                  worse=[f"{hand}, all images", f"{label}, {first}"], note="a difference of differences"),
        ]  # fmt: skip
    return found


EXPERIMENT = Experiment(
    "Learned against hand-made features", "test_error", x="training images",
    cpu=Scale(
        rows=rows("mnist", {100: "10 s", 1000: "20 s", 10_000: "1 min", 60_000: "8 min"},
                  {100: "10 s", 1000: "10 s", 10_000: "40 s", 60_000: "4 min"}),
        claims=claims("mnist"),
    ),
    full=Scale(
        rows=rows("cifar10", {100: "30 s", 1000: "1 min", 10_000: "3 min", 50_000: "20 min"},
                  {100: "20 s", 1000: "30 s", 10_000: "2 min", 50_000: "12 min"}),
        claims=claims("cifar10"), seeds=3,
    ),
)  # fmt: skip
