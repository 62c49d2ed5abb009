"""What a look over all pictures finds before any training: one function a check, each by itself.

A further check is one more function in `CHECKS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from headstart import images
from headstart.dataset import EMPTY, Dataset, Progress
from headstart.errors import PictureError
from headstart.findings import Finding
from headstart.listing import number

IMBALANCE = 10
"""The largest class may have this many times the pictures of the smallest before it is reported."""

TINY = 10
"""A class with fewer training pictures than this is reported."""

_STEP = 64

Unreadable = Mapping[int, str]
Check = Callable[[Dataset, Unreadable], Iterator[Finding]]


def audit(dataset: Dataset, *, unreadable: Unreadable | None = None) -> tuple[Finding, ...]:
    """What the checks below find. What was noticed while the set was opened and split is in `dataset.findings`.

    Args:
        dataset: the pictures, split or not; contents are hashed where that was not done.
        unreadable: why a picture cannot be read, by row, from whoever decoded it.

    Returns:
        One finding for each fault; a set without faults gives an empty tuple.
    """
    dataset = dataset.digested()
    return tuple(finding for check in CHECKS for finding in check(dataset, unreadable or {}))


def unreadable(dataset: Dataset, *, progress: Progress | None = None) -> dict[int, str]:
    """Decode every picture and say why some cannot be, by row; the same bytes are decoded once.

    For `audit` where nothing else decodes the pictures. `progress` is called with pictures done and in all.
    """
    rows: dict[bytes, list[int]] = {}
    for row, digest in enumerate(dataset.digested().digests or ()):
        rows.setdefault(digest or b"%d" % row, []).append(row)
    each = list(rows.values())

    def reasons(start: int) -> list[tuple[list[int], str | None]]:
        return [(same, _reason(dataset.path(same[0]))) for same in each[start : start + _STEP]]

    bad: dict[int, str] = {}
    done = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for part in pool.map(reasons, range(0, len(each), _STEP)):
            for same, reason in part:
                done += len(same)
                bad |= dict.fromkeys(same, reason) if reason else {}
            if progress:
                progress(done, len(dataset))
    return dict(sorted(bad.items()))


def _reason(path: Path) -> str | None:
    try:
        images.read(path, (160, 160))
    except PictureError as error:
        return str(error)
    return None


def copies(dataset: Dataset) -> list[list[int]]:
    """The rows of each content that is there more than once. Empty and unhashed files are no copies."""
    rows: dict[bytes, list[int]] = {}
    for row, digest in enumerate(dataset.digests or ()):
        if digest and digest != EMPTY:
            rows.setdefault(digest, []).append(row)
    return [same for same in rows.values() if len(same) > 1]


def _files(dataset: Dataset, rows: list[int]) -> tuple[str, ...]:
    return tuple(dataset.files[row] for row in rows)


def _unreadable(dataset: Dataset, unreadable: Unreadable) -> Iterator[Finding]:
    unhashed = {row: "it cannot be opened" for row, digest in enumerate(dataset.digests or ()) if not digest}
    empty = {row: "the file is empty" for row, digest in enumerate(dataset.digests or ()) if digest == EMPTY}
    for row, reason in sorted({**unhashed, **empty, **unreadable}.items()):
        first_line = reason.splitlines()[0].rstrip(".") if reason else "it cannot be read"
        yield Finding("unreadable", (dataset.files[row],), f"{dataset.files[row]}: {first_line}.", "Left out.")


def _duplicates(dataset: Dataset, _: Unreadable) -> Iterator[Finding]:
    for rows in copies(dataset):
        places: dict[tuple[str, str], list[int]] = {}
        for row in rows:
            places.setdefault((str(dataset.splits[row]), dataset.names[row]), []).append(row)
        for (split, name), same in places.items():
            if len(same) > 1 and split != "left out":
                note = f"{number(len(same), 'file')} of {name} with the same bytes."
                yield Finding("duplicate", _files(dataset, same), note, "Kept, always on the same side of a split.")


def _leaks(dataset: Dataset, _: Unreadable) -> Iterator[Finding]:
    for rows in copies(dataset):
        splits = sorted({str(dataset.splits[row]) for row in rows} - {"left out"})
        if len(splits) > 1:
            note = f"The same picture is in {' and '.join(splits)}."
            yield Finding("leak", _files(dataset, rows), note, "Only the copy that is held out furthest is used.")


def _two_labels(dataset: Dataset, _: Unreadable) -> Iterator[Finding]:
    for rows in copies(dataset):
        names = sorted({dataset.names[row] for row in rows})
        if len(names) > 1:
            note = f"The same picture is in {' and in '.join(names)}."
            action = "Kept, always on the same side of a split. Take out the one that is wrong."
            yield Finding("two_labels", _files(dataset, rows), note, action)


def _imbalance(dataset: Dataset, _: Unreadable) -> Iterator[Finding]:
    sizes = _training_sizes(dataset)
    most, least = int(np.argmax(sizes)), int(np.argmin(sizes))
    if sizes[most] > IMBALANCE * sizes[least]:
        names = dataset.classes
        note = f"{names[most]} has {sizes[most]:,} training pictures, {names[least]} has {sizes[least]:,}."
        yield Finding("imbalance", (), note, "Nothing. Read the figures of each class, not accuracy alone.")


def _tiny(dataset: Dataset, _: Unreadable) -> Iterator[Finding]:
    for label in np.flatnonzero(_training_sizes(dataset) < TINY).tolist():
        rows = [row for row in np.flatnonzero(dataset.labels == label).tolist() if dataset.splits[row] in ("", "train")]
        note = f"{dataset.classes[label]} has {number(len(rows), 'training picture')}; {TINY} or more are advised."
        yield Finding("odd", _files(dataset, rows), note, "Nothing. Its figures will be coarse: add pictures.")


def _training_sizes(dataset: Dataset) -> np.ndarray:
    trained = np.isin(dataset.splits, ("", "train")) & (dataset.labels >= 0)
    return np.bincount(dataset.labels[trained], minlength=len(dataset.classes))


CHECKS: tuple[Check, ...] = (_unreadable, _duplicates, _leaks, _two_labels, _imbalance, _tiny)
