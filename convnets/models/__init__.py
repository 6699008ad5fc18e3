"""Registry of all networks by name."""

import inspect
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from convnets.errors import UsageError
from convnets.models import alexnet, googlenet, inception_bn, lenet, neocognitron, resnet, sequential, vgg
from convnets.models.options import check_dropout_rate
from convnets.op_string import Count, check_value, choose

MODELS: dict[str, Any] = {
    "neocognitron": neocognitron.Neocognitron,
    "lenet1989": lenet.LeNet1989,
    "lenet1": lenet.LeNet1,
    "lenet4": lenet.LeNet4,
    "lenet4_boosted": lenet.Boosted,
    "lenet5": lenet.LeNet5,
    "lenet5_modern": lenet.LeNet5Modern,
    **alexnet.NETS,
    "vgg_a": partial(vgg.VGG, "A"),
    "vgg_a_bn": partial(vgg.VGG, "A", batch_norm=True),
    "vgg_a_lrn": partial(vgg.VGG, "A-LRN"),
    "vgg_a_lrn_bn": partial(vgg.VGG, "A-LRN", batch_norm=True),
    "vgg_b": partial(vgg.VGG, "B"),
    "vgg_b_bn": partial(vgg.VGG, "B", batch_norm=True),
    "vgg_b_5x5": partial(vgg.VGG, "B-5x5"),
    "vgg_b_5x5_bn": partial(vgg.VGG, "B-5x5", batch_norm=True),
    "vgg_c": partial(vgg.VGG, "C"),
    "vgg_c_bn": partial(vgg.VGG, "C", batch_norm=True),
    "vgg_d": partial(vgg.VGG, "D"),
    "vgg_d_bn": partial(vgg.VGG, "D", batch_norm=True),
    "vgg_e": partial(vgg.VGG, "E"),
    "vgg_e_bn": partial(vgg.VGG, "E", batch_norm=True),
    "googlenet": googlenet.GoogLeNet,
    "googlenet_main": partial(googlenet.GoogLeNet, aux=False),
    "bn_inception": inception_bn.BNInception,
    "resnet18": partial(resnet.ResNet, 18),
    "resnet34": partial(resnet.ResNet, 34),
    "resnet50": partial(resnet.ResNet, 50),
    "resnet101": partial(resnet.ResNet, 101),
    "resnet152": partial(resnet.ResNet, 152),
    "resnet50_v1_5": partial(resnet.ResNet, 50, stride_on_3x3=True),
    "resnet101_v1_5": partial(resnet.ResNet, 101, stride_on_3x3=True),
    "resnet152_v1_5": partial(resnet.ResNet, 152, stride_on_3x3=True),
    "plain18": partial(resnet.ResNet, 18, shortcut="none"),
    "plain34": partial(resnet.ResNet, 34, shortcut="none"),
    "resnet20_cifar": partial(resnet.CifarResNet, 20),
    "resnet32_cifar": partial(resnet.CifarResNet, 32),
    "resnet44_cifar": partial(resnet.CifarResNet, 44),
    "resnet56_cifar": partial(resnet.CifarResNet, 56),
    "resnet110_cifar": partial(resnet.CifarResNet, 110),
    "resnet1202_cifar": partial(resnet.CifarResNet, 1202),
    "plain20_cifar": partial(resnet.CifarResNet, 20, shortcut="none"),
    "plain32_cifar": partial(resnet.CifarResNet, 32, shortcut="none"),
    "plain44_cifar": partial(resnet.CifarResNet, 44, shortcut="none"),
    "plain56_cifar": partial(resnet.CifarResNet, 56, shortcut="none"),
    "plain110_cifar": partial(resnet.CifarResNet, 110, shortcut="none"),
    **sequential.NETS,
}

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def create(
    name: str, num_classes: int, dtype: str, init_from: str = "", init_layers: str = "", **options: Any
) -> nn.Module:
    """Creates the network `name`; its `input_shape` is the expected (height, width, channels).

    Args:
        dtype: compute dtype of the layers, 'float32' or 'bfloat16'; parameters are float32.
        init_from, init_layers: weights file to initialize from, and the layers it initializes. Ignored here, because
            the run loads them; accepted so that `create` takes the whole `model` section of a config.
        options: further arguments of the network's constructor.

    Raises:
        UsageError: the name, dtype or an option is unknown, or the value of an option is wrong.
    """
    network, computed = choose(MODELS, "model", name), choose(DTYPES, "dtype", dtype)
    kinds = {key: p.annotation for key, p in inspect.signature(network).parameters.items()} | {"num_classes": Count}
    for key, value in {"num_classes": num_classes, **options}.items():
        if problem := check_value(key, value, kinds.get(key)):
            raise UsageError(problem)
    if "dropout" in kinds:
        check_dropout_rate(options.get("dropout", 0.0))
    try:
        return network(num_classes=num_classes, dtype=computed, **options)
    except TypeError as e:
        raise UsageError(f"model '{name}': {e}") from None
