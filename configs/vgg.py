"""VGG on ILSVRC-2012: Simonyan, Zisserman 2015, section 3.

    python run.py --config=configs/vgg.py:A --config.data.data_dir=DIR --workdir=runs/vgg-A
    python run.py --mode=evaluate --workdir=runs/vgg-A '--config.evaluate.protocol=dense(256)'

The argument is the column of table 1 and the training scale S (256 if omitted). Errors are top-1 / top-5 on the
validation set; during training they are measured on a single crop at the test scale of table 3:

              dense (table 3)  dense, several scales (table 4)
    A         29.6 / 10.4
    A-LRN     29.7 / 10.5
    B         28.7 / 9.9       28.2 / 9.6   (224, 256, 288)
    B-5x5     7 points of top-1 worse than B, on a central crop (section 4.1)
    C         28.1 / 9.4       27.7 / 9.2
    C-384     28.1 / 9.3       27.8 / 9.2   (352, 384, 416)
    C-jitter  27.3 / 8.8       26.3 / 8.2   (256, 384, 512)
    D         27.0 / 8.8       26.6 / 8.6
    D-384     26.8 / 8.7       26.5 / 8.6
    D-jitter  25.6 / 8.1       24.8 / 7.5   with multi_crop 24.4 / 7.2 (table 5)
    E         27.3 / 9.0       26.9 / 8.7
    E-384     26.9 / 8.7       26.7 / 8.6
    E-jitter  25.5 / 8.0       24.8 / 7.5   with multi_crop 24.4 / 7.1
    A_bn      batch normalization, published after the paper, so not the paper's. torchvision's four networks, with
    B_bn      their own recipes, reach 29.63 / 10.19, 28.41 / 9.63, 26.64 / 8.48 and 25.78 / 8.16 on a central crop.
    D_bn
    E_bn

By default `dense` and `multi_scale` crop images to multiples of 32 pixels; `multiple=1`, as in 'dense(256, multiple=1)', shows
the whole image as the paper does, and compiles the network for each size of image.

Table 4 is `--config.evaluate.protocol='multi_scale(224, 256, 288)'`; table 5 is
'multi_scale(256, 384, 512)|multi_crop(256, 384, 512)'.

From the paper: batch 256, momentum 0.9, decay 5e-4, dropout 0.5. Rate 0.01, "decreased by a factor of 10 when the validation
set accuracy stopped improving", three times; 370,000 iterations = 74 epochs. The shorter side is S, or drawn from [256, 512]
(jitter); crops of 224, horizontal flips, the colour noise of AlexNet's text, mean colour subtracted. A starts from random
weights. Deeper networks start with the first four convolutions and the fully connected layers of A:

    --config.model.init_from=A.safetensors --config.model.init_layers=conv1_1,conv2_1,conv3_1,conv3_2,fc6,fc7,fc8

S = 384 starts from all weights of S = 256 at a rate of 0.001, and jitter from all weights of S = 384. Those variants
therefore have that rate and need `--config.model.init_from`. Without a file, every network starts from Glorot
initialization, with which pre-training is not needed (section 3.1; convnets/models/vgg.py). Then -384 and -jitter need
--config.optim.lr=0.01.

Unspecified: the patience of the schedule (here 5 tests, one per epoch); the rate and length of the fine-tuning for
jitter (here as for 384, whose length is also unspecified); whether biases decay (here not).
"""

from configs import base


def get_config(variant: str = "D"):
    name, low, high, test = base.pick(VARIANTS, variant)
    resize = f"resize_short({low}, {high})" if high else f"resize_short({low})"
    config = base.imagenet(
        f"vgg_{name}",
        f"decode|{resize}|crop(224)|flip|lighting(0.1)|subtract_mean('colour')",
        f"decode|resize_short({test})|center(224)|subtract_mean('colour')",
    )
    config.optim.update(lr=0.01 if test == 256 else 0.001, schedule="plateau(0.1, 5, 3)", momentum=0.9,
                        weight_decay=5e-4, decay_multipliers="*/kernel")  # fmt: skip
    config.train.update(epochs=370_000 * 256 / base.IMAGENET_TRAIN, batch_size=256)
    return config


# Network, S or its range (low, high), and the shorter side for a single test crop, which is the mean of S.
VARIANTS = {
    **{row: (row.lower().replace("-", "_"), 256, 0, 256) for row in ("A", "A-LRN", "B", "B-5x5", "C", "D", "E")},
    **{f"{row}-384": (row.lower(), 384, 0, 384) for row in "CDE"},
    **{f"{row}-jitter": (row.lower(), 256, 512, 384) for row in "CDE"},
    **{f"{row}_bn": (f"{row.lower()}_bn", 256, 0, 256) for row in "ABDE"},
}
