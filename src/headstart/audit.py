"""What a look over all pictures finds: one function a check, each by itself.

A further check is one more function in `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from headstart.dataset import EMPTY, Dataset
from headstart.findings import Finding, Kind
from headstart.listing import number
from headstart.looks import Looks
from headstart.shortcuts import shortcuts

IMBALANCE = 10
"""The largest class may have this many times the pictures of the smallest before it is reported."""

TINY = 10
"""A class with fewer training pictures than this is reported."""

SMALLEST_SIDE = 32
"""A picture with a shorter side than this, in pixels, is reported."""

BLANK = 8
"""Grey levels: a picture whose darkest and brightest parts are no further apart shows nothing."""

LONGEST = 4.0
"""A picture may be this many times as long as it is wide before it is reported."""

AGREES = 0.6
"""Cosine of two pictures' features from which a network takes them for the same; 0 is that of any two pictures."""


_TRAINED_ON, _HELD_BACK = ("", "train"), ("validation", "test")
_ONE_SIDE = "Kept, always on the same side of a split."
_FURTHEST = "Only the copy that is held out furthest is used."


@dataclass(frozen=True)
class Seen:
    """What others saw of the pictures before the checks are run.

    Attributes:
        unreadable: why a picture cannot be read, by row, from whoever decoded it.
        looks: a glance at every picture; without it no check that needs one finds anything.
        agreement: how nearly the same a network finds the pictures of a group of `Dataset.alike`, by its name.
    """

    unreadable: Mapping[int, str] = field(default_factory=dict)
    looks: Looks | None = None
    agreement: Mapping[str, float] = field(default_factory=dict)


Check = Callable[[Dataset, Seen], Iterator[Finding]]


def audit(
    dataset: Dataset, *, unreadable: Mapping[int, str] | None = None, looks: Looks | None = None,
    agreement: Mapping[str, float] | None = None,
) -> tuple[Finding, ...]:  # fmt: skip
    """What the checks below find. What was noticed while the set was opened and split is in `dataset.findings`.

    Args:
        dataset: the pictures, split or not; contents are hashed where that was not done.
        unreadable, looks, agreement: what was seen of them; see `Seen`.

    Returns:
        One finding for each fault; a set without faults gives an empty tuple.
    """
    dataset = dataset.digested()
    seen = Seen(unreadable or {}, looks, agreement or {})
    return tuple(finding for check in CHECKS for finding in check(dataset, seen))


def copies(dataset: Dataset) -> list[list[int]]:
    """The rows of each content that is there more than once. Empty and unhashed files are no copies."""
    rows: dict[bytes, list[int]] = {}
    for row, digest in enumerate(dataset.digests or ()):
        if digest and digest != EMPTY:
            rows.setdefault(digest, []).append(row)
    return [same for same in rows.values() if len(same) > 1]


def _read_copies(dataset: Dataset, seen: Seen) -> list[list[int]]:
    """Copies of pictures: two failed downloads with the same bytes are unreadable, and no more than that."""
    return [rows for rows in copies(dataset) if rows[0] not in seen.unreadable]


def noticed(dataset: Dataset, unreadable: Mapping[int, str]) -> tuple[Finding, ...]:
    """What was noticed while a set was opened and split, without leaks of files that are no pictures."""
    lost = {dataset.files[row] for row in unreadable}
    return tuple(each for each in dataset.findings if each.kind != "leak" or not lost.issuperset(each.files))


def _files(dataset: Dataset, rows: list[int]) -> tuple[str, ...]:
    return tuple(dataset.files[row] for row in rows)


def _unreadable(dataset: Dataset, seen: Seen) -> Iterator[Finding]:
    unhashed = {row: "it cannot be opened" for row, digest in enumerate(dataset.digests or ()) if not digest}
    empty = {row: "the file is empty" for row, digest in enumerate(dataset.digests or ()) if digest == EMPTY}
    for row, reason in sorted({**unhashed, **empty, **seen.unreadable}.items()):
        first_line = reason.splitlines()[0].rstrip(".") if reason else "it cannot be read"
        yield Finding("unreadable", (dataset.files[row],), f"{dataset.files[row]}: {first_line}.", "Left out.")


