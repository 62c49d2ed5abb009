"""Trunk × pictures → features, through the content-addressed store: no picture is run twice.

The pass is one pipeline: threads read and decode, the engine runs batches as they fill, rows are written as they come
out. Decoding starts before the trunk is ready, within a bounded look-ahead, so compiling a new trunk costs little.
What is held in memory does not grow with the number of pictures; `Features.matrix` reads back what is asked for.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headstart import images
from headstart.dataset import Dataset
from headstart.errors import EngineError, PictureError
from headstart.files import json_digest
from headstart.store import Space, Store
from headstart.trunk import Output, PendingTrunk, Trunk

LOOKAHEAD_BYTES = 192 * 2**20
"""Decoded pictures that may wait for the engine."""
_ROWS_A_WRITE = 256

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Features:
    """What a trunk says of a set of pictures.

    Attributes:
        trunk: what computed them.
        dataset: the pictures, one row each.
        bad: why each picture that could not be read has no features, by row.
        hits, misses: pictures answered from the store, and pictures that were run (each content once).
        seconds: how long the pass took.
    """

    trunk: Trunk
    dataset: Dataset
    bad: Mapping[int, str]
    hits: int
    misses: int
    seconds: float
    _store: Store = field(repr=False)
    _overlay: dict[bytes, np.ndarray] = field(repr=False)

    @property
    def outputs(self) -> tuple[Output, ...]:
        return self.trunk.outputs

    def matrix(self, rows: Sequence[int] | np.ndarray, outputs: Sequence[Output] | None = None) -> np.ndarray:
        """Features of some rows as float16, shape (rows, dimensions), the outputs side by side.

        Rows that another process has removed from the store meanwhile are computed again.

        Raises:
            EngineError: a row has no features because its picture is bad.
        """
        wanted = tuple(outputs) if outputs is not None else self.trunk.outputs
        digests = [_digest(self.dataset, int(row)) for row in rows]
        result = np.empty((len(digests), sum(output.dimensions for output in wanted)), np.float16)
        places: dict[bytes, list[int]] = {}
        for place, digest in enumerate(digests):
            places.setdefault(digest, []).append(place)
        for attempt in range(2):
            for digest, values in self._rows(list(places), wanted):
                result[places.pop(digest)] = values
            if not places:
                return result
            if attempt == 0:
                again = [index for index in map(int, rows) if _digest(self.dataset, index) in places]
                if any(index in self.bad for index in again):
                    raise EngineError("features were asked for of a picture that cannot be read")
                missing = _first_rows(self.dataset, again)
                run = _Run(self.dataset, self._store, self._overlay)
                run.compute(self.trunk, missing, None)
        raise EngineError(f"{len(places)} pictures changed on disk while headstart ran; run the command again")

    def _rows(self, digests: list[bytes], wanted: tuple[Output, ...]) -> Iterator[tuple[bytes, np.ndarray]]:
        names = [(output.fingerprint, output.dimensions) for output in wanted]
        left = list(digests)
        if self._overlay:
            columns = _columns(_space(self.trunk), names)
            for digest in digests:
                if digest in self._overlay:
                    yield digest, self._overlay[digest][columns]
            left = [digest for digest in digests if digest not in self._overlay]
        for space in self._store.spaces_with(_context(self.trunk), names):
            if not left:
                return
            columns = _columns(space, names)
            found = set()
            for digest, values in self._store.read(space, left):
                found.add(digest)
                yield digest, values[columns]
            left = [digest for digest in left if digest not in found]


def extract(
    dataset: Dataset, trunk: Trunk | PendingTrunk, store: Store, *, progress: Progress | None = None
) -> Features:
    """Features of every readable picture, from the store where they are there, else computed and stored.

    Args:
        dataset: a data set whose contents were hashed (`Dataset.digested`).
        trunk: a trunk, or the promise of one: then decoding starts at once.
        store: an open feature store.
        progress: called with (pictures done, pictures in all) now and then.
    """
    start = time.perf_counter()
    pending = _pending(trunk)
    run = _Run(dataset, store, {})
    todo = _first_rows(dataset, range(len(dataset)))
    if pending.ready():
        ready = pending.result()
        missing = run.missing(ready, todo)
        run.compute(ready, missing, progress, already=len(todo) - len(missing))
    else:
        missing = run.compute_when_ready(pending, todo, progress)
    bad = dict(run.bad)
    bad_digests = {_digest(dataset, row): why for row, why in bad.items()}
    for row in range(len(dataset)):
        digest = _digest(dataset, row)
        if not digest:
            bad.setdefault(row, _why_unreadable(dataset, row))
        elif digest in bad_digests:
            bad.setdefault(row, bad_digests[digest])
    return Features(
        pending.result(), dataset, bad, len(todo) - len(missing), len(missing), time.perf_counter() - start,
        store, run.overlay,
    )  # fmt: skip


class _Run:
    """One pass over some pictures."""

    def __init__(self, dataset: Dataset, store: Store, overlay: dict[bytes, np.ndarray]) -> None:
        self.dataset = dataset
        self.store = store
        self.overlay = overlay
        self.bad: dict[int, str] = {}

    def missing(self, trunk: Trunk, rows: Sequence[int]) -> list[int]:
        """The rows whose features are in no stored space."""
        names = [(output.fingerprint, output.dimensions) for output in trunk.outputs]
        left = {_digest(self.dataset, row): row for row in rows}
        for space in self.store.spaces_with(_context(trunk), names):
            for digest in self.store.have(space, list(left)):
                del left[digest]
        return sorted(left.values())

    def compute(self, trunk: Trunk, rows: Sequence[int], progress: Progress | None, *, already: int = 0) -> None:
        """Run the rows through the trunk and keep their features."""
        if not rows:
            return
        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode") as pool:
            try:
                decoded = self._decoded(pool, trunk.image_size, rows)
                self._drain(trunk, decoded, len(rows), progress, already=already)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def compute_when_ready(self, pending: PendingTrunk, rows: Sequence[int], progress: Progress | None) -> list[int]:
        """Decode ahead while the trunk is compiled; then run the rows that the store lacks, and return them."""
        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode") as pool:
            try:
                decoded = _started(self._decoded(pool, pending.image_size, rows))
                trunk = pending.result()
                missing = self.missing(trunk, rows)
                wanted = set(missing)
                needed = ((row, pixels) for row, pixels in decoded if row in wanted)
                self._drain(trunk, needed, len(missing), progress, already=len(rows) - len(missing))
                return missing
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _decoded(
        self, pool: ThreadPoolExecutor, size: tuple[int, int], rows: Sequence[int]
    ) -> Iterator[tuple[int, Future[Any]]]:
        """(row, decoded picture to come), so many at once that the look-ahead stays within its bytes."""
        ahead = max(8, LOOKAHEAD_BYTES // (size[0] * size[1] * 3))
        waiting: deque[tuple[int, Future[Any]]] = deque()
        for row in rows:
            waiting.append((row, pool.submit(_pixels, self.dataset, row, size)))
            if len(waiting) >= ahead:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()

    def _batches(
        self, decoded: Iterable[tuple[int, Future[Any]]], batch_size: int, size: tuple[int, int]
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        rows: list[int] = []
        pixels = np.empty((batch_size, *size, 3), np.uint8)
        for row, future in decoded:
            try:
                pixels[len(rows)] = future.result()
            except PictureError as error:
                self.bad[row] = str(error)
                continue
            rows.append(row)
            if len(rows) == batch_size:
                yield rows, pixels
                rows, pixels = [], np.empty((batch_size, *size, 3), np.uint8)
        if rows:
            yield rows, pixels[: len(rows)]

    def _drain(
        self, trunk: Trunk, decoded: Iterable[tuple[int, Future[Any]]], total: int, progress: Progress | None,
        *, already: int,
    ) -> None:  # fmt: skip
        engine = trunk.load()
        space = _space(trunk)
        pending: list[tuple[bytes, np.ndarray]] = []
        done = already
        try:
            for rows, values in engine.run(self._batches(decoded, engine.batch_size, trunk.image_size)):
                numbers = np.concatenate([np.asarray(value, np.float16) for value in values], axis=1)
                pending += zip((_digest(self.dataset, row) for row in rows), numbers, strict=True)
                done += len(rows)
                if len(pending) >= _ROWS_A_WRITE:
                    self._keep(space, pending)
                    pending = []
                if progress is not None:
                    progress(done, already + total)
            self._keep(space, pending)
            self.store.prune()
        finally:
            engine.close()

    def _keep(self, space: Space, rows: list[tuple[bytes, np.ndarray]]) -> None:
        if rows and not self.store.write(space, rows):
            self.overlay.update((digest, values.copy()) for digest, values in rows)


def _pixels(dataset: Dataset, row: int, size: tuple[int, int]) -> np.ndarray:
    """Decoded from the very bytes whose digest the features will be stored under."""
    data = images.file_bytes(dataset.path(row))
    if hashlib.sha256(data).digest() != _digest(dataset, row):
        raise PictureError("the file was changed while headstart ran; run the command again to use it")
    return images.decode(data, size)


def _started(iterator: Iterator[Any]) -> Iterator[Any]:
    """The same iterator with its first step already taken, so that what it submits is under way."""
    for first in iterator:
        return _chain(first, iterator)
    return iter(())


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _pending(trunk: Trunk | PendingTrunk) -> PendingTrunk:
    if isinstance(trunk, PendingTrunk):
        return trunk
    future: Future[Trunk] = Future()
    future.set_result(trunk)
    return PendingTrunk(trunk.image_size, future)


def _context(trunk: Trunk) -> str:
    return json_digest({"numerics": trunk.numerics, "decoding": images.DECODING, "view": "clean"})


def _space(trunk: Trunk) -> Space:
    outputs = tuple((output.fingerprint, output.dimensions) for output in trunk.outputs)
    height, width = trunk.image_size
    label = f"{trunk.source}, {height} × {width}, {len(outputs)} outputs, {trunk.numerics}"
    return Space(_context(trunk), outputs, label)


def _columns(space: Space, wanted: Sequence[tuple[str, int]]) -> np.ndarray | slice:
    starts, start = {}, 0
    for name, width in space.outputs:
        starts[name] = start
        start += width
    if tuple(wanted) == space.outputs:
        return slice(None)
    return np.concatenate([np.arange(starts[name], starts[name] + width) for name, width in wanted])


def _digest(dataset: Dataset, row: int) -> bytes:
    if dataset.digests is None:
        raise EngineError("the data set was not hashed; call Dataset.digested() first")
    return dataset.digests[row]


def _first_rows(dataset: Dataset, rows: Iterable[int]) -> list[int]:
    """The first row of each content; rows that could not even be hashed are left out."""
    first: dict[bytes, int] = {}
    for row in rows:
        digest = _digest(dataset, row)
        if digest:
            first.setdefault(digest, row)
    return sorted(first.values())


def _why_unreadable(dataset: Dataset, row: int) -> str:
    try:
        with open(dataset.path(row), "rb") as handle:
            handle.read(1)
    except OSError as error:
        return error.strerror or str(error)
    return "could not be read when its contents were hashed"
