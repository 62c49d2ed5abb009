"""What the heads of one layer share, however they are fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headstart.few import merged, scorable
from headstart.heads import Head, HeadData, Layer, Validated, log_loss
from headstart.splits import spread_out

CHOOSE_FROM = 4_000
"""Training pictures that a penalty is chosen on, at most: enough to place it within noise."""

_FOUND = ("accuracy", "loss", "chosen_on")  # of a search's settings, what is no setting


def one_layer(classes: int, activation: str = "softmax") -> list[dict[str, Any]]:
    """The layer, as `shape` gives it."""
    return [{"units": classes, "activation": activation, "dropout": 0.0}]


def chooses(options: Mapping[str, Any]) -> bool:
    """All is chosen out of fold: nothing is watched."""
    del options
    return False


def notes(classes: int, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Nothing out of the ordinary."""
    del classes, options
    return ()


def untrained(
    dimensions: int, classes: int, *, options: Mapping[str, Any], seed: int, activation: str = "softmax"
) -> tuple[Layer, ...]:
    """A layer as Keras would begin it: Glorot-uniform kernel, bias of zeros."""
    del options
    limit = np.sqrt(6.0 / (dimensions + classes))
    kernel = np.random.default_rng(seed).uniform(-limit, limit, (dimensions, classes)).astype(np.float32)
    return (Layer(kernel, np.zeros(classes, np.float32), activation),)


def sample(data: HeadData, *, a_class: int = 0) -> np.ndarray:
    """Draw rows to choose a penalty on, ascending: all, or `CHOOSE_FROM`, each class in its share and at least once.

    Args:
        data: what the head is fitted on.
        a_class: rows of a mean class below which more than `CHOOSE_FROM` are drawn.
    """
    most = max(CHOOSE_FROM, a_class * data.classes)
    if len(data.labels) <= most:
        return np.arange(len(data.labels))
    order = spread_out(data.labels, data.seed)
    _, firsts = np.unique(data.labels[order], return_index=True)
    chosen = np.zeros(len(order), bool)
    chosen[firsts] = True
    rest = np.flatnonzero(~chosen)
    chosen[rest[: max(most - len(firsts), 0)]] = True
    return np.sort(order[chosen])


def measurable(data: HeadData, rows: np.ndarray) -> np.ndarray:
    """Tell which of the answered rows can be scored: their class was seen by the fit that answered them.

    Where whole folds were answered, and not all of them, the fits saw the others too.
    """
    folds = merged(data.folds)
    if len(rows) == int(np.isin(folds, np.unique(folds[rows])).sum()):
        whole: np.ndarray = scorable(data.labels, folds)[rows]
        return whole
    return scorable(data.labels[rows], folds[rows])


def head_of(data: HeadData, validated: Validated, layers: tuple[Layer, ...], *, solver: str) -> Head:
    """Make the head of a cross-validation and of the fit on everything.

    Its figures are over the rows whose class is in other folds too; of the rest nothing can be said out of fold.
    """
    rows, answers = validated.rows, validated.out_of_fold
    labels = data.labels[rows]
    known = measurable(data, rows)
    right = answers.argmax(axis=1) == labels
    settings = {
        name: value for name, value in validated.settings.items() if name not in ("accuracy", "loss", "chosen_on")
    }
    return Head(
        validated.head, layers, float(right[known].mean()) if known.any() else float("nan"),
        log_loss(answers[known], labels[known]), answers if len(rows) == len(data.labels) else None, None,
        validated.table, {**settings, "solver": solver},
        held_out=(rows[known], answers[known]) if known.any() else None,
    )  # fmt: skip
