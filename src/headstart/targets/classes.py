"""One class a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headstart import few, roster, splits
from headstart.listing import Listing, number
from headstart.targets import Settled

if TYPE_CHECKING:
    from headstart.dataset import Dataset

NAME = "classes"
COLUMN = "label"
WHAT, ALL = "class", "all"


def settle(listing: Listing, *, training: bool) -> Settled:
    """Class names to labels: see `roster`."""
    classes, labels, findings = roster.settle(listing) if training else roster.everything(listing)
    return Settled(classes, labels, listing.names, None, findings)


def counts(dataset: Dataset, rows: np.ndarray) -> dict[str, int]:
    """Pictures of each class."""
    found = np.bincount(dataset.labels[rows], minlength=len(dataset.classes))
    return dict(zip(dataset.classes, found.tolist(), strict=True))


def title(dataset: Dataset) -> str:
    """How many pictures of how many classes."""
    return f"{number(len(dataset), 'picture')} of {number(len(dataset.classes), 'class')}"


def divide(
    dataset: Dataset, rows: np.ndarray, groups: np.ndarray, *, holdout: float, seed: int, keys: splits.Keys
) -> np.ndarray:
    """The same share of every class: see `splits.assign`."""
    return splits.assign(dataset.labels[rows], groups, holdout=holdout, seed=seed, keys=keys)


def deal(
    dataset: Dataset, rows: np.ndarray, groups: np.ndarray, *, count: int, seed: int, keys: splits.Keys
) -> np.ndarray:
    """Every class spread evenly; where there are few pictures every group is a fold of its own."""
    return few.folds(dataset.labels[rows], groups, count=count, seed=seed, keys=keys)


def lacking(dataset: Dataset, rows: np.ndarray) -> list[str]:
    """Classes of which there is no picture."""
    found = np.bincount(dataset.labels[rows], minlength=len(dataset.classes))
    return [dataset.classes[label] for label in np.flatnonzero(found == 0)]


def matrix(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """One-hot; a row of zeros for a picture of a class that training lacks."""
    labels = dataset.labels[rows]
    hot = np.zeros((len(labels), len(dataset.classes)), np.float32)
    known = np.flatnonzero(labels >= 0)
    hot[known, labels[known]] = 1
    return hot


def absent(truth: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """Classes that none of these pictures is of; `truth` has their indices."""
    present = set(np.unique(truth).tolist())
    return [name for label, name in enumerate(names) if label not in present]
