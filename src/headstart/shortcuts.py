"""Classes that differ by something other than content: file type, size, shape, grey against colour, a border.

A classifier can learn such a difference in place of what the pictures show; collections of chest X-rays have it (Zech
et al. 2018, PLOS Medicine 15:e1002683). For each property and class, one half of the pictures says which value or
threshold tells the class from the others best, and the other half measures it: the share of the class that has it less
the share of the others, with Newcombe's interval (1998, Statistics in Medicine 17:873-890, method 10), widened for the
number of questions asked. It is reported where the interval lies above `STRONG`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from headstart.dataset import Dataset
from headstart.estimates import Estimate
from headstart.findings import Finding
from headstart.intervals import wilson
from headstart.looks import FORMATS, Looks

STRONG = 0.5
"""A difference of shares is reported where its interval lies above this."""
GREY = 10
"""Colour channels that lie no further apart, in levels of 255, are grey; JPEG stains grey a little."""
EVEN = 4.0
"""Standard deviation of the brightness along a picture's edge up to which it has an even border."""
SHOWN = 4
"""Files of the class and of the others that stand for the rest."""
_ACTION = "Nothing. A classifier can learn this in place of the content: give every class the same mix of it."
_THRESHOLDS = 64


@dataclass(frozen=True)
class _Property:
    """Something that each picture has: `values` are numbers to be compared, or names.

    `above` and `below` say what a number on that side of a threshold means; `has` what a name means.
    """

    name: str
    values: np.ndarray
    has: str = ""
    above: str = ""
    below: str = ""


def shortcuts(dataset: Dataset, looks: Looks) -> Iterator[Finding]:
    """One finding for each class and property that tells it from the other classes too well."""
    rows = np.flatnonzero(looks.readable & (dataset.labels >= 0) & (dataset.splits != "left out"))
    labels, count = dataset.labels[rows], len(dataset.classes)
    if count < 2 or not len(rows) or dataset.task != "classes":
        return
    measures = _halves(dataset, rows)
    properties = _properties(looks, rows)
    asked = (1 if count == 2 else count) * len(properties)
    told: set[tuple[int, str]] = set()
    for kind in properties:
        for label in range(1 if count == 2 else count):
            if kind.name in ("length", "shape") and (label, "size") in told:
                continue  # the same thing said twice
            member = labels == label
            finding = _judged(dataset, kind, rows, member=member, measures=measures, confidence=1 - 0.05 / asked)
            if finding is not None:
                told.add((label, kind.name))
                yield finding


def _halves(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Which of the rows measure; the contents decide, so that neither names nor order do."""
    digests = dataset.digests or ()
    return np.array([bool(digests[row]) and digests[row][-1] % 2 == 1 for row in rows.tolist()])


def _properties(looks: Looks, rows: np.ndarray) -> list[_Property]:
    width, height = looks.width[rows], looks.height[rows]
    even = looks.edge_spread[rows] <= EVEN
    bright = looks.edge[rows]
    border = np.where(even, np.where(bright < 64, "a dark", np.where(bright > 191, "a light", "a grey")), "")
    sizes = np.array([f"{w} × {h}" for w, h in zip(width.tolist(), height.tolist(), strict=True)])
    longer, shape = np.maximum(width, height), width / np.maximum(height, 1)
    return [
        _Property("file type", np.array(FORMATS)[looks.format[rows]], has="are {} files"),
        _Property("colour", np.where(looks.chroma[rows] <= GREY, "grey", "in colour"), has="are {}"),
        _Property("border", border, has="have {} border all around"),
        _Property("size", sizes, has="measure {} pixels"),
        _Property("length", longer, above="have a longer side above {:,.0f} pixels",
                  below="have a longer side of {:,.0f} pixels at most"),
        _Property("shape", shape, above="are more than {:.2f} times as wide as high",
                  below="are at most {:.2f} times as wide as high"),
    ]  # fmt: skip


def _judged(
    dataset: Dataset, kind: _Property, rows: np.ndarray, *, member: np.ndarray, measures: np.ndarray, confidence: float
) -> Finding | None:
    guess, test = ~measures, measures
    if not all((part & side).any() for part in (guess, test) for side in (member, ~member)):
        return None
    has, words = (_numeric if kind.above else _named)(kind, member, guess)
    inside, outside = has[test & member], has[test & ~member]
    lead = has[guess & member].mean() - has[guess & ~member].mean()
    if abs(lead) <= STRONG:
        return None
    more, less = (inside, outside) if lead > 0 else (outside, inside)
    low = _difference((int(more.sum()), len(more)), (int(less.sum()), len(less)), confidence)
    if low <= STRONG:
        return None
    classes, label = dataset.classes, int(dataset.labels[rows[member][0]])
    one, other = classes[label], classes[1 - label] if len(classes) == 2 else "the other classes"
    note = (
        f"{inside.mean():.0%} of {one} {words}, of {other} {outside.mean():.0%}"
        f" (of {len(inside):,} and {len(outside):,} pictures; {100 * low:.0f} points apart at least)."
    )
    shown = np.concatenate([rows[member & test][:SHOWN], rows[~member & test][:SHOWN]]).tolist()
    return Finding("shortcut", tuple(dataset.files[row] for row in shown), note, _ACTION)


def _named(kind: _Property, member: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, str]:
    """The value whose shares in the class and in the others are furthest apart."""
    values, place = np.unique(kind.values, return_inverse=True)
    inside = np.bincount(place[guess & member], minlength=len(values)) / (guess & member).sum()
    outside = np.bincount(place[guess & ~member], minlength=len(values)) / (guess & ~member).sum()
    lead = inside - outside
    score = np.abs(lead) + 1e-9 * (lead > 0)  # of two ways to say it, that which the class has
    best = int(np.where(values == "", -1, score).argmax())  # no name, nothing to be said
    return place == best, kind.has.format(values[best])


def _numeric(kind: _Property, member: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, str]:
    """The threshold, and its side, that the class lies on more often than the others, by most."""
    cuts = np.unique(np.quantile(kind.values[guess], np.linspace(0, 1, _THRESHOLDS), method="lower"))
    above = kind.values[:, None] > cuts
    lead = above[guess & member].mean(axis=0) - above[guess & ~member].mean(axis=0)
    best = int(np.abs(lead).argmax())
    if lead[best] >= 0:
        return above[:, best], kind.above.format(cuts[best])
    return ~above[:, best], kind.below.format(cuts[best])


def _difference(more: tuple[int, int], less: tuple[int, int], confidence: float) -> float:
    """The lower end of the interval of a difference between two shares, each (how many, of how many)."""
    one, two = more[0] / more[1], less[0] / less[1]
    return Estimate(one, *wilson(*more, confidence)).minus(Estimate(two, *wilson(*less, confidence))).low
