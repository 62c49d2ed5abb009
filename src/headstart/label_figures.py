"""Probabilities of labels × labels → figures: each label by itself, all of them together, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from headstart.evaluate import Rate, Seen, about
from headstart.heads import label_losses
from headstart.intervals import wilson
from headstart.ledger import Opening
from headstart.resampling import NOT_KNOWN, Interval, intervals, mean_interval


@dataclass(frozen=True)
class LabelFigures:
    """What a classifier is worth for one label; nan where something is undefined.

    Attributes:
        average_precision: the mean of the precision at each picture that has the label, in order of probability
            (Manning, Raghavan and Schütze 2008, section 8.4); needs no threshold.
        guessing: what it is on average where the order is drawn at random: about the label's share of the pictures.
        found: whether it is greater than in 39 of 40 such orders.
        threshold: the probability from which the label is said.
        precision, recall, f1: at that threshold.
        n: pictures with the label; `said`: pictures that it was said of; `right`: rightly; `of`: pictures in all.
        average_precision_interval, f1_interval: 95 %, by the bootstrap.
    """

    name: str
    average_precision: float
    threshold: float
    precision: float
    recall: float
    f1: float
    n: int
    said: int
    right: int
    of: int
    guessing: float = float("nan")
    found: bool = False
    average_precision_interval: Interval = NOT_KNOWN
    f1_interval: Interval = NOT_KNOWN

    @property
    def precision_interval(self) -> Interval:
        """Wilson's 95 % interval of the share of `said`."""
        return wilson(self.right, self.said)

    @property
    def recall_interval(self) -> Interval:
        """Wilson's 95 % interval of the share of `n`."""
        return wilson(self.right, self.n)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "label": self.name, "average_precision": _estimate(self.average_precision, self.average_precision_interval),
            "guessing": _number(self.guessing), "found": self.found, "threshold": self.threshold,
            "precision": _estimate(self.precision, self.precision_interval),
            "recall": _estimate(self.recall, self.recall_interval), "f1": _estimate(self.f1, self.f1_interval),
            "n": self.n, "said": self.said, "right": self.right,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class LabelOutcomes:
    """What came of each picture, in the order of evaluation.

    Attributes:
        rows: its row in the data set, or its position.
        targets: bool of shape (pictures, labels): what it has.
        probabilities: of the same shape.
        trained: whether the model was trained on it; None where that is not known.
    """

    rows: np.ndarray
    targets: np.ndarray
    probabilities: np.ndarray
    trained: np.ndarray | None = None

    @property
    def was_trained_on(self) -> np.ndarray:
        """`trained`, where what is not known counts as not."""
        return np.zeros(len(self.rows), bool) if self.trained is None else self.trained


