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
    **{f"vgg_{row.lower().replace('-', '_')}{'_bn' * bn}": partial(vgg.VGG, row, batch_norm=bn)
       for row in vgg.TABLE for bn in (False, True)},
    "googlenet": googlenet.GoogLeNet,
    "googlenet_main": partial(googlenet.GoogLeNet, aux=False),
    "bn_inception": inception_bn.BNInception,
    **{f"resnet{depth}": partial(resnet.ResNet, depth) for depth in resnet.IMAGENET},
    **{f"resnet{depth}_v1_5": partial(resnet.ResNet, depth, stride_on_3x3=True) for depth in (50, 101, 152)},
    **{f"plain{depth}": partial(resnet.ResNet, depth, shortcut="none") for depth in (18, 34)},
    **{f"resnet{depth}_cifar": partial(resnet.CifarResNet, depth) for depth in (20, 32, 44, 56, 110, 1202)},
    **{f"plain{depth}_cifar": partial(resnet.CifarResNet, depth, shortcut="none") for depth in (20, 32, 44, 56, 110)},
    **sequential.NETS,
}  # fmt: skip

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
