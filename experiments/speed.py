"""Is ResNet-152 as fast as VGG-16? The lecture's claim, of 2015's GPUs; the paper only has the multiply-adds, 11.3 to 15.3
billion. They are counted exactly by `--mode=describe`; here is the time.

Milliseconds of a training step, by the number of its images: forward, backward and the optimizer, with the images waiting
decoded. It says something of the device that the row names alone, and only where nothing else runs: take --jobs=1.
"""

from convnets.sweep import Claim, Experiment, Row, Size

# VGG-16's first layer takes 3 GB for the 256 images that a test has at a time.
NETS = {
    "ResNet-152": ("configs/resnet.py:152", ()),
    "VGG-16": ("configs/vgg.py:D", ("--config.evaluate.batch_size=16",)),
}


def size(images: int, batch: int, dtype: str, cost: str) -> Size:
    overrides = (f"--config.data.train_split=train[:{images}]", f"--config.train.batch_size={batch}",
                 f"--config.model.dtype={dtype}", "--config.train.epochs=1", "--config.train.log_every_steps=1",
                 "--config.data.test_split=validation[:64]")  # fmt: skip
    return Size(
        rows=[Row(f"{name}, batch {batch}, {dtype}", config, overrides=(*overrides, *more), cost=cost)
              for name, (config, more) in NETS.items()],
        claims=[Claim("ResNet-152 is faster than VGG-16, in training", "lecture: even ResNet-152 is slightly faster",
                      *(f"{name}, batch {batch}, {dtype}" for name in NETS), ratio=True)],
        seeds=3,
    )  # fmt: skip


EXPERIMENT = Experiment(
    "ResNet-152 against VGG-16", "milliseconds_per_image", source="He et al. 2015",
    cpu=size(96, 8, "float32", "2 min"), full=size(6400, 32, "bfloat16", "2 min, 1 x H100"),
)  # fmt: skip
