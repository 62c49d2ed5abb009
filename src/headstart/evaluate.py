"""Probabilities × labels → figures, each with its interval and its n."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from headstart.heads import log_loss
from headstart.intervals import wilson
from headstart.ledger import Opening
from headstart.resampling import NOT_KNOWN, Interval, calibration_interval, macro_f1, macro_f1_interval, mean_interval

BINS = 10
"""Bins of equal width that probabilities are sorted into, where they are held against what was right."""


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
    """Precision, recall and F1 of one class over its `n` pictures; nan where one is undefined.

    Attributes:
        said: how many pictures were called so: what precision is a share of.
        right: how many of them rightly.
    """

    name: str
    precision: float
    recall: float
    f1: float
    n: int
    said: int = 0
    right: int = 0

    @property
    def precision_interval(self) -> Interval:
        """Wilson's 95 % interval of the share of `said`."""
        return wilson(self.right, self.said)

    @property
    def recall_interval(self) -> Interval:
        """Wilson's 95 % interval of the share of `n`."""
        return wilson(self.right, self.n)

    def as_dict(self) -> dict[str, Any]:
        values = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {
            "class": self.name, **{k: None if np.isnan(v) else v for k, v in values.items()}, "n": self.n,
            "said": self.said, "precision_interval": list(self.precision_interval),
            "recall_interval": list(self.recall_interval),
        }  # fmt: skip


