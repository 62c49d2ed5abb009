"""Two classifiers on the same pictures: what parts them, and whether the pictures can tell.

Only pictures that one has right and the other wrong speak for either (McNemar 1947, Psychometrika 12:153-157). With
few of them the test is exact (binomial), else chi-square with the continuity correction of Edwards (1948). The interval
of the difference is Newcombe's method 10 for paired shares (1998, Statistics in Medicine 17:2635-2650), from Wilson's
intervals of both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headstart.errors import ModelFileError, PhotosError
from headstart.evaluate import Evaluation
from headstart.intervals import wilson

EXACT_BELOW = 25
"""Discordant pictures below which the test is exact."""
LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """What the same pictures say of two classifiers.

    Attributes:
        both, first_alone, second_alone, neither: how many pictures each had right.
        difference: accuracy of the first less that of the second, with its paired 95 % interval `low` to `high`.
        p: how often two equally good classifiers would be at least so far apart, 0 to 1.
        test: `exact` or `chi-square`.
        first, second: the evaluations.
        unseen: the same on the pictures that neither was trained on, where some were trained on.
    """

    both: int
    first_alone: int
    second_alone: int
    neither: int
    difference: float
    low: float
    high: float
    p: float
    test: str
    first: Evaluation
    second: Evaluation
    unseen: Comparison | None = None

    @property
    def n(self) -> int:
        return self.both + self.first_alone + self.second_alone + self.neither

    @property
    def separated(self) -> bool:
        """Whether the pictures tell the two apart."""
        return self.p < LEVEL

    def words(self, first: str = "the first", second: str = "the second") -> str:
        """What the pictures say, with these names for the two."""
        span = f"{100 * self.difference:+.1f} points (95 % interval {100 * self.low:+.1f} to {100 * self.high:+.1f})"
        by = f"McNemar's test, {'exact' if self.test == 'exact' else 'chi-square'}: p = {_p(self.p)}"
        alone = f"{self.first_alone:,} right by {first} alone, {self.second_alone:,} by {second} alone"
        if not self.separated:
            pictures = "this picture" if self.n == 1 else f"these {self.n:,} pictures"
            start = f"{pictures[0].upper()}{pictures[1:]} cannot separate them"
            return f"{start}: {span}; {alone}. {by}."
        better = first if self.difference > 0 else second
        better = f"T{better[1:]}" if better.startswith("the ") else better  # a path keeps its letters
        return f"{better} is better on these {self.n:,} pictures: {span}; {alone}. {by}."

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the evaluations."""
        told: dict[str, Any] = {
            "n": self.n, "both": self.both, "first_alone": self.first_alone, "second_alone": self.second_alone,
            "neither": self.neither, "difference": self.difference, "low": self.low, "high": self.high, "p": self.p,
            "test": self.test, "separated": self.separated, "words": self.words(),
        }  # fmt: skip
        if self.unseen is not None:
            told["unseen"] = self.unseen.as_dict()
        return told

    def __str__(self) -> str:
        return self.words()

    def _repr_html_(self) -> str:
        """For a notebook: the sentence, and how many pictures each had right."""
        from html import escape

        rows = (("both", self.both), ("the first alone", self.first_alone), ("the second alone", self.second_alone),
                ("neither", self.neither))  # fmt: skip
        cells = "".join(f"<tr><td>{name}</td><td>{count:,}</td></tr>" for name, count in rows)
        notes = "".join(f"<div>{escape(note)}</div>" for each in (self.first, self.second) for note in each.notes)
        return f"<p>{escape(str(self))}</p>{notes}<table><tr><th>right</th><th>pictures</th></tr>{cells}</table>"


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """Hold two evaluations of the same pictures against each other, picture by picture.

    Pictures that one of them could not read are left out.

    Raises:
        ModelFileError: they have different classes.
        PhotosError: they have no picture in common.

    Example:
        >>> from headstart.evaluate import score
        >>> labels = np.array([0, 1, 0, 1])
        >>> right, wrong = np.eye(2)[labels], np.eye(2)[1 - labels]
        >>> found = compare(score(right, labels, "ab", split="test"), score(wrong, labels, "ab", split="test"))
        >>> found.difference, found.p, found.separated
        (1.0, 0.125, False)
    """
    check_classes(first.classes, second.classes)
    if first.outcomes is None or second.outcomes is None:
        raise ValueError("evaluations without outcomes cannot be compared. Received: outcomes=None")
    _, mine, theirs = np.intersect1d(first.outcomes.rows, second.outcomes.rows, return_indices=True)
    if not len(mine):
        raise PhotosError("there is no picture that both models can be measured on")
    a, b = first.outcomes.right[mine], second.outcomes.right[theirs]
    found = _of(a, b, first, second)
    fresh = ~(first.outcomes.was_trained_on[mine] | second.outcomes.was_trained_on[theirs])
    return found if fresh.all() or not fresh.any() else replace(found, unseen=_of(a[fresh], b[fresh], first, second))


