"""What a ranking found: a row for each source × cut × pooling × head, best first, and which of them to take.

Rows are ordered by calibrated cross-entropy, which speaks of every picture. Which rows the pictures can tell from the
best is a paired test's to say; that few pictures can tell little apart is no evidence of equality, so what is
recommended is the row of least loss, or one that is level with it (`choose.LEVEL`) and costs less.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart import ranking_page
from headstart.choose import LEVEL as LEVEL_ERRORS
from headstart.comparison import LEVEL, mcnemar
from headstart.prior import Prior

LOSS_LEVEL = 2.0
"""Standard errors of the paired difference in loss beyond which the data tell two rows apart."""
SOLVER_NOISE = 2e-4  # nats: fits that are the same in all but rounding differ by so little
ALIKE = 1.05
"""Costs that differ by less than this factor are one cost: a clock is no more exact."""
HEADS = ("ridge", "linear", "blend", "prototype", "dense")
CHOSEN = tuple(name for name in HEADS if name != "dense")
"""The heads that a training chooses among by itself."""
SHOWN = 12


@dataclass(frozen=True)
class Row:
    """One source, cut, pooling and head, and what it was worth on the training pictures, out of fold.

    Attributes:
        source: as it was named, weights and size included where they were.
        cut: the layer; several, side by side, with `+` between them.
        accuracy, low, high: out of fold, with its 95 % Wilson interval; `n` pictures.
        loss: cross-entropy in nats; nan where a ridge probe stands in for the head.
        neighbours: the share that a vote of nearest neighbours names right; nan where it was not counted.
        seconds: what it took: the source's pass over the pictures, and the fit.
        milliseconds_per_image: the network's own time at prediction.
        size_mb: network up to the cut and head, 10**6 bytes.
        probe: the accuracy is that of a ridge probe in place of the head.
        level: whether the pictures cannot tell it from the row that `Ranking.compared` is.
        recommended: the cheapest of those that are level and give nothing away to speak of.
        recipe: the fields of a recipe that make it.
        places: which pictures it was scored on; `right` and `losses` are of these.
    """

    source: str
    cut: str
    pooling: str
    head: str
    accuracy: float
    low: float
    high: float
    n: int
    seconds: float
    milliseconds_per_image: float
    size_mb: float
    dimensions: int
    loss: float = float("nan")
    neighbours: float = float("nan")
    probe: bool = False
    level: bool = False
    recommended: bool = False
    recipe: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    places: np.ndarray = field(default_factory=lambda: np.zeros(0, int), repr=False, compare=False)
    right: np.ndarray = field(default_factory=lambda: np.zeros(0, bool), repr=False, compare=False)
    losses: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)

    @property
    def label(self) -> str:
        return f"{self.source}, {self.cut}, {self.pooling}, {self.head}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `headstart rank --json` prints them."""
        told = {
            "source": self.source, "cut": self.cut, "pooling": self.pooling, "head": self.head,
            "accuracy": self.accuracy, "low": self.low, "high": self.high, "n": self.n,
            "neighbours": self.neighbours, "loss": self.loss, "seconds": round(self.seconds, 3),
            "milliseconds_per_image": round(self.milliseconds_per_image, 4), "size_mb": self.size_mb,
            "dimensions": self.dimensions, "probe": self.probe, "level": self.level,
            "recommended": self.recommended, "recipe": dict(self.recipe),
        }  # fmt: skip
        return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in told.items()}