@dataclass(frozen=True)
class Bin:
    """Answers of about equal probability, against how many of them were right.

    Attributes:
        begin, end: the probabilities of the answers that fall in it; `end` alone belongs to the next bin.
        probability: their mean.
        right: the share that was right, with its 95 % Wilson interval `low` to `high`.
        n: how many there are.
    """

    begin: float
    end: float
    probability: float
    right: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What came of each picture, one entry a picture in the order of evaluation.

    Attributes:
        rows: its row in the data set, or its position.
        labels, predicted: the true class and the answer, as numbers.
        sure: the probability of the answer.
        losses: its cross-entropy in nats.
        trained: whether the model was trained on it; None where that is not known.
    """

    rows: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    sure: np.ndarray
    losses: np.ndarray
    trained: np.ndarray | None = None

    @property
    def was_trained_on(self) -> np.ndarray:
        """`trained`, where what is not known counts as not."""
        return np.zeros(len(self.labels), bool) if self.trained is None else self.trained

    @property
    def right(self) -> np.ndarray:
        result: np.ndarray = self.labels == self.predicted
        return result

    @property
    def bins(self) -> np.ndarray:
        return _bins(self.sure)


@dataclass(frozen=True)
class Seen:
    """How many of the `n` pictures the model was trained on; `whole` is False where only a sample could be asked."""

    trained: int
    n: int
    whole: bool = True


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
        outcomes: what came of each picture.
        opened: how often these pictures were looked at, where a look was noted.
        seen: how many of them the model was trained on, where it says so.
        unseen: the figures on the others, where some were trained on and some were not.
        rejected: the share that the model takes for none of its classes, by its own rule; None where it has none.
        left_out: how many pictures were not measured, by why: `unknown_class`, `unreadable`, `missing`, `copies`.
        notes: what looks, training and pictures that were left out mean for the figures, in sentences.
    """

    accuracy: Rate
    loss: float
    classes: tuple[str, ...]
    confusion: np.ndarray
    per_class: tuple[ClassFigures, ...]
    mistakes: tuple[tuple[int, int, float], ...]
    calibration_error: float
    outcomes: Outcomes | None = field(default=None, repr=False, compare=False)
    opened: Opening | None = None
    seen: Seen | None = None
    unseen: Evaluation | None = field(default=None, repr=False)
    rejected: Rate | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> Rate:
        """The figure to name first: `accuracy`."""
        return self.accuracy

    @property
    def n(self) -> int:
        """How many pictures it is of."""
        return self.accuracy.n

    def lines(self) -> list[tuple[str, str]]:
        """Names and texts of the figures, for people."""
        return [("accuracy", str(self.accuracy))]

    @cached_property
    def loss_interval(self) -> Interval:
        """95 % bootstrap interval of `loss`; (nan, nan) for fewer than five pictures."""
        return NOT_KNOWN if self.outcomes is None else mean_interval(self.outcomes.losses)

    @property
    def macro_f1(self) -> float:
        """The mean of the classes' F1, those without pictures or answers left out; 0 to 1."""
        return macro_f1(self.confusion)

    @cached_property
    def macro_f1_interval(self) -> Interval:
        """95 % bootstrap interval of `macro_f1`; (nan, nan) for fewer than five pictures."""
        return macro_f1_interval(self.confusion)

    @cached_property
    def calibration_interval(self) -> Interval:
        """95 % bootstrap interval of `calibration_error`; (nan, nan) for fewer than five pictures."""
        if self.outcomes is None:
            return NOT_KNOWN
        return calibration_interval(self.outcomes.right - self.outcomes.sure, self.outcomes.bins)

    @property
    def reliability(self) -> tuple[Bin, ...]:
        """The bins that hold answers, from the least probable on."""
        if self.outcomes is None:
            return ()
        found, outcomes = [], self.outcomes
        for number in np.unique(outcomes.bins).tolist():
            inside = outcomes.bins == number
            right, count = int(outcomes.right[inside].sum()), int(inside.sum())
            low, high = wilson(right, count)
            mean = float(outcomes.sure[inside].mean())
            found.append(Bin(number / BINS, (number + 1) / BINS, mean, right / count, low, high, count))
        return tuple(found)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `headstart evaluate --json` prints them."""
        told: dict[str, Any] = {
            "accuracy": self.accuracy.as_dict(),
            "loss": self.loss,
            "loss_interval": _ends(self.loss_interval),
            "macro_f1": {"value": _number(self.macro_f1), **_ends(self.macro_f1_interval)},
            "per_class": [figures.as_dict() for figures in self.per_class],
            "confusion": self.confusion.tolist(),
            "calibration": {
                "expected_calibration_error": self.calibration_error, **_ends(self.calibration_interval),
                "bins": BINS, "reliability": [some.as_dict() for some in self.reliability],
            },
        }  # fmt: skip
        return told | about(self)

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><td>{escape(f.name)}</td><td>{f.precision:.3f}</td><td>{f.recall:.3f}</td><td>{f.n}</td></tr>"
            for f in self.per_class
        )
        head = "<tr><th>class</th><th>precision</th><th>recall</th><th>n</th></tr>"
        notes = "".join(f"<div>{escape(note)}</div>" for note in self.notes)
        return f"<p>accuracy {escape(str(self.accuracy))}</p>{notes}<table>{head}{rows}</table>"


def about(evaluation: Any) -> dict[str, Any]:
    """What an evaluation of any task says of its pictures besides the figures, as plain JSON values."""
    told: dict[str, Any] = {}
    if evaluation.opened is not None:
        told["opened"] = evaluation.opened.as_dict()
    if evaluation.seen is not None:
        told["trained_on"] = dict(vars(evaluation.seen))
    if evaluation.unseen is not None:
        told["unseen"] = evaluation.unseen.as_dict()
    if evaluation.rejected is not None:
        told["rejected"] = evaluation.rejected.as_dict()
    if evaluation.left_out:
        told["left_out"] = dict(evaluation.left_out)
    if evaluation.notes:
        told["notes"] = list(evaluation.notes)
    return told


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
        Outcomes(names, labels, predicted, sure, _losses(probabilities, labels)),
    )


def _losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross-entropy of each picture, as `heads.log_loss` has it."""
    chosen = probabilities[np.arange(len(labels)), labels] if len(labels) else np.zeros(0)
    losses: np.ndarray = -np.log(np.clip(chosen, 1e-7, 1.0))
    return losses


def _ends(interval: Interval) -> dict[str, float | None]:
    return {"low": _number(interval[0]), "high": _number(interval[1])}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _class_figures(classes: Sequence[str], confusion: np.ndarray) -> list[ClassFigures]:
    figures = []
    for index, name in enumerate(classes):
        hit, said, true = confusion[index, index], confusion[:, index].sum(), confusion[index].sum()
        precision = float(hit / said) if said else float("nan")
        recall = float(hit / true) if true else float("nan")
        f1 = float(2 * hit / (said + true)) if said + true else float("nan")
        figures.append(ClassFigures(name, precision, recall, f1, int(true), int(said), int(hit)))
    return figures


def _calibration_error(sure: np.ndarray, right: np.ndarray) -> float:
    if not len(sure):
        return float("nan")
    bins = _bins(sure)
    gap = 0.0
    for number in np.unique(bins):
        members = bins == number
        gap += abs(float(right[members].mean()) - float(sure[members].mean())) * members.mean()
    return float(gap)


def _bins(sure: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.minimum((np.nan_to_num(sure) * BINS).astype(int), BINS - 1)
    return found
