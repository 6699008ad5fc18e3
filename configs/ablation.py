"""Small networks and recipes that each test one claim; experiments/*.py run variations of them.

    python run.py --config=configs/ablation.py:mnist10k --config.data.data_dir=DIR --workdir=runs/small
    python run.py --config=configs/ablation.py:mnist10k "--config.model.layers=conv(8, 5)|tanh|max(2)|out"

`model.layers` is the network in one line (convnets/models/words.py has its words); `model.init_weights` is its weight
initialization. The recipes are our own unless stated. Each experiment states what it compares and which numbers are
from a paper. The argument selects the variant:
    mnist10k    two convolutions with pooling and a fully connected layer, first 10,000 training digits, 5 epochs.
    mlp         784-800-800-10, the network of Hinton et al. 2012; 100 epochs, where the paper trains for thousands.
    resnet      a residual network with 20 layers and 8 feature maps, on the first 10,000 digits at 14 x 14. With
                `shortcut` none it is a plain network.
    bn_mnist    784-100-100-100-10 with sigmoids, batch 60 (Ioffe & Szegedy 2015, section 4.1), for a fifth of the
                paper's 50,000 steps. The paper's images are binary, ours are grey.
                The paper does not print its learning rate or its "small random Gaussian values".
                We use 1 and N(0, 0.1), the best values for the network without batch normalization in 2,000 steps
                (0.3, 1 and 3 were tried; with N(0, 0.01) it does not learn).
    lecun320    Net-5 on 320 digits in images of 16 x 16 (LeCun 1989, Generalization and network design strategies), one
                digit a step, 400 epochs with a cosine schedule, to zero training error. Each seed uses a different
                320 digits of MNIST (187 seeds fit); the paper has its own 320 digits.
    lecun480    the same network and recipe on data of the paper's design, made from MNIST: binary digits, each at four
                positions, 320 training and 160 test images for each seed (convnets/data/builders/shifted_digits.py).
    random      32 fixed random 9 x 9 filters on the first 1,000 digits; only `out` is trained. One stage of Jarrett et
                al. 2009, whose data set is Caltech-101.
    random2     both stages of Jarrett et al. 2009, on 5,000 images of CIFAR-10.
    cifar       three convolutions and a fully connected layer on CIFAR-10, without augmentation or weight decay. Figure
                1 of Krizhevsky et al. 2012 compares activations on this kind of network.
    cifar_aug   cifar with random crops, horizontal flips and weight decay.
    inception   GoogLeNet's nine modules at a quarter of the width, for 32 x 32 images, with the recipe of cifar_aug.
    inception_aux  inception with GoogLeNet's two auxiliary classifiers.
    13pct       cuda-convnet's 13% network for a third of its epochs, with its options as config keys.
    cifar_resnet20  He et al. 2015 for a fifth of the iterations, with the shortcut as a config key.
    cifar_resnet56
"""

from configs import base, cuda_convnet, resnet_cifar
from convnets.models.googlenet import HEADS, MODULES, POOLED

SETS = 120  # of 480 images, in shifted_digits
STACK = "conv(16, 5)|relu|max(2)|conv(32, 5)|relu|max(2)|fc(64)|relu|out"


def get_config(variant: str = "mnist10k"):
    return base.pick(VARIANTS, variant)()


def mnist10k():
    config = base.get_config()
    config.model.update(name="stack", layers=STACK, init_weights="he", side=28, channels=1)
    config.data.update(name="mnist", train_split="train[:10000]")
    config.data.train_ops = config.data.test_ops = "decode|value_range(0.0, 1.0)"
    config.optim.update(lr=0.05, momentum=0.9)
    config.train.update(epochs=5.0, batch_size=128, eval_every_epochs=0.0)
    return config


def mlp():
    config = mnist10k()
    config.model.layers = "fc(800)|relu|fc(800)|relu|out"
    config.data.train_split = "train"
    config.optim.schedule = "cosine(100)"
    config.train.epochs = 100.0
    return config


def resnet():
    config = mnist10k()
    del config.model.layers, config.model.init_weights
    config.model.update(name="resnet20_cifar", shortcut="A", maps=8, side=14)
    config.data.train_ops = config.data.test_ops = "decode|resize(14)|value_range(0.0, 1.0)"
    config.optim.lr = 0.1
    config.train.epochs = 2.0
    return config


def bn_mnist():
    config = mnist10k()
    del config.model.layers, config.model.side, config.model.channels
    config.model.update(name="bn_mnist", init_weights="normal(0.1)")
    config.data.train_split = "train"
    config.optim.update(lr=1.0, momentum=0.0)
    config.train.update(epochs=10.0, batch_size=60, eval_every_epochs=0.1)
    return config


