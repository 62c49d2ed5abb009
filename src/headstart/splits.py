"""Dividing rows into parts: stratified by class, never through a group. Numpy alone; no file is touched.

A row's place follows from its key (the digest of a picture, say) and the seed, not from its position, so the same
pictures in another order or another folder are divided the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from headstart.errors import InputError

Keys = Sequence[bytes]


def groups_of(digests: Sequence[bytes] | None, groups: Sequence[str] | None, *more: Sequence[str] | None) -> np.ndarray:
    """Which rows must stay together: equal contents, equal group names, and whatever those chain together.

    Args:
        digests: one for each row, b"" for an unknown one; None for nothing known.
        groups: one for each row, "" for a row on its own; None for nothing said.
        more: further columns of names, as `groups`.

    Returns:
        int64 of shape (rows,): equal numbers stay together; numbered from 0 by first appearance.

    Example:
        >>> groups_of([b"x", b"y", b"x", b"z"], ["", "p", "p", ""]).tolist()
        [0, 0, 0, 1]
    """
    rows = len(digests if digests is not None else groups if groups is not None else ())
    parent = list(range(rows))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    columns: tuple[Sequence[bytes] | Sequence[str] | None, ...] = (digests, groups, *more)
    for column in columns:
        first: dict[bytes | str, int] = {}
        for row, value in enumerate(column or ()):
            if isinstance(value, str | bytes) and value:
                one, other = root(first.setdefault(value, row)), root(row)
                parent[max(one, other)] = min(one, other)
    roots = np.fromiter(map(root, range(rows)), np.int64, rows)
    return np.unique(roots, return_inverse=True)[1].astype(np.int64).reshape(rows)


@dataclass(frozen=True)
class _Blocks:
    """Groups as blocks, numbered in an order that looks random and follows from keys and seed.

    Attributes:
        of_row: the block of each row.
        holder, kind, size: what the blocks hold: `size` rows of class `kind` in block `holder`, sorted by block.
        mixed: for each block, whether it holds more than one class.
        parts: for each class, in how many blocks it is.
        totals: for each class, how many rows it has.
    """

    of_row: np.ndarray
    holder: np.ndarray
    kind: np.ndarray
    size: np.ndarray
    mixed: np.ndarray
    parts: np.ndarray
    totals: np.ndarray

    def content(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        start, stop = np.searchsorted(self.holder, (block, block + 1))
        return self.kind[start:stop], self.size[start:stop]

    def pure(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each class, its blocks that hold nothing else, in order, with their sizes."""
        own = np.flatnonzero(~self.mixed[self.holder])
        own = own[np.argsort(self.kind[own], kind="stable")]
        bounds = np.searchsorted(self.kind[own], np.arange(len(self.totals) + 1))
        spans = [own[start:stop] for start, stop in pairwise(bounds)]
        return [(self.holder[span], self.size[span]) for span in spans]


