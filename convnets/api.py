"""The networks and trained runs from Python: `import convnets`. Nothing here imports TensorFlow until data are read.

import convnets, jax, jax.numpy as jnp

model = convnets.create("resnet50", classes=1000)                  # a Flax module like any other
variables = model.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
scores = jax.jit(model.apply)(variables, images)                   # [n, 1000], without softmax
print(convnets.summary(model))                                     # layers under the paper's names

run = convnets.open_run("runs/lenet5")                             # or the included "lenet5"
run.predict(["three.png", "eight.png"])                            # [2, 10] probabilities
run.evaluate()["top1_error"]                                       # percent
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import optax

from convnets import models
from convnets.errors import UsageError
from convnets.models.pretrained import weights
from convnets.models.summary import LayerSummary, summarize
from convnets.modes import describe, evaluate
from convnets.modes.output import CONSOLE
from convnets.runtime import environment, included
from convnets.runtime.files import is_file, local_path
from convnets.training.state import draw_missing, state_shapes
from convnets.training.trained_run import TrainedRun

# As run.py does for float32, so that both give the same numbers; JAX reads the flags when it first computes.
environment.set_xla_flags()


def create(name: str, classes: int, dtype: str = "float32", **options: Any) -> nn.Module:
    """Creates a network of `convnets.models.MODELS` as a Flax module.

    The module takes float32 images [n, height, width, channels] of the size `model.input_shape`, and returns scores
    [n, classes] before the softmax. For training it needs `train=True`, `rngs={"dropout": key}`, and with batch
    normalization `mutable=["batch_stats"]`. GoogLeNet then also returns the scores of its auxiliary heads.

    Args:
        name: such as 'lenet5', 'alexnet', 'vgg_d', 'googlenet', 'resnet50', 'resnet20_cifar'.
        classes: number of scores.
        dtype: compute dtype of the layers, 'float32' or 'bfloat16'; parameters are float32.
        options: arguments of the network's constructor, such as `shortcut="A"` or `dropout=0.2`.

    Raises:
        UsageError: the name, the dtype or an option is unknown, or the value of an option is wrong.

    >>> import jax, jax.numpy as jnp
    >>> model = create("lenet5_modern", classes=10)
    >>> model.input_shape
    (32, 32, 1)
    >>> images = jnp.zeros((2, 32, 32, 1))
    >>> variables = model.init(jax.random.key(0), images)
    >>> jax.jit(model.apply)(variables, images).shape
    (2, 10)
    >>> loss = lambda params: model.apply({"params": params}, images, train=True).sum()
    >>> jax.grad(loss)(variables["params"])["C1"]["kernel"].shape
    (5, 5, 1, 6)
    """
    return models.create(name, classes, dtype, **options).clone(name=name)


class Summary(list[LayerSummary]):
    """The layers of a network in the order in which they run. As text, it is the table of `--mode=describe`."""

    def __str__(self) -> str:
        with CONSOLE.capture() as printed:
            CONSOLE.print(describe.layer_table(self))
        return printed.get()


def summary(model: nn.Module) -> Summary:
    """Returns each layer of a network: the paper's name, output size, parameters, multiply-adds, receptive field.

    The network is traced, not run, for one image of its `input_shape`. `LayerSummary` documents the fields.

    >>> layers = summary(create("lenet5", classes=10))
    >>> layers[0].name, layers[0].output, layers[0].parameters, layers[0].receptive_field
    ('C1', [28, 28, 6], 156, 5)
    >>> sum(layer.parameters for layer in layers)
    60000
    """
    return Summary(summarize(model))


def load_weights(model: nn.Module, file: str | Path) -> dict[str, Any]:
    """Loads a weights file for a network of `create`.

    Args:
        model: the network; the file must fit its name, its options and its number of classes.
        file: .safetensors or PyTorch's .pth with published names, a file of `--mode=export`, or the name of a trained
            included network. `docs/guide.md` lists which published file fits which network.

    Returns:
        {'params': ..., 'batch_stats': ...} of NumPy arrays, for `model.apply`.

    Raises:
        UsageError: the model is not of `create`.
        CheckpointError: the file cannot be read or does not fit; the message says what would.

    >>> model = create("lenet5", classes=10)
    >>> load_weights(model, "lenet5")["params"]["C1"]["kernel"].shape
    (5, 5, 1, 6)
    """
    if model.name not in models.MODELS:
        raise UsageError("load_weights needs a network of convnets.create, which says which names its weights have")
    path = local_path(file)
    folder = None if is_file(path) else included.find(str(file))
    like = state_shapes(model, optax.identity()).variables
    return draw_missing(weights.load(folder / included.WEIGHTS if folder else path, model.name, like, model), model)


def open_run(folder: str | Path, *overrides: str) -> TrainedRun:
    """Opens a run by its folder, or an included network by its name. Nothing is written.

    Args:
        folder: the `--workdir` of a training, or a name of `experiments/weights/`, such as 'lenet5'.
        overrides: leaves of its config, 'KEY=VALUE' as in `--config.KEY=VALUE`, such as 'data.data_dir=DIR'.

    Raises:
        UsageError: there is no such run, or an override is wrong.
        CheckpointError: the run has no readable checkpoint.

    >>> run = open_run("lenet5")
    >>> run.class_names[:3], run.config.model.name
    (['0', '1', '2'], 'lenet5')
    """
    path = local_path(folder)  # it is opened again for a test, when the working directory may be another one
    if not (path / "config.json").exists():
        path = included.find(str(folder)) or path
    if not (path / "config.json").exists():
        known = ", ".join(included.names())
        raise UsageError(f"{folder} holds no run: there is no config.json; included networks: {known}")
    return TrainedRun(evaluate.load_run_config(path, [f"--config.{o}" for o in overrides]), path)
