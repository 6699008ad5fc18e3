"""Random access to the encoded examples in the TFRecord files of a prepared data set.

TensorFlow reads TFRecords sequentially, so it shuffles within a buffer of neighbouring records and cannot seek. With
the offset of every record known, a batch can be any set of indices. The shuffle is then a true permutation, needs no
buffer, can resume at any step, and does not depend on the number of reading processes.

A record is: length (uint64), its checksum (uint32), the bytes, their checksum (uint32). Both checksums are masked
CRC-32C.
"""

import functools
import os
import resource
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import google_crc32c
import numpy as np

from convnets.errors import DataError

HEADER, FOOTER = 12, 4
MOST_OPEN = 1024  # files of one split, as many as ImageNet's training set has


def _checksum(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class _File:
    """An open file. It closes with its last reference, since a thread may still read it after another has evicted it."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int):
        self.descriptor = descriptor

    def __del__(self, close=os.close) -> None:  # bound early: at the end of the program `os` may be gone
        close(self.descriptor)


def open_files(paths: Sequence[str], most: int = 0) -> Callable[[int], _File]:
    """Returns a function that opens file number i for reading; it raises DataError where that fails.

    Args:
        most: number of files that stay open, those used last; 0 = a quarter of the process's limit of open files. Training
            and test set have one function each; the rest of the limit is for the program, its libraries and the checkpoints.
    """
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = most or max(2, MOST_OPEN if soft == resource.RLIM_INFINITY else min(MOST_OPEN, soft // 4))

    @functools.lru_cache(most)
    def open_file(number: int) -> _File:
        try:
            return _File(os.open(paths[number], os.O_RDONLY))
        except OSError as e:
            raise DataError(f"{paths[number]}: {e.strerror}") from None

    return open_file


class Records:
    """The records of several TFRecord files, accessed by index.

    Args:
        parts: for each file (path, number of records to use, number of records to skip before them). Indices follow
            the order of the parts.

    Raises:
        DataError: a file is missing, truncated or damaged, or holds fewer records than expected.
    """

    def __init__(self, parts: Iterable[tuple[str, int, int]]):
        self.paths: list[str] = []
        self.skips: list[int] = []
        offsets, lengths, owners = [], [], []
        for number, (path, wanted, skip) in enumerate(parts):
            self.paths.append(path)
            self.skips.append(skip)
            where, size = _scan(Path(path))
            if len(where) < skip + wanted:
                raise DataError(f"{path}: holds {len(where)} records, {skip + wanted} expected; it was cut short")
            offsets.append(where[skip : skip + wanted])
            lengths.append(size[skip : skip + wanted])
            owners.append(np.full(wanted, number, np.int32))
        self.offsets, self.lengths = np.concatenate(offsets), np.concatenate(lengths)
        self.owners = np.concatenate(owners)
        self.open_file = open_files(self.paths)

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Reads the records at [n] indices into an [n] object array of bytes and verifies their checksums.

        Raises:
            DataError: a record is damaged; the message names the file and the record.
        """
        records = np.empty(len(indices), object)
        for i, index in enumerate(indices):
            owner, length = int(self.owners[index]), int(self.lengths[index])
            file = self.open_file(owner)
            try:
                raw = os.pread(file.descriptor, length + FOOTER, int(self.offsets[index]))
            except OSError as e:
                raise DataError(f"{self.name(index)}: {e.strerror}") from None
            data = raw[:length]
            if len(raw) < length + FOOTER or _checksum(data) != struct.unpack("<I", raw[length:])[0]:
                raise DataError(f"{self.name(index)} at byte {self.offsets[index]} is damaged")
            records[i] = data
        return records

    def name(self, index: int) -> str:
        """Returns the location of an example: its file and its position in the file, counted from 0."""
        first = int(np.searchsorted(self.owners, self.owners[index]))
        return f"{self.paths[self.owners[index]]}: record {self.skips[self.owners[index]] + index - first}"


def _scan(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the offsets and lengths of a file's records; reads only the record headers."""
    offsets, lengths = [], []
    try:
        with path.open("rb", buffering=0) as file:
            position, end = 0, file.seek(0, os.SEEK_END)
            while position < end:
                header = os.pread(file.fileno(), HEADER, position)
                if len(header) < HEADER or _checksum(header[:8]) != struct.unpack("<I", header[8:])[0]:
                    raise DataError(f"{path}: the record header at byte {position} is damaged")
                (length,) = struct.unpack("<Q", header[:8])
                if position + HEADER + length + FOOTER > end:
                    raise DataError(f"{path}: the record at byte {position} is cut short")
                offsets.append(position + HEADER)
                lengths.append(length)
                position += HEADER + length + FOOTER
    except OSError as e:
        raise DataError(f"{path}: {e.strerror}; the data set is only half prepared") from None
    return np.array(offsets, np.int64), np.array(lengths, np.int64)
