"""Learned versus hand-made features, by the number of training images.

    python run.py --config=configs/handcrafted.py:hog-mnist-1000 --config.data.data_dir=DIR --workdir=runs/hog-1000

The argument is a method and a data set. A suffix -N limits training to N images, different ones for each seed
as long as they last. For the networks N is 100, 1000 or 10000:
    hog-mnist       histograms of oriented gradients and a linear SVM (Dalal & Triggs 2005).
    hog-cifar10
    sift-mnist      dense SIFT, a k-means codebook, a spatial pyramid and a linear SVM (Lazebnik et al. 2006).
    sift-cifar10
    conv-mnist      the modern LeNet-5 (lenet.py:modern).
    conv-cifar10    cuda-convnet's 26 % network (cuda_convnet.py:26pct).

Hand-made features: HOG uses cells of 4 x 4 pixels and, at each pixel, the colour channel with the largest gradient.
SIFT is computed on the grey image at every second pixel, with 256 codebook words. These sizes are our choice for images
of 28 and 32 pixels; the papers use larger images. convnets/training/svm.py explains the fit, and how C is chosen
on images held out of the training set.

Learned features: the recipes of the networks' own configs. Fewer images get more epochs (EPOCHS), and the schedule is
stretched to that number of epochs.
"""

import functools

from configs import base, cuda_convnet, lenet
from convnets.errors import UsageError

EPOCHS = {"mnist": {100: 200, 1000: 40, 10_000: 15}, "cifar10": {100: 100, 1000: 60, 10_000: 15}}
TOTAL = {"mnist": 60_000, "cifar10": 50_000}  # training images
SIDES = {"mnist": (28, 1), "cifar10": (32, 3)}


def get_config(variant: str = "hog-mnist"):
    method, *rest = variant.split("-")
    data, number = (*rest, "", "")[:2]
    config = base.pick(VARIANTS, f"{method}-{data}")()
    if number:
        if not number.isdecimal() or int(number) < 2:
            raise UsageError(
                f"unknown variant '{variant}': -{number} is not a number of training images, of which it needs two"
            )
        n = int(number)
        config.data.train_split = base.part_of_seed(config, "train", n, max(TOTAL[data] // n, 1))
        config.train.batch_size = min(config.train.batch_size, n // 2)
        if method == "conv":
            more_epochs(config, base.pick({f"conv-{data}-{m}": epochs for m, epochs in EPOCHS[data].items()}, variant))
    return config


def made_by_hand(layers: str, data: str):
    config = base.get_config()
    side, channels = SIDES[data]
    config.model.update(name="stack", layers=layers, init_weights="he", side=side, channels=channels)
    config.data.update(name=data, train_ops="decode|value_range(0.0, 1.0)", test_ops="decode|value_range(0.0, 1.0)")
    config.loss = "svm"
    config.train.update(epochs=1.0, batch_size=500, eval_every_epochs=0.0)
    return config


def conv_mnist():
    config = lenet.get_config("modern")
    config.train.eval_every_epochs = 0.0
    return config


def conv_cifar10():
    config = cuda_convnet.get_config("26pct")
    config.train.eval_every_epochs = 0.0
    return config


def more_epochs(config, epochs: int) -> None:
    mnist = config.data.name == "mnist"
    config.optim.schedule = f"cosine({epochs})" if mnist else f"steps(0.1, {epochs * 4 // 5})"
    config.train.epochs = float(epochs)


LINES = {"hog": "hog(4)|out", "sift": "sift(2)|codebook(256)|pyramid(3)|out"}
VARIANTS = {f"{method}-{data}": functools.partial(made_by_hand, line, data) for method, line in LINES.items()
            for data in SIDES}  # fmt: skip
VARIANTS |= {"conv-mnist": conv_mnist, "conv-cifar10": conv_cifar10}
