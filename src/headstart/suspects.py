"""Which labels are likely wrong: confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70:1373-1411).

From probabilities of fits that did not see the picture:

1. A class's threshold is the mean probability of the class over the pictures that bear its label, so a class that
   the classifier is unsure of asks for less. None asks for more than `ENOUGH`, which is not in the paper: where classes
   lie far apart the mean is nearly 1, and a wrong label at 0.97 would pass.
2. The confident joint counts, for each pair of classes, the pictures labelled with the one whose probability of the
   other reaches that other's threshold. Scaled to the size of each class, it says how many labels are wrong, and
   towards which class.
3. So many are called suspect as two rules agree on: of each class those with the least probability of their own label,
   and of each pair those with the largest lead of the other class (the paper's "both").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ENOUGH = 0.95
"""No class asks for a higher probability than this."""
LEAST = 20
"""Pictures of a class below which nothing is said of its labels."""


@dataclass(frozen=True)
class Suspect:
    """A label that is likely wrong.

    Attributes:
        row: index into the labels.
        label, other: the class that was given, and the one that the picture looks like.
        given, instead: their probabilities, out of fold.
    """

    row: int
    label: int
    other: int
    given: float
    instead: float


def suspects(probabilities: np.ndarray, labels: np.ndarray, *, least: int = LEAST) -> tuple[Suspect, ...]:
    """Labels that are likely wrong, the most suspect first.

    Args:
        probabilities: shape (pictures, classes), each row from a fit that did not see the picture.
        labels: int of shape (pictures,), 0 .. classes - 1.
        least: classes with fewer pictures are neither suspected nor offered instead.

    Example:
        >>> sure = np.tile([[0.9, 0.1]], (40, 1)); sure[20:] = [0.1, 0.9]
        >>> labels = np.repeat([0, 1], 20); labels[0] = 1
        >>> [(s.row, s.label, s.other) for s in suspects(sure, labels, least=10)]
        [(0, 1, 0)]
    """
    classes = probabilities.shape[1]
    sizes = np.bincount(labels, minlength=classes)
    judged = sizes >= least
    if judged.sum() < 2:
        return ()
    rows = np.flatnonzero(judged[labels])
    shown = np.where(judged, probabilities[rows], -1.0)
    own = labels[rows]
    wrong = _noise(shown, own, sizes)
    chosen = _least_sure(shown, own, wrong) & _furthest_off(shown, own, wrong)
    other = shown.argmax(axis=1)
    given, instead = shown[np.arange(len(own)), own], shown.max(axis=1)
    picked = np.flatnonzero(chosen & (other != own))
    picked = picked[np.argsort(given[picked] - instead[picked], kind="stable")]
    return tuple(
        Suspect(int(rows[at]), int(own[at]), int(other[at]), float(given[at]), float(instead[at])) for at in picked
    )


def _noise(shown: np.ndarray, own: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """How many pictures labelled with the row's class belong to the column's, int of shape (classes, classes)."""
    classes = shown.shape[1]
    sums = np.bincount(own, weights=shown[np.arange(len(own)), own], minlength=classes)
    present = np.bincount(own, minlength=classes) > 0
    threshold = np.where(present, np.minimum(sums / np.maximum(sizes, 1), ENOUGH), np.inf)
    confident = np.where(shown >= threshold, shown, -1.0)
    sure = confident.max(axis=1) >= 0
    joint = np.zeros((classes, classes))
    np.add.at(joint, (own[sure], confident.argmax(axis=1)[sure]), 1)
    joint *= (np.where(present, sizes, 0) / np.maximum(joint.sum(axis=1), 1))[:, None]
    np.fill_diagonal(joint, 0)
    return np.rint(joint).astype(int)


def _least_sure(shown: np.ndarray, own: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Of each class as many as are wrong, those with the least probability of their label."""
    chosen = np.zeros(len(own), bool)
    for label in np.flatnonzero(wrong.sum(axis=1)).tolist():
        rows = np.flatnonzero(own == label)
        chosen[rows[np.argsort(shown[rows, label], kind="stable")[: wrong[label].sum()]]] = True
    return chosen


def _furthest_off(shown: np.ndarray, own: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Of each pair of classes as many as are wrong, those where the other class leads by most."""
    chosen = np.zeros(len(own), bool)
    for label, other in np.argwhere(wrong).tolist():
        rows = np.flatnonzero(own == label)
        lead = shown[rows, other] - shown[rows, label]
        chosen[rows[np.argsort(-lead, kind="stable")[: wrong[label, other]]]] = True
    return chosen
