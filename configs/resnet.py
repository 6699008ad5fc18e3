"""ResNet on ILSVRC-2012, and the plain networks beside it: He et al. 2015, sections 3.4 and 4.1.

    python run.py --config=configs/resnet.py:50 --config.data.data_dir=DIR --workdir=runs/resnet50
    python run.py --mode=evaluate --workdir=runs/resnet50 --config.evaluate.protocol=ten_crop

The argument is the depth, followed by the shortcut option if it is not B. Errors are top-1 / top-5 on the validation
set; during training they are measured on a single crop:

              ten crops (tables 2, 3)  dense, five scales (table 4)  one crop (the authors' readme)
    18        not in the paper
    18A       27.88
    34        24.52 / 7.46             21.84 / 5.71
    34A       25.03 / 7.76
    34C       24.19 / 7.40             21.53 / 5.60
    50        22.85 / 6.71             20.74 / 5.25                  24.7 / 7.8
    101       21.75 / 6.05             19.87 / 4.60                  23.6 / 7.1
    152       21.43 / 5.71             19.38 / 4.49                  23.0 / 6.7
    plain18   27.94
    plain34   28.54 / 10.02
fb.resnet.torch's networks (stride 2 in the 3x3 convolution) and recipe:
              one crop (README.md)     ten crops (pretrained/README.md)
    50_v1_5   24.01 / 7.02             22.24 / 6.08
    101_v1_5  22.44 / 6.21             21.08 / 5.35
    152_v1_5  22.16 / 6.16             20.69 / 5.21

Table 4 is `--config.evaluate.protocol="multi_scale(224, 256, 384, 480, 640)"`. Other shortcut options:
`--config.model.shortcut=C`.

From the paper: batch 256, momentum 0.9, decay 1e-4; rate 0.1 "divided by 10 when the error plateaus"; up to 600,000 iterations
= 120 epochs. The shorter side is drawn from [256, 480]; augmentation is crops of 224, horizontal flips and the colour noise of
AlexNet's text. He initialization, no dropout. Batch normalization uses the statistics of 32 examples, on any number of devices
up to eight (`model.ghost_batch`): "a mini-batch of 256 images on 8 GPUs, that is, 32 images per GPU" (the authors' readme,
line 42). Their ten crops average the softmax at a shorter side of 256, "the same as those in the paper" (line 75).

The text does not say when the error reached its plateaus. Figure 4 shows drops near 150,000 and 300,000 iterations, and the
curves in the authors' readme (line 64) drop after 30 and 60 epochs (issue 63 there); 30 epochs are 150,137 iterations. So the
rate drops after 30 and 60 epochs, in every row alike. `--config.optim.schedule="plateau(0.1, 5, 3)"` waits for plateaus
instead: five tests, one an epoch, without a new lowest error, at most three times.

Unspecified: whether decay applies to scales and biases (here only to kernels, also of the last layer; fb.resnet.torch's README
says that the paper decays "just the weights of the convolution layers").
The paper subtracts the mean of each pixel. For crops from all positions that is one colour plus noise, so here it is
the mean colour, which fits any size. The released networks averaged their batch statistics over a large batch after
training; here they are running averages.

From fb.resnet.torch (commit 985e569): crops of 8 to 100 % of the area and bicubic resizing (datasets/transforms.lua, lines 38
and 130 to 162). For 50 and 101 layers width / height is the square of U(3/4, 4/3), up to a swap: their errors are in the
readme since its first commit (6f9402d), before that was corrected (d4b9406). Also from there: colour distortions without
clipping (lines 205 to 289), channels standardized by its constants, Nesterov momentum, decay of all parameters, 90 epochs with
the same drops (train.lua, line 178). Batch normalization sees 64 examples for 50 layers, on 4 GPUs, and 32 for 101 and 152, on
8 (TRAINING.md). Its ten crops sum the raw scores (train.lua, line 128):
`--config.evaluate.protocol="ten_crop(average='score')"`.
Its colour noise along the principal components has fixed constants, whose eigenvalues sum to 1.6 times those computed here. It
draws the initial weights of convolutions by fan-out; here it is fan-in. Its last layer keeps Torch's weights from
U(-1/sqrt(inputs), 1/sqrt(inputs)); here they are He's. Its rate stands outside the velocity; here it stands inside, as
everywhere, so that the velocity keeps the old rate after each drop. Its bicubic filter aligns the corners; here it aligns
pixel centres, and values are clipped to 0 to 255 and rounded, because images travel as bytes. The ResNet-50 that was
published, whose errors these are, "has a batch normalization layer after the addition" (pretrained/README.md); ours has it
before, as models/resnet.lua does."""

import functools

from configs import base


def get_config(variant: str = "50"):
    name, model, change = base.pick(VARIANTS, variant)
    config = base.imagenet(
        name,
        "decode|resize_short(256, 480)|crop(224)|flip|lighting(0.1)|subtract_mean('colour')",
        "decode|resize_short(256)|center(224)|subtract_mean('colour')",
    )
    config.model.update({"ghost_batch": 32, **model})
    config.optim.update(
        lr=0.1, schedule="steps(0.1, 30, 60)", momentum=0.9, weight_decay=1e-4, decay_multipliers="*/kernel"
    )
    config.train.update(epochs=600_000 * 256 / base.IMAGENET_TRAIN, batch_size=256)
    change(config)
    return config


def paper(config):
    pass


def torch(config, squared: bool = True):
    # imagenet.lua, lines 67 to 70, times 255
    standardize = "standardize((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))"
    jitter = "color_jitter(0.4, 0.4, 0.4, clip=False)"
    crop = f"inception_crop(224, cubic=True{', squared=True' * squared})"
    config.data.train_ops = f"decode|{crop}|{jitter}|lighting(0.1)|{standardize}|flip"
    config.data.test_ops = f"decode|resize_short(256, cubic=True)|center(224)|{standardize}"
    config.optim.update(nesterov=True, decay_multipliers="*")
    config.train.epochs = 90.0


VARIANTS = {
    **{str(depth): (f"resnet{depth}", {"shortcut": "B"}, paper) for depth in (18, 34, 50, 101, 152)},
    **{name: (f"resnet{name[:2]}", {"shortcut": name[2]}, paper) for name in ("18A", "34A", "34C")},
    **{name: (name, {}, paper) for name in ("plain18", "plain34")},
    **{
        f"{depth}_v1_5": (f"resnet{depth}_v1_5", {"ghost_batch": ghost}, functools.partial(torch, squared=depth != 152))
        for depth, ghost in ((50, 64), (101, 32), (152, 32))
    },
}
