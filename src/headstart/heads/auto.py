"""Which head is left to the pictures: the linear one; where they are few, the better of it and the prototype."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from headstart.few import few
from headstart.heads import Head, HeadData, Layer, Watcher, find, log_loss

NAME = "auto"
SUMMARY = "linear; where pictures are few, the better of linear and prototype out of fold; the default"
BY_EPOCHS = False

_NAMES = ("linear", "prototype")
_OWN = {"strength": "linear", "shrinkage": "prototype"}  # an option that only one of them has


def _head(options: Mapping[str, Any]) -> ModuleType:
    """The head whose options these are; the linear one answers for what is unknown."""
    return find(next((name for option, name in _OWN.items() if option in options), "linear"))


def shape(classes: int, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One softmax layer, whichever it becomes."""
    found: list[dict[str, Any]] = _head(options).shape(classes, options)
    return found


def chooses(options: Mapping[str, Any]) -> bool:
    """All is chosen out of fold: nothing is watched."""
    del options
    return False


def notes(classes: int, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Nothing out of the ordinary."""
    del classes, options
    return ()


def untrained(dimensions: int, classes: int, *, options: Mapping[str, Any], seed: int) -> tuple[Layer, ...]:
    """A softmax layer as Keras would begin it."""
    found: tuple[Layer, ...] = _head(options).untrained(dimensions, classes, options=options, seed=seed)
    return found


def fit(
    data: HeadData, *, options: Mapping[str, Any] | None = None, progress: Any = None, watcher: Watcher | None = None
) -> Head:
    """Fit the head that these pictures call for: of two, the one of less out-of-fold loss.

    Returns:
        The head under its own name; `settings["chosen_from"]` has the loss of each where two were fitted.
    """
    given = dict(options or {})
    if given or not few(data.labels):
        found: Head = _head(given).fit(data, options=given, progress=progress, watcher=watcher)
        return found
    known = _known(data)
    heads: list[Head] = [find(name).fit(data, options={}, progress=progress, watcher=watcher) for name in _NAMES]
    if not known.any():  # one picture a class: nothing can be measured, and the nearer prototype assumes least
        return heads[-1]
    losses = {head.name: _loss(head, data.labels, known) for head in heads}
    best = min(heads, key=lambda head: losses[head.name])
    return replace(best, settings={**best.settings, "chosen_from": losses})


def _loss(head: Head, labels: np.ndarray, known: np.ndarray) -> float:
    return log_loss(head.out_of_fold[known], labels[known]) if head.out_of_fold is not None else float("inf")


def _known(data: HeadData) -> np.ndarray:
    """The pictures whose class is in other folds too."""
    spread = [len(np.unique(data.folds[data.labels == label])) > 1 for label in range(data.classes)]
    known: np.ndarray = np.array(spread)[data.labels]
    return known
