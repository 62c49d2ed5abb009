"""Class names to labels. A class is its name in every split, so no split can shift another's indices."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from headstart.errors import PhotosError
from headstart.findings import Finding
from headstart.listing import Listing, number, some

TRAINING = ("", "train")


def settle(listing: Listing) -> tuple[tuple[str, ...], np.ndarray, tuple[Finding, ...]]:
    """The classes that training knows, a label for each picture, and where splits disagree.

    Returns:
        The sorted class names; int32 labels of shape (pictures,), -1 where training lacks the class; findings
        of kind `class_mismatch`, one for each class and split.

    Raises:
        PhotosError: fewer than two classes, or a class with a single training picture.
    """
    pairs = Counter(zip(listing.splits, listing.names, strict=True))
    trained: Counter[str] = Counter()
    for (split, name), count in pairs.items():
        if split in TRAINING:
            trained[name] += count
    classes = tuple(sorted(trained))
    _check(listing, classes, trained)
    index = {name: label for label, name in enumerate(classes)}
    labels = np.fromiter((index.get(name, -1) for name in listing.names), np.int32, len(listing.names))
    return classes, labels, tuple(_mismatches(listing, classes, pairs))


def everything(listing: Listing) -> tuple[tuple[str, ...], np.ndarray, tuple[Finding, ...]]:
    """The same for pictures that only measure: every class counts, and no split is compared with training."""
    classes = tuple(sorted(set(listing.names)))
    index = {name: label for label, name in enumerate(classes)}
    return classes, np.fromiter((index[name] for name in listing.names), np.int32, len(listing.names)), ()


def _check(listing: Listing, classes: tuple[str, ...], trained: Counter[str]) -> None:
    if not classes:
        raise PhotosError(
            f"{listing.root} has no picture to train on (found {number(len(listing.files), 'picture')} in all).\n"
            f"Put at least two pictures of each class into {listing.place('train')}."
        )
    if len(classes) == 1:
        raise PhotosError(
            f"{listing.root} has one class, {classes[0]}; a classifier needs at least two.\n"
            "Add pictures of what it should be told apart from, as another class."
        )
    single = [name for name in classes if trained[name] == 1]
    if single:
        raise PhotosError(
            f"{number(len(single), 'class')} with one training picture: {some(single)}.\n"
            "At least two are needed, one to learn from and one to measure: add pictures or leave the class out."
        )


def _alike(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, whatever the case."""
    folded = {other.casefold(): other for other in known}
    found = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def _mismatches(listing: Listing, classes: tuple[str, ...], pairs: Counter[tuple[str, str]]) -> Iterator[Finding]:
    known = set(classes)
    unknown: dict[tuple[str, str], list[str]] = {}
    for file, split, name in zip(listing.files, listing.splits, listing.names, strict=True):
        if split not in TRAINING and name not in known:
            unknown.setdefault((split, name), []).append(file)
    training = listing.place("train" if "train" in listing.splits else "")
    for split, name in sorted(listing.empty):
        if split in TRAINING:
            note = f"{name} is empty in {training}" if split else f"{name} is an empty class folder"
            yield Finding("class_mismatch", (_folder(split, name),), f"{note}.", "It is no class.")
    for split in sorted({*listing.splits, *(split for split, _ in listing.empty)} - set(TRAINING)):
        here = {name for place, name in pairs if place == split}
        for name in sorted(here - known):
            files = tuple(unknown[split, name])
            other = _alike(name, classes)
            note = f"{name} is in {listing.place(split)} only; {training} has {other or 'no such class'}."
            action = f"Its {number(len(files), 'picture')} there are left out of every figure."
            yield Finding("class_mismatch", files, note, action)
        for name in sorted(known - here):
            what = "is empty in" if (split, name) in listing.empty else "is missing from"
            other = _alike(name, here - known)
            hint = f", which has {other}" if other else ""
            note = f"{name} is in {training} but {what} {listing.place(split)}{hint}."
            yield Finding("class_mismatch", (_folder(split, name),), note, "It is trained, but not measured there.")


def _folder(split: str, name: str) -> str:
    return f"{split}/{name}" if split else name
