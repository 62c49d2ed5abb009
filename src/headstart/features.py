"""Trunk × pictures → features, through the content-addressed store: no picture is run twice.

A picture may be looked at as it is (the clean view, `None`) or through augmented views; each view has features of its
own, and a picture is decoded once for all views that are asked for together.

The pass is one pipeline: threads read and decode, the engine runs batches as they fill, rows are written as they come
out. Decoding starts before the trunk is ready, within a bounded look-ahead, so compiling a new trunk costs little.
What is held in memory does not grow with the number of pictures; `Features.matrix` reads back what is asked for.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headstart import images
from headstart.augment import View
from headstart.dataset import Dataset
from headstart.engines import Engine
from headstart.errors import EngineError, PictureError
from headstart.files import cache_folder, json_digest
from headstart.spool import Spool
from headstart.store import Space, Store
from headstart.trunk import Output, PendingTrunk, Trunk

LOOKAHEAD_BYTES = 192 * 2**20
"""Decoded pictures that may wait for the engine."""
SPOOL_BYTES = 64 * 2**20
"""Features of a head's training pictures that are kept in memory; more of them go to a temporary file."""
_ROWS_A_READ = 1_024
_ROWS_A_WRITE, _BYTES_A_WRITE = 256, 8 * 2**20
_LARGEST = float(np.finfo(np.float16).max)
_LARGEST_BITS = int(np.float16(_LARGEST).view(np.uint16))
_AHEAD = 32  # looks in a batch that is decoded ahead, or at several views; engines take divisors of it

Progress = Callable[[int, int], None]
Look = tuple[int, View | None]
"""A row of a data set and the view that it is seen through."""


@dataclass
class Tally:
    """What the passes over a set of pictures came to: see `Features`."""

    hits: int = 0
    misses: int = 0
    seconds: float = 0.0

    def add(self, hits: int, misses: int, seconds: float) -> None:
        self.hits, self.misses, self.seconds = self.hits + hits, self.misses + misses, self.seconds + seconds


@dataclass(frozen=True)
class Features:
    """What a trunk says of a set of pictures.

    Attributes:
        trunk: what computed them.
        dataset: the pictures, one row each.
        bad: why each picture that could not be read has no features, by row.
        tally: looks at a picture answered from the store (`hits`), those that were run (`misses`; each content once a
            view), and how long the passes took, later ones for views (`see`) among them.
    """

    trunk: Trunk
    dataset: Dataset
    bad: Mapping[int, str]
    tally: Tally
    _store: Store | None = field(repr=False)
    _overlay: dict[tuple[bytes, View | None], np.ndarray] = field(repr=False)

    @property
    def outputs(self) -> tuple[Output, ...]:
        return self.trunk.outputs

    @property
    def hits(self) -> int:
        return self.tally.hits

    @property
    def misses(self) -> int:
        return self.tally.misses

    @property
    def seconds(self) -> float:
        return self.tally.seconds

    def matrix(
        self, rows: Sequence[int] | np.ndarray, outputs: Sequence[Output] | None = None, *, view: View | None = None
    ) -> np.ndarray:
        """Features of some rows, seen through a view, shape (rows, dimensions), the outputs side by side.

        They are float16, as they are stored; float32 where there is no store and the engine computes in it.

        Rows that another process has removed from the store meanwhile are computed again.

        Raises:
            EngineError: a row has no features because its picture is bad.
        """
        wanted = tuple(outputs) if outputs is not None else self.trunk.outputs
        digests = [_digest(self.dataset, int(row)) for row in rows]
        kept = next(iter(self._overlay.values()), None) if self._store is None else None
        dtype = np.float16 if kept is None else kept.dtype
        result = np.empty((len(digests), sum(output.dimensions for output in wanted)), dtype)
        places: dict[bytes, list[int]] = {}
        for place, digest in enumerate(digests):
            places.setdefault(digest, []).append(place)
        for attempt in range(2):
            for digest, values in self._rows(list(places), wanted, view):
                result[places.pop(digest)] = values
            if not places:
                return result
            if attempt == 0:
                again = [index for index in map(int, rows) if _digest(self.dataset, index) in places]
                if any(index in self.bad for index in again):
                    raise EngineError("features were asked for of a picture that cannot be read")
                missing = [(row, view) for row in _first_rows(self.dataset, again)]
                run = _Run(self.dataset, self._store, self._overlay)
                run.compute(_pending(self.trunk), missing, None)
        raise EngineError(f"{len(places)} pictures changed on disk while headstart ran; run the command again")

    def block(self, rows: Sequence[int] | np.ndarray, outputs: Sequence[Output] | None = None) -> Any:
        """Features of some rows for whoever reads them in blocks: as `matrix`, or a `Spool` where they are many.

        What is in memory at once does not grow with the number of rows beyond `SPOOL_BYTES`.
        """
        wanted = tuple(outputs) if outputs is not None else self.trunk.outputs
        width = sum(output.dimensions for output in wanted)
        if 2 * len(rows) * width <= SPOOL_BYTES or self._store is None:
            return self.matrix(rows, wanted)
        parts = (self.matrix(rows[at : at + _ROWS_A_READ], wanted) for at in range(0, len(rows), _ROWS_A_READ))
        return Spool.of(parts, (len(rows), width), np.float16, cache_folder())

    def see(self, looks: Sequence[Look], *, kept: Kept | None = None, progress: Progress | None = None) -> None:
        """Compute what is lacking of more looks at these pictures, so that `matrix` finds them.

        Args:
            kept: what other passes over these pictures have left; filled by this one.
            progress: called with (looks done, looks in all) now and then.
        """
        start = time.perf_counter()
        run = _Run(self.dataset, self._store, self._overlay, kept)
        missing = run.compute(_pending(self.trunk), looks, progress)
        self.tally.add(len(looks) - len(missing), len(missing), time.perf_counter() - start)

    def _rows(
        self, digests: list[bytes], wanted: tuple[Output, ...], view: View | None
    ) -> Iterator[tuple[bytes, np.ndarray]]:
        names = _names(wanted)
        left = list(digests)
        if self._overlay:
            columns = _columns(space_of(self.trunk, view), names)
            for digest in digests:
                if (digest, view) in self._overlay:
                    yield digest, self._overlay[digest, view][columns]
            left = [digest for digest in digests if (digest, view) not in self._overlay]
        if self._store is None:
            return
        for space in self._store.spaces_with(context_of(self.trunk, view), names):
            if not left:
                return
            columns = _columns(space, names)
            found = set()
            for digest, values in self._store.read(space, left):
                found.add(digest)
                yield digest, values[columns]
            left = [digest for digest in left if digest not in found]
        if left and (parts := self._store.spaces_with_some(context_of(self.trunk, view), names)):
            yield from self._store.read_parts(parts, left, names)


