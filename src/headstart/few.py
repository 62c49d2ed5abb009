"""Few pictures: what counts as few, and folds that leave one out.

With some dozen pictures every one that is held out of a fit is missed, so one at a time is left out. Closed forms do so
for nothing; a solver would take a fit for each, so it takes several of these folds together (`merged`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from headstart.splits import Keys
from headstart.splits import folds as divided

A_CLASS = 20
"""Pictures of the mean class up to which there are few."""
TOGETHER = 10
_MOST = 20  # folds that a recipe can ask for: there are more of them only where one is left out at a time


def few(labels: np.ndarray) -> bool:
    """Whether there are at most `A_CLASS` pictures in the mean class.

    >>> few(np.array([0, 1] * 20)), few(np.array([0, 1] * 21))
    (True, False)
    """
    return len(labels) <= A_CLASS * max(len(np.unique(labels)), 1)


def folds(
    labels: np.ndarray, groups: np.ndarray, *, count: int = 5, seed: int = 0, keys: Keys | None = None
) -> np.ndarray:
    """Number the rows by fold, as `splits.folds` does; where there are few, every group is a fold of its own.

    The folds that leave one out are numbered class by class, so those equal in the last digit are a fold of ten with a
    fair share of every class. As with `splits.folds`, a row's place follows from its key and the seed.
    """
    if not few(labels):
        return divided(labels, groups, count=count, seed=seed, keys=keys)
    salt = hashlib.blake2b(repr(seed).encode(), digest_size=16).digest()
    first: dict[int, tuple[int, bytes]] = {}
    for row, (label, group) in enumerate(zip(labels.tolist(), groups.tolist(), strict=True)):
        name = keys[row] if keys is not None else b"%d" % row
        place = (label, hashlib.blake2b(name, digest_size=8, key=salt).digest())
        first[group] = min(place, first.get(group, place))
    number = {group: at for at, group in enumerate(sorted(first, key=lambda group: first[group]))}
    return np.array([number[group] for group in groups.tolist()], np.int64)


def scorable(labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """The pictures whose class is in other folds too; of the rest nothing can be said out of fold."""
    spread = np.array([len(np.unique(folds[labels == label])) > 1 for label in range(int(labels.max()) + 1)])
    known: np.ndarray = spread[labels]
    return known


def told(head: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Say how a head was chosen, where several were cross-validated: a sentence for people, or none.

    >>> told("ridge", {"chosen_from": {"blend": 0.5, "ridge": 0.25}})[0][:62]
    'Of 2 heads ridge had the least loss, 0.250, against 0.500 of b'
    """
    losses = settings.get("chosen_from")
    if not losses:
        return ()
    others = [f"{loss:.3f} of {name}" for name, loss in losses.items() if name != head]
    against = " and ".join([", ".join(others[:-1]), others[-1]] if len(others) > 1 else others)
    return (
        f"Of {len(losses)} heads {head} had the least loss, {losses[head]:.3f}, against {against}, on training"
        " pictures that were left out of the fit.",
    )


def merged(folds: np.ndarray) -> np.ndarray:
    """Folds for a solver: those that leave one out are taken together in tens, all others stay.

    >>> merged(np.array([0, 10, 20, 1, 11])).tolist(), merged(np.arange(40)).max()
    ([0, 10, 20, 1, 11], np.int64(9))
    """
    return folds if len(np.unique(folds)) <= _MOST else folds % TOGETHER
