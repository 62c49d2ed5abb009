"""One number a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headstart import iterative, splits
from headstart.errors import PhotosError
from headstart.listing import Listing, number
from headstart.roster import TRAINING
from headstart.targets import Settled

if TYPE_CHECKING:
    from headstart.dataset import Dataset

NAME = "numbers"
COLUMN = "value"
WHAT, ALL = "value", "all"
OUTPUT = "value"
LEAST = 5
"""Training pictures that a number can be learnt from, at least."""
BINS, A_BIN = 10, 5
"""Quantile bins that pictures are divided by, at most, and groups of pictures to one of them, at least."""
RANGES = 5
"""Ranges of equal width that counts are told in."""


def settle(listing: Listing, *, training: bool) -> Settled:
    """Numbers as text to float32 of shape (pictures, 1).

    Raises:
        PhotosError: fewer than `LEAST` training pictures, or all of them with the same value.
    """
    values = np.array([float(name) for name in listing.names]).reshape(-1, 1)
    names = tuple(f"{value:.6g}" for value in values[:, 0].tolist())
    if training:
        seen = values[np.isin(listing.splits, TRAINING)]
        if len(seen) < LEAST:
            raise PhotosError(
                f"{listing.root} has {number(len(seen), 'picture')} to learn a number from; {LEAST} or more are needed."
                "\nAdd rows to the table."
            )
        if np.float32(seen.min()) == np.float32(seen.max()):
            raise PhotosError(
                f"the value of every training picture is {seen[0, 0]:g}, so there is nothing to learn.\n"
                "Put numbers that differ from picture to picture into the column value."
            )
    return Settled((OUTPUT,), np.zeros(len(names), np.int32), names, values.astype(np.float32))


def counts(dataset: Dataset, rows: np.ndarray) -> dict[str, int]:
    """Pictures in ranges of equal width, the same ones for every part of the set."""
    edges = np.linspace(*_ends(dataset), RANGES + 1)
    found = np.histogram(matrix(dataset, rows)[:, 0].astype(float), edges)[0].tolist()
    words = [f"{low:.4g} to {high:.4g}" for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
    return dict(zip(words, found, strict=True))


def title(dataset: Dataset) -> str:
    """How many pictures with a value between which."""
    low, high = _ends(dataset)
    return f"{number(len(dataset), 'picture')} with a value from {low:.4g} to {high:.4g}"


def _ends(dataset: Dataset) -> tuple[float, float]:
    values = matrix(dataset, np.arange(len(dataset)))[:, 0].astype(float)
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)


def bins(values: np.ndarray, groups: int) -> np.ndarray:
    """Quantile bins to divide by, from 0, for so many groups of pictures; equal values are in one bin.

    >>> np.bincount(bins(np.arange(20.0), groups=20)).tolist()
    [5, 5, 5, 5]
    """
    count = int(np.clip(groups // A_BIN, 1, BINS))
    edges = np.quantile(values, np.linspace(0, 1, count + 1)[1:-1])
    return np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1].reshape(len(values))


def divide(
    dataset: Dataset, rows: np.ndarray, groups: np.ndarray, *, holdout: float, seed: int, keys: splits.Keys
) -> np.ndarray:
    """The same share of every quantile bin."""
    hot = _hot(dataset, rows, groups)
    return iterative.held_out(hot, groups, holdout=holdout, seed=seed, keys=keys, everywhere=False)


def deal(
    dataset: Dataset, rows: np.ndarray, groups: np.ndarray, *, count: int, seed: int, keys: splits.Keys
) -> np.ndarray:
    """Every quantile bin spread evenly."""
    return iterative.folds(_hot(dataset, rows, groups), groups, count=count, seed=seed, keys=keys)


def _hot(dataset: Dataset, rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The bin of each picture, one-hot: groups may hold pictures of several, so they are dealt out like labels."""
    found = bins(matrix(dataset, rows)[:, 0], len(np.unique(groups)))
    hot: np.ndarray = np.eye(int(found.max()) + 1)[found]
    return hot


def lacking(dataset: Dataset, rows: np.ndarray) -> list[str]:
    """The number, where these pictures are too few or all of one value."""
    values = matrix(dataset, rows)[:, 0]
    return [OUTPUT] if len(values) < LEAST - 1 or values.min() == values.max() else []


def matrix(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """The numbers, in one column."""
    if dataset.targets is None:
        raise ValueError("numbers are a matrix of one column. Received: targets=None")
    result: np.ndarray = dataset.targets[rows]
    return result


def absent(truth: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """Nothing: every picture has its number."""
    del truth, names
    return []
