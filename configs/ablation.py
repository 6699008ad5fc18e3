"""Small networks and recipes to try one claim at a time: what the rows of experiments/*.py vary.

    python run.py --config=configs/ablation.py:mnist10k --config.data.data_dir=DIR --workdir=runs/small
    python run.py --config=configs/ablation.py:mnist10k "--config.model.layers=conv(8, 5)|tanh|max(2)|out"

`model.layers` is the network in one line (convnets/models/stack.py), `model.init_weights` its initial weights. No recipe
here is a paper's but for `bn_mnist` and `digits320`; the experiments say what they compare and which numbers are papers'.
The argument picks the variant:
    mnist10k    two convolutions with pooling and a full layer on the first 10,000 training digits, 5 epochs.
    mlp10k      784-800-800-10 on them, 40 epochs: the net of the dropout papers, on fewer digits.
    resnet      a residual network of 20 layers and 8 maps on the first 10,000 digits at 14 x 14; `shortcut` none is plain.
    bn_mnist    784-100-100-100-10 with sigmoids, batch 60 (Ioffe & Szegedy 2015, section 4.1), 10,000 of its 50,000 steps.
    digits320   Net-5 on 320 digits of 16 x 16 (LeCun 1989, Generalization and network design strategies): another 320 of
                MNIST for each seed, where the paper has 320 digits of its own; 30 passes.
    random      64 random 9 x 9 filters that stay as they are, on the first 1,000 digits; only `out` learns. One stage
                of Jarrett et al. 2009, whose data are Caltech-101.
    cifar       three convolutions and a full layer on CIFAR-10, no augmentation, no decay: the kind of net with which
                figure 1 of Krizhevsky et al. 2012 compares activations.
    cifar_aug   the same with random crops and mirror images, and decay; the network is given by the row.
"""

from configs import base

STACK = "conv(16, 5)|relu|max(2)|conv(32, 5)|relu|max(2)|fc(64)|relu|out"


def get_config(variant: str = "mnist10k"):
    config = base.get_config()
    config.model.update(name="stack", layers=STACK, init_weights="he", side=28, channels=1)
    config.data.update(name="mnist", train_split="train[:10000]")
    config.data.train_ops = config.data.test_ops = "decode|value_range(0.0, 1.0)"
    config.optim.update(lr=0.05, momentum=0.9)
    config.train.update(epochs=5.0, batch_size=128, eval_every_epochs=0.0)
    base.pick(VARIANTS, variant)(config)
    return config


def mnist10k(config):
    pass


def mlp10k(config):
    config.model.layers = "fc(800)|relu|fc(800)|relu|out"
    config.train.epochs = 40.0


def resnet(config):
    del config.model.layers, config.model.init_weights
    config.model.update(name="resnet20_cifar", shortcut="A", maps=8, side=14)
    config.data.train_ops = config.data.test_ops = "decode|resize(14)|value_range(0.0, 1.0)"
    config.optim.lr = 0.1
    config.train.epochs = 2.0


def bn_mnist(config):
    for key in ("layers", "side", "channels"):
        del config.model[key]
    config.model.update(name="bn_mnist", init_weights="normal(0.01)")  # "small random Gaussian values"
    config.data.train_split = "train"
    config.optim.momentum = 0.0
    config.train.update(epochs=10.0, batch_size=60)


def digits320(config):
    for key in ("layers", "side", "channels", "init_weights"):
        del config.model[key]
    config.model.name = "lecun_net5"
    first = 320 * config.train.get_ref("seed")
    config.data.train_split = "train[" + first.to_str() + ":" + (first + 320).to_str() + "]"
    config.data.train_ops = config.data.test_ops = "decode|resize(16)|value_range(-1.0, 1.0)"
    config.loss = "mse"
    config.optim.update(lr=0.1, momentum=0.0)
    config.train.update(epochs=30.0, batch_size=8)


def random(config):
    config.model.layers = "conv(64, 9)|tanh|abs|lcn(9)|average(5)|out"
    config.data.train_split = "train[:1000]"
    config.optim.update(rates="out/*", weight_decay=0.001)
    config.train.update(epochs=30.0, batch_size=50)


def cifar(config):
    config.model.update(layers="conv(64, 5, padding=2)|relu|max(2)|conv(64, 5, padding=2)|relu|max(2)"
                        "|conv(64, 3, padding=1)|relu|out", side=32, channels=3)  # fmt: skip
    config.data.update(name="cifar10", train_split="train")
    config.data.train_ops = config.data.test_ops = "decode|standardize"
    config.optim.lr = 0.01
    config.train.update(epochs=30.0, eval_every_epochs=1.0)


def cifar_aug(config):
    cifar(config)
    config.data.train_ops = "decode|standardize|pad_crop(4)|flip"
    config.optim.update(schedule="steps(0.1, 20, 26)", weight_decay=5e-4)


VARIANTS = {f.__name__: f for f in (mnist10k, mlp10k, resnet, bn_mnist, digits320, random, cifar, cifar_aug)}
