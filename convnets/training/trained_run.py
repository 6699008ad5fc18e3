"""A trained network with its config and data facts: predicts classes of images, and is tested again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from convnets.augment import pipeline
from convnets.data import image_files
from convnets.errors import UsageError
from convnets.evaluation import evaluator
from convnets.losses import NO_PROBABILITIES
from convnets.training import network

BATCH = 100  # images that are read and scored at a time


class TrainedRun:
    """A trained network, as `convnets.open_run` returns it.

    Attributes:
        config: the run's config.
        model: Flax module; `model.apply(run.variables, inputs)` takes inputs after `config.data.test_ops`.
        variables: {'params': ..., 'batch_stats': ...}; averaged parameters if the recipe keeps an average.
        class_names: the names of the classes, in the order of the scores.
        has_probabilities: False if the loss of its training (mse, svm) gives outputs that are no probabilities.
    """

    def __init__(self, config: ConfigDict, folder: Path, file: str = ""):
        self.config, self.folder, self.file = config, folder, file
        self._opened = network.open_network(config, folder, file)
        self.model, self.variables = self._opened.model, self._opened.variables
        self.facts = network.load_facts(folder, self.model, file=file)
        self.class_names: list[str] = list(self.facts["label_names"])
        self.has_probabilities = config.loss not in NO_PROBABILITIES
        self._ops = image_files.operations(config.data.test_ops, folder)
        self._apply = jax.jit(self.model.apply)

    def __repr__(self) -> str:
        return f"TrainedRun({self.config.model.name} on {self.facts['name'] or self.config.data.name}, {self.file or self.folder})"

    def predict(self, images: Sequence[str | Path] | np.ndarray, invert: bool = False) -> np.ndarray:
        """Returns the probabilities of the classes, float32 [n, classes]; outputs if `has_probabilities` is False.

        Args:
            images: image files, or pixels as in the data set, uint8 [n, height, width, channels].
            invert: turns dark on light into light on dark.

        Raises:
            UsageError: a file cannot be read as an image, or the images do not become inputs of the network.

        >>> import convnets, numpy as np
        >>> run = convnets.open_run("lenet5")
        >>> run.predict(np.zeros((2, 28, 28, 1), np.uint8)).shape
        (2, 10)
        """
        images = [images] if isinstance(images, str | Path) else images
        starts = range(0, len(images), BATCH)
        parts = [self.score(self.read(images[i : i + BATCH], invert)) for i in starts]
        found = np.concatenate([np.empty((0, len(self.class_names)), np.float32), *parts])
        return np.exp(found) if self.has_probabilities else found

    def read(self, images: Sequence[str | Path] | np.ndarray, invert: bool = False) -> np.ndarray:
        """Returns the pixels that the network sees of images, uint8 [n, h, w, c]; `predict` documents arguments and errors."""
        if hasattr(images, "dtype"):
            images = np.asarray(images)
            if images.ndim != 4:
                raise UsageError(f"an array of images is uint8 [n, height, width, channels], this one {list(images.shape)}; give a"
                                 " list for one image")  # fmt: skip
        return image_files.read(list(images), self.facts, self.config.data.test_ops, invert)

    def score(self, pixels: np.ndarray) -> np.ndarray:
        """Returns the logarithms of the probabilities, or the outputs, float32 [n, classes], for pixels that `read` has returned.

        Raises:
            UsageError: data.test_ops gives images of another size than the network takes.
        """
        inputs = pipeline.apply(self._ops, None, pixels)
        if inputs.shape[1:] != self.model.input_shape:
            raise UsageError(
                f"data.test_ops gives images of {inputs.shape[1:]}, the network takes {self.model.input_shape}"
            )
        scores = self._apply(self.variables, inputs).astype(np.float32)
        return np.asarray(jax.nn.log_softmax(scores, axis=1) if self.has_probabilities else scores)

    def evaluate(self, protocol: str = "") -> dict[str, Any]:
        """Tests `model` with `variables` on the test split of the config, which must be prepared or may be downloaded.

        Args:
            protocol: of convnets/evaluation/protocols.py, such as 'ten_crop'; '' is the config's own.

        Returns:
            the content of a result.json: 'top1_error' and 'top5_error' in percent, 'loss', 'num_examples', ...

        Raises:
            DataError: the data set is missing or damaged.
            UsageError: the protocol does not fit the network.
        """
        config = self.config.copy_and_resolve_references()
        config.evaluate.protocol = protocol or config.evaluate.protocol
        evaluator.check(self.model, config.loss, config.data.test_ops, config.evaluate.protocol)
        opened = self._opened._replace(variables=self.variables)
        return network.test_run(config, self.folder, self.file, opened)[0]
