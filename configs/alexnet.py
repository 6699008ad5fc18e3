"""AlexNet on ILSVRC-2012: Krizhevsky, Sutskever, Hinton 2012, sections 4 and 5.

    python run.py --config=configs/alexnet.py:paper --config.data.data_dir=DIR --workdir=runs/alexnet
    python run.py --mode=evaluate --workdir=runs/alexnet --config.evaluate.protocol=ten_crop

The argument picks the variant; errors on the validation set are top-1 / top-5, in training they are of a single view:
    paper       two groups: 40.7 / 18.2 % with ten crops (table 2); on ILSVRC-2010 a single crop is 1.5 / 1.3 worse.
    one_gpu     half the maps in conv1 to conv4, no groups: 1.7 / 1.2 worse than two groups (section 3.2).
    ungrouped   two groups' maps, each layer seeing all of them. No paper's number.
    owt         the one-GPU net of "One weird trick" (Krizhevsky 2014), with the recipe of cuda-convnet2's file
                layers-imagenet-1gpu: rates of biases twice those of weights, the rate times 250^(-1/3) after each quarter
                of 90 epochs, colours along the standard deviations. 42.3 % in the paper's table 1 (from memory).
    caffe       BVLC AlexNet: 227 pixels, batch 256, biases from 0.1, the rate divided by 10 every 100,000 iterations, 450,000
                in all, no colours, biases at twice the rate and without decay: 42.9 / 19.8 %, single crop (its readme).

Of the paper: batch 128, momentum 0.9 with the rate inside the velocity, decay 5e-4, rate 0.01 for all layers, "divided by
10 when the validation error rate stopped improving", which came to three times, roughly 90 passes; the shorter side to
256, the central square, minus the mean image, crops of 224 and mirror images, colours along the principal components with
a standard deviation of 0.1; initial weights N(0, 0.01^2), biases of 1 in conv2, conv4, conv5, fc6, fc7.

Unspecified: how long one waited for an improvement (here 5 tests, one an epoch); whether biases decay (here not); which of
the two readings of the colours was run (here the formula on pixels of 0 to 1; "deviation" is cuda-convnet2's). In owt the
rate of the biases follows that of the weights; the file divides it by 10 once, after half the epochs. Caffe's images were
squeezed to 256 x 256, which lost nothing at the edges; here it is the central square.
"""

from configs import base

SQUARE = "decode|square(256)|subtract_mean"
ITERATION = 256 / base.IMAGENET_TRAIN  # of the caffe variant, in epochs


def get_config(variant: str = "paper"):
    name, change = base.pick(VARIANTS, variant)
    config = base.imagenet(name, f"{SQUARE}|crop(224)|flip|lighting(0.1)", f"{SQUARE}|center(224)")
    config.optim.update(lr=0.01, schedule="plateau(0.1, 5, 3)", momentum=0.9, weight_decay=5e-4, decay="*/kernel")
    config.train.update(epochs=90.0, batch_size=128)
    change(config)
    return config


def paper(config):
    pass


def owt(config):
    config.data.train_ops = f"{SQUARE}|crop(224)|flip|lighting(0.1, 'deviation')"
    config.optim.update(schedule=f"exponential({250 ** (-1 / 3)}, 22.5)", rates="*, */bias=2")


def caffe(config):
    config.model.update(view="227", lrn="caffe", init_weights="caffe")
    config.data.update(train_ops=f"{SQUARE}|crop(227)|flip", test_ops=f"{SQUARE}|center(227)")
    config.optim.update(schedule=f"exponential(0.1, {100_000 * ITERATION})", rates="*, */bias=2")
    config.train.update(epochs=450_000 * ITERATION, batch_size=256)


VARIANTS = {
    "paper": ("alexnet", paper),
    "one_gpu": ("alexnet_one_gpu", paper),
    "ungrouped": ("alexnet_ungrouped", paper),
    "owt": ("alexnet_owt", owt),
    "caffe": ("alexnet", caffe),
}