def lecun320():
    config = mnist10k()
    del config.model.layers, config.model.side, config.model.channels, config.model.init_weights
    config.model.name = "lecun_net5"
    config.data.train_split = base.part_of_seed(config, "train", 320, 60_000 // 320)
    config.data.train_ops = config.data.test_ops = "decode|resize(16)|value_range(-1.0, 1.0)"
    config.loss = "mse"
    config.optim.update(lr=0.1, schedule="cosine(400)", momentum=0.0)
    config.train.update(epochs=400.0, batch_size=1, eval_every_epochs=8.0, steps_per_dispatch=20)
    config.checkpoint.every_steps = 100_000
    return config


def lecun480():
    config = lecun320()
    del config.data.train_split  # a reference cannot replace another
    config.data.update(name="shifted_digits", train_split=base.part_of_seed(config, "train", 320, SETS),
                       test_split=base.part_of_seed(config, "test", 160, SETS))  # fmt: skip
    config.data.train_ops = config.data.test_ops = "decode|value_range(-1.0, 1.0)"
    return config


def random():
    config = mnist10k()
    config.model.layers = "conv(32, 9)|tanh|abs|lcn|average(5)|out"
    config.data.train_split = "train[:1000]"
    config.optim.update(schedule="cosine(10)", lr_multipliers="out/*", weight_decay=0.001)
    config.train.update(epochs=10.0, batch_size=50)
    return config


def random2():
    config = cifar()
    config.model.layers = "conv(64, 9)|tanh|abs|lcn|average(6, 2)|conv(256, 5)|tanh|abs|lcn(5)|average(3, 2)|out"
    config.data.train_split = "train[:5000]"
    config.optim.update(lr_multipliers="out/*", weight_decay=0.001)
    return config


def cifar():
    config = base.get_config()
    config.model.update(name="stack", init_weights="he", side=32, channels=3,
                        layers="conv(64, 5, padding=2)|relu|max(2)|conv(64, 5, padding=2)|relu|max(2)"
                        "|conv(64, 3, padding=1)|relu|out")  # fmt: skip
    config.data.update(name="cifar10", train_ops="decode|standardize", test_ops="decode|standardize")
    config.optim.update(lr=0.02, momentum=0.9)
    config.train.update(epochs=30.0, batch_size=128)
    return config


def cifar_aug():
    config = cifar()
    config.data.train_ops = "decode|standardize|pad_crop(4)|flip"
    config.optim.update(schedule="steps(0.1, 20, 26)", weight_decay=5e-4)
    return config


def googlenet_line(divisor: int, head: str = "") -> str:
    """Returns GoogLeNet for small images as a layer string of convnets/models/sequential.py.

    Args:
        divisor: the modules have the widths of table 1 divided by it; the stem is one convolution.
        head: the word of an auxiliary classifier behind 4a and 4d, '' for none.
    """
    pool = "max(3, 2, ceil=True)"
    words = [f"conv({192 // divisor}, 3, padding=1)|relu", pool]
    for module, widths in MODULES.items():
        words.append(f"inception({', '.join(str(n // divisor) for n in widths)})")
        words += [pool] * (module in POOLED) + [head] * (head != "" and module in HEADS)
    return "|".join([*words, "mean|dropout(0.4)|out"])


def inception(head: str = ""):
    config = cifar_aug()
    config.model.update(init_weights="caffe", layers=googlenet_line(4, head))
    return config


def inception_aux():
    return inception("head(32, 256)")  # a quarter of the units


def thirteen():
    config = cuda_convnet.get_config("13pct")
    config.model.update(lrn="none", batch_norm=False, pooling="", pool_size=3, shared=False, dropout=0.0)
    config.optim.schedule = "steps(0.1, 50, 51)"
    config.train.epochs = 52.0
    return config


def cifar_resnet(depth: str):
    config = resnet_cifar.get_config(depth)
    config.model.shortcut = "A"
    config.optim.schedule = "steps(0.1, 16.384, 24.576)"
    config.train.epochs = 32.768
    return config


VARIANTS = {f.__name__: f for f in (mnist10k, mlp, resnet, bn_mnist, lecun320, lecun480, random, random2, cifar, cifar_aug,
                                    inception, inception_aux)}  # fmt: skip
VARIANTS |= {
    "13pct": thirteen,
    "cifar_resnet20": lambda: cifar_resnet("20"),
    "cifar_resnet56": lambda: cifar_resnet("56"),
}
