"""Test-time augmentation on CIFAR-10. The papers' own numbers are in the tables of their networks on ImageNet.

Tests show that the ten crops and 144 crops are the right ones.
"""

from convnets.sweep import Claim, Evaluation, Experiment, Row, Scale

TESTS = {
    "ten": Evaluation(("--config.evaluate.protocol=ten_crop",)),
    "mirror": Evaluation(("--config.evaluate.protocol=dense",)),
}
WHOLE = Evaluation(("--config.evaluate.protocol=dense(flip=False)",))
# Averages its last feature maps, so it also accepts whole images of 32 x 32.
NET = "conv(32, 3, padding=1)|relu|max(2)|conv(64, 3, padding=1)|relu|max(2)|conv(64, 3, padding=1)|relu|mean|out"
CROPS = (f"--config.model.layers={NET}", "--config.model.side=24", "--config.data.train_ops=decode|standardize|crop(24)|flip",
         "--config.data.test_ops=decode|standardize|center(24)", "--config.optim.schedule=cosine(3)",
         "--config.train.epochs=3.0")  # fmt: skip

EXPERIMENT = Experiment(
    "Test protocols", "test_error", source="Krizhevsky et al. 2012",
    cpu=Scale(
        rows=[Row("crops", "configs/ablation.py:cifar_aug", overrides=CROPS, tests={**TESTS, "whole": WHOLE},
                  cost="3 min, 1 core")],
        claims=[
            Claim("ten views are better than one", "section 6", better=("crops", "ten"), worse="crops", size=1.5,
                  elsewhere="ILSVRC-2010"),
            Claim("the image and its mirror image are better than the image", "ours", better=("crops", "mirror"),
                  worse=("crops", "whole"), note="mirror images were in training already"),
        ],
        seeds=12,
    ),
    full=Scale(
        rows=[
            Row("13pct", "configs/ablation.py:13pct", tests={"ten": TESTS["ten"]}, cost="5 min, 1 x H100"),
            Row("ResNet-20", "configs/ablation.py:cifar_resnet20", tests={"mirror": TESTS["mirror"]},
                cost="1 min, 1 x H100"),
        ],
        claims=[
            Claim("ten views are better than one", "section 6", better=("13pct", "ten"), worse="13pct", size=1.5,
                  elsewhere="ILSVRC-2010"),
            Claim("the image and its mirror image are better than the image", "ours", better=("ResNet-20", "mirror"),
                  worse="ResNet-20"),
        ],
    ),
)  # fmt: skip
