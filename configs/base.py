"""Defines every config key that all networks share, with its type and default; `model` also takes a network's own options.

Each section holds the keyword arguments of the function named beside it; the trainer reads `train` and
`checkpoint.every_steps`. A family's config starts from these defaults and sets the values of its paper; the command line
overrides both. Lengths are in epochs, unless the name of the key says steps. Nothing here is derived from other keys, so
overrides stay consistent.
"""

from collections.abc import Callable

from ml_collections import ConfigDict, FieldReference

from convnets.errors import UsageError


def pick(variants: dict[str, Callable], name: str) -> Callable:
    """Returns the variant that the config's argument names.

    Raises:
        UsageError: there is no such variant; the message lists all.
    """
    if name not in variants:
        raise UsageError(f"unknown variant '{name}': choose one of {', '.join(variants)}")
    return variants[name]


def get_config(network: str = "lenet5_modern") -> ConfigDict:
    """Returns all defaults with the named network: `--config=configs/base.py:resnet50`."""
    return ConfigDict({
        "model": {  # convnets.models.create
            "name": network,
            "num_classes": 10,
            "init_from": "",  # initial weights, .safetensors or .pth (convnets/models/pretrained/weights.py); '' = none
            "init_layers": "",  # layers to copy from it: 'conv1, res*', '!fc*' = all but fc*; '' = all, from the same network
            "dtype": "float32",  # compute dtype of the layers: float32 or bfloat16; parameters are float32
        },
        "data": {  # convnets.data.dataset.load_splits
            "name": "digits",  # a TFDS data set, or folder:PATH for your own images, PATH/split/class/image
            "data_dir": "",  # folder in which TFDS finds or prepares it; '' = TFDS's default
            "loader": "resident",  # resident: decoded once and kept in device memory; stream: decoded during training
            "train_split": "train",
            "test_split": "test",
            "train_ops": "decode",  # augmentation, see convnets/augment/pipeline.py
            "test_ops": "decode",
            "on_error": "error",  # for undecodable training images: error, or skip (up to one in a thousand)
        },
        "loss": "softmax",  # convnets/losses.py: softmax, mse, sse, rbf_map; fitted without SGD: svm, least_squares
        "optim": {  # convnets.training.optimizer.make_recipe
            "lr": 0.01,
            "lr_batch": 0,  # batch size that lr is meant for; lr scales in proportion to the batch size; 0 = no scaling
            "schedule": "constant",  # factors of lr over the epochs, see convnets/training/schedules.py
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 0.0,
            "decay_multipliers": "*/kernel",  # where weight_decay applies, with factors: '*', 'conv*/kernel, fc10/kernel=250'
            "lr_multipliers": "",  # factors of lr per parameter in the same form, '*, */bias=2', 0 where none fits; '' = 1 for all
            "damping": 0.0,  # mu of stochastic diagonal Levenberg-Marquardt (LeCun et al. 1998), for loss=sse, rbf_map; 0 = off
            "max_norm": 0.0,  # max L2 norm of each unit's incoming weights; 0 = off
            "average": "",  # parameter average for tests: 'ema(0.9999)', 'polyak(200)' (from epoch 200 on)
        },
        "train": {  # convnets.training.trainer.Run
            "epochs": 10.0,
            "batch_size": 128,  # total over all devices
            "seed": 0,
            "reshuffle": True,  # new order of the examples every epoch; False: every epoch uses the order of the first
            "log_every_steps": 100,  # interval at which metrics are fetched from the device; every step is logged
            "eval_every_epochs": 1.0,  # interval of tests during training; 0 = only at the end
            "steps_per_dispatch": 0,  # training steps per device dispatch; 0 = 16 on accelerators, 1 on CPUs
        },
        "checkpoint": {  # convnets.training.checkpoint.Checkpoints
            "every_steps": 1000,
            "keep": 2,
        },
        "evaluate": {  # convnets.evaluation.evaluator.Evaluator
            "protocol": "single",  # of the final test (convnets/evaluation/protocols.py); tests during training use a single view
            "batch_size": 1000,  # images per step on all devices; a view counts by its pixels
        },
    })  # fmt: skip


def part_of_seed(config: ConfigDict, split: str, n: int, sets: int) -> FieldReference:
    """Returns a reference to n images of a split, other ones for each seed, up to so many sets."""
    first = n * (config.train.get_ref("seed") % sets)
    return split + "[" + first.to_str() + ":" + (first + n).to_str() + "]"


IMAGENET_TRAIN = 1_281_167  # training images of ILSVRC-2012; converts a paper's iterations to epochs


def imagenet(network: str, train_ops: str, test_ops: str) -> ConfigDict:
    """Returns a config for ILSVRC-2012, decoded during training and tested on the 50,000 validation images."""
    config = get_config(network)
    config.model.num_classes = 1000
    config.data.update(
        name="imagenet2012", loader="stream", test_split="validation", train_ops=train_ops, test_ops=test_ops
    )
    config.evaluate.batch_size = 256
    return config
