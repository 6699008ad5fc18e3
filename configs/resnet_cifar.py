"""ResNet on CIFAR-10, and the plain networks beside it: He et al. 2015, section 4.2, table 6 and figure 6.

    python run.py --config=configs/resnet_cifar.py:20 --config.data.data_dir=DIR --workdir=runs/resnet20

The argument is the depth, with the prefix 'plain' for the network without shortcuts:
    20        8.75 %
    32        7.51 %
    44        7.17 %
    56        6.97 %
    110       6.61 +- 0.16 % (five runs; the best 6.43). Starts at a tenth of the rate until the training error is below
              80 %, in the paper after about 400 iterations; here the error is averaged over 100 consecutive iterations.
    1202      7.93 %, "trained as described above", which is read as: starts like 110
    plain20   curves only (figure 6): deeper networks are worse, in training and test.
    plain32
    plain44
    plain56
    plain110  above 60 %, not drawn in the paper; starts like 110 here

From the paper: batch 128, momentum 0.9, decay 1e-4; rate 0.1, divided by 10 after 32k and 48k of 64k iterations. The
mean is subtracted from the image, which is padded by 4 pixels on every side and randomly cropped; horizontal flips.
Tests use the single view. He initialization. Batch normalization uses the statistics of 64 examples, because the paper
trains "on two GPUs" (section 4.2; `model.ghost_batch`). The epochs below are exactly those iterations (128 x 64,000 /
50,000 = 163.84). As in table 6, training uses all 50,000 images.

Unspecified: whether decay applies to scales and biases (here only to kernels, also of the last layer; see configs/resnet.py); the
value of the padding (here zeros, after the mean is subtracted); the range of the pixels, which batch normalization makes
irrelevant (here 0 to 255).
"""

from configs import base

EPOCHS = 128 / 50_000  # one iteration, in epochs


def get_config(variant: str = "20"):
    config = base.get_config()
    depth = base.pick(VARIANTS, variant)
    config.model.name = f"{'plain' if variant.startswith('plain') else 'resnet'}{depth}_cifar"
    config.model.ghost_batch = 64
    config.data.update(name="cifar10", train_ops="decode|subtract_mean|pad_crop(4)|flip",
                       test_ops="decode|subtract_mean")  # fmt: skip
    config.optim.update(lr=0.1, schedule=f"steps(0.1, {32_000 * EPOCHS}, {48_000 * EPOCHS})", momentum=0.9,
                        weight_decay=1e-4, decay_multipliers="*/kernel")  # fmt: skip
    config.train.update(epochs=64_000 * EPOCHS, batch_size=128)
    if depth >= 110:
        config.optim.schedule = f"until_error(0.1, 80)|{config.optim.schedule}"
    return config


VARIANTS = {"20": 20, "32": 32, "44": 44, "56": 56, "110": 110, "1202": 1202,
            "plain20": 20, "plain32": 32, "plain44": 44, "plain56": 56, "plain110": 110}  # fmt: skip