def check_classes(first: tuple[str, ...], second: tuple[str, ...], names: tuple[str, str] = ("A", "B")) -> None:
    """Refuse models that do not tell the same classes apart; their order does not matter.

    Raises:
        ModelFileError: one has a class that the other lacks.
    """
    if set(first) == set(second):
        return
    told = [
        f"{name} alone has {', '.join(sorted(own - other)[:8])}"
        for name, own, other in ((names[0], set(first), set(second)), (names[1], set(second), set(first)))
        if own - other
    ]
    raise ModelFileError(
        f"models of different classes cannot be compared: {'; '.join(told)}.\n"
        "Train both on the same classes, or evaluate each by itself."
    )


def mcnemar(first_alone: int, second_alone: int) -> tuple[float, str]:
    """The two-sided p of McNemar's test, and which form of it: `exact` or `chi-square`.

    Args:
        first_alone, second_alone: pictures that one of the two alone had right.

    >>> mcnemar(1, 9)
    (0.021484375, 'exact')
    >>> p, test = mcnemar(10, 30)
    >>> round(p, 4), test
    (0.0027, 'chi-square')
    """
    count, fewer = first_alone + second_alone, min(first_alone, second_alone)
    if count < EXACT_BELOW:
        tail = sum(math.comb(count, k) for k in range(fewer + 1))
        return min(1.0, 2 * tail / 2**count), "exact"
    chi = max(abs(first_alone - second_alone) - 1, 0) ** 2 / count
    return math.erfc(math.sqrt(chi / 2)), "chi-square"


def paired_difference(both: int, first_alone: int, second_alone: int, neither: int) -> tuple[float, float, float]:
    """The difference of two paired shares and its 95 % interval (Newcombe 1998, method 10).

    >>> [round(value, 4) for value in paired_difference(36, 12, 2, 0)]
    [0.2, 0.0569, 0.3404]
    """
    n = both + first_alone + second_alone + neither
    one, other = both + first_alone, both + second_alone
    p, q = one / n, other / n
    difference = (first_alone - second_alone) / n
    (low1, high1), (low2, high2) = wilson(one, n), wilson(other, n)
    phi = _phi(both, first_alone, second_alone, neither)
    d1, u1, d2, u2 = p - low1, high1 - p, q - low2, high2 - q
    below = math.sqrt(max(d1 * d1 - 2 * phi * d1 * u2 + u2 * u2, 0.0))
    above = math.sqrt(max(d2 * d2 - 2 * phi * d2 * u1 + u1 * u1, 0.0))
    return difference, max(-1.0, difference - below), min(1.0, difference + above)


def _phi(a: int, b: int, c: int, d: int) -> float:
    """The correlation of the two, with Newcombe's correction where it is positive."""
    product = (a + b) * (c + d) * (a + c) * (b + d)
    if product == 0:
        return 0.0
    excess = float(a * d - b * c)
    if excess > 0:
        excess = max(excess - (a + b + c + d) / 2, 0.0)
    return excess / math.sqrt(product)


def _of(mine: np.ndarray, theirs: np.ndarray, first: Evaluation, second: Evaluation) -> Comparison:
    both, alone, other, neither = (
        int(np.sum((mine == a) & (theirs == b))) for a in (True, False) for b in (True, False)
    )
    p, test = mcnemar(alone, other)
    difference, low, high = paired_difference(both, alone, other, neither)
    return Comparison(both, alone, other, neither, difference, low, high, p, test, first, second)


def _p(value: float) -> str:
    return "under 0.001" if value < 0.001 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"