def in_random_order(groups: np.ndarray, seed: int, keys: Keys | None = None) -> np.ndarray:
    """Groups as blocks, numbered in an order that looks random and follows from keys and seed.

    Args:
        groups: equal numbers are one block, shape (rows,).
        seed: another seed gives another order.
        keys: names of the rows' contents; with them the answer does not depend on the order of the rows.

    Returns:
        int64 of shape (rows,): the block of each row, from 0.
    """
    numbers, block = np.unique(groups, return_inverse=True)
    if keys is None:
        rank = np.random.default_rng(seed).permutation(len(groups)).astype(np.uint64)
    else:
        salt = hashlib.blake2b(repr(seed).encode(), digest_size=16).digest()
        drawn = b"".join(hashlib.blake2b(key, digest_size=8, key=salt).digest() for key in keys)
        rank = np.frombuffer(drawn, np.uint64)
    lowest = np.full(len(numbers), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(lowest, block, rank)
    place = np.empty(len(numbers), np.int64)
    place[np.argsort(lowest, kind="stable")] = np.arange(len(numbers))
    result: np.ndarray = place[block]
    return result


def _blocks(labels: np.ndarray, groups: np.ndarray, seed: int, keys: Keys | None) -> _Blocks:
    rows = len(labels)
    if len(groups) != rows or (keys is not None and len(keys) != rows):
        raise InputError(f"labels, groups and keys need one entry a row; received {rows} labels, {len(groups)} groups")
    if rows == 0 or labels.min() < 0:
        raise InputError("rows without a class cannot be divided; pass rows with labels from 0 alone")
    block = in_random_order(groups, seed, keys)
    classes = int(labels.max()) + 1
    pair, size = np.unique(block * classes + labels, return_counts=True)
    holder, kind = np.divmod(pair, classes)
    return _Blocks(
        block, holder, kind, size, np.bincount(holder) > 1, np.bincount(kind, minlength=classes), np.bincount(labels)
    )


def assign(
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    holdout: float = 0.2,
    seed: int,
    keys: Keys | None = None,
) -> np.ndarray:
    """Which rows to hold out: the same share of every class, whole groups alone.

    A class of `n` single rows gives `holdout * n`, rounded, at least one and not all. With groups, what a class
    gives is within one group of that. A class of one group gives nothing. Where groups hold several classes these
    are goals that are met as far as such groups allow.

    Args:
        labels: the class of each row, integers from 0.
        groups: equal numbers stay together, as `groups_of` gives them; None for every row by itself.
        holdout: the share to hold out, between 0 and 1.
        seed: another seed holds out other rows.
        keys: names of the rows' contents; with them the answer does not depend on the order of the rows.

    Returns:
        bool of shape (rows,): True for a row that is held out.

    Raises:
        InputError: a share outside 0 to 1, a label below 0, or columns of different lengths.

    Example:
        >>> assign(np.array([0] * 10 + [1] * 5), seed=0).sum()
        np.int64(3)
    """
    if not 0 < holdout < 1:
        raise InputError(f"the share to hold out must lie between 0 and 1; received {holdout}")
    labels = np.asarray(labels)
    blocks = _blocks(labels, np.arange(len(labels)) if groups is None else np.asarray(groups), seed, keys)
    goal = np.floor(holdout * blocks.totals + 0.5).astype(int)
    goal = np.where(blocks.parts > 1, np.clip(goal, 1, np.maximum(blocks.totals - 1, 1)), 0)
    held = np.zeros(len(blocks.mixed), bool)
    given = np.zeros(len(goal), int)
    for block in np.flatnonzero(blocks.mixed).tolist():
        kinds, sizes = blocks.content(block)
        if np.all(given[kinds] + sizes <= goal[kinds]):
            held[block] = True
            given[kinds] += sizes
    for label, (own, sizes) in enumerate(blocks.pure()):
        if len(own):
            chosen = _fill(
                sizes, int(goal[label] - given[label]), int(blocks.parts[label] - len(own)), given[label] > 0
            )
            held[own[chosen]] = True
            given[label] += sizes[chosen].sum()
    _mend(blocks, held)
    return np.asarray(held[blocks.of_row])


def _fill(sizes: np.ndarray, room: int, elsewhere: int, served: bool) -> np.ndarray:
    """Which groups of one class to hold out, so that their rows come near `room` from below.

    Every group that was passed over is larger than what is left, so what is left is less than one group.
    """
    chosen = np.zeros(len(sizes), bool)
    if sizes.max() == 1:
        chosen[:room] = True
        return chosen
    for position, size in enumerate(sizes.tolist()):
        if size <= room:
            chosen[position] = True
            room -= size
    left = np.flatnonzero(~chosen)
    if len(left) + elsewhere > 1 and len(left):
        smallest = left[np.argmin(sizes[left])]
        if 0 < sizes[smallest] < 2 * room or not (served or chosen.any()):
            chosen[smallest] = True
    return chosen


def _mend(blocks: _Blocks, held: np.ndarray) -> None:
    """Hold out one more mixed group for a class that gave nothing, if no class loses its last group by it."""
    taken = np.bincount(blocks.kind[held[blocks.holder]], minlength=len(blocks.parts))
    for label in np.flatnonzero((taken == 0) & (blocks.parts > 1)):
        if taken[label]:
            continue
        rows = np.flatnonzero(blocks.kind == label)
        for row in rows[np.argsort(blocks.size[rows], kind="stable")]:
            kinds, _ = blocks.content(blocks.holder[row])
            if np.all(taken[kinds] + 1 < blocks.parts[kinds]):
                held[blocks.holder[row]] = True
                taken[kinds] += 1
                break


def folds(
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    count: int = 5,
    seed: int,
    keys: Keys | None = None,
) -> np.ndarray:
    """Number the rows by fold, for cross-validation: every class spread evenly, whole groups alone.

    The groups of a class are dealt out from the largest, each to the fold that has least of that class; so two
    folds differ by at most one group of it (of single rows: by one row). Groups of several classes go first.

    Args:
        labels: the class of each row, integers from 0.
        groups: equal numbers stay together; None for every row by itself.
        count: how many folds; fewer where a class has fewer groups, yet at least two.
        seed: another seed deals otherwise.
        keys: as for `assign`.

    Returns:
        int64 of shape (rows,): 0 up to the number of folds less one.

    Raises:
        InputError: fewer than two folds asked for, a label below 0, or columns of different lengths.

    Example:
        >>> np.bincount(folds(np.array([0] * 10 + [1] * 5), seed=0)).tolist()
        [3, 3, 3, 3, 3]
    """
    if count < 2:
        raise InputError(f"cross-validation needs two folds or more; received {count}")
    labels = np.asarray(labels)
    blocks = _blocks(labels, np.arange(len(labels)) if groups is None else np.asarray(groups), seed, keys)
    count = max(2, min(count, int(blocks.parts[blocks.parts > 0].min())))
    fold = np.zeros(len(blocks.mixed), np.int64)
    load = [[0] * count for _ in blocks.totals]
    total = [0] * count
    mixed = [(block, *blocks.content(block)) for block in np.flatnonzero(blocks.mixed).tolist()]
    for block, kinds, sizes in sorted(mixed, key=lambda entry: -int(entry[2].sum())):
        fold[block] = best = min(range(count), key=lambda at: (sum(load[kind][at] for kind in kinds), total[at]))
        for kind, size in zip(kinds.tolist(), sizes.tolist(), strict=True):
            load[kind][best] += size
            total[best] += size
    for label, (own, sizes) in enumerate(blocks.pure()):
        mine = load[label]
        for position in np.argsort(-sizes, kind="stable").tolist():
            best = min(range(count), key=lambda at: (mine[at], total[at]))
            fold[own[position]] = best
            mine[best] += int(sizes[position])
            total[best] += int(sizes[position])
    return np.asarray(fold[blocks.of_row])


def spread_out(labels: np.ndarray, seed: int) -> np.ndarray:
    """An order of rows in which every beginning has each class in its share, as near as can be; drawn by position."""
    order = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turn[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(turn[order], kind="stable")]
