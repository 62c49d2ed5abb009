"""Dividing rows of which each may bear several labels, so that every part has its share of every label.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, ECML PKDD, LNCS 6913:145-158): the label with the
fewest rows left goes first, and each of its rows to the part that lacks it most; rows without a label fill up what
room is left. Here what is dealt out are groups, whole, in an order that looks random and follows from keys and seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.errors import InputError
from headstart.splits import Keys, in_random_order


def held_out(
    targets: np.ndarray, groups: np.ndarray | None = None, *, holdout: float = 0.2, seed: int, keys: Keys | None = None,
    everywhere: bool = True,
) -> np.ndarray:  # fmt: skip
    """Which rows to hold out: the same share of every label, whole groups alone.

    A label that is in several groups gives at least one of them and keeps at least one, as far as other labels of the
    same pictures allow. A label of one group gives nothing. Of several groups at least one is held out.

    Args:
        targets: 0 or 1, shape (rows, labels).
        groups: equal numbers stay together; None for every row by itself.
        holdout: the share to hold out, between 0 and 1.
        seed, keys: as `splits.assign` has them.
        everywhere: whether each label has to be on both sides; else shares are all that counts.

    Returns:
        bool of shape (rows,): True for a row that is held out.

    Raises:
        InputError: a share outside 0 to 1, or columns of different lengths.

    Example:
        >>> held_out(np.eye(2)[np.arange(20) % 2], seed=0).sum()
        np.int64(4)
    """
    if not 0 < holdout < 1:
        raise InputError(f"the share to hold out must lie between 0 and 1; received {holdout}")
    block, counts, sizes = _blocks(targets, groups, seed, keys)
    totals, holders = counts.sum(axis=0), (counts > 0).sum(axis=0)
    goal = holdout * totals
    if everywhere:
        goal = np.where(holders > 1, np.clip(goal, 1, np.maximum(totals - 1, 1)), 0)
    part = _dealt(counts, sizes, np.stack([totals - goal, goal]), np.array([1 - holdout, holdout]) * len(block))
    held = part == 1
    if everywhere:
        _mend(counts, held)
    if len(sizes) > 1 and held.any() == held.all():
        held[sizes.argmin()] ^= True
    return np.asarray(held[block])


def folds(
    targets: np.ndarray, groups: np.ndarray | None = None, *, count: int = 5, seed: int, keys: Keys | None = None
) -> np.ndarray:
    """Number the rows by fold, for cross-validation: every label spread evenly, whole groups alone.

    Args:
        targets: 0 or 1, shape (rows, labels).
        groups: equal numbers stay together; None for every row by itself.
        count: how many folds; fewer where there are fewer groups, yet at least two.
        seed, keys: as `splits.folds` has them.

    Returns:
        int64 of shape (rows,): 0 up to the number of folds less one.

    Raises:
        InputError: fewer than two folds asked for, or columns of different lengths.

    Example:
        >>> np.bincount(folds(np.eye(2)[np.arange(20) % 2], seed=0)).tolist()
        [4, 4, 4, 4, 4]
    """
    if count < 2:
        raise InputError(f"cross-validation needs two folds or more; received {count}")
    block, counts, sizes = _blocks(targets, groups, seed, keys)
    count = max(2, min(count, len(sizes)))
    wanted = np.tile(counts.sum(axis=0) / count, (count, 1))
    return np.asarray(_dealt(counts, sizes, wanted, np.full(count, len(block) / count))[block])


def _blocks(
    targets: np.ndarray, groups: np.ndarray | None, seed: int, keys: Sequence[bytes] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The block of each row, how many rows with each label a block has, and how many rows."""
    targets = np.asarray(targets)
    rows = len(targets)
    groups = np.arange(rows) if groups is None else np.asarray(groups)
    if targets.ndim != 2 or rows == 0 or len(groups) != rows or (keys is not None and len(keys) != rows):
        raise InputError(
            f"targets (rows, labels), groups and keys need one entry a row, and a row at least; received shape"
            f" {targets.shape} and {len(groups)} groups"
        )
    block = in_random_order(groups, seed, keys)
    counts = np.zeros((int(block.max()) + 1, targets.shape[1]))
    np.add.at(counts, block, (targets > 0).astype(float))
    return block, counts, np.bincount(block)


def _dealt(counts: np.ndarray, sizes: np.ndarray, wanted: np.ndarray, room: np.ndarray) -> np.ndarray:
    """The part of each block; `wanted` (parts, labels) and `room` (parts,) say how many rows each part should have."""
    wanted, room = wanted.astype(float).copy(), room.astype(float).copy()
    part = np.full(len(counts), -1)
    bears = counts > 0
    left = bears.sum(axis=0)

    def put(block: int, lacking: np.ndarray) -> None:
        best = max(range(len(room)), key=lambda at: (round(float(lacking[at]), 9), round(float(room[at]), 9)))
        part[block] = best
        wanted[best] -= counts[block]
        room[best] -= sizes[block]

    while (left > 0).any():
        label = int(np.where(left > 0, left, np.iinfo(left.dtype).max).argmin())
        for block in np.flatnonzero(bears[:, label] & (part < 0)).tolist():
            put(block, wanted[:, label])
            left -= bears[block]
    for block in np.flatnonzero(part < 0).tolist():
        put(block, room)
    return part


def _mend(counts: np.ndarray, held: np.ndarray) -> None:
    """Move a block across for a label that one of the two sides lacks, if no label loses its last block by it."""
    bears = counts > 0
    for label in np.flatnonzero(bears.sum(axis=0) > 1).tolist():
        for side in (True, False):
            if (bears[:, label] & (held == side)).any():
                continue
            others = bears[held != side].sum(axis=0)
            for block in np.flatnonzero(bears[:, label]).tolist():
                if np.all(others[bears[block]] > 1):
                    held[block] = side
                    break
