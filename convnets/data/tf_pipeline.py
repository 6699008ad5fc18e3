"""The tf.data input pipeline: reads and decodes batches ahead of time, and replaces undecodable images."""

import itertools
import re
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from convnets.augment import host_ops
from convnets.data.sources import Source, check_labels
from convnets.errors import DataError, UsageError
from convnets.op_string import Call
from convnets.runtime import distributed

POLICIES = ("error", "skip")
LIMIT = 0.001  # max skipped fraction of the examples seen or of one epoch, whichever allows more
AHEAD = 2  # number of decoded batches held ready, and of encoded ones

Batch = dict[str, np.ndarray]


def example_seed(seed: int, epoch: Any, index: Any) -> Any:
    """Returns a seed, int64 [2], unique to (seed, epoch, example), with room for 256 draws per example."""
    import tensorflow as tf

    epoch, index = tf.cast(epoch, tf.int64), tf.cast(index, tf.int64)
    high = (seed << 32) % 2**64  # as a signed number of 64 bits
    return tf.stack([high - 2**64 * (high >= 2**63) + epoch, index * 256])


class _InFlight:
    """A schedule that remembers the batches that tf.data has taken but not yet returned."""

    def __init__(self, schedule: Iterator[Batch]):
        self.schedule, self.waiting, self.ended = schedule, deque[Batch](), False
        self.lock = threading.Lock()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            with self.lock:
                batch = None if self.ended else next(self.schedule, None)
                if batch is None:
                    return
                self.waiting.append(batch)
            yield batch

    def end(self) -> list[Batch]:
        """Ends the schedule, so that running tf.data threads get no more batches; returns the waiting batches."""
        with self.lock:
            self.ended = True
            return list(self.waiting)


