"""Which pictures train and which measure: splits that were given are repaired, missing ones are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from headstart import targets
from headstart.dataset import EMPTY, Dataset
from headstart.errors import PhotosError
from headstart.findings import Finding
from headstart.listing import number, some
from headstart.splits import groups_of

_RANK = {"": 0, "left out": 0, "train": 1, "validation": 2, "test": 3}
"""A picture that is in several splits stays in the one of the highest rank."""


def together(dataset: Dataset) -> np.ndarray:
    """Which pictures must not be parted, int64 of shape (pictures,).

    Equal bytes, the user's own groups, and what `alike.tie` found to be nearly the same.
    """
    digests = [b"" if digest == EMPTY else digest for digest in dataset.digested().digests or ()]
    return groups_of(digests, dataset.groups, dataset.alike)


def keys(dataset: Dataset) -> list[bytes]:
    """A name for each picture's contents, for `splits.assign` and `splits.folds`: no folder name is in it."""
    digests = dataset.digested().digests or ()
    return [
        digest if digest not in (b"", EMPTY) else file.encode("utf-8", "surrogateescape")
        for digest, file in zip(digests, dataset.files, strict=True)
    ]


def split(dataset: Dataset, *, holdout: float = 0.2, seed: int = 0) -> Dataset:
    """Give every picture its split; files are hashed where they were not.

    - Nothing given, or `train` alone: a share of each class is held out as `test`.
    - `train` with `validation` or `test` or both: kept, but a picture that is also in a later split (the same
      bytes, nearly the same, or the same group) is left out of the earlier one, with a finding of kind `leak`.

    Args:
        dataset: as `Dataset.open` gives it.
        holdout: the share of each class that is held out where no split is given.
        seed: another seed holds out other pictures.

    Returns:
        A set whose `splits` are "train", "validation", "test" or "left out", and whose findings tell of leaks.

    Raises:
        PhotosError: nothing of a class is left to train on, or to measure any class on.
    """
    dataset = dataset.digested()
    known = dataset.labels >= 0
    given = dataset.splits[known]
    if not np.isin(given, ("validation", "test")).any():
        rows = np.flatnonzero(known & (dataset.splits != "left out"))
        names = keys(dataset)
        held = targets.find(dataset.task).divide(
            dataset, rows, together(dataset)[rows], holdout=holdout, seed=seed, keys=[names[row] for row in rows]
        )
        splits = np.array(dataset.splits)
        splits[rows] = np.where(held, "test", "train")
        done = replace(dataset, splits=splits)
    else:
        done = _without_leaks(dataset)
    _check(done)
    return done


def final_split(dataset: Dataset) -> str:
    """The split whose figure is reported: "test" where it has pictures of trained classes, else "validation".

    Raises:
        PhotosError: the set has neither; `split` makes one.
    """
    for name in ("test", "validation"):
        if len(dataset.split_indices(name)):
            return name
    raise PhotosError("There is no test and no validation split to measure on.\nMake one with `split(dataset)`.")


def once(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """The rows without copies under the same label: a picture that is measured on counts once."""
    first: dict[tuple[bytes, int, bytes], int] = {}
    for row in rows.tolist():
        digest = dataset.digests[row] if dataset.digests is not None else b"%d" % row
        told = b"" if dataset.targets is None else dataset.targets[row].tobytes()
        first.setdefault((digest, int(dataset.labels[row]), told), row)
    return np.array(list(first.values()), int)


def cross_folds(dataset: Dataset, rows: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    """The cross-validation fold of each of these rows, int of shape (rows,): what belongs together in one fold."""
    names = keys(dataset)
    found: np.ndarray = targets.find(dataset.task).deal(
        dataset, rows, together(dataset)[rows], count=count, seed=seed, keys=[names[row] for row in rows]
    )
    return found


def _without_leaks(dataset: Dataset) -> Dataset:
    group = together(dataset)
    rank = np.array([_RANK[name] for name in dataset.splits.tolist()])
    rank[dataset.labels < 0] = 0  # not measured, so nothing leaks to it
    highest = np.zeros(group.max() + 1, int)
    np.maximum.at(highest, group, rank)
    leaking = (rank > 0) & (rank < highest[group])
    splits = np.array(dataset.splits)
    splits[leaking] = "left out"
    found = tuple(_leaks(dataset, np.flatnonzero(leaking), group, rank))
    return replace(dataset, splits=splits, findings=(*dataset.findings, *found))


def _leaks(dataset: Dataset, leaking: np.ndarray, group: np.ndarray, rank: np.ndarray) -> Iterator[Finding]:
    """One finding for each group that was on two sides."""
    affected = np.unique(group[leaking])
    members: dict[int, list[int]] = {number_: [] for number_ in affected.tolist()}
    for row in np.flatnonzero(np.isin(group, affected) & (rank > 0)).tolist():
        members[int(group[row])].append(row)
    digests = dataset.digests or ()
    for rows in members.values():
        same = len({digests[row] for row in rows}) == 1
        alike = dataset.alike is not None and len({dataset.alike[row] or str(row) for row in rows}) == 1
        splits = sorted({str(dataset.splits[row]) for row in rows}, key=lambda name: _RANK[name])
        what = "Pictures that belong together are"
        if same or alike:
            what = "The same picture is" if same else "Nearly the same picture is"
        note = f"{what} in {' and '.join(splits)}."
        out = sum(1 for row in rows if dataset.splits[row] != splits[-1])
        action = f"{number(out, 'picture')} left out of {' and '.join(splits[:-1])}, kept in {splits[-1]}."
        yield Finding("leak", tuple(dataset.files[row] for row in rows), note, action)


def _check(dataset: Dataset) -> None:
    bare = targets.find(dataset.task).lacking(dataset, dataset.split_indices("train"))
    if bare and dataset.task != "classes":
        raise PhotosError(
            f"The training pictures that are left say nothing of {some(bare)}: they are too few, or all the same; the"
            " others are in a held-out split too.\nTake the copies out of one side, or give no splits and let headstart"
            " make them."
        )
    if bare:
        raise PhotosError(
            f"No training picture is left of {some(bare)}: all of them are in a held-out split too.\n"
            "Take the copies out of one side, or give no splits and let headstart make them."
        )
    if not np.isin(dataset.splits, ("validation", "test")).any() or not np.any(
        dataset.labels[np.isin(dataset.splits, ("validation", "test"))] >= 0
    ):
        which = "every class is" if dataset.task == "classes" else "all pictures are"
        raise PhotosError(
            f"Nothing can be held out to measure on: {which} one group of pictures that belong together.\n"
            "Add pictures of other groups, or give a validation split."
        )
