"""Features too many for memory, kept in a temporary file and read back a block of rows at a time.

The file has no name any more once it is open, so it is gone when the process ends, however that ends. It is read, not
mapped: pages of a mapping count as the process's memory.
"""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 2_048
"""Rows that are read or written at once."""


class _File:
    """A file without a name, closed when nobody holds it; several threads may read it."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed below
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    def append(self, data: bytes) -> None:
        self._file.write(data)

    def read(self, start: int, count: int) -> bytes:
        with self._lock:
            self._file.seek(start)
            return self._file.read(count)


class Spool:
    """A two-dimensional array in a file, for whoever reads blocks of rows of it: `spool[first:last]`, `spool[rows]`.

    Attributes:
        shape: (n_rows, n_columns).
        dtype: of the numbers.

    Example:
        >>> import tempfile
        >>> spool = Spool.of(iter([np.eye(3), np.ones((1, 3))]), (4, 3), np.float16, Path(tempfile.gettempdir()))
        >>> spool[2:].tolist(), spool[np.array([3, 0]), 1:].tolist(), spool.with_columns(np.array([2])).shape
        ([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]], (4, 1))
    """

    ndim = 2

    def __init__(
        self, file: _File, shape: tuple[int, int], dtype: Any, columns: np.ndarray | None = None
    ) -> None:  # fmt: skip
        self._file, self._width, self._columns = file, shape[1], columns
        self.dtype = np.dtype(dtype)
        self.shape = (shape[0], shape[1] if columns is None else len(columns))

    @classmethod
    def of(cls, blocks: Iterable[np.ndarray], shape: tuple[int, int], dtype: Any, folder: Path) -> Spool:
        """Write blocks of rows, in order, to a file in a folder."""
        file = _File(folder)
        for block in blocks:
            file.append(np.ascontiguousarray(block, dtype).tobytes())
        return cls(file, shape, dtype)

    def with_columns(self, columns: np.ndarray) -> Spool:
        """Some columns of the same rows, from the same file."""
        chosen = columns if self._columns is None else self._columns[columns]
        return Spool(self._file, (self.shape[0], self._width), self.dtype, chosen)

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it, in memory."""
        del copy  # what is read is a copy
        return self[:] if dtype is None else self[:].astype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            found = self._read(start, stop)[::step] if step > 0 else self[np.arange(start, stop, step)]
        else:
            wanted = np.atleast_1d(np.arange(len(self))[rows])
            found = np.empty((len(wanted), self.shape[1]), self.dtype)
            for place, row in enumerate(wanted.tolist()):
                found[place] = self._read(row, row + 1)[0]
        result: np.ndarray = found[:, columns]
        return result

    def _read(self, start: int, stop: int) -> np.ndarray:
        count = max(stop - start, 0)
        parts = []
        for first in range(start, start + count, BLOCK):
            some = min(BLOCK, start + count - first)
            size = self._width * self.dtype.itemsize
            data = self._file.read(first * size, some * size)
            block = np.frombuffer(data, self.dtype).reshape(some, self._width)
            parts.append(block if self._columns is None else block[:, self._columns])
        return np.concatenate(parts) if parts else np.empty((0, self.shape[1]), self.dtype)


def with_columns(features: np.ndarray | Spool, columns: np.ndarray) -> Any:
    """Some columns of features, whether they are in memory or in a file."""
    return features.with_columns(columns) if isinstance(features, Spool) else features[:, columns]