@dataclass(frozen=True)
class LabelsEvaluation:
    """What a classifier of labels is worth on some pictures.

    Attributes:
        split, n: where the pictures come from, and how many they are.
        classes: the labels.
        per_label: figures of each label.
        mean_average_precision: the mean over labels that some picture has, 0 to 1.
        exact: the share of pictures with every label right.
        decisions: the share of all decisions, label by label, that were right.
        loss: binary cross-entropy in nats, the mean over labels and pictures.
        guessing: `average_precision` of orders drawn at random, and `decisions` of saying of every label what is
            commoner.
        learnt: whether the mean average precision is greater than in 39 of 40 orders drawn at random.
        outcomes: what came of each picture.
        opened, seen, unseen, rejected, left_out, notes: as `Evaluation` has them.
    """

    split: str
    n: int
    classes: tuple[str, ...]
    per_label: tuple[LabelFigures, ...]
    mean_average_precision: float
    mean_average_precision_interval: Interval
    exact: Rate
    decisions: float
    decisions_interval: Interval
    loss: float
    guessing: Mapping[str, float]
    learnt: bool
    outcomes: LabelOutcomes = field(repr=False, compare=False)
    opened: Opening | None = None
    seen: Seen | None = None
    unseen: LabelsEvaluation | None = field(default=None, repr=False)
    rejected: Rate | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> Rate:
        """The figure to name first: the mean average precision."""
        return Rate(self.split, self.mean_average_precision, *self.mean_average_precision_interval, self.n)

    @property
    def said(self) -> np.ndarray:
        """bool of shape (pictures, labels): which labels are said of which pictures."""
        thresholds = np.array([figures.threshold for figures in self.per_label])
        result: np.ndarray = self.outcomes.probabilities >= thresholds
        return result

    @cached_property
    def loss_interval(self) -> Interval:
        """95 % bootstrap interval of `loss`; (nan, nan) for fewer than five pictures."""
        return mean_interval(label_losses(self.outcomes.probabilities, self.outcomes.targets))

    @property
    def mistakes(self) -> tuple[tuple[int, int, float], ...]:
        """(row, label, probability) of every wrong decision, those furthest beyond the threshold first."""
        wrong = np.argwhere(self.said != self.outcomes.targets)
        thresholds = np.array([figures.threshold for figures in self.per_label])
        told = [
            (int(self.outcomes.rows[at]), int(label), float(self.outcomes.probabilities[at, label]))
            for at, label in wrong
        ]
        return tuple(sorted(told, key=lambda each: -_surprise(each[2], float(thresholds[each[1]]))))

    def lines(self) -> list[tuple[str, str]]:
        """Names and texts of the figures, for people."""
        mean = _words(self.mean_average_precision, self.mean_average_precision_interval)
        return [
            ("average precision", f"{mean} in the mean over labels; guessing {self.guessing['average_precision']:.1%}"),
            ("every label right", f"{self.exact.value:.1%} ({self.exact.low:.1%} to {self.exact.high:.1%}) of the"
             f" pictures, n = {self.n:,}, {self.split}"),
            ("decisions right", f"{_words(self.decisions, self.decisions_interval)}; always what is commoner"
             f" {self.guessing['decisions']:.1%}"),
        ]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `headstart evaluate --json` prints them."""
        mean = _estimate(self.mean_average_precision, self.mean_average_precision_interval)
        told: dict[str, Any] = {
            "task": "labels", "accuracy": None, "split": self.split, "n": self.n,
            "metrics": {
                "mean_average_precision": mean, "exact": self.exact.as_dict(),
                "decisions": _estimate(self.decisions, self.decisions_interval), "guessing": dict(self.guessing),
                "learnt": self.learnt,
            },
            "loss": self.loss, "loss_interval": {"low": _number(self.loss_interval[0]),
                                                 "high": _number(self.loss_interval[1])},
            "per_label": [figures.as_dict() for figures in self.per_label],
        }  # fmt: skip
        return told | about(self)

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><td>{escape(f.name)}</td><td>{f.average_precision:.3f}</td><td>{f.precision:.3f}</td>"
            f"<td>{f.recall:.3f}</td><td>{f.f1:.3f}</td><td>{f.n}</td></tr>"
            for f in self.per_label
        )
        names = ("label", "average precision", "precision", "recall", "F1", "n")
        head = "<tr>" + "".join(f"<th>{name}</th>" for name in names) + "</tr>"
        figures = "".join(f"<p>{escape(name)} {escape(text)}</p>" for name, text in self.lines())
        notes = "".join(f"<div>{escape(note)}</div>" for note in self.notes)
        return f"{figures}{notes}<table>{head}{rows}</table>"


def score(
    probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str], *, thresholds: Sequence[float], split: str,
    rows: Sequence[int] | np.ndarray | None = None,
) -> LabelsEvaluation:  # fmt: skip
    """Evaluate probabilities against labels, both of shape (pictures, labels).

    Args:
        targets: 0 or 1.
        thresholds: the probability from which each label is said.
        split: where the pictures come from, as the figure will say.
        rows: what to call the pictures; their positions where nothing is given.

    Example:
        >>> found = score(np.array([[0.9], [0.2], [0.4]]), np.array([[1], [0], [1]]), ["a"], thresholds=[0.5],
        ...               split="test")
        >>> found.mean_average_precision, found.per_label[0].recall, round(found.exact.value, 2)
        (1.0, 0.5, 0.67)
    """
    targets = np.asarray(targets) > 0.5
    probabilities = np.asarray(probabilities, np.float64).reshape(targets.shape)
    names = np.arange(len(targets)) if rows is None else np.asarray(rows)
    count, said = len(targets), probabilities >= np.asarray(thresholds)
    once = np.ones((1, count), np.float32)
    each = np.array([average_precisions(once, probabilities[:, at], targets[:, at])[0] for at in range(len(labels))])
    spans = _intervals(probabilities, targets, said)
    right = said == targets
    whole = int(right.all(axis=1).sum())
    low, high = wilson(whole, count)
    chance = _by_chance(probabilities, targets)
    mean, guess = _mean(each[np.isfinite(each)]), _finite_mean(chance)
    better = [bool(value > _limit(chance[:, at])) for at, value in enumerate(each)]
    share = targets.mean(axis=0) if count else np.zeros(len(labels))
    return LabelsEvaluation(
        split, count, tuple(labels),
        tuple(
            replace(
                _figures(name, float(each[at]), float(thresholds[at]), said[:, at], targets[:, at], spans[at]),
                guessing=_mean(chance[:, at]), found=better[at],
            )
            for at, name in enumerate(labels)
        ),
        mean, spans[-1][0], Rate(split, whole / count if count else float("nan"), low, high, count),
        float(right.mean()) if right.size else float("nan"),
        mean_interval(right.mean(axis=1) if count else np.zeros(0)),
        _mean(label_losses(probabilities, targets)),
        {"average_precision": _mean(guess), "decisions": _mean(np.maximum(share, 1 - share))},
        bool(mean > _limit(guess)), LabelOutcomes(names, targets, probabilities),
    )  # fmt: skip


def average_precisions(drawn: np.ndarray, probabilities: np.ndarray, has: np.ndarray) -> np.ndarray:
    """Average precision of each draw of pictures, shape (draws,); nan where none of them has the label.

    Pictures of equal probability are taken together, so that their order does not matter.

    Args:
        drawn: how often each picture was drawn, float32 of shape (draws, pictures).
        probabilities: shape (pictures,).
        has: bool of shape (pictures,), or of one row a draw.
    """
    order = np.argsort(-probabilities, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(probabilities[order]) != 0, True)) if len(order) else order
    weights = drawn[:, order]
    hits = np.cumsum(weights * has[..., order], axis=1, dtype=np.float64)[:, ends]
    above = np.cumsum(weights, axis=1, dtype=np.float64)[:, ends]
    new = np.diff(hits, axis=1, prepend=0.0)
    total = hits[:, -1] if len(ends) else np.zeros(len(hits))
    with np.errstate(invalid="ignore", divide="ignore"):
        result: np.ndarray = (new * np.where(above > 0, hits / above, 0)).sum(axis=1) / total
    return result


def _by_chance(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Average precisions where the pictures' labels are dealt out anew, shape (deals, labels): Fisher's permutations.

    All labels of a picture stay together, so that the mean over labels is as uncertain as it is.
    """
    count, labels = targets.shape
    deals = int(np.clip(_DEALT // max(count * labels, 1), 200, 1000)) if count else 0
    random = np.random.default_rng(0)
    orders = [random.permutation(count) for _ in range(deals)]
    once = np.ones((1, count), np.float32)
    found = np.empty((deals, labels))
    for at in range(labels):
        has = np.stack([targets[order, at] for order in orders]) if deals else np.zeros((0, count), bool)
        found[:, at] = average_precisions(once, probabilities[:, at], has)
    return found


_DEALT = 20_000_000


def _limit(chance: np.ndarray) -> float:
    """What 39 of 40 deals do not exceed; nothing exceeds it where there are none."""
    known = chance[np.isfinite(chance)]
    return float(np.quantile(known, 0.975)) if len(known) else float("inf")


def _finite_mean(chance: np.ndarray) -> np.ndarray:
    """The mean over labels that some picture has, of each deal."""
    known = np.isfinite(chance).all(axis=0)
    result: np.ndarray = chance[:, known].mean(axis=1) if known.any() else np.zeros(0)
    return result


def _intervals(probabilities: np.ndarray, targets: np.ndarray, said: np.ndarray) -> list[tuple[Interval, Interval]]:
    """For each label the intervals of average precision and F1, and at the end that of the mean average precision."""
    count, labels = targets.shape

    def figures(drawn: np.ndarray) -> np.ndarray:
        found = np.empty((len(drawn), 2 * labels + 1))
        for at in range(labels):
            has, says = targets[:, at], said[:, at]
            found[:, 2 * at] = average_precisions(drawn, probabilities[:, at], has)
            both = drawn @ has.astype(np.float32) + drawn @ says.astype(np.float32)
            with np.errstate(invalid="ignore", divide="ignore"):
                found[:, 2 * at + 1] = np.where(both > 0, 2 * (drawn @ (has & says).astype(np.float32)) / both, np.nan)
        precisions = found[:, 0 : 2 * labels : 2]
        known = np.isfinite(precisions)
        with np.errstate(invalid="ignore", divide="ignore"):
            found[:, -1] = np.where(known, precisions, 0).sum(axis=1) / known.sum(axis=1)
        return found

    spans = intervals(figures, count, 2 * labels + 1, centred=True)
    return [*((spans[2 * at], spans[2 * at + 1]) for at in range(labels)), (spans[-1], NOT_KNOWN)]


def _figures(
    name: str, precision: float, threshold: float, said: np.ndarray, has: np.ndarray, spans: tuple[Interval, Interval]
) -> LabelFigures:
    hit, called, true = int((said & has).sum()), int(said.sum()), int(has.sum())
    return LabelFigures(
        name, precision, threshold, hit / called if called else float("nan"), hit / true if true else float("nan"),
        2 * hit / (called + true) if called + true else float("nan"), true, called, hit, len(has),
        average_precision_interval=spans[0], f1_interval=spans[1],
    )  # fmt: skip


def _surprise(probability: float, threshold: float) -> float:
    """How far beyond its threshold an answer lies, as a share of the room on that side."""
    if probability >= threshold:
        return (probability - threshold) / max(1 - threshold, 1e-9)
    return (threshold - probability) / max(threshold, 1e-9)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _words(value: float, span: Interval) -> str:
    return f"{value:.1%}" + (f" ({span[0]:.1%} to {span[1]:.1%})" if np.isfinite(span[0]) else "")


def _estimate(value: float, span: Interval) -> dict[str, float | None]:
    return {"value": _number(value), "low": _number(span[0]), "high": _number(span[1])}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
