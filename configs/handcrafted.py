"""Learned against hand-made features, by the number of training images.

    python run.py --config=configs/handcrafted.py:conv-mnist-1000 --config.data.data_dir=DIR --workdir=runs/conv-1000

The argument is a method and a data set, and with -N the N training images of its own for each seed:
    conv-mnist      LeNet-5 as it is built today (lenet.py:modern).
    conv-cifar10    the 26 % net of cuda-convnet (cuda_convnet.py:26pct).

The recipes are those of their files. With fewer images there are more epochs, EPOCHS, with which the training error falls
to nearly 0; the rate falls as it does there, over as many epochs as there are.
"""

from configs import base, cuda_convnet, lenet

EPOCHS = {"mnist": {100: 200, 1000: 40, 10_000: 15}, "cifar10": {100: 100, 1000: 60, 10_000: 15}}


def get_config(variant: str = "conv-mnist"):
    method, *rest = variant.split("-")
    data, number = (*rest, "", "")[:2]
    config = base.pick(VARIANTS, f"{method}-{data}")()
    if number:
        n = int(number)
        first = n * config.train.get_ref("seed")
        config.data.train_split = "train[" + first.to_str() + ":" + (first + n).to_str() + "]"
        config.train.batch_size = min(config.train.batch_size, n // 2)
        fewer(config, EPOCHS[data][n])
    return config


def fewer(config, epochs: int) -> None:
    """More epochs for fewer images."""
    mnist = config.data.name == "mnist"
    config.optim.schedule = f"cosine({epochs})" if mnist else f"steps(0.1, {epochs * 4 // 5})"
    config.train.epochs = float(epochs)


def conv_mnist():
    config = lenet.get_config("modern")
    config.train.eval_every_epochs = 0.0
    return config


def conv_cifar10():
    config = cuda_convnet.get_config("26pct")
    config.train.eval_every_epochs = 0.0
    return config


VARIANTS = {"conv-mnist": conv_mnist, "conv-cifar10": conv_cifar10}
