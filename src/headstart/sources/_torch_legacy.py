"""Tensors out of an old-style (not zipped) PyTorch file, without PyTorch and without running what the file says.

Such a file is five pickles (magic number, protocol, system, a mapping of tensors, the storages' keys) and then,
for each key, a count and the raw numbers: `torch/serialization.py`, `_legacy_save`. Unpickling is where a hostile
file would run code, so this reader knows six names and refuses every other.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import SourceError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MOST_BYTES = 2**31
_DTYPES = {
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "HalfStorage"): np.dtype("<f2"),
    ("torch", "LongStorage"): np.dtype("<i8"),
    ("torch", "IntStorage"): np.dtype("<i4"),
}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild(storage: object, offset: object, shape: object, strides: object, *_: object) -> _Tensor:
    whole = [
        offset,
        *(shape if isinstance(shape, tuple) else [None]),
        *(strides if isinstance(strides, tuple) else [None]),
    ]
    if not isinstance(storage, _Storage) or not all(type(n) is int and n >= 0 for n in whole):
        raise pickle.UnpicklingError("a tensor is described by something else than numbers")
    return _Tensor(storage, offset, shape, strides)  # type: ignore[arg-type]


class _TensorsOnly(pickle.Unpickler):
    """Knows an ordered mapping, the rebuilding of a tensor and four kinds of storage: nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) in _DTYPES:
            return _DTYPES[module, name]
        raise pickle.UnpicklingError(f"the name {module}.{name} is not allowed")

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) == 6 and pid[0] == "storage" and isinstance(pid[1], np.dtype)):
            raise pickle.UnpicklingError("a storage is described in an unknown way")
        _, dtype, key, _, count, view = pid
        if view is not None or type(key) is not str or type(count) is not int or not 0 <= count * 8 <= _MOST_BYTES:
            raise pickle.UnpicklingError("a storage has an impossible size")
        return _Storage(key, dtype, count)


class _NothingAtAll(pickle.Unpickler):
    """For the parts of the file that hold plain numbers, texts and lists."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"the name {module}.{name} is not allowed")


def read(path: Path, *, sha256: str | None) -> dict[str, NDArray[Any]]:
    """The named tensors of an old-style PyTorch file.

    Args:
        path: the file, at most 2 GiB.
        sha256: what the file must be, checked before a byte of it is interpreted. None leaves that out.

    Returns:
        Arrays by name, in the file's order.

    Raises:
        SourceError: the file is another one than expected, is not of this format, is damaged, or asks for
            anything else than tensors.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise SourceError(f"{path} is larger than 2 GiB, which no file of this kind is.")
    data = path.read_bytes()
    if sha256 is not None and (came := hashlib.sha256(data).hexdigest()) != sha256:
        raise SourceError(
            f"{path} is not the file that was expected: its SHA-256 is {came[:16]}…, expected {sha256[:16]}…\n"
            "Install the package again; nothing was read from this file."
        )
    try:
        return _parse(io.BytesIO(data))
    except SourceError:
        raise
    except Exception as error:  # a damaged pickle may raise nearly anything
        raise SourceError(f"{path} is not an old-style PyTorch file of tensors: {error}") from error


def _parse(stream: io.BytesIO) -> dict[str, NDArray[Any]]:
    if _NothingAtAll(stream).load() != _MAGIC or _NothingAtAll(stream).load() != _PROTOCOL:
        raise ValueError("the magic number at its start is missing")
    system = _NothingAtAll(stream).load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("its numbers are not little-endian")
    tensors = _TensorsOnly(stream).load()
    keys = _NothingAtAll(stream).load()
    if not isinstance(tensors, OrderedDict) or not all(
        isinstance(k, str) and isinstance(t, _Tensor) for k, t in tensors.items()
    ):
        raise ValueError("it holds something else than a mapping of tensors")
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise ValueError("its list of storages does not match its tensors")
    numbers = {key: _numbers(stream, storages[key]) for key in keys}
    return {name: _array(tensor, numbers[tensor.storage.key]) for name, tensor in tensors.items()}


def _numbers(stream: io.BytesIO, storage: _Storage) -> NDArray[Any]:
    count = int.from_bytes(stream.read(8), "little", signed=True)
    if count != storage.count:
        raise ValueError(f"storage {storage.key} has {count} numbers, announced were {storage.count}")
    raw = stream.read(count * storage.dtype.itemsize)
    if len(raw) != count * storage.dtype.itemsize:
        raise ValueError("it is cut short")
    return np.frombuffer(raw, storage.dtype)


def _array(tensor: _Tensor, numbers: NDArray[Any]) -> NDArray[Any]:
    """The tensor as an array of its own; strides (in numbers) are the one way to read beyond a storage."""
    if len(tensor.shape) != len(tensor.strides) or math.prod(tensor.shape) > len(numbers):
        raise ValueError("a tensor is larger than its storage")
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape or last >= len(numbers):
        raise ValueError("a tensor reaches outside its storage")
    steps = [stride * numbers.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, steps, writeable=False)
    return view.copy()
