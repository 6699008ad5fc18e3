"""Order of a network's blocks for its drawing: sequences of blocks and forks, and the heads beside them.

A fork begins where an array is read more than once and ends at the block through which all paths to the output pass (the
post-dominator). Its branches are sequences themselves. A shortcut is a branch without blocks.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from convnets.analysis.graph_blocks import Block


class Fork(NamedTuple):
    """Branches, each a sequence, and the positions of the block that they read and of the block that joins them."""

    source: int
    branches: list[list["int | Fork"]]
    join: int


class Order(NamedTuple):
    """The main sequence from the input to the output, and the heads, sequences that do not lead to the main output.

    Heads are listed by the block of the main sequence that they read, or by the join of the fork in which it lies.
    """

    main: list[int | Fork]
    heads: dict[int, list[list[int | Fork]]]


def order_blocks(blocks: list[Block], outputs: list[int]) -> Order:
    """Returns the order of blocks, given in execution order, of which `outputs` (the main one first) are outputs."""
    main = {outputs[0]}
    for i in reversed(range(outputs[0] + 1)):
        main.update(blocks[i].inputs if i in main else ())
    readers: dict[int, list[int]] = {i: [] for i in range(len(blocks))}
    for i, block in enumerate(blocks):
        for k in block.inputs:
            if (k in main) == (i in main):  # from a block to a head is no fork
                readers[k].append(i)
    order = _Walk(readers)
    sequence, heads = order.follow(0, None), defaultdict(list)
    cell = {k: item.join if isinstance(item, Fork) else item for item in sequence for k in list_blocks([item])}
    for i, block in enumerate(blocks):
        if i not in order.seen:
            heads[next((cell[k] for k in block.inputs if k in cell), 0)].append(order.follow(i, None))
    return Order(sequence, heads)


class _Walk:
    """Walks along the readers of each block; `seen` are the blocks that have a place."""

    def __init__(self, readers: dict[int, list[int]]):
        self.readers, self.seen, self.join = readers, set[int](), _post_dominators(readers)

    def follow(self, i: int | None, end: int | None) -> list[int | Fork]:
        """Returns the sequence that begins with block i and ends before block `end`, or at an output if it is None."""
        found: list[int | Fork] = []
        while i is not None and i != end and i not in self.seen:
            self.seen.add(i)
            found.append(i)
            i = self._forks(i, end, found)
        return found

    def _forks(self, i: int, end: int | None, found: list[int | Fork]) -> int | None:
        """Appends the forks that follow block i at once; returns the block after them."""
        while len(self.readers[i]) > 1:
            join = self.join[i]
            if join is None or join == end or join in self.seen:  # none for these branches: one after the other
                for k in self.readers[i]:
                    found += self.follow(k, end)
                return None
            found.append(self._fork(i, self.readers[i], join))
            i = join
        return self.readers[i][0] if self.readers[i] else None

    def _fork(self, source: int, readers: Sequence[int], join: int) -> Fork:
        """Returns the fork from block `source` to block `join`; branches that meet before are a fork of their own."""
        paths = {k: self._path(k, join) for k in readers}
        groups, branches = defaultdict(list), list[list[int | Fork]]()
        for k in readers:
            groups[paths[k][-1] if paths[k] else join].append(k)
        for group in groups.values():
            if len(group) == 1:
                branches.append(self.follow(group[0], join))
                continue
            meeting = next(i for i in paths[group[0]] if all(i in paths[k] for k in group))
            branch: list[int | Fork] = [self._fork(source, group, meeting)]
            after = self._forks(meeting, join, branch)
            branches.append(branch + self.follow(after, join))
        self.seen.add(join)
        return Fork(source, branches, join)

    def _path(self, i: int | None, end: int) -> list[int]:
        """Returns block i and the blocks before `end` through which all paths from it pass."""
        found = list[int]()
        while i is not None and i != end:
            found.append(i)
            i = self.join[i]
        return found


def _post_dominators(readers: dict[int, list[int]]) -> dict[int, int | None]:
    """Returns per block the first later block through which all paths to an output pass; None if there is none."""
    after: dict[int | None, int | None] = {}
    depth: dict[int | None, int] = {None: 0}
    for i in sorted(readers, reverse=True):
        met: int | None = readers[i][0] if readers[i] else None
        for other in readers[i][1:]:
            end: int | None = other
            while met != end:  # the deeper one steps towards the output
                if depth[met] >= depth[end]:
                    met = after[met]
                else:
                    end = after[end]
        after[i], depth[i] = met, depth[met] + 1
    return {i: after[i] for i in readers}


def list_blocks(items: Sequence[int | Fork]) -> Iterator[int]:
    """Yields the positions of all blocks of a sequence."""
    for item in items:
        if isinstance(item, Fork):
            for branch in item.branches:
                yield from list_blocks(branch)
            yield item.join
        else:
            yield item


def list_edges(order: Order) -> set[tuple[int, int]]:
    """Returns the pairs (block, reader) that follow each other in the order; they need not be all of the graph's."""
    found = set[tuple[int, int]]()

    def walk(before: int, items: Sequence[int | Fork]) -> int:
        for item in items:
            if isinstance(item, Fork):
                found.update((walk(before, branch), item.join) for branch in item.branches)
            else:
                found.add((before, item))
            before = item.join if isinstance(item, Fork) else item
        return before

    walk(-1, order.main)
    for block, heads in order.heads.items():
        for head in heads:
            walk(block, head)
    return found
