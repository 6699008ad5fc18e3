"""Every network by name."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from convnets.errors import UsageError
from convnets.language import suggest
from convnets.models import alexnet, googlenet, inception_bn, lenet

MODELS: dict[str, Any] = {
    "lenet1989": lenet.LeNet1989,
    "lenet1": lenet.LeNet1,
    "lenet5": lenet.LeNet5,
    "lenet5_modern": lenet.LeNet5Modern,
    **alexnet.NETS,
    "googlenet": googlenet.GoogLeNet,
    "googlenet_main": googlenet.googlenet_main,
    "bn_inception": inception_bn.BNInception,
}

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def create(name: str, num_classes: int, dtype: str, **options: Any) -> nn.Module:
    """The network `name`; its `input_shape` is the (height, width, channels) it takes.

    Args:
        dtype: 'float32' or 'bfloat16', what the layers compute in; parameters are float32.
        options: what that network's constructor takes besides.

    Raises:
        UsageError: an unknown name, dtype or option.
    """
    if name not in MODELS:
        raise UsageError(f"unknown model '{name}'{suggest(name, MODELS)}")
    if dtype not in DTYPES:
        raise UsageError(f"unknown dtype '{dtype}'{suggest(dtype, DTYPES)}")
    try:
        return MODELS[name](num_classes=num_classes, dtype=DTYPES[dtype], **options)
    except TypeError as e:
        raise UsageError(f"model '{name}': {e}") from None
