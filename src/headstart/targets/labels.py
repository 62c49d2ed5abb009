"""Several labels a picture, or none: each is there or is not."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from headstart import iterative, splits
from headstart.errors import PhotosError
from headstart.findings import Finding
from headstart.listing import BAR, Listing, number, some
from headstart.roster import TRAINING
from headstart.targets import Settled

if TYPE_CHECKING:
    from headstart.dataset import Dataset

NAME = "labels"
COLUMN = "labels"
WHAT, ALL = "label", "pictures"
NONE = "no label"


def settle(listing: Listing, *, training: bool) -> Settled:
    """Labels to a matrix of 0 and 1, shape (pictures, labels), the labels sorted by name.

    Raises:
        PhotosError: no training picture, no label, or a label that every training picture but one has, or only one.
    """
    rows = [tuple(name.split(BAR)) if name else () for name in listing.names]
    trains = [split in TRAINING or not training for split in listing.splits]
    found = Counter(label for labels, train in zip(rows, trains, strict=True) if train for label in labels)
    outputs = tuple(sorted(found))
    if training:
        _check(listing, found, sum(trains))
    index = {label: column for column, label in enumerate(outputs)}
    targets = np.zeros((len(rows), len(outputs)), np.float32)
    for row, labels in enumerate(rows):
        targets[row, [index[label] for label in labels if label in index]] = 1
    names = tuple(", ".join(labels) or NONE for labels in rows)
    strangers = tuple(_strangers(listing, rows, outputs)) if training else ()
    return Settled(outputs, np.zeros(len(rows), np.int32), names, targets, strangers)


def _check(listing: Listing, found: Counter[str], pictures: int) -> None:
    if not pictures:
        raise PhotosError(
            f"{listing.root} has no picture to train on (found {number(len(listing.files), 'picture')} in all).\n"
            f"Give pictures of every label the split {listing.place('train')}."
        )
    if not found:
        raise PhotosError(
            f"no training picture of {listing.root} has a label, so there is nothing to learn.\n"
            f"Write labels into the column labels, with {BAR} between several; an empty cell says none of them."
        )
    everywhere = sorted(label for label, count in found.items() if count == pictures)
    if everywhere:
        raise PhotosError(
            f"every training picture has the label {everywhere[0]}, so nothing says what a picture without it is"
            " like.\nAdd pictures without it, or take the label out."
        )
    single = sorted(label for label, count in found.items() if min(count, pictures - count) == 1)
    if single:
        which = "has" if found[single[0]] == 1 else "lacks"
        raise PhotosError(
            f"one training picture alone {which} the label {single[0]}"
            + (f" (the same is true of {some(single[1:])})" if single[1:] else "")
            + ".\nTwo are needed, one to learn from and one to measure: add pictures or take the label out."
        )


def _strangers(listing: Listing, rows: list[tuple[str, ...]], outputs: tuple[str, ...]) -> Iterator[Finding]:
    """Labels that are in another split alone, and those that another split lacks."""
    for split in sorted(set(listing.splits) - set(TRAINING)):
        here = [at for at, place in enumerate(listing.splits) if place == split]
        there = {label for at in here for label in rows[at]}
        for label in sorted(there - set(outputs)):
            files = tuple(listing.files[at] for at in here if label in rows[at])
            close = difflib.get_close_matches(label.casefold(), [name.casefold() for name in outputs], n=1)
            hint = next((name for name in outputs if close and name.casefold() == close[0]), "no such label")
            note = f"{label} is in {listing.place(split)} only; {listing.place('train')} has {hint}."
            yield Finding("class_mismatch", files, note, "It is not learnt; its pictures count for the other labels.")
        for label in sorted(set(outputs) - there):
            note = f"No picture in {listing.place(split)} has the label {label}, which training has."
            yield Finding("class_mismatch", (), note, "It is trained, but how well it is found is not measured there.")


def counts(dataset: Dataset, rows: np.ndarray) -> dict[str, int]:
    """Pictures with each label; a picture with several counts for each of them."""
    return dict(zip(dataset.classes, matrix(dataset, rows).sum(axis=0).astype(int).tolist(), strict=True))


def title(dataset: Dataset) -> str:
    """How many pictures with how many labels."""
    return f"{number(len(dataset), 'picture')} with {number(len(dataset.classes), 'label')}"


def divide(
    dataset: Dataset, rows: np.ndarray, groups: np.ndarray, *, holdout: float, seed: int, keys: splits.Keys
) -> np.ndarray:
    """The same share of every label: see `iterative`."""
    return iterative.held_out(matrix(dataset, rows), groups, holdout=holdout, seed=seed, keys=keys)


def deal(
    dataset: Dataset, rows: np.ndarray, groups: np.ndarray, *, count: int, seed: int, keys: splits.Keys
) -> np.ndarray:
    """Every label spread evenly: see `iterative`."""
    return iterative.folds(matrix(dataset, rows), groups, count=count, seed=seed, keys=keys)


def lacking(dataset: Dataset, rows: np.ndarray) -> list[str]:
    """Labels that none of these pictures has, or all of them have."""
    found = matrix(dataset, rows).sum(axis=0)
    return [dataset.classes[column] for column in np.flatnonzero((found == 0) | (found == len(rows)))]


def matrix(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """1 where a picture has a label, else 0."""
    if dataset.targets is None:
        raise ValueError("labels are a matrix. Received: targets=None")
    result: np.ndarray = dataset.targets[rows]
    return result


def absent(truth: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """Labels that none of these pictures has."""
    return [names[column] for column in np.flatnonzero(~(truth > 0.5).any(axis=0)).tolist()]