@dataclass(frozen=True)
class Ranking:
    """Sources, cuts, poolings and heads, ranked on the user's own training pictures.

    Attributes:
        rows: best first.
        pictures: how many training pictures there are; a row's `n` says how many it was scored on.
        classes: their names.
        prior: what the rule of thumb says.
        dropped: sentences on sources that were given up early.
        not_tried: sentences on what was not tried, or not on every picture, and why.
        notes: what else a reader should know.
        seconds: how long it took.
    """

    rows: tuple[Row, ...]
    pictures: int
    classes: tuple[str, ...]
    prior: Prior | None = None
    dropped: tuple[str, ...] = ()
    not_tried: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    report: Path | None = None

    @property
    def best(self) -> Row:
        """The row of least loss that was fitted."""
        return next((row for row in self.rows if not row.probe), self.rows[0])

    @property
    def compared(self) -> Row:
        """The row that the others were compared with."""
        return _eligible(self.rows)[0]

    @property
    def recommended(self) -> Row:
        """The row to take."""
        return next(row for row in self.rows if row.recommended)

    @property
    def frontier(self) -> tuple[Row, ...]:
        """The rows that no cheaper row reaches in accuracy, from the cheapest on."""
        return frontier(self.rows)

    @property
    def verdict(self) -> str:
        """What to take, and why."""
        row, best = self.recommended, self.best
        if math.isnan(row.accuracy):
            taken = f"Take {row.source} cut at {row.cut}, {row.pooling} pooled, {row.head} head"
            return f"{taken}: with one picture a class nothing can be compared, and that assumes least."
        rate = f"{row.accuracy:.1%} ({row.low:.1%} to {row.high:.1%}, n = {row.n:,}, out of fold)"
        start = f"Take {row.source} cut at {row.cut}, {row.pooling} pooled, {row.head} head: {rate}"
        cost = f"{row.milliseconds_per_image:.2g} ms a picture"
        level = sum(other.level for other in self.rows)
        if row is best:
            others = f"{level - 1} other{'s' if level > 2 else ''}"
            more = f" The data cannot tell {others} from it." if level > 1 else ""
            return f"{start}, {cost}. It is the best.{more}"
        if _apart(best, row):  # "cannot tell" is not transitive: it is the row compared with that it is level with
            other = self.compared
            name = told = f"{other.source} cut at {other.cut}"
        else:
            other, name, told = best, f"the best, {best.source} cut at {best.cut}", "the best"
        gain = other.milliseconds_per_image / max(row.milliseconds_per_image, 1e-9)
        cheaper = f", {gain:.1f} times as cheap as {name}" if gain > ALIKE else ""
        return f"{start}, {cost}{cheaper}. The data cannot tell it from {told} ({other.accuracy:.1%})."

    @property
    def source_verdict(self) -> str:
        """Say which source was taken where a training chose layers and head on it."""
        row = self.recommended
        if math.isnan(row.accuracy):
            return f"{row.source} was taken; with one picture a class nothing can be compared"
        return (
            f"{row.source} was taken; in the ranking it had {row.accuracy:.1%} ({row.low:.1%} to {row.high:.1%},"
            f" n = {row.n:,}, out of fold)"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `headstart rank --json` prints them."""
        return {
            "rows": [row.as_dict() for row in self.rows], "recommended": self.recommended.as_dict(),
            "verdict": self.verdict, "pictures": self.pictures, "classes": list(self.classes),
            "prior": self.prior.as_dict() if self.prior else None, "dropped": list(self.dropped),
            "not_tried": list(self.not_tried), "notes": list(self.notes), "seconds": round(self.seconds, 3),
            "report": str(self.report) if self.report else None,
        }  # fmt: skip

    def write_report(self, path: str | os.PathLike[str]) -> Ranking:
        """Write a page with the picture and the table; returns this ranking with `report` set."""
        ranking_page.write(self, path)
        return replace(self, report=Path(path))

    def __str__(self) -> str:
        lines = [self.verdict]
        for row in self.rows[:SHOWN]:
            mark = "*" if row.recommended else "=" if row.level else " "
            lines.append(f"{mark} {row.accuracy:.3f} ({row.low:.3f} to {row.high:.3f})"
                         f" {row.milliseconds_per_image:7.2f} ms  {row.label}")  # fmt: skip
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """For a notebook: what to take, the picture, the first rows."""
        return ranking_page.fragment(self, SHOWN)


def ranked(rows: Sequence[Row], prefer: str = "auto") -> tuple[Row, ...]:
    """Order the rows, best first, and fill in `level` and `recommended`.

    Only rows whose head was fitted on as many pictures as any can be recommended, unless none was fitted.

    Args:
        prefer: which of the rows that are level by loss is recommended, as in a recipe.

    Raises:
        ValueError: there is no row.
    """
    if not rows:
        raise ValueError("a ranking needs a row. Received: rows=()")
    order = sorted(rows, key=_order)
    able = _eligible(order)
    best = able[0]
    level = [row for row in able if _behind(row, best) <= LEVEL_ERRORS[prefer] and not _apart(best, row)]
    taken = _cheapest(level, best)
    return tuple(
        replace(row, recommended=row is taken, level=not _apart(best, row) and _behind(row, best) <= LOSS_LEVEL)
        for row in order
    )


def _eligible(order: Sequence[Row]) -> list[Row]:
    """Of rows, best first, those that can be recommended; the first is what the others are compared with."""
    fitted = [row for row in order if not row.probe] or list(order)
    most = max(row.n for row in fitted)
    return [row for row in fitted if row.n == most]


def frontier(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows that no cheaper row reaches in accuracy, from the cheapest on."""
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.milliseconds_per_image, -row.accuracy)):
        if not found or row.accuracy > found[-1].accuracy:
            found.append(row)
    return tuple(found)


def _order(row: Row) -> tuple[float, bool, float, int, float]:
    accuracy = -1.0 if math.isnan(row.accuracy) else row.accuracy
    plain = HEADS.index(row.head) if row.head in HEADS else len(HEADS)
    return _known(row.loss), row.probe, -accuracy, plain, row.milliseconds_per_image


def _known(loss: float) -> float:
    return float("inf") if math.isnan(loss) else loss


def _cheapest(rows: Sequence[Row], best: Row) -> Row:
    """The cheapest of rows, where that is cheaper than the best one; of those that cost as much the least loss."""
    least = min(row.milliseconds_per_image for row in rows)
    if best.milliseconds_per_image <= ALIKE * least:
        return best
    alike = [row for row in rows if row.milliseconds_per_image <= ALIKE * least]
    return min(alike, key=lambda row: _known(row.loss))


def _apart(better: Row, other: Row) -> bool:
    """Whether the pictures that both were scored on say that `better` is the more accurate."""
    _, mine, theirs = np.intersect1d(better.places, other.places, return_indices=True)
    a, b = better.right[mine], other.right[theirs]
    alone, theirs_alone = int((a & ~b).sum()), int((b & ~a).sum())
    return alone > theirs_alone and mcnemar(alone, theirs_alone)[0] < LEVEL


def _behind(row: Row, best: Row) -> float:
    """How many standard errors its loss lies above that of `best`; 0 where there is no loss to compare."""
    if row is best or math.isnan(row.loss) or math.isnan(best.loss):
        return 0.0
    _, mine, theirs = np.intersect1d(row.places, best.places, return_indices=True)
    difference = (row.losses[mine] - best.losses[theirs]).astype(np.float64)
    if not len(difference) or difference.mean() <= SOLVER_NOISE:
        return 0.0
    error = difference.std() / math.sqrt(len(difference))
    return float(difference.mean() / error) if error > 0 else math.inf
