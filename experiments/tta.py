"""More views of an image, on CIFAR-10; the papers' own numbers are in the tables of their networks on ImageNet.

That ten crops and 144 crops are the right ones is shown by tests.
"""

from convnets.ledger import Claim, Experiment, Row, Size, Test

TESTS = {"ten": Test(("--config.evaluate.protocol=ten_crop",)), "mirror": Test(("--config.evaluate.protocol=dense",))}

EXPERIMENT = Experiment(
    "Test protocols", "test_error", source="Krizhevsky et al. 2012, section 4.1",
    full=Size(
        rows=[
            Row("13pct", "configs/ablation.py:13pct", tests={"ten": TESTS["ten"]}, cost="5 min, 1 x H100"),
            Row("ResNet-20", "configs/ablation.py:cifar_resnet20", tests={"mirror": TESTS["mirror"]},
                cost="4 min, 1 x H100"),
        ],
        claims=[
            Claim("ten views instead of one", "section 4.1", better=("13pct", "ten"), worse="13pct", size=1.5,
                  note="1.5 points is ImageNet's"),
            Claim("the mirror image too", "section 4.1", better=("ResNet-20", "mirror"), worse="ResNet-20"),
        ],
    ),
)  # fmt: skip
