"""Costs that the papers, or the lecture, state for the networks, why ours differ, and what training took."""

from typing import NamedTuple


class Stated(NamedTuple):
    """Costs in the source's words, the source if it is another than the network's paper, and why our counts differ."""

    parameters: str = ""
    multiply_adds: str = ""
    why: str = ""


CONV_ONLY = "15.3 billion are the convolutions alone; He et al. do not say what they count, and their 19.6 for VGG-19 are the total"

STATED: dict[str, Stated] = {
    "lenet1989": Stated("9,760"),
    "lenet1": Stated("2,578", "about 100,000", "the paper counts connections, 98,442 with biases and subsampling"),
    "lenet4": Stated("about 17,000", "about 260,000", "the paper counts connections, 258,193 with biases and subsampling,"
                     " and does not say which maps are connected"),
    "lenet5": Stated("60,000", "401,000", "figure 11 of the paper; its own tables give 340,908 connections with biases"
                     " and subsampling"),
    "alexnet": Stated("60 million", "832 million (the lecture)", "832 million is a sum that takes conv4 for ungrouped; with every layer"
                      " as the paper describes it, it is 724 million"),
    "vgg_a": Stated("133 million"),
    "vgg_a_lrn": Stated("133 million"),
    "vgg_b": Stated("133 million"),
    "vgg_c": Stated("134 million"),
    "vgg_d": Stated("138 million", "15.3 billion (He et al. 2015)", CONV_ONLY),
    "vgg_e": Stated("144 million", "19.6 billion (He et al. 2015)"),
    "googlenet": Stated("5 million (the lecture)", "1.5 billion", "without the two auxiliary heads it is 6,998,552 parameters, without"
                        " the classifier too 5.97 million; 1.5 billion multiply-adds need a separable 7x7 stem"),
    "googlenet_main": Stated("5 million (the lecture)", "1.5 billion", "without the classifier it is 5.97 million parameters; 1.5"
                             " billion multiply-adds need a separable 7x7 stem"),
    "bn_inception": Stated("13.6 million", "", "no reading of figure 5 gives 13.6 million; ours has as many variables as"
                           " the authors' inception_v2.py, counted alike"),
    "resnet18": Stated("", "1.8 billion"),
    "resnet34": Stated("", "3.6 billion"),
    "resnet50": Stated("", "3.8 billion"),
    "resnet101": Stated("", "7.6 billion"),
    "resnet152": Stated("", "11.3 billion"),
    "plain18": Stated("", "1.8 billion"),
    "plain34": Stated("", "3.6 billion"),
    "resnet20_cifar": Stated("0.27 million"),
    "resnet32_cifar": Stated("0.46 million"),
    "resnet44_cifar": Stated("0.66 million"),
    "resnet56_cifar": Stated("0.85 million"),
    "resnet110_cifar": Stated("1.7 million"),
    "resnet1202_cifar": Stated("19.4 million"),
}  # fmt: skip


class Training(NamedTuple):
    """What training a network took its authors.

    Attributes:
        time: in the source's words; `days` are its bounds.
        images, epochs: size of the training set and passes through it.
        source: where it is said.
    """

    time: str
    days: tuple[float, float]
    images: float
    epochs: float
    source: str


_ALEXNET = Training("five to six days on two GTX 580 of 3 GB", (5, 6), 1.2e6, 90,
                   "Krizhevsky et al. 2012, sections 1 and 5")  # fmt: skip
_VGG = Training(
    "2 to 3 weeks on four Titan Black", (14, 21), 1.3e6, 74, "Simonyan & Zisserman 2015, sections 3.1 and 3.3"
)
# 60e4 iterations of 256 images (He et al. 2015, section 3.4) are 120 passes.
_RESNET = Training("2 to 3 weeks on 8 GPUs", (14, 21), 1.28e6, 120,
                   "the lecture, after talks of the authors; the paper gives no time")  # fmt: skip

TRAINING: dict[str, Training] = {
    "alexnet": _ALEXNET,
    **dict.fromkeys(("vgg_a", "vgg_b", "vgg_c", "vgg_d", "vgg_e"), _VGG),
    "resnet152": _RESNET,
}
