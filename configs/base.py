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
            "init_from": "",  # a file of weights to begin from, .safetensors or .pth (convnets/models/pretrained/weights.py)
            "init_layers": "",  # the layers taken from it, with commas; '' is all of them, of the same network
            "dtype": "float32",  # what the layers compute in: float32 or bfloat16; parameters are float32
        },
        "data": {  # convnets.data.dataset.load_splits
            "name": "digits",  # a TFDS data set, or folder:PATH with one's own images as PATH/split/class/image
            "data_dir": "",  # where TFDS finds or prepares it; '' is TFDS's default
            "loader": "resident",  # resident: decoded once, kept in device memory; stream: decoded while training
            "train_split": "train",
            "test_split": "test",
            "train_ops": "decode",  # augmentation, see convnets/augment/pipeline.py
            "test_ops": "decode",
            "on_error": "error",  # a training image that cannot be decoded: error, or skip up to one in a thousand
        },
        "loss": "softmax",  # convnets.losses.LOSSES: softmax, mse, map; svm, which is fitted at once (convnets/training/svm.py)
        "optim": {  # convnets.training.optimizer.make_recipe
            "lr": 0.01,
            "lr_batch": 0,  # lr is meant for batches of this size and in proportion for others; 0: for any size
            "schedule": "constant",  # factors of lr over the epochs, see convnets/training/optimizer.py
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 0.0,
            "decay": "*/kernel",  # what weight_decay applies to, with factors: '*', 'conv*/kernel, fc10/kernel=250'
            "rates": "",  # factors of lr in the same form, '*, */bias=2'; '' is 1 for all
            "max_norm": 0.0,  # the longest that the weights coming into a unit may become; 0: no limit
            "average": "",  # of the parameters, tested in their place: 'ema(0.9999)', 'polyak(200)' (from that epoch on)
        },
        "train": {  # convnets.training.trainer.Run
            "epochs": 10.0,
            "batch_size": 128,  # over all devices
            "seed": 0,
            "reshuffle": True,  # a new order of the examples every epoch; False: always that of the first
            "log_every_steps": 100,  # how often the device is asked for its metrics; every step is logged
            "eval_every_epochs": 1.0,  # test error on the way; 0: only at the end
            "steps_per_dispatch": 0,  # 0: what suits the platform
        },
        "checkpoint": {  # convnets.checkpoint.Checkpoints
            "every_steps": 1000,
            "keep": 2,
        },
        "evaluate": {  # convnets.evaluation.evaluator.Evaluator
            "protocol": "single",  # of the final test, see convnets/evaluation/protocols.py; on the way it is a single view
            "batch_size": 1000,  # images a step, views counted
        },
    })  # fmt: skip


IMAGENET_TRAIN = 1_281_167  # images of ILSVRC-2012's training set, for papers that count iterations


def imagenet(network: str, train_ops: str, test_ops: str) -> ConfigDict:
    """A network on ILSVRC-2012, decoded while training; its 50,000 validation images are the test."""
    config = get_config(network)
    config.model.num_classes = 1000
    config.data.update(
        name="imagenet2012", loader="stream", test_split="validation", train_ops=train_ops, test_ops=test_ops
    )
    config.evaluate.batch_size = 256
    return config