def _duplicates(dataset: Dataset, seen: Seen) -> Iterator[Finding]:
    for rows in _read_copies(dataset, seen):
        places: dict[tuple[str, str], list[int]] = {}
        for row in rows:
            places.setdefault((str(dataset.splits[row]), dataset.names[row]), []).append(row)
        for (split, name), same in places.items():
            if len(same) > 1 and split != "left out":
                note = f"{_files_of(dataset, len(same), name)} with the same bytes."
                yield Finding("duplicate", _files(dataset, same), note, _ONE_SIDE)


def _leaks(dataset: Dataset, seen: Seen) -> Iterator[Finding]:
    for rows in _read_copies(dataset, seen):
        splits = sorted({str(dataset.splits[row]) for row in rows} - {"left out"})
        if len(splits) > 1:
            note = f"The same picture is in {' and '.join(splits)}."
            yield Finding("leak", _files(dataset, rows), note, _FURTHEST)


def _two_labels(dataset: Dataset, seen: Seen) -> Iterator[Finding]:
    for rows in _read_copies(dataset, seen):
        names = sorted({dataset.names[row] for row in rows})
        if len(names) > 1:
            note = f"The same picture {_told(dataset)} {_joint(dataset).join(names)}."
            action = f"{_kept(dataset, rows)} Take out the one that is wrong."
            yield Finding("two_labels", _files(dataset, rows), note, action)


_SAID = {
    "classes": ("is in", " and in "),
    "labels": ("is labelled", " and again "),
    "numbers": ("has the value", " and "),
}


def _told(dataset: Dataset) -> str:
    return _SAID[dataset.task][0]


def _joint(dataset: Dataset) -> str:
    return _SAID[dataset.task][1]


def _files_of(dataset: Dataset, count: int, name: str) -> str:
    return f"{number(count, 'file')} of {name}" if dataset.task == "classes" else f"{number(count, 'file')} ({name})"


def _kept(dataset: Dataset, rows: list[int]) -> str:
    """What was done with copies."""
    if any(dataset.splits[row] == "left out" for row in rows):
        return _FURTHEST
    return _ONE_SIDE


def _near(dataset: Dataset, seen: Seen) -> Iterator[Finding]:
    """Groups of nearly the same picture; that some were left out as leaks is a finding already."""
    digests = dataset.digests or ()
    for name, together in _alike(dataset).items():
        names = sorted({dataset.names[row] for row in together})
        if len(names) > 1 and len({digests[row] for row in together}) > 1:
            what = f"Nearly the same picture {_told(dataset)} {_joint(dataset).join(names)}."
            action = f"{_kept(dataset, together)} Take out the one that is wrong."
            yield _agreed("two_labels", dataset, together, what, action, name, seen)
        rows = [row for row in together if dataset.splits[row] != "left out"]
        if len({digests[row] for row in rows}) < 2:
            continue
        splits = sorted({str(dataset.splits[row]) for row in rows})
        if len(splits) > 1:
            what = f"Nearly the same picture is in {' and '.join(splits)}."
            yield _agreed("leak", dataset, rows, what, _FURTHEST, name, seen)
        elif len({dataset.names[row] for row in rows}) == 1:
            what = f"{_files_of(dataset, len(rows), dataset.names[rows[0]])} show nearly the same picture."
            yield _agreed("near_duplicate", dataset, rows, what, _ONE_SIDE, name, seen)


def _agreed(kind: Kind, dataset: Dataset, rows: list[int], note: str, action: str, name: str, seen: Seen) -> Finding:
    likeness = seen.agreement.get(name)
    if likeness is not None:
        says = "takes them for the same too" if likeness >= AGREES else "does not: look at them"
        note += f" The network {says} ({likeness:.2f} alike)."
    return Finding(kind, _files(dataset, rows), note, action)