class Stream:
    """Streams the examples of a source through host operations.

    Args:
        on_error: 'error', or 'skip': the next decodable example replaces an undecodable one in the same epoch. Batches
            thus stay full, and a resumed run sees the same examples.

    Attributes:
        shape: pixel shape of one example, [(views,) height, width, channels]; None for a varying side.

    Raises:
        UsageError: the images of the source have different sizes, and no operation fixes the size.
    """

    def __init__(self, source: Source, calls: Sequence[Call], on_error: str = "error"):
        import tensorflow as tf

        self.source, self.calls, self.on_error = source, calls, on_error
        *own, self.channels = source.info.image_shape
        varies = None in own
        if varies and not any(host_ops.HOST[c.name].size in ("fixed", "dense") for c in calls):
            raise UsageError(
                f"the images of {source.info.name} may have different sizes; make them alike behind decode, for example with"
                " resize_short(256)|center(224)"
            )
        blank = tf.io.encode_png(tf.zeros([8, 8] if varies else own, tf.uint8)[..., None][..., : self.channels])
        shape = tuple(host_ops.apply(calls, np.zeros(2, np.int64), blank, self.channels).shape)
        self.shape = (None, None, shape[-1]) if host_ops.HOST[calls[-1].name].size == "dense" else shape

    def __call__(self, schedule: Iterable[Batch], seed: int = 0) -> Iterator[Batch]:
        """Yields the batches of a schedule with 'image' (uint8) and 'label' (int32) added.

        Raises:
            DataError: a record is damaged, or an image cannot be decoded and `on_error` or LIMIT forbids skipping it.
        """
        import tensorflow as tf

        rest, seen = iter(schedule), 0
        skipped: dict[tuple[int, int], str] = {}  # reasons by (epoch, index)
        while (first := next(rest, None)) is not None:
            ahead = _InFlight(itertools.chain([first], rest))
            failure: list[DataError] = []
            try:
                for batch in self._pipeline(first, ahead, seed, failure):
                    ahead.waiting.popleft()
                    check_labels(self.source, batch["index"], batch["label"])
                    seen += len(batch["index"])
                    yield batch
                return
            except tf.errors.OpError as e:
                # Frees the pipeline: if a traceback kept it until Python exits, it would then wait for dead threads.
                traceback.clear_frames(e.__traceback__)
                if failure:
                    raise failure[0] from None
                broken, *later = ahead.end()
                seen += len(broken["index"])
                batch = self._repair(broken, seed, seen, skipped)
                if np.array_equal(batch["index"], broken["index"]):  # no example caused the error
                    raise DataError(f"{self.source.info.name}: {e.message.splitlines()[0]}") from None
            check_labels(self.source, batch["index"], batch["label"])
            yield batch
            rest = itertools.chain(later, rest)

    def _pipeline(self, first: Batch, schedule: Iterable[Batch], seed: int, failure: list) -> Iterator[Batch]:
        import tensorflow as tf

        # AutoGraph has no loop to convert here. It fails on Python 3.13, and its error then keeps the pipeline alive.
        plain = tf.autograph.experimental.do_not_convert

        def read(index):
            try:
                return self.source.reader.read(index)
            except DataError as e:  # if raised here, TensorFlow would print its own trace; b"" cannot be decoded
                failure.append(e)
                return np.full(len(index), b"", object)

        @plain
        def load(batch):
            records = tf.numpy_function(read, [batch["index"]], tf.string)
            encoded, labels = self.source.parse(batch["index"], tf.ensure_shape(records, [size]))
            return {**batch, "image": encoded, "label": labels}

        @plain
        def decode(example):
            return {**example, "image": self._pixels(example["image"], seed, example["epoch"], example["index"])}

        size = len(first["index"])
        if size > 1 and None in self.shape:
            raise UsageError("images of different sizes come one at a time: set the batch size to 1")
        signature = {k: tf.TensorSpec(v.shape, v.dtype) for k, v in first.items()}
        dataset = (
            tf.data.Dataset.from_generator(lambda: schedule, output_signature=signature)
            .map(load, num_parallel_calls=AHEAD, deterministic=True)
            .unbatch()
            .map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .batch(size, drop_remainder=True)
            .prefetch(AHEAD)
        )
        return dataset.as_numpy_iterator()

    def _pixels(self, encoded: Any, seed: int, epoch: Any, index: Any) -> Any:
        import tensorflow as tf

        pixels = host_ops.apply(self.calls, example_seed(seed, epoch, index), encoded, self.channels)
        return tf.ensure_shape(pixels, self.shape)

    def _repair(self, broken: Batch, seed: int, seen: int, skipped: dict) -> Batch:
        """Decodes a batch one example at a time and replaces bad examples; adds the reasons to `skipped`."""
        import tensorflow as tf

        info, reader = self.source.info, self.source.reader
        index, examples = broken["index"].copy(), []
        row = 0
        while row < len(index):
            one = index[row : row + 1]
            try:
                encoded, label = self.source.parse(one, reader.read(one))
                examples.append((self._pixels(encoded[0], seed, broken["epoch"][row], one[0]).numpy(), label[0]))
                row += 1
            except tf.errors.OpError as e:
                reason = re.sub(r"\{\{.*?\}\} | \[Op:.*", "", e.message.splitlines()[0])
                what = f"{info.split}, {reader.name(int(one[0]))}: {reason}"
                if self.on_error == "error":
                    raise DataError(what) from None
                case = (int(broken["epoch"][row]), int(one[0]))
                if case not in skipped:
                    skipped[case] = what
                    count = f"{len(skipped)} of {seen:,} examples skipped"
                    if len(skipped) > LIMIT * max(seen, info.num_examples):
                        raise DataError(f"{what}; {count}, more than {100 * LIMIT:g} %") from None
                    distributed.say(f"{what}; {count}")
                index[row] = (index[row] + 1) % info.num_examples
        images, labels = (np.stack(part) for part in zip(*examples, strict=True))
        return {**broken, "index": index, "image": images, "label": labels.astype(np.int32)}
