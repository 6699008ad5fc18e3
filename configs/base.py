"""Every key of a config, once, with its type and default. A section is the keyword arguments of one function.

A family's file starts from here and sets what its paper sets; the command line overrides both. Lengths are in epochs
and the batch is the paper's, so that an override stays true: nothing here is derived.
"""

from collections.abc import Callable

from ml_collections import ConfigDict


def pick(variants: dict[str, Callable], name: str) -> Callable:
    """The variant that a config's argument names.

    Raises:
        ValueError: lists the variants.
    """
    if name not in variants:
        raise ValueError(f"unknown variant '{name}': choose one of {', '.join(variants)}")
    return variants[name]


def get_config(network: str = "lenet5_modern") -> ConfigDict:
    """Everything at its default, with any network by name: `--config=configs/base.py:resnet50`."""
    return ConfigDict({
        "model": {  # convnets.models.create
            "name": network,
            "num_classes": 10,
            "init_from": "",  # a file of weights to begin from, .safetensors or .pth (convnets.weights)
            "init_layers": "",  # the layers taken from it, with commas; '' is all of them, of the same network
            "dtype": "float32",  # what the layers compute in: float32 or bfloat16; parameters are float32
        },
        "data": {  # convnets.data.make
            "name": "digits",  # a TFDS data set
            "data_dir": "",  # where TFDS finds or prepares it; '' is TFDS's default
            "loader": "resident",  # resident: decoded once, kept in device memory; stream: decoded while training
            "train_split": "train",
            "test_split": "test",
            "train_ops": "decode",  # augmentation, see convnets/augment.py
            "test_ops": "decode",
        },
        "loss": "softmax",  # convnets.steps.LOSSES: softmax, mse, map
        "optim": {  # convnets.optim.make
            "lr": 0.01,
            "schedule": "constant",  # factors of lr over the epochs, see convnets/optim.py
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 0.0,
            "decay": "*/kernel",  # what weight_decay applies to, with factors: '*', 'conv*/kernel, fc10/kernel=250'
            "rates": "",  # factors of lr in the same form, '*, */bias=2'; '' is 1 for all
        },
        "train": {  # convnets.train.Run
            "epochs": 10.0,
            "batch_size": 128,  # over all devices
            "seed": 0,
            "log_every_steps": 100,  # how often the device is asked for its metrics; every step is logged
            "eval_every_epochs": 1.0,  # test error on the way; 0: only at the end
            "steps_per_dispatch": 0,  # 0: what suits the platform
        },
        "checkpoint": {  # convnets.checkpoint.Checkpoints
            "every_steps": 1000,
            "keep": 2,
        },
        "evaluate": {  # convnets.evaluate.Evaluator
            "protocol": "single",
            "batch_size": 1000,
        },
    })  # fmt: skip
