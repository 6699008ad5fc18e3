"""GoogLeNet on ILSVRC-2012: Szegedy et al. 2014, sections 6 and 7.

    python run.py --config=configs/googlenet.py:paper --config.data.data_dir=DIR --workdir=runs/googlenet
    python run.py --mode=evaluate --workdir=runs/googlenet --config.evaluate.protocol=crops_144

The argument picks the variant:
    paper       top-5 errors on the validation set: 10.07 % for one crop, 9.15 % for ten, 7.89 % for 144 (table 3).
    caffe       BVLC GoogLeNet's quick_solver: 60 epochs, the rate times (1 - epoch / 60)^0.5, Caffe's LRN, no colours,
                no scales: 31.3 / 11.1 % top-1 / top-5 for one crop (its readme).

Of the paper: momentum 0.9, the rate times 0.96 every 8 epochs, the average of the parameters for the test (Polyak);
windows of 8 to 100 % of the area with sides of 3:4 to 4:3, photometric distortions after Howard 2013; losses of the two
auxiliary classifiers times 0.3.

Unspecified: batch, base rate, decay and length, which are those of Caffe's solver.prototxt (32, 0.01, 2e-4, ten million
iterations = 250 epochs); rates and decay of biases, those of its net (twice, none); the kind of average (here exponential
over some 10,000 steps, as Google's later nets have it); the amounts of the distortions (`pixels.photometric`). The paper
used asynchronous gradient descent on many machines and says that the recipe changed on the way, with other samplings and
interpolations late in training; none of that is here.
"""

from configs import base

EPOCHS = 32 / base.IMAGENET_TRAIN  # an iteration in epochs


def get_config(variant: str = "paper"):
    config = base.imagenet(
        "googlenet",
        "decode|inception_crop(224)|flip|photometric|subtract_mean('colour')",
        "decode|resize_short(256)|center(224)|subtract_mean('colour')",
    )
    config.optim.update(lr=0.01, schedule="exponential(0.96, 8)", momentum=0.9, weight_decay=2e-4, decay="*/kernel",
                        rates="*, */bias=2", average="ema(0.9999)")  # fmt: skip
    config.train.update(epochs=10_000_000 * EPOCHS, batch_size=32)
    base.pick(VARIANTS, variant)(config)
    return config


def paper(config):
    pass


def caffe(config):
    square = "decode|square(256)|subtract_mean(123, 117, 104)"
    config.model.lrn = "caffe"
    config.data.update(train_ops=f"{square}|crop(224)|flip", test_ops=f"{square}|center(224)")
    config.train.epochs = 2_400_000 * EPOCHS
    config.optim.update(schedule=f"poly({config.train.epochs}, 0.5)", average="")


VARIANTS = {"paper": paper, "caffe": caffe}
