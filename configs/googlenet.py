"""GoogLeNet on ILSVRC-2012: Szegedy et al. 2014, sections 6 and 7.

    python run.py --config=configs/googlenet.py:paper --config.data.data_dir=DIR --workdir=runs/googlenet
    python run.py --mode=evaluate --workdir=runs/googlenet --config.evaluate.protocol=crops_144

The argument selects the variant:
    paper       top-5 validation errors: 10.07 % with one crop, 9.15 % with ten, 7.89 % with 144 (table 3).
    caffe       BVLC GoogLeNet's quick_solver: 60 epochs, the rate multiplied by (1 - epoch / 60)^0.5, Caffe's LRN, no
                colour or scale augmentation: 31.3 / 11.1 % top-1 / top-5 with one crop (its readme).

From the paper: momentum 0.9; the rate is multiplied by 0.96 every 8 epochs; tests use the average of the parameters
(Polyak). The losses of the two auxiliary classifiers have weight 0.3. Crops cover 8 to 100 % of the area with aspect ratios
from 3:4 to 4:3: a rule that was "verified to work very well after the competition", so the networks of table 3 may have had
another. Photometric distortions are those of Howard 2013, who draws each factor from 0.5 to 1.5; the noise along the
principal colours, which he adds, is left out here.

Unspecified: batch, base rate, decay and length (here as in Caffe's solver.prototxt: 32, 0.01, 2e-4, ten million
iterations = 250 epochs); rate and decay of biases (here as in Caffe's network: twice, none); the initial weights (here
'gaussian', the deviations of Caffe's first file, and 'caffe' in `caffe`: convnets/models/googlenet.py); the kind of average
(here exponential over some 10,000 steps, as in Google's later networks). The paper trained with asynchronous gradient descent
on many machines. It says that the sampling of images changed over the months, that networks which had converged were trained
further with other options, and that random interpolations came in relatively late. None of that is reproduced. Caffe squeezed
the images to 256 x 256; in `caffe` the central square is used.

Table 3 does not describe its ten crops; the text compares the 144 with the crops of Krizhevsky et al. 2012. Theirs are corners
of the central square of 256 x 256, so the test string takes that square first. Its central crop is the same as without the
square, and `crops_144` takes squares of its own.
"""

from configs import base

EPOCHS = 32 / base.IMAGENET_TRAIN  # one iteration, in epochs


def get_config(variant: str = "paper"):
    config = base.imagenet(
        "googlenet",
        "decode|inception_crop(224)|flip|color_jitter|subtract_mean('colour')",
        "decode|resize_center_crop(256)|center(224)|subtract_mean('colour')",
    )
    config.optim.update(lr=0.01, schedule="exponential(0.96, 8)", momentum=0.9, weight_decay=2e-4, decay_multipliers="*/kernel",
                        lr_multipliers="*, */bias=2", average="ema(0.9999)")  # fmt: skip
    config.train.update(epochs=10_000_000 * EPOCHS, batch_size=32)
    base.pick(VARIANTS, variant)(config)
    return config


def paper(config):
    config.model.init_weights = "gaussian"


def caffe(config):
    square = "decode|resize_center_crop(256)|subtract_mean(123, 117, 104)"
    config.model.lrn = "caffe"
    config.data.update(train_ops=f"{square}|crop(224)|flip", test_ops=f"{square}|center(224)")
    config.train.epochs = 2_400_000 * EPOCHS
    config.optim.update(schedule=f"poly({config.train.epochs}, 0.5)", average="")


VARIANTS = {"paper": paper, "caffe": caffe}