@dataclass
class FirstPass:
    """What a pass over pictures as they are has left (`ingest`).

    Attributes:
        bad: why a picture cannot be read, by row; it is not tried again.
        overlay: features that the store could not keep.
        misses: contents that were run, or could not be.
        seconds: how long the pass took.
    """

    bad: dict[int, str] = field(default_factory=dict)
    overlay: dict[tuple[bytes, View | None], np.ndarray] = field(default_factory=dict)
    misses: int = 0
    seconds: float = 0.0


def extract(
    dataset: Dataset, trunk: Trunk | PendingTrunk, store: Store | None, *,
    views: Callable[[int], Sequence[View | None]] | None = None, kept: Kept | None = None,
    first: FirstPass | None = None, progress: Progress | None = None,
) -> Features:  # fmt: skip
    """Features of every readable picture, from the store where they are there, else computed and stored.

    Args:
        dataset: a data set whose contents were hashed (`Dataset.digested`).
        trunk: a trunk, or the promise of one: then decoding starts at once.
        store: an open feature store; None keeps the features in memory, unrounded.
        views: the views that a row is to be seen through, None among them for the picture as it is; all rows are seen
            as they are where nothing is given.
        kept: what earlier passes over the same pictures with the same trunk have left; filled by this one.
        first: a pass over these very pictures that has just been made with this trunk; nothing of it is done again.
        progress: called with (looks done, looks in all) now and then.
    """
    start = time.perf_counter()
    pending = _pending(trunk)
    first = first if first is not None else FirstPass()
    run = _Run(dataset, store, first.overlay, kept)
    run.bad.update(first.bad)
    rows = _first_rows(dataset, range(len(dataset)))
    todo = [
        (row, view) for row in rows if row not in first.bad
        for view in (views(row) if views is not None else (None,))
    ]  # fmt: skip
    missing = run.compute(pending, todo, progress)
    bad = dict(run.bad)
    bad_digests = {_digest(dataset, row): why for row, why in bad.items()}
    for row in range(len(dataset)):
        digest = _digest(dataset, row)
        if not digest:
            bad.setdefault(row, _why_unreadable(dataset, row))
        elif digest in bad_digests:
            bad.setdefault(row, bad_digests[digest])
    misses = len(missing) + first.misses
    lost = sum(1 for row in rows if row in first.bad)
    seconds = time.perf_counter() - start + first.seconds
    return Features(
        pending.result(), dataset, bad, Tally(len(todo) + lost - misses, misses, seconds), store, run.overlay
    )


