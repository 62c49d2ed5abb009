"""From which probability a label is said: chosen label by label on training pictures, each by a fit without it.

The threshold of a label is the one of greatest F1, half way between two probabilities that were given. (With perfect
probabilities it would be half of that F1: Lipton, Elkan and Narayanaswamy 2014, arXiv 1402.1892.) A label that fewer
than `LEAST` pictures have keeps `USUAL`. Pictures that a figure is reported on take no part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.errors import ModelFileError
from headstart.listing import some

LEAST = 10
USUAL = 0.5
LOWEST, HIGHEST = 0.02, 0.98


@dataclass(frozen=True)
class Thresholds:
    """Where labels begin.

    Attributes:
        labels: their names.
        values: the probability from which each is said, 0 to 1.
        chosen: whether it was chosen on pictures, or is the usual one.
        f1: what each came to on the pictures that it was chosen on; nan where none was. A little too good.
        n: how many pictures they were chosen on; `on`: which.
    """

    labels: tuple[str, ...]
    values: tuple[float, ...]
    chosen: tuple[bool, ...]
    f1: tuple[float, ...]
    n: int
    on: str = "training pictures, out of fold"

    def words(self) -> str:
        """What a reader should know, in one or two sentences."""
        told = ", ".join(f"{name} {value:.2f}" for name, value in list(zip(self.labels, self.values, strict=True))[:8])
        more = f" and {len(self.labels) - 8} more" if len(self.labels) > 8 else ""
        left = [name for name, chosen in zip(self.labels, self.chosen, strict=True) if not chosen]
        text = f"A label is said from a probability of its own on: {told}{more}."
        text += f" Those of greatest F1 on {self.n:,} {self.on}." if any(self.chosen) else ""
        return text if not left else f"{text} {some(left)}: {USUAL}, since fewer than {LEAST} of these have it."

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        rows = zip(self.labels, self.values, self.chosen, self.f1, strict=True)
        return {
            "labels": [
                {"label": name, "threshold": value, "chosen": chosen, "f1": f1 if np.isfinite(f1) else None}
                for name, value, chosen, f1 in rows
            ],
            "n": self.n, "on": self.on, "words": self.words(),
        }  # fmt: skip


def choose(
    probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str], *, on: str = Thresholds.on
) -> Thresholds:
    """The threshold of greatest F1 of each label.

    Args:
        probabilities: shape (pictures, labels), from fits that had not seen the pictures.
        targets: 0 or 1, of the same shape.
        labels: their names.
        on: which pictures these are, for people.

    Example:
        >>> given = np.linspace(0, 1, 40)[:, None]
        >>> found = choose(given, given > 0.3, ["a"])
        >>> round(found.values[0], 2), found.f1
        (0.29, (1.0,))
    """
    has = np.asarray(targets) > 0.5
    found = [_best(probabilities[:, at], has[:, at]) for at in range(len(labels))]
    values, scores = [value for value, _ in found], [score for _, score in found]
    return Thresholds(
        tuple(labels), tuple(values), tuple(bool(np.isfinite(score)) for score in scores), tuple(scores), len(has), on
    )


def usual(labels: Sequence[str]) -> Thresholds:
    """`USUAL` for all of them, where there are no pictures to choose on."""
    count = len(labels)
    return Thresholds(tuple(labels), (USUAL,) * count, (False,) * count, (float("nan"),) * count, 0)


def of_facts(found: Any, labels: Sequence[str]) -> Thresholds:
    """The thresholds of a classifier file, taken for hostile.

    Raises:
        ModelFileError: they are not one number from 0 to 1 for each label, in order.
    """
    rows = found.get("labels") if isinstance(found, Mapping) else None
    sound = [
        (float(row["threshold"]), row.get("chosen") is True, row.get("f1"))
        for row, name in zip(rows if isinstance(rows, list) else [], labels, strict=False)
        if isinstance(row, Mapping) and row.get("label") == name
        and isinstance(row.get("threshold"), (int, float)) and 0 <= row["threshold"] <= 1
    ]  # fmt: skip
    if not isinstance(rows, list) or not len(rows) == len(sound) == len(labels):
        raise ModelFileError("`thresholds` are not a number from 0 to 1 for each label; the file is damaged")
    count, on = found.get("n"), found.get("on")
    f1 = tuple(float(score) if isinstance(score, (int, float)) else float("nan") for _, _, score in sound)
    return Thresholds(
        tuple(labels), tuple(value for value, _, _ in sound), tuple(chosen for _, chosen, _ in sound), f1,
        count if isinstance(count, int) else 0, str(on)[:80],
    )  # fmt: skip


def _best(probabilities: np.ndarray, has: np.ndarray) -> tuple[float, float]:
    """The threshold and its F1; `USUAL` and nan where too few pictures have the label, or lack it."""
    count = int(has.sum())
    if min(count, len(has) - count) < LEAST:
        return USUAL, float("nan")
    order = np.argsort(-probabilities, kind="stable")
    sorted_, hits = probabilities[order].astype(np.float64), np.cumsum(has[order])
    ends = np.flatnonzero(np.append(np.diff(sorted_) != 0, True))
    scores = 2 * hits[ends] / (ends + 1 + count)
    below = np.append(sorted_[ends[1:]], 0.0)  # the next probability that was given
    middles = np.clip((sorted_[ends] + below) / 2, LOWEST, HIGHEST)
    best = int(np.flatnonzero(scores == scores.max())[0])
    return float(middles[best]), float(scores[best])
