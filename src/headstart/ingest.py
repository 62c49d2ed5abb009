"""Read, hash, thumbnail and run every picture once: what training and `headstart check` begin with.

A file is read once. From the same bytes come its SHA-256, the row of `looks` (a grey thumbnail and a few measures) and
the pixels for the network, by one decode. Nothing waits for all files to be hashed, for the trunk to be compiled or for
a split: each chunk of pictures asks the store what it lacks of them and does that alone. So

- where all is in the store, files are read and hashed, and the engine is never loaded;
- where nothing is, threads read and decode while the worker compiles, within `LOOKAHEAD_BYTES` of pixels, and go on
  while other threads run what is decoded: a slow disk does not keep the network waiting, nor the reverse;
- thumbnails are complete before the last features are, and near-duplicates are looked for meanwhile.

Features are stored under the digest of the very bytes that they were computed from, so a file that is edited while this
runs is either the old one in all respects or the new one.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

import numpy as np

from headstart import alike, engines, images, looks
from headstart.dataset import Dataset
from headstart.engines import Engine
from headstart.errors import PictureError
from headstart.features import LOOKAHEAD_BYTES, FirstPass, Writer, infer, stored
from headstart.looks import Looks
from headstart.progress import Progress, silent
from headstart.store import Store
from headstart.trunk import PendingTrunk

CHUNK = 32
"""Pictures that are read, looked up and decoded by one thread at a time; fewer where they are very large."""
BATCHES_A_RUN = 2
"""Engine batches that are run by one thread at a time; few, so that no core idles at the end."""
_HELD_BYTES = 8 * 2**20  # of files that a chunk keeps between hashing and decoding; others are read again
_LOOKS_A_WRITE = 1024
_POLL = 0.2  # seconds after which a pass that waits looks whether it is still wanted


class StoppedError(Exception):
    """Ends a pass that nobody waits for any more."""


@dataclass
class _Chunk:
    """What was read of some pictures.

    Attributes:
        rows, digests: the pictures, and the SHA-256 of each, b"" where it could not be read.
        unreadable: why a file could not be read, by row.
        undecodable: why bytes are no picture, by digest.
        known, measured: rows of `looks` by digest, from the store and new ones.
        missing: contents whose features are wanted, in the order of `pixels`.
        pixels: uint8 array of shape (len(missing), height, width, 3).
    """

    rows: Sequence[int]
    digests: list[bytes]
    unreadable: dict[int, str] = field(default_factory=dict)
    undecodable: dict[bytes, str] = field(default_factory=dict)
    known: dict[bytes, np.ndarray] = field(default_factory=dict)
    measured: dict[bytes, np.ndarray] = field(default_factory=dict)
    missing: list[bytes] = field(default_factory=list)
    pixels: np.ndarray | None = None

    def part(self, start: int, stop: int) -> _Chunk:
        """Take some of the contents that are to be run."""
        pixels = self.pixels[start:stop] if self.pixels is not None else None
        return _Chunk((), [], missing=self.missing[start:stop], pixels=pixels)


class Ingest:
    """One pass over the pictures of a data set, begun in the background when it is entered.

    Args:
        dataset: hashed or not.
        store: where thumbnails and features are looked up and kept.
        trunk: what features are computed with, as the pictures are, without views; None for thumbnails alone.
        progress: called with (stage, done, total) from the pass's own thread.

    Example:
        >>> with Ingest(dataset, store, trunk=pending) as ingest:   # doctest: +SKIP
        ...     dataset, looks = ingest.look_over()
        ...     features = extract(split(dataset), pending, store, first=ingest.finish())
    """

    def __init__(
        self, dataset: Dataset, store: Store, *, trunk: PendingTrunk | None = None, progress: Progress = silent
    ) -> None:  # fmt: skip
        self.dataset, self.store, self.trunk, self.progress = dataset, store, trunk, progress
        self._lock = threading.Lock()
        self._claimed: set[bytes] = set()
        self._stop = threading.Event()
        self._read: Future[tuple[Dataset, Looks]] = Future()
        self._ended: Future[FirstPass] = Future()
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)

    def __enter__(self) -> Ingest:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def look_over(self) -> tuple[Dataset, Looks]:
        """Wait until every picture was read, and tie near-duplicates; features may still be under way.

        Returns:
            The data set, hashed and tied, and its looks.

        Raises:
            SourceError: the trunk cannot be compiled.
        """
        dataset, seen = self._read.result()
        return alike.tied(dataset, seen), seen

    def finish(self) -> FirstPass:
        """Wait until every picture was run.

        Raises:
            SourceError: the trunk cannot be compiled; EngineError: it cannot be run.
        """
        return self._ended.result()

    # ---- in the pass's own thread

    def _run(self) -> None:
        try:
            _Pass(self).work()
        except BaseException as error:  # handed to whoever waits
            for future in (self._read, self._ended):
                if not future.done():
                    future.set_exception(error)

    # ---- in the readers' threads

    def read(self, rows: Sequence[int]) -> _Chunk:
        """Read, hash and look up some pictures, and decode what the store lacks of them."""
        chunk, held = self._hashed(rows)
        first = {digest: row for row, digest in zip(reversed(rows), reversed(chunk.digests), strict=True) if digest}
        with self._lock:
            mine = [digest for digest in first if digest not in self._claimed]
            self._claimed.update(mine)
        chunk.known = dict(self.store.read(looks.space(), mine))
        wanted = set(self.lacking(mine))
        size = self.trunk.image_size if self.trunk is not None else (looks.SIDE, looks.SIDE)
        pixels = np.empty((len(wanted), *size, 3), np.uint8) if wanted else None
        for digest in mine:
            if digest in chunk.known and digest not in wanted:
                continue
            try:
                data = held.pop(first[digest], None)
                if data is None:
                    data = images.same_bytes(self.dataset.path(first[digest]), digest)
                whole = self._decode(chunk, digest, data, size if digest in wanted else None)
            except PictureError as error:
                chunk.undecodable[digest] = str(error)
                continue
            if pixels is not None and whole is not None:
                pixels[len(chunk.missing)] = whole
                chunk.missing.append(digest)
        if chunk.missing and pixels is not None:
            chunk.pixels = pixels[: len(chunk.missing)]
        return chunk

    def _decode(
        self, chunk: _Chunk, digest: bytes, data: bytes, size: tuple[int, int] | None
    ) -> np.ndarray | None:  # fmt: skip
        """Decode for the network where a size is given, and measure the thumbnail where that is not known."""
        side = (looks.SIDE, looks.SIDE)
        if digest in chunk.known:
            return None if size is None else images.decode(data, size)
        if size is None:
            whole, thumbnail, header = None, images.decode(data, side), images.probe(data)
        else:
            whole, thumbnail, header = images.decode_with_thumbnail(data, size, side)
        chunk.measured[digest] = looks.measure(thumbnail, header)
        return whole

    def _hashed(self, rows: Sequence[int]) -> tuple[_Chunk, dict[int, bytes]]:
        """Read and hash; known digests are taken as they are. The bytes are kept while they are few."""
        chunk, held, room = _Chunk(rows, []), dict[int, bytes](), _HELD_BYTES
        for row in rows:
            known = self.dataset.digests[row] if self.dataset.digests is not None else b""
            if known:
                chunk.digests.append(known)
                continue
            try:
                data = images.file_bytes(self.dataset.path(row))
            except PictureError as error:
                chunk.unreadable[row] = str(error)
                chunk.digests.append(b"")
                continue
            if self.dataset.digests is not None:  # it is readable now, and was not when it was hashed
                chunk.unreadable[row] = "could not be read when its contents were hashed"
                chunk.digests.append(b"")
                continue
            chunk.digests.append(hashlib.sha256(data).digest())
            room -= len(data)
            if room >= 0:
                held[row] = data
        return chunk, held

    def lacking(self, digests: Sequence[bytes]) -> list[bytes]:
        """Find those of the contents whose features are in no space of the store; all while that is unknown."""
        if self.trunk is None:
            return []
        if not self.trunk.ready():
            return list(digests)
        known = stored(self.store, self.trunk.result(), None, digests)
        return [digest for digest in digests if digest not in known]


class _Pass:
    """What one pass keeps track of: chunks that are read, wait for the engine, and are run."""

    def __init__(self, ingest: Ingest) -> None:
        self.ingest, self.store, self.trunk = ingest, ingest.store, ingest.trunk
        count = len(ingest.dataset)
        self.digests: list[bytes] = [b""] * count
        self.rows_of: dict[bytes, list[int]] = {}
        self.table = np.zeros((count, looks.COLUMNS), np.float16)
        self.measured_at: dict[bytes, int] = {}  # which row of `table` has what is known of a content
        self.bad: dict[int, str] = {}
        self.undecodable: dict[bytes, str] = {}
        self.measured: list[tuple[bytes, np.ndarray]] = []
        self.first = FirstPass()
        height, width = ingest.trunk.image_size if ingest.trunk is not None else (looks.SIDE, looks.SIDE)
        self.most = LOOKAHEAD_BYTES // (3 * height * width)
        self.chunk = max(1, min(CHUNK, self.most // 8))
        self.left = deque(range(at, min(at + self.chunk, count)) for at in range(0, count, self.chunk))
        self.waiting: deque[_Chunk] = deque()
        self.held = 0  # pictures in `waiting` and being run
        self.late = ingest.trunk is not None and not ingest.trunk.ready()
        self.writer: Writer | None = None
        self.done = self.told = self.read = 0

    def work(self) -> None:
        """Read all, then hand over what was read, then run what is left."""
        start, count = time.perf_counter(), len(self.digests)
        cores = os.cpu_count() or 1
        readers = ThreadPoolExecutor(cores, thread_name_prefix="read")
        runners = ThreadPoolExecutor(cores, thread_name_prefix="run")
        loader = ThreadPoolExecutor(1, thread_name_prefix="engine")
        engine: Engine | None = None
        try:
            loading = loader.submit(self._load) if self.late else None
            reading: set[Future[_Chunk]] = set()
            running: set[Future[tuple[_Chunk, list[np.ndarray]]]] = set()
            while self.left or reading or running or self.waiting:
                while self.left and len(reading) < 2 * cores and self._room(len(reading)):
                    reading.add(readers.submit(self.ingest.read, self.left.popleft()))
                if self.waiting and loading is None:
                    loading = loader.submit(self._load)
                if engine is None and loading is not None and loading.done():
                    engine = loading.result()
                    self.most //= 4  # it keeps pace now, and pictures that wait take memory for nothing
                    self._look_again()
                while engine is not None and self.waiting and len(running) < 2 * engine.parallel:
                    running.add(runners.submit(self._infer, engine, self._next(engine.batch_size)))
                for future in self._finished({*reading, *running, *([loading] if loading and engine is None else [])}):
                    if future in reading:
                        reading.discard(future)
                        self._take(future.result())
                        if not self.left and not reading:
                            self._hand_over()
                    elif future in running:
                        running.discard(future)
                        self._keep(*future.result())
                if loading is not None and self.told != self.done:
                    self.told = self.done
                    self.ingest.progress("features", self.done, count)
            if not self.ingest._read.done():  # there was no picture
                self._hand_over()
            if self.writer is not None:
                self.writer.flush()
                self.store.prune()
            self.first.seconds = time.perf_counter() - start
            self.ingest._ended.set_result(self.first)
        finally:
            for pool in (readers, runners):
                pool.shutdown(wait=True, cancel_futures=True)
            loader.shutdown(wait=False, cancel_futures=True)  # it may wait for a worker that is ended later
            if self.writer is not None:
                self.writer.flush()
            if engine is not None:
                engine.close()

    def _finished(self, futures: set[Any]) -> Iterator[Any]:
        """Wait for the next to end, unless the pass is not wanted any more."""
        while futures:
            if self.ingest._stop.is_set():
                raise StoppedError
            ended = wait(futures, timeout=_POLL, return_when=FIRST_COMPLETED).done
            if ended:
                yield from ended
                return

    def _room(self, reading: int) -> bool:
        """Whether another chunk of decoded pictures has room beside those that wait."""
        if self.trunk is None:
            return True
        return not self.held + reading or self.held + (reading + 1) * self.chunk <= self.most

    def _load(self) -> Engine:
        if self.late:
            engines.import_ahead()
        trunk = self.trunk.result() if self.trunk is not None else None
        if trunk is None or self.ingest._stop.is_set():
            raise StoppedError
        return trunk.load()

    def _look_again(self) -> None:
        """Let go of what was decoded before the trunk was known and is in the store."""
        if not self.late:
            return
        chunks, self.waiting = self.waiting, deque()
        for chunk in chunks:
            lacking = set(self.ingest.lacking(chunk.missing))
            kept = [at for at, digest in enumerate(chunk.missing) if digest in lacking]
            self._leave(len(chunk.missing) - len(kept))
            if kept and chunk.pixels is not None:
                pixels = chunk.pixels if len(kept) == len(chunk.missing) else chunk.pixels[kept]
                self.waiting.append(replace(chunk, missing=[chunk.missing[at] for at in kept], pixels=pixels))

    def _leave(self, count: int) -> None:
        self.held -= count
        self.done += count
        self.first.misses -= count

    def _next(self, batch_size: int) -> _Chunk:
        """Take the next contents to be run, few enough for one thread."""
        chunk, most = self.waiting.popleft(), BATCHES_A_RUN * batch_size
        if len(chunk.missing) > most:
            self.waiting.appendleft(chunk.part(most, len(chunk.missing)))
        return chunk.part(0, most)

    @staticmethod
    def _infer(engine: Engine, chunk: _Chunk) -> tuple[_Chunk, list[np.ndarray]]:
        return chunk, infer(engine, chunk.pixels, rounding=True) if chunk.pixels is not None else []

    def _take(self, chunk: _Chunk) -> None:
        """Keep what was read of a chunk, and queue what is to be run."""
        for row, digest in zip(chunk.rows, chunk.digests, strict=True):
            self.digests[row] = digest
            if digest:
                self.rows_of.setdefault(digest, []).append(row)
        self.bad.update(chunk.unreadable)
        self.undecodable.update(chunk.undecodable)
        for digest, values in (*chunk.known.items(), *chunk.measured.items()):
            self.measured_at[digest] = self.rows_of[digest][0]
            self.table[self.measured_at[digest]] = values
        self.measured += chunk.measured.items()
        if len(self.measured) >= _LOOKS_A_WRITE:
            self._keep_looks()
        self.read += len(chunk.rows)
        self.done += len(chunk.rows) - len(chunk.missing)
        self.first.misses += len(chunk.missing) + (len(chunk.undecodable) if self.trunk is not None else 0)
        if chunk.missing:
            self.held += len(chunk.missing)
            self.waiting.append(chunk)
        self.ingest.progress("reading", self.read, len(self.digests))

    def _keep_looks(self) -> None:
        if self.measured:
            self.store.write(looks.space(), self.measured)
            self.measured = []

    def _keep(self, chunk: _Chunk, parts: list[np.ndarray]) -> None:
        """Queue features for the store."""
        if self.writer is None and self.trunk is not None:
            self.writer = Writer(self.trunk.result(), self.store, self.first.overlay)
        rows = (values for part in parts for values in part)
        for digest, values in zip(chunk.missing, rows, strict=True):
            if self.writer is not None:
                self.writer.add(digest, None, values)
        self.held -= len(chunk.missing)
        self.done += len(chunk.missing)

    def _hand_over(self) -> None:
        """Every picture was read: copies get what the first of them has."""
        self._keep_looks()
        for digest, rows in self.rows_of.items():
            if digest in self.undecodable:
                self.bad.update(dict.fromkeys(rows, self.undecodable[digest]))
            elif len(rows) > 1:
                self.table[rows] = self.table[self.measured_at[digest]]
        self.first.bad = dict(sorted(self.bad.items()))
        seen = looks.of_rows(self.table, self.first.bad)
        self.ingest._read.set_result((replace(self.ingest.dataset, digests=tuple(self.digests)), seen))
