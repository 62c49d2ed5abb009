"""Probabilities × labels → figures, each with its interval and its n."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.heads import log_loss
from headstart.intervals import wilson


@dataclass(frozen=True)
class Rate:
    """A share of pictures, with its 95 % Wilson interval, of how many, and from which split."""

    split: str
    value: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        return {"split": self.split, "value": self.value, "low": self.low, "high": self.high, "n": self.n}

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}, n = {self.n}, {self.split})"


@dataclass(frozen=True)
class ClassFigures:
    """Precision, recall and F1 of one class over its `n` pictures; nan where one is undefined."""

    name: str
    precision: float
    recall: float
    f1: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        values = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {"class": self.name, **{k: None if np.isnan(v) else v for k, v in values.items()}, "n": self.n}


@dataclass(frozen=True)
class Evaluation:
    """What a classifier is worth on some pictures.

    Attributes:
        accuracy: the share that was right.
        loss: mean cross-entropy in nats.
        classes: their names; `confusion[i][j]` counts pictures of class i that were called class j.
        per_class: figures of each class.
        mistakes: (row, predicted class, probability) of the wrong answers, the most confident first.
        calibration_error: expected calibration error over ten bins of equal width (Guo et al. 2017), 0 to 1.
    """

    accuracy: Rate
    loss: float
    classes: tuple[str, ...]
    confusion: np.ndarray
    per_class: tuple[ClassFigures, ...]
    mistakes: tuple[tuple[int, int, float], ...]
    calibration_error: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `headstart evaluate --json` prints them."""
        return {
            "accuracy": self.accuracy.as_dict(),
            "loss": self.loss,
            "per_class": [figures.as_dict() for figures in self.per_class],
            "confusion": self.confusion.tolist(),
            "calibration": {"expected_calibration_error": self.calibration_error, "bins": 10},
        }

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><td>{escape(f.name)}</td><td>{f.precision:.3f}</td><td>{f.recall:.3f}</td><td>{f.n}</td></tr>"
            for f in self.per_class
        )
        head = "<tr><th>class</th><th>precision</th><th>recall</th><th>n</th></tr>"
        return f"<p>accuracy {escape(str(self.accuracy))}</p><table>{head}{rows}</table>"


def score(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], *, split: str,
    rows: Sequence[int] | np.ndarray | None = None,
) -> Evaluation:  # fmt: skip
    """Evaluate probabilities of shape (pictures, classes) against labels 0 .. classes − 1.

    Args:
        split: where the pictures come from, as the figure will say.
        rows: what to call the pictures in `mistakes`; their positions where nothing is given.

    Example:
        >>> result = score(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]), ["a", "b"], split="test")
        >>> result.accuracy.value, result.mistakes
        (0.5, ((1, 0, 0.8),))
    """
    labels = np.asarray(labels, int)
    names = np.arange(len(labels)) if rows is None else np.asarray(rows)
    predicted = probabilities.argmax(axis=1) if len(labels) else np.zeros(0, int)
    count = len(classes)
    confusion = np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)
    right = int(np.trace(confusion))
    low, high = wilson(right, len(labels))
    value = right / len(labels) if len(labels) else float("nan")
    sure = probabilities[np.arange(len(labels)), predicted] if len(labels) else np.zeros(0)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    return Evaluation(
        Rate(split, value, low, high, len(labels)),
        log_loss(probabilities, labels),
        tuple(classes),
        confusion,
        tuple(_class_figures(classes, confusion)),
        tuple((int(names[i]), int(predicted[i]), float(sure[i])) for i in wrong),
        _calibration_error(sure, predicted == labels),
    )


def _class_figures(classes: Sequence[str], confusion: np.ndarray) -> list[ClassFigures]:
    figures = []
    for index, name in enumerate(classes):
        hit, said, true = confusion[index, index], confusion[:, index].sum(), confusion[index].sum()
        precision = float(hit / said) if said else float("nan")
        recall = float(hit / true) if true else float("nan")
        f1 = float(2 * hit / (said + true)) if said + true else float("nan")
        figures.append(ClassFigures(name, precision, recall, f1, int(true)))
    return figures


def _calibration_error(sure: np.ndarray, right: np.ndarray) -> float:
    if not len(sure):
        return float("nan")
    bins = np.minimum((sure * 10).astype(int), 9)
    gap = 0.0
    for number in np.unique(bins):
        members = bins == number
        gap += abs(float(right[members].mean()) - float(sure[members].mean())) * members.mean()
    return float(gap)
