"""Batch schedules: the examples in a training batch are a pure function of (seed, step)."""

from collections.abc import Iterator

import numpy as np

from convnets.data.tf_pipeline import Batch


def training_schedule(
    num_examples: int, batch_size: int, seed: int, start: int, stop: int, process: int = 0, processes: int = 1,
    reshuffle: bool = True,
) -> Iterator[Batch]:  # fmt: skip
    """Yields the batches of steps `start` to `stop`: {'index', 'epoch'} (int32) and 'mask' (float32, all ones).

    The examples form one endless sequence, with a new permutation every epoch, cut into equal batches. So each epoch
    shows each example exactly once, and no batch is short or dropped. A batch may extend into the next epoch. With
    several processes, each takes its slice of every batch. Without `reshuffle`, all epochs use the order of the first.
    Their batches are also identical if the batch size divides the number of examples.
    """
    share = batch_size // processes
    epochs: dict[int, np.ndarray] = {}
    for step in range(start, stop):
        position = step * batch_size + process * share + np.arange(share)
        epoch, place = position // num_examples, position % num_examples
        index = np.empty(share, np.int32)
        for e in np.unique(epoch).tolist():
            if e not in epochs:  # the previous epoch may still be needed, older ones never
                order = np.random.Generator(np.random.Philox(key=[seed, e if reshuffle else 0])).permutation(
                    num_examples
                )
                epochs = {k: v for k, v in epochs.items() if k == e - 1} | {e: order}
            index[epoch == e] = epochs[e][place[epoch == e]]
        yield {"index": index, "epoch": epoch.astype(np.int32), "mask": np.ones(share, np.float32)}


def evaluation_schedule(num_examples: int, batch_size: int, process: int = 0, processes: int = 1) -> Iterator[Batch]:
    """Yields every example exactly once, in order; the last batch is padded with examples of mask 0.

    With several processes, each takes its own contiguous part of the split, `batch_size` examples at a time.
    """
    first, stop = (num_examples * p // processes for p in (process, process + 1))
    for start in range(first, stop, batch_size):
        index = start + np.arange(batch_size)
        mask = index < stop
        index = np.where(mask, index, 0).astype(np.int32)
        yield {"index": index, "epoch": np.zeros(batch_size, np.int32), "mask": mask.astype(np.float32)}