def _alike(dataset: Dataset) -> dict[str, list[int]]:
    """Rows of each group of pictures that are nearly the same."""
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(dataset.alike or ()):
        if name:
            groups.setdefault(name, []).append(row)
    return groups


def _odd(dataset: Dataset, seen: Seen) -> Iterator[Finding]:
    looks = seen.looks
    if looks is None:
        return
    short, long = np.minimum(looks.width, looks.height), np.maximum(looks.width, looks.height)
    read = looks.readable
    kinds = (
        (read & (short < SMALLEST_SIDE), f"less than {SMALLEST_SIDE} pixels on a side",
         "Kept. A network sees them enlarged: use larger ones where there are."),
        (read & (looks.contrast <= BLANK), "of one shade all over",
         "Kept. Nothing can be learnt from them: take them out."),
        (read & (long > LONGEST * np.maximum(short, 1)), f"more than {LONGEST:g} times as long as wide",
         "Kept. A network sees them squeezed into its own shape: cut them first."),
    )  # fmt: skip
    for which, words, action in kinds:
        rows = np.flatnonzero(which).tolist()
        if rows:
            verb = "is" if len(rows) == 1 else "are"
            yield Finding("odd", _files(dataset, rows), f"{number(len(rows), 'picture')} {verb} {words}.", action)


def _shortcuts(dataset: Dataset, seen: Seen) -> Iterator[Finding]:
    if seen.looks is not None:
        yield from shortcuts(dataset, seen.looks)


def _imbalance(dataset: Dataset, seen: Seen) -> Iterator[Finding]:
    if dataset.task == "numbers":
        return
    sizes = _sizes(dataset, _usable(dataset, seen, _TRAINED_ON))
    most, least = int(np.argmax(sizes)), int(np.argmin(sizes))
    if sizes[most] > IMBALANCE * sizes[least]:
        names = dataset.classes
        note = f"{names[most]} has {sizes[most]:,} training pictures, {names[least]} has {sizes[least]:,}."
        yield Finding("imbalance", (), note, "Nothing. Read the figures of each class, not accuracy alone.")


def _tiny(dataset: Dataset, seen: Seen) -> Iterator[Finding]:
    if dataset.task == "numbers":
        return
    trained = _usable(dataset, seen, _TRAINED_ON)
    for label in np.flatnonzero(_sizes(dataset, trained) < TINY).tolist():
        rows = np.flatnonzero(trained & (dataset.target_matrix()[:, label] > 0)).tolist()
        note = f"{dataset.classes[label]} has {number(len(rows), 'training picture')}; {TINY} or more are advised."
        yield Finding("odd", _files(dataset, rows), note, "Nothing. Its figures will be coarse: add pictures.")


def _unmeasured(dataset: Dataset, seen: Seen) -> Iterator[Finding]:
    """Classes of which nothing is held back, where something is."""
    held = _usable(dataset, seen, _HELD_BACK)
    if not held.any() or dataset.task == "numbers":
        return
    for label in np.flatnonzero(_sizes(dataset, held) == 0).tolist():
        note = f"No picture of {dataset.classes[label]} is held back: how well it is named is not measured."
        yield Finding(
            "class_mismatch", (), note, "Nothing. Add pictures of it that do not belong to those in training."
        )


def _usable(dataset: Dataset, seen: Seen, splits: tuple[str, ...]) -> np.ndarray:
    """Which rows are of these splits, have a class and can be read, bool."""
    usable = np.isin(dataset.splits, splits) & (dataset.labels >= 0)
    usable[list(seen.unreadable)] = False
    return usable


def _sizes(dataset: Dataset, which: np.ndarray) -> np.ndarray:
    """How many of these rows each class has."""
    result: np.ndarray = dataset.target_matrix(np.flatnonzero(which)).sum(axis=0).astype(int)
    return result


CHECKS: tuple[Check, ...] = (
    _unreadable, _duplicates, _leaks, _two_labels, _near, _odd, _imbalance, _tiny, _unmeasured, _shortcuts
)  # fmt: skip
