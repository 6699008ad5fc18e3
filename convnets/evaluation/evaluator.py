"""Evaluation by the papers' test protocols; every example of the split counts exactly once."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from convnets import op_string
from convnets.augment import pipeline
from convnets.data import dataset, sampler, tf_pipeline
from convnets.errors import UsageError
from convnets.evaluation import eval_step, metrics, protocols
from convnets.losses import LOSSES, NO_PROBABILITIES
from convnets.models.options import MISFITS
from convnets.models.summary import explain_misfits, variable_shapes
from convnets.runtime import distributed, parallel
from convnets.runtime.progress import Progress

CHUNK = 2048  # examples per call when scores are averaged or measured


class Evaluated(NamedTuple):
    """The outcome of an evaluation.

    Attributes:
        summary: {'loss', 'top1_error', 'top5_error', 'num_examples'}.
        scores: [examples, classes], in the order of the split.
        labels: [examples].
    """

    summary: dict[str, Any]
    scores: np.ndarray
    labels: np.ndarray


class Evaluator:
    """Evaluates a split by a test protocol; each pass is compiled once per image size.

    Args:
        batch_size: images of the network's input size per step, over all devices of all processes. With several views
            or larger images, fewer fit, so that the number of pixels stays constant. The size is capped at the number
            of examples and rounded up to a multiple of the devices. It does not change the result.
        protocol: see convnets/evaluation/protocols.py.

    Attributes:
        views: number of views of each image, over all passes.
    """

    def __init__(self, model: nn.Module, loss: str, split: dataset.Split, *, protocol: str, batch_size: int):
        self.split, self.loss = split, loss
        self.devices = jax.local_device_count()
        self.process, self.processes = distributed.process_index(), distributed.process_count()
        self.batch_size, self.input_shape = batch_size, model.input_shape
        self.resident_arrays = parallel.replicate(split.resident_arrays)
        self.parts = []
        for average, passes, *_ in protocols.parts(protocol, split.ops):
            splits = [split if ops == split.ops else split.with_test_ops(ops) for ops in map(op_string.write, passes)]
            compiled = [
                parallel.parallel(eval_step.eval_step(model, loss, s.device_ops, average), train=False) for s in splits
            ]
            self.parts.append((average, list(zip(splits, compiled, strict=True))))
        everything = [split for _, passes in self.parts for split, _ in passes]
        self.views = sum(pipeline.output_shape(s.device_ops, s.info.image_shape)[0] for s in everything)

    def __call__(self, variables: dict[str, Any]) -> Evaluated:
        """Evaluates the split once per pass of the protocol.

        For a single view, the scores are the network's outputs. For several views, they are logarithms of mean
        probabilities, or mean scores if the protocol says so. The config's loss is computed from these scores.
        """
        total: dict[str, Any] = {}
        parts = []
        info, count = self.split.info, sum(len(passes) for _, passes in self.parts)
        with Progress(f"testing {info.name} {info.split}:", count * info.num_examples, "images") as progress:
            for average, passes in self.parts:
                found = []
                for split, step in passes:
                    total, scores, labels = self._run_pass(variables, split, step, progress)
                    found.append(scores)
                parts.append(average_scores(found, average))
        if count == 1:
            return Evaluated(metrics.summarize(total), parts[0], labels)
        scores = average_scores(parts, "softmax")
        return Evaluated(measure(scores, labels, self.loss), scores, labels)

    def _run_pass(
        self, variables: dict[str, Any], split: dataset.Split, step: Callable[..., Any], progress: Progress
    ) -> tuple[Any, ...]:
        """Returns sums, scores [n, classes] and labels [n] of one pass, gathered from all processes."""
        n = split.info.num_examples
        sums: dict[str, Any] = {}
        rows = [(np.empty(0, np.int32), np.empty((0, split.info.num_classes), np.float32), np.empty(0, np.int32))]
        for batch in self._batches(split):
            resident_arrays = self.resident_arrays if split.resident_arrays else {}
            part, scores = step(variables, parallel.shard([batch], self.devices), resident_arrays)
            sums = metrics.add(sums, part)
            real = batch["mask"] > 0
            index = batch["index"][real]
            labels = split.resident_arrays["labels"][index] if split.resident_arrays else batch["label"][real]
            rows.append((index, np.asarray(scores).reshape(len(real), -1)[real], labels))
            progress.advance(len(index) * self.processes)  # the other processes test as many
        total = functools.reduce(metrics.add, (own for own in distributed.all_gather_json(sums) if own))
        index, scores, labels = (distributed.all_gather_rows(np.concatenate(part)) for part in zip(*rows, strict=True))
        times = np.bincount(index, minlength=n)
        if total["count"] != n or not (times == 1).all():
            raise AssertionError(f"{total['count']:.0f} examples counted, {n} expected; {np.sum(times != 1)} of them"
                                 " not exactly once")  # fmt: skip
        order = np.argsort(index)
        return total, scores[order], labels[order]

    def _batches(self, split: dataset.Split) -> Iterator[tf_pipeline.Batch]:
        size = functools.cache(functools.partial(self._images_a_step, split))
        n = split.info.num_examples
        several_sizes = None in split.info.image_shape
        at_once = 1 if several_sizes else size(split.info.image_shape)
        batches = split.feed(sampler.evaluation_schedule(n, at_once, self.process, self.processes))
        return group_by_size(batches, size) if several_sizes else batches

    def _images_a_step(self, split: dataset.Split, image_shape: tuple[int, ...]) -> int:
        views, *shown, _ = pipeline.output_shape(split.device_ops, image_shape)
        share = self.batch_size * math.prod(self.input_shape[:2]) // (views * math.prod(shown) * self.processes)
        there = -(-split.info.num_examples // self.processes)  # a larger batch would only hold padding
        return -(-min(max(share, 1), there) // self.devices) * self.devices


def group_by_size(
    singles: Iterable[tf_pipeline.Batch], room: Callable[[tuple[int, ...]], int]
) -> Iterator[tf_pipeline.Batch]:
    """Groups single-image batches into batches of equal image shape, in no particular order.

    XLA compiles once per shape. Grouping the images as they arrive needs no list of their sizes, nor a second
    implementation of each operation's size arithmetic.

    Args:
        singles: batches of one image each.
        room: returns the batch size for an image shape [h, w, c]. The last batches are padded with mask 0.
    """
    waiting: dict[tuple[int, ...], list[tf_pipeline.Batch]] = {}
    join = lambda group: {k: np.concatenate([one[k] for one in group]) for k in group[0]}  # noqa: E731
    for one in singles:
        shape = one["image"].shape[1:]
        group = waiting.setdefault(shape, [])
        group.append(one)
        if len(group) == room(shape):
            yield join(waiting.pop(shape))
    for shape, group in waiting.items():
        filler = {**group[0], "mask": np.zeros_like(group[0]["mask"])}
        yield join(group + [filler] * (room(shape) - len(group)))


def average_scores(scores: Sequence[np.ndarray], average: str) -> np.ndarray:
    """Averages scores [n, classes] of several passes, protocols or networks by `metrics.average`; float32."""
    if len(scores) == 1:
        return scores[0]
    starts = range(0, len(scores[0]), CHUNK)
    chunks = (np.stack([s[i : i + CHUNK] for s in scores], axis=1) for i in starts)
    return np.concatenate([np.asarray(metrics.average(jnp.asarray(c), average)) for c in chunks])


def measure(scores: np.ndarray, labels: np.ndarray, loss: str) -> dict[str, Any]:
    """Returns {'loss', 'top1_error', 'top5_error', 'num_examples'} of scores [n, classes]; errors in percent.

    Args:
        labels: [n], class indices.
    """
    total: dict[str, Any] = {}
    for start in range(0, len(scores), CHUNK):
        s, truth = (jnp.asarray(v[start : start + CHUNK]) for v in (scores, labels))
        total = metrics.add(total, metrics.measure(s, truth, LOSSES[loss](s, truth), jnp.ones(len(s))))
    return metrics.summarize(total)


def check(model: nn.Module, loss: str, test_ops: str, protocol: str) -> None:
    """Checks that a protocol fits a network and a test string; reads no data.

    Raises:
        UsageError: an operation is missing, the protocol needs probabilities that the loss does not give, or the
            network does not accept the image sizes.
    """
    parts = protocols.parts(protocol, test_ops)
    for ops in (ops for part in parts for ops in part.passes):
        pipeline.parse(op_string.write(ops), test=True)
    if loss in NO_PROBABILITIES and (len(parts) > 1 or parts[0].average == "softmax"):
        raise UsageError(
            f"'{protocol}' averages probabilities, and a network trained on loss={loss} gives none: take one protocol with"
            " average='score'"
        )
    height, width, channels = model.input_shape
    variables = None
    ends = [(side, part.multiple) for part in parts if part.sides for side in (min(part.sides), max(part.sides))]
    for side, multiple in dict.fromkeys(ends):  # a network that takes both takes those between
        if variables is None:
            with explain_misfits():
                variables = variable_shapes(model)
        high = side // multiple * multiple or height + multiple
        image = jax.ShapeDtypeStruct((1, high, high + multiple, channels), jnp.float32)
        try:
            jax.eval_shape(functools.partial(model.apply, train=False), variables, image)
        except (UsageError, *MISFITS) as e:
            why = f" ({e})" if isinstance(e, UsageError) else ""
            raise UsageError(
                f"'{protocol}' shows whole images, like {high} x {high + multiple}, and this network takes"
                f" {height} x {width} alone{why}"
            ) from None
