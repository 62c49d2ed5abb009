"""Which head is left to the pictures: the linear one; where they are few, the better of it and the prototype.

For labels and numbers it is the linear one always.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from headstart.few import few, scorable
from headstart.heads import Head, HeadData, Watcher, find, log_loss
from headstart.heads import shape as shape_of
from headstart.heads._softmax import chooses as chooses
from headstart.heads._softmax import notes as notes
from headstart.heads._softmax import untrained as untrained

NAME = "auto"
SUMMARY = "linear; where pictures are few, the better of linear and prototype out of fold; the default"
BY_EPOCHS = False
OUTPUTS = ("softmax", "sigmoid", "linear")

_NAMES = ("linear", "prototype")
_OWN = {"strength": "linear", "shrinkage": "prototype"}  # an option that only one of them has


def _head(options: Mapping[str, Any]) -> ModuleType:
    """The head whose options these are; the linear one answers for what is unknown."""
    return find(next((name for option, name in _OWN.items() if option in options), "linear"))


def shape(classes: int, options: Mapping[str, Any], *, activation: str = "softmax") -> list[dict[str, Any]]:
    """One layer, whichever head it becomes."""
    return shape_of(_head(options), classes, options, activation=activation)


def fit(
    data: HeadData, *, options: Mapping[str, Any] | None = None, progress: Any = None, watcher: Watcher | None = None
) -> Head:
    """Fit the head that these pictures call for: of two, the one of less out-of-fold loss.

    Returns:
        The head under its own name; `settings["chosen_from"]` has the loss of each where two were fitted.
    """
    given = dict(options or {})
    if (
        given or data.activation != "softmax" or not few(data.labels[: data.clean])
    ):  # further views of a picture are no more pictures
        found: Head = _head(given).fit(data, options=given, progress=progress, watcher=watcher)
        return found
    known = scorable(data.labels, data.folds)
    heads: list[Head] = [find(name).fit(data, options={}, progress=progress, watcher=watcher) for name in _NAMES]
    if not known.any():  # one picture a class: nothing can be measured, and the nearer prototype assumes least
        return heads[-1]
    losses = {head.name: _loss(head, data.labels, known) for head in heads}
    best = min(heads, key=lambda head: losses[head.name])
    return replace(best, settings={**best.settings, "chosen_from": losses})


def _loss(head: Head, labels: np.ndarray, known: np.ndarray) -> float:
    return log_loss(head.out_of_fold[known], labels[known]) if head.out_of_fold is not None else float("inf")
