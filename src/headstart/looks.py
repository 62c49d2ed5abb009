"""What every picture looks like at a glance: a small grey copy and a few measures, through the store.

A glance is cheap beside a pass of a network (a JPEG is decoded at an eighth or a quarter of its size), is kept under
the digest of the picture's bytes as features are, and finds the pictures that cannot be read on the way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from headstart import images
from headstart.dataset import Dataset
from headstart.errors import PictureError
from headstart.files import json_digest
from headstart.store import Space, Store

SMALL = 16
"""Pixels of each side of the grey copy."""
SIDE = 2 * SMALL
"""Pixels of each side of what is decoded; the ring of pixels at its edge is what a border is measured on."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Red, green and blue in the brightness of a pixel (ITU-R BT.601)."""
FORMATS = ("another", "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
_VERSION = 1  # of what a stored row holds
_DIGIT = 1024  # widths and heights are kept as two digits: float16 holds whole numbers up to 2,048 alone
_NINETY_NINE = SIDE * SIDE * 99 // 100
_STEP = 64
_ROWS_A_WRITE = 1024
COLUMNS = SMALL * SMALL + 8
"""Numbers that are kept of a picture."""


@dataclass(frozen=True, eq=False)
class Looks:
    """One row a picture of the data set; rows of pictures that cannot be read are all zero.

    Attributes:
        small: uint8 of shape (pictures, 16, 16), 0 to 255: the whole picture in grey, stretched.
        width, height: pixels as stored.
        format: index into `FORMATS`, by the file's contents, not its name.
        chroma: how far a pixel's colour channels lie apart, 0 to 255; the 99th percentile over the picture.
        edge, edge_spread: mean and standard deviation of the brightness along the picture's edge, 0 to 255.
        bad: why a picture cannot be read, by row.
    """

    small: np.ndarray
    width: np.ndarray
    height: np.ndarray
    format: np.ndarray
    chroma: np.ndarray
    edge: np.ndarray
    edge_spread: np.ndarray
    bad: Mapping[int, str]

    @property
    def readable(self) -> np.ndarray:
        """bool of shape (pictures,)."""
        return self.width > 0

    @property
    def contrast(self) -> np.ndarray:
        """The brightest less the darkest of the 16 × 16 pixels."""
        flat = self.small.reshape(-1, SMALL * SMALL).astype(np.int16)
        result: np.ndarray = flat.max(axis=1, initial=0) - flat.min(axis=1, initial=255)
        return np.where(self.readable, result, 0)


def glance(
    dataset: Dataset, store: Store | None = None, *, progress: Callable[[int, int], None] | None = None
) -> Looks:
    """Look at every picture once; the same bytes are decoded once, and not at all where the store knows them.

    Args:
        dataset: the pictures; files are hashed where they were not.
        store: an open feature store, or None to keep nothing.
        progress: called with pictures done and in all.
    """
    rows_of: dict[bytes, list[int]] = {}
    for row, digest in enumerate(dataset.digested().digests or ()):
        rows_of.setdefault(digest or b"%d" % row, []).append(row)
    table, bad = np.zeros((len(dataset), COLUMNS), np.float16), dict[int, str]()
    left, done = dict(rows_of), 0
    if store is not None:
        for digest, values in store.read(space(), [digest for digest in rows_of if len(digest) == 32]):
            rows = left.pop(digest)
            table[rows] = values
            done += len(rows)
        if progress and done:
            progress(done, len(dataset))
    fresh: list[tuple[bytes, np.ndarray]] = []
    for digest, seen in _measured(dataset, list(left.items())):
        if isinstance(seen, str):
            bad |= dict.fromkeys(rows_of[digest], seen)
        else:
            table[rows_of[digest]] = seen
            fresh.append((digest, seen))
        done += len(rows_of[digest])
        if store is not None and len(fresh) == _ROWS_A_WRITE:
            store.write(space(), fresh)
            fresh = []
        if progress and (done % _STEP == 0 or done == len(dataset)):
            progress(done, len(dataset))
    if store is not None and fresh:
        store.write(space(), fresh)
    return of_rows(table, dict(sorted(bad.items())))


def _measured(dataset: Dataset, todo: Sequence[tuple[bytes, list[int]]]) -> Iterator[tuple[bytes, np.ndarray | str]]:
    """A row, or why there is none, for each content."""

    def some(start: int) -> list[tuple[bytes, np.ndarray | str]]:
        return [(digest, _row(dataset, digest, rows[0])) for digest, rows in todo[start : start + _STEP]]

    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="looks") as pool:
        for part in pool.map(some, range(0, len(todo), _STEP)):
            yield from part


def _row(dataset: Dataset, digest: bytes, row: int) -> np.ndarray | str:
    try:
        path = dataset.path(row)
        data = images.same_bytes(path, digest) if len(digest) == 32 else images.file_bytes(path)
        pixels, header = images.decode(data, (SIDE, SIDE)), images.probe(data)
    except PictureError as error:
        return str(error)
    return measure(pixels, header)


def measure(pixels: np.ndarray, header: images.Probe) -> np.ndarray:
    """Compute what is kept of a picture, float16 array of shape (COLUMNS,), from its SIDE × SIDE pixels and header."""
    grey = pixels @ LUMA
    small = grey.reshape(SMALL, 2, SMALL, 2).mean(axis=(1, 3))
    edge = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    spread = (pixels.max(axis=2) - pixels.min(axis=2)).ravel()
    chroma = np.partition(spread, _NINETY_NINE)[_NINETY_NINE]
    kind = FORMATS.index(header.format) if header.format in FORMATS else 0
    facts = (*divmod(header.width, _DIGIT), *divmod(header.height, _DIGIT), kind, chroma, edge.mean(), edge.std())
    return np.concatenate([np.rint(small).ravel(), facts]).astype(np.float16)


def of_rows(table: np.ndarray, bad: Mapping[int, str]) -> Looks:
    """Unpack what is kept, float16 array of shape (n_images, COLUMNS); rows of `bad` are zero."""
    facts = table[:, SMALL * SMALL :].astype(np.float32)
    whole = facts.astype(np.int64)
    return Looks(
        table[:, : SMALL * SMALL].astype(np.uint8).reshape(-1, SMALL, SMALL),
        whole[:, 0] * _DIGIT + whole[:, 1], whole[:, 2] * _DIGIT + whole[:, 3], whole[:, 4],
        facts[:, 5], facts[:, 6], facts[:, 7], bad,
    )  # fmt: skip


def space() -> Space:
    """Name what is kept in the store."""
    context = json_digest({"looks": _VERSION, "decoding": images.DECODING})
    return Space(context, (("looks", COLUMNS),), f"a glance at each picture, {SMALL} × {SMALL} in grey")