class Kept:
    """What passes over the same pictures share: the loaded engine, and decoded pictures while there is room."""

    def __init__(self, room: int = LOOKAHEAD_BYTES) -> None:
        self.engine: Engine | None = None
        self._pixels: dict[bytes, np.ndarray] = {}
        self._room = room

    def pixels(self, digest: bytes, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """The picture of that digest, decoded where it is not at hand."""
        found = self._pixels.get(digest)
        if found is None:
            found = decode()
            if found.nbytes <= self._room:
                self._room -= found.nbytes
                self._pixels[digest] = found
        return found

    def close(self) -> None:
        """Let go of both."""
        if self.engine is not None:
            self.engine.close()
        self.engine = None
        self._pixels.clear()


class _Run:
    """One pass over some pictures."""

    def __init__(
        self, dataset: Dataset, store: Store | None, overlay: dict[tuple[bytes, View | None], np.ndarray],
        kept: Kept | None = None,
    ) -> None:  # fmt: skip
        self.kept = kept
        self.dataset = dataset
        self.store = store
        self.overlay = overlay
        self.bad: dict[int, str] = {}

    def missing(self, trunk: Trunk, looks: Sequence[Look]) -> list[Look]:
        """The looks whose features are in no stored space, nor in several that can be put together."""
        by_view: dict[View | None, dict[bytes, int]] = {}
        for row, view in looks:
            if (digest := _digest(self.dataset, row)) and (digest, view) not in self.overlay:
                by_view.setdefault(view, {})[digest] = row
        for view, left in by_view.items():
            for digest in stored(self.store, trunk, view, list(left)):
                del left[digest]
        return [look for look in looks if by_view.get(look[1], {}).get(_digest(self.dataset, look[0])) == look[0]]

    def compute(self, pending: PendingTrunk, looks: Sequence[Look], progress: Progress | None) -> list[Look]:
        """Run those of the looks whose features the store lacks, keep what comes out, and return them.

        While the trunk is compiled and the engine loads it, pictures are decoded ahead.
        """
        known = pending.ready()
        missing = self.missing(pending.result(), looks) if known else list(looks)
        if not missing:
            return []
        with _threads() as pool, ThreadPoolExecutor(1, thread_name_prefix="engine") as loader:
            loading = loader.submit(self._engine, pending, missing)
            ahead = self._decode_ahead(pool, loading, missing, size=pending.image_size)
            engine, trunk = loading.result()
            missing = missing if known else self.missing(pending.result(), looks)
            wanted = set(missing)
            decoded = deque(batch for some, batch in ahead if wanted.intersection(some))
            begun = {look for some, _ in ahead for look in some}
            del ahead  # or its pixels would stay until the end
            rest = [look for look in missing if look not in begun]
            self._drain(pool, engine, trunk, decoded=decoded, looks=rest, progress=progress, total=len(looks))
        if self.store is not None:
            self.store.prune()
        return missing

    def _decode_ahead(
        self, pool: ThreadPoolExecutor, until: Future[Any], looks: Sequence[Look], *, size: tuple[int, int]
    ) -> list[tuple[Sequence[Look], Future[_Batch]]]:
        """Batches that are decoded until the engine is there, within the look-ahead's bytes."""
        most = LOOKAHEAD_BYTES // (_AHEAD * size[0] * size[1] * 3)
        behind = 2 * (os.cpu_count() or 1)
        ahead: list[tuple[Sequence[Look], Future[_Batch]]] = []
        for some in _in_batches(looks, _AHEAD):
            if len(ahead) >= most or until.done():
                break
            ahead.append((some, pool.submit(self._decode, some, size)))
            if len(ahead) > behind:
                ahead[-behind][1].exception()  # wait, so that little more is begun than there is time for
        return ahead

    def _decode(self, looks: Sequence[Look], size: tuple[int, int]) -> _Batch:
        pixels = np.empty((len(looks), *size, 3), np.uint8)
        good: list[Look] = []
        bad: dict[int, str] = {}
        for row, group in itertools.groupby(looks, key=lambda look: look[0]):
            try:
                clean = self._clean(row, size)
            except PictureError as error:
                bad[row] = str(error)
                continue
            for look in group:
                view = look[1]
                pixels[len(good)] = clean if view is None else view.apply(clean, _digest(self.dataset, row))
                good.append(look)
        return _Batch(good, pixels, bad)

    def _clean(self, row: int, size: tuple[int, int]) -> np.ndarray:
        if self.kept is None:
            return _pixels(self.dataset, row, size)
        return self.kept.pixels(_digest(self.dataset, row), lambda: _pixels(self.dataset, row, size))

    def _engine(self, pending: PendingTrunk, looks: Sequence[Look]) -> tuple[Engine, Trunk]:
        """The engine, and the trunk that it runs."""
        if self.kept is None:
            trunk = self._lacking(pending.result(), looks)
            return trunk.load(), trunk
        if self.kept.engine is None:
            self.kept.engine = pending.result().load()
        return self.kept.engine, pending.result()

    def _lacking(self, trunk: Trunk, looks: Sequence[Look]) -> Trunk:
        """Of networks side by side those whose features the store lacks of any of the looks."""
        networks = sorted(set(trunk.members))
        if len(networks) < 2 or self.store is None or self.store.trouble:
            return trunk
        lacking = [number for number in networks if self.missing(trunk.only([number]), looks)]
        return trunk.only(lacking) if 0 < len(lacking) < len(networks) else trunk

    def _drain(
        self, pool: ThreadPoolExecutor, engine: Engine, trunk: Trunk, *, decoded: deque[Future[_Batch]],
        looks: Sequence[Look], progress: Progress | None, total: int,
    ) -> None:  # fmt: skip
        """Run what is decoded, then the rest: each thread decodes a batch and runs it, so every core stays busy."""

        def work(some: Sequence[Look] | Future[_Batch]) -> tuple[_Batch, list[np.ndarray]]:
            batch = some.result() if isinstance(some, Future) else self._decode(some, trunk.image_size)
            return batch, infer(engine, batch.pixels[: len(batch.looks)], rounding=self.store is not None)

        before = total - len(looks) - _AHEAD * len(decoded)
        size = engine.batch_size if all(view is None for _, view in looks) else _AHEAD  # a row's views stay together
        first = (decoded.popleft() for _ in range(len(decoded)))
        try:
            self._collect(
                pool, work, itertools.chain(first, _in_batches(looks, size)), trunk,
                window=4 * (os.cpu_count() or 1),
                tell=lambda done: progress(min(total, max(0, before) + done), total) if progress else None,
            )  # fmt: skip
        finally:
            if self.kept is None:
                engine.close()

    def _collect(
        self, pool: ThreadPoolExecutor, work: Any, jobs: Iterable[Any], trunk: Trunk, *, window: int,
        tell: Callable[[int], None],
    ) -> None:  # fmt: skip
        """Keep a few jobs under way, and what they give: rows to the store, reasons of the bad ones."""
        waiting: deque[Future[tuple[_Batch, list[np.ndarray]]]] = deque()
        writer = Writer(trunk, self.store, self.overlay)
        done = 0
        for job in itertools.chain(jobs, [None] * window):
            if job is not None:
                waiting.append(pool.submit(work, job))
            while waiting and (job is None or len(waiting) >= window):
                batch, parts = waiting.popleft().result()
                for (row, view), values in zip(batch.looks, itertools.chain.from_iterable(parts), strict=True):
                    writer.add(_digest(self.dataset, row), view, values)
                self.bad.update(batch.bad)
                done += len(batch.looks) + len(batch.bad)
                tell(done)
        writer.flush()


class Writer:
    """Write rows of features to the store, some at a time; what it cannot keep goes to the overlay."""

    def __init__(
        self, trunk: Trunk, store: Store | None, overlay: dict[tuple[bytes, View | None], np.ndarray]
    ) -> None:  # fmt: skip
        self.trunk, self.store, self.overlay = trunk, store, overlay
        self._waiting: dict[View | None, list[tuple[bytes, np.ndarray]]] = {}

    def add(self, digest: bytes, view: View | None, values: np.ndarray) -> None:
        """Take one row, as `infer` gives it."""
        rows = self._waiting.setdefault(view, [])
        rows.append((digest, values))
        if len(rows) >= _ROWS_A_WRITE or len(rows) * values.nbytes >= _BYTES_A_WRITE:
            self._write(view, self._waiting.pop(view))

    def flush(self) -> None:
        """Write what is left."""
        while self._waiting:
            self._write(*self._waiting.popitem())

    def _write(self, view: View | None, rows: list[tuple[bytes, np.ndarray]]) -> None:
        kept = self.store is not None and self.store.write(space_of(self.trunk, view), rows)
        if not kept and "only" not in self.trunk.facts:  # a part of a row is computed again when the rest is read
            self.overlay.update({(digest, view): values for digest, values in rows})


def rounded(values: np.ndarray) -> np.ndarray:
    """Round to float16, as the store has features: what that cannot hold becomes its largest number, no infinity."""
    if values.dtype == np.float16 and not ((values.view(np.uint16) & 0x7FFF) > _LARGEST_BITS).any():
        return values  # nothing in it is infinite: numpy clips float16 a number at a time
    result: np.ndarray = np.clip(values, -_LARGEST, _LARGEST).astype(np.float16, copy=False)
    return result


def stored(store: Store | None, trunk: Trunk, view: View | None, digests: Sequence[bytes]) -> set[bytes]:
    """Find the contents whose features are in a stored space, or in several that can be put together."""
    if store is None:
        return set()
    names, left = _names(trunk.outputs), list(digests)
    for space in store.spaces_with(context_of(trunk, view), names):
        found = store.have(space, left) if left else set()
        left = [digest for digest in left if digest not in found]
    parts = store.spaces_with_some(context_of(trunk, view), names) if left else []
    joined = store.have_parts(parts, left, names) if parts else set()
    return set(digests) - {digest for digest in left if digest not in joined}


def infer(engine: Engine, pixels: np.ndarray, *, rounding: bool) -> list[np.ndarray]:
    """Run any number of decoded pictures in the engine's own batches, the last one padded.

    Args:
        pixels: uint8 array of shape (n_images, height, width, 3).
        rounding: give float16 as the store has it; else float32 stays what it is.

    Returns:
        Blocks of rows, one for each batch, all outputs side by side.
    """
    parts = []
    for start in range(0, len(pixels), engine.batch_size):
        batch = pixels[start : start + engine.batch_size]
        count = len(batch)
        if count < engine.batch_size:
            padding = np.zeros((engine.batch_size - count, *batch.shape[1:]), np.uint8)
            batch = np.concatenate([batch, padding])
        values = np.concatenate([value[:count] for value in engine.infer(batch)], axis=1)
        parts.append(rounded(values) if rounding or values.dtype == np.float16 else values)
    return parts


@dataclass(frozen=True)
class _Batch:
    """Decoded pictures: `pixels[i]` is that of `looks[i]`; what lies behind the last one is unused."""

    looks: list[Look]
    pixels: np.ndarray
    bad: dict[int, str]


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that decode and run, one more than there are cores, so that none idles while one waits its turn.

    On an error or Ctrl-C what has not begun is given up.
    """
    pool = ThreadPoolExecutor((os.cpu_count() or 1) + 1, thread_name_prefix="features")
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown(wait=True)


def _in_batches(looks: Sequence[Look], size: int) -> Iterator[Sequence[Look]]:
    for start in range(0, len(looks), size):
        yield looks[start : start + size]


def _pixels(dataset: Dataset, row: int, size: tuple[int, int]) -> np.ndarray:
    """Decoded from the very bytes whose digest the features will be stored under."""
    data = images.same_bytes(dataset.path(row), _digest(dataset, row))
    return images.decode(data, size)


def _pending(trunk: Trunk | PendingTrunk) -> PendingTrunk:
    if isinstance(trunk, PendingTrunk):
        return trunk
    future: Future[Trunk] = Future()
    future.set_result(trunk)
    return PendingTrunk(trunk.image_size, future)


def context_of(trunk: Trunk, view: View | None) -> str:
    seen = "clean" if view is None else view.key()
    return json_digest({"numerics": trunk.numerics, "decoding": images.DECODING, "view": seen})


def space_of(trunk: Trunk, view: View | None) -> Space:
    outputs = _names(trunk.outputs)
    height, width = trunk.image_size
    label = f"{trunk.source}, {height} × {width}, {len(outputs)} outputs, {trunk.numerics}"
    label += f", view {view.number}" if view is not None else ""
    return Space(context_of(trunk, view), outputs, label)


def _names(outputs: Sequence[Output]) -> tuple[tuple[str, int], ...]:
    return tuple((output.fingerprint, output.dimensions) for output in outputs)


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
