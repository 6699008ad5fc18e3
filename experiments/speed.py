"""Is ResNet-152 as fast as VGG-16?

This is the lecture's claim, for GPUs of 2015. The paper only compares multiply-adds, 11.3 to 15.3 billion, which
`--mode=describe` counts exactly. This experiment measures time: milliseconds of a training step per image. A step is
forward pass, backward pass and optimizer, with the images already decoded. The result holds only for the device named
in the row, and only if nothing else runs on it: use --jobs=1.
"""

from convnets.sweep import Claim, Experiment, Row, Scale

# At the default test batch of 256 images, VGG-16's first layer takes 3 GB.
NETS = {
    "ResNet-152": ("configs/resnet.py:152", ()),
    "VGG-16": ("configs/vgg.py:D", ("--config.evaluate.batch_size=16",)),
}


def size(images: int, batch: int, dtype: str, cost: str) -> Scale:
    overrides = (f"--config.data.train_split=train[:{images}]", f"--config.train.batch_size={batch}",
                 f"--config.model.dtype={dtype}", "--config.train.epochs=1", "--config.train.log_every_steps=1",
                 "--config.data.test_split=validation[:64]")  # fmt: skip
    return Scale(
        rows=[Row(f"{name}, batch {batch}, {dtype}", config, overrides=(*overrides, *more), cost=cost)
              for name, (config, more) in NETS.items()],
        claims=[Claim("ResNet-152 is faster than VGG-16, in training", "lecture: even ResNet-152 is slightly faster",
                      *(f"{name}, batch {batch}, {dtype}" for name in NETS), ratio=True,
                      note="it has fewer multiply-adds, but smaller products")],
        seeds=3,
    )  # fmt: skip


EXPERIMENT = Experiment(
    "ResNet-152 against VGG-16", "milliseconds_per_image",
    cpu=size(96, 8, "float32", "2 min"), full=size(6400, 32, "bfloat16", "2 min, 1 x H100"),
)  # fmt: skip
