"""Reads PyTorch's weight files without PyTorch: the zip format, and the format before version 1.6.

The unpickler can build tensors and nothing else. Every other object of a file becomes a placeholder that does nothing, so
that a training script's checkpoint can be read, in which an argparse.Namespace stands beside the tensors.
"""

import collections
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from convnets.errors import CheckpointError

STORAGES = {"FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16",
            "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16",
            "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool"}  # fmt: skip
# Entries of a checkpoint that hold the tensors by name; the first one present is read.
ENTRIES = ("state_dict", "model", "model_state", "model_state_dict", "network", "net", "weights", "params", "model_ema",
           "state_dict_ema", "ema")  # fmt: skip
ADVICE = "save it again by torch.save(model.state_dict(), FILE)"
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # header of the format before 1.6


class _Storage(NamedTuple):
    key: str
    dtype: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Rebuild:
    """Replaces torch._utils._rebuild_tensor_v2 and, in old files, _rebuild_tensor.

    Their further arguments do not affect values and are ignored. The object has no attributes, so that a pickle cannot
    modify it.
    """

    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, *_):
        return _Tensor(storage, offset, shape, strides)


class _Parameter:
    """Replaces torch._utils._rebuild_parameter; returns the tensor itself."""

    __slots__ = ()

    def __call__(self, tensor, *_):
        return tensor


class _Placeholder:
    """Stands for an object of any other class: takes what the pickle gives it and keeps nothing."""

    __slots__ = ()
    asks = ""  # the class that the file asks for

    def __new__(cls, *_, **__):
        return super().__new__(cls)

    def __init__(self, *_, **__):
        pass

    def _ignore(self, *_):
        pass

    __setstate__ = __setitem__ = append = extend = add = _ignore

    def __call__(self, *_, **__):
        return self


class _Unpickler(pickle.Unpickler):
    ALLOWED: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor"): _Rebuild(),
        ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(),
        ("torch._utils", "_rebuild_parameter"): _Parameter(),
        **{("torch", storage): dtype for storage, dtype in STORAGES.items()},
    }

    def __init__(self, file: Any):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        other = type("_Placeholder", (_Placeholder,), {"__slots__": (), "asks": f"{module}.{name}"})
        return self.ALLOWED.get((module, name), other)

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, key, _, length, *view = pid
        if getattr(dtype, "asks", ""):  # a type that no weights have; other entries of the file may
            return dtype()
        if kind != "storage" or dtype not in STORAGES.values() or any(view):
            raise CheckpointError("it holds a kind of storage that is not known here")
        return self.storages.setdefault(str(key), _Storage(str(key), dtype, int(length)))


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a file by name, from its top level or from one of its ENTRIES.

    Raises:
        CheckpointError: the file holds no dictionary of tensors alone, or several of them. A damaged file can raise any other exception.
    """
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        return _read_zip(path) if zipped else _read_legacy(file)


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        files = set(archive.namelist())
        index = next((f for f in files if f.split("/", 1)[-1] == "data.pkl"), "")
        if not index:
            raise CheckpointError("it is a zip file, and none that PyTorch wrote")
        folder = index.removesuffix("data.pkl")
        if f"{folder}byteorder" in files and archive.read(f"{folder}byteorder") != b"little":
            raise CheckpointError("it was written on a big-endian machine")
        with archive.open(index) as file:
            tensors = _tensors(_Unpickler(file).load())
        blocks = {t.storage: archive.read(f"{folder}data/{t.storage.key}") for t in tensors.values()}
    return {name: _array(t, blocks[t.storage]) for name, t in tensors.items()}


def _read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
    magic = _Unpickler(file).load()
    if asks := _asks(magic):
        raise CheckpointError(asks)
    protocol, system = (_Unpickler(file).load() for _ in range(2))
    if (magic, protocol) != (MAGIC, PROTOCOL) or not system["little_endian"]:
        raise CheckpointError("it is neither .safetensors nor a file that PyTorch wrote")
    unpickler = _Unpickler(file)
    tensors, keys, blocks = _tensors(unpickler.load()), _Unpickler(file).load(), {}
    for key in keys:  # each storage: its length, then its data
        _, dtype, length = unpickler.storages[key]
        if int.from_bytes(file.read(8), "little") != length:
            raise CheckpointError("it is damaged: a tensor has not the length it should have")
        blocks[key] = file.read(length * np.dtype(dtype).itemsize)
    return {name: _array(t, blocks[t.storage.key]) for name, t in tensors.items()}


def _tensors(found: Any) -> dict[str, _Tensor]:
    """Returns the dictionary of tensors in an unpickled object: itself, an entry of it, or an entry of an entry."""
    level, mixed = {"": found}, dict[str, Any]()
    for _ in range(3):
        level = {
            path: v for path, v in level.items() if isinstance(v, dict) and v and all(isinstance(k, str) for k in v)
        }
        full = {path: v for path, v in level.items() if all(_is_tensor(t) for t in v.values())}
        named = [path for entry in ENTRIES for path in full if path.split(".")[-1] == entry]
        if named or len(full) == 1:
            return dict(full[named[0] if named else next(iter(full))])
        if full:
            raise CheckpointError(f"it holds several sets of tensors: {', '.join(full)}; save one of them alone")
        mixed = mixed or next((v for v in level.values() if any(_is_tensor(t) for t in v.values())), {})
        level = {f"{path}.{k}".lstrip("."): inner for path, v in level.items() for k, inner in v.items()}
    raise CheckpointError(_explain(mixed or found))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, _Tensor) and isinstance(value.storage, _Storage)


def _explain(found: Any) -> str:
    """Returns why an unpickled object is no dictionary of tensors."""
    if asks := _asks(found):
        return asks
    if not isinstance(found, dict) or not found or not all(isinstance(k, str) for k in found):
        return f"it holds no dictionary of tensors by name; {ADVICE}"
    wrong = next(k for k, v in found.items() if not _is_tensor(v))
    return f"'{wrong}' in it is no tensor; it holds {', '.join(list(found)[:8])}; {ADVICE}"


def _asks(found: Any) -> str:
    """Returns the refusal of an object that is of another class, or holds one; '' if none."""
    values = [found, *found.values()] if isinstance(found, dict) else [found]
    asks = next((v.asks for v in values if getattr(v, "asks", "")), "")
    return f"refused: it asks for {asks}, a file of weights holds only tensors; {ADVICE}" if asks else ""


def _array(tensor: _Tensor, block: bytes) -> np.ndarray:
    storage, offset, shape, strides = tensor
    dtype = np.dtype(storage.dtype)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    sound = min((offset, *shape, *strides)) >= 0 and last < storage.length and math.prod(shape) <= storage.length
    if not sound or len(block) != storage.length * dtype.itemsize:
        raise CheckpointError("it is damaged: a tensor reaches beyond its data")
    flat = np.frombuffer(block, dtype)[offset:]
    return np.lib.stride_tricks.as_strided(flat, shape, [s * dtype.itemsize for s in strides], writeable=False)
