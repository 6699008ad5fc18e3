"""Learned against hand-made features by the number of training images: the crossover of the lecture.

The lecture says that trained features outperform hand-made ones once there are data. The paper's claim is AlexNet's, 17.0 %
top-5 against 25.7 % of Fisher vectors (table 1), on a set that is not public. Every seed has images of its own, but all.
"""

from convnets.ledger import Experiment, Row, Size

CONV = {
    "mnist": ("LeNet-5", "configs/lenet.py:modern"),
    "cifar10": ("cuda-convnet 26pct", "configs/cuda_convnet.py:26pct"),
}
ALL = {"mnist": 60_000, "cifar10": 50_000}


def conv(data: str, cost: dict[int, str]) -> list[Row]:
    label, whole = CONV[data]
    rows = [Row(f"{label}, {n:,} images", f"configs/handcrafted.py:conv-{data}-{n}", x=n, line=label, cost=text)
            for n, text in cost.items() if n < ALL[data]]  # fmt: skip
    return [*rows, Row(f"{label}, all images", whole, x=ALL[data], line=label, cost=cost[ALL[data]])]


EXPERIMENT = Experiment(
    "Learned against hand-made features", "test_error", source="Krizhevsky et al. 2012, table 1", x="training images",
    cpu=Size(rows=conv("mnist", {100: "10 s, 2 cores", 1000: "20 s, 2 cores", 10_000: "1 min, 2 cores",
                                 60_000: "8 min, 2 cores"})),
    full=Size(rows=conv("cifar10", {100: "30 s, 2 cores", 1000: "1 min, 2 cores", 10_000: "3 min, 2 cores",
                                    50_000: "8 min, 2 cores"}), seeds=3),
)  # fmt: skip
