"""What the report draws of labels and of a number, as plain data, and where the marks of its charts go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headstart import report_charts as charts
from headstart.report_parts import NumbersPart

POINTS = 800
"""Pictures that are drawn as dots, at most, evenly spread over the values."""


@dataclass(frozen=True)
class Dot:
    """A picture in its place, and what is said of it."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Scatter:
    """A square chart of dots, with lines behind them.

    Attributes:
        solid: the line on which all would be right; `dashed`: the ends of the interval. Each (x1, y1, x2, y2).
        drawn, total: how many of how many pictures are drawn.
    """

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[charts.Tick, ...]
    y_ticks: tuple[charts.Tick, ...]
    dots: tuple[Dot, ...]
    solid: tuple[float, float, float, float]
    dashed: tuple[tuple[float, float, float, float], ...]
    drawn: int
    total: int


def scatters(part: NumbersPart | None) -> list[Scatter]:
    """Predicted against true numbers, and how far off they are against what was predicted."""
    if part is None or not part.points:
        return []
    points = [point for point in sorted(part.points) if all(map(math.isfinite, point))]
    if not points:
        return []
    drawn = points[:: math.ceil(len(points) / POINTS)]
    return [_against_truth(drawn, len(points), part.half_width), _residuals(drawn, len(points), part.half_width)]


def _against_truth(points: Sequence[tuple[float, float]], total: int, half: float | None) -> Scatter:
    values = [value for point in points for value in point]
    marks = charts.ticks(min(values), max(values))
    x, y = _scales(marks, marks)
    low, high = marks[0], marks[-1]

    def diagonal(shift: float) -> tuple[float, float, float, float]:
        start, end = max(low, low - shift), min(high, high - shift)
        return x(start), y(start + shift), x(end), y(end + shift)

    dashed = (diagonal(half), diagonal(-half)) if half is not None and half < high - low else ()
    dots = tuple(Dot(x(truth), y(said), f"is {truth:.4g}, said {said:.4g}") for truth, said in points)
    return Scatter(
        "Said against true", "true value", "said", _ticks(marks, x), _ticks(marks, y), dots, diagonal(0), dashed,
        len(points), total,
    )  # fmt: skip


def _residuals(points: Sequence[tuple[float, float]], total: int, half: float | None) -> Scatter:
    across, off = [said for _, said in points], [said - truth for truth, said in points]
    reach = max(*map(abs, off), half or 0.0)
    x_marks, y_marks = charts.ticks(min(across), max(across)), charts.ticks(-reach, reach)
    x, y = _scales(x_marks, y_marks)
    ends = x(x_marks[0]), x(x_marks[-1])
    dots = tuple(
        Dot(x(said), y(said - truth), f"said {said:.4g}, off by {said - truth:+.4g}") for truth, said in points
    )
    dashed = tuple((ends[0], y(at), ends[1], y(at)) for at in ((half, -half) if half is not None else ()))
    return Scatter(
        "How far off, by what was said", "said", "said less true", _ticks(x_marks, x), _ticks(y_marks, y), dots,
        (ends[0], y(0), ends[1], y(0)), dashed, len(points), total,
    )  # fmt: skip


def _scales(x_marks: Sequence[float], y_marks: Sequence[float]) -> tuple[charts.Scale, charts.Scale]:
    return (
        charts.Scale(x_marks[0], x_marks[-1], charts.LEFT, charts.SQUARE - charts.RIGHT),
        charts.Scale(y_marks[0], y_marks[-1], charts.SQUARE - charts.BOTTOM, charts.TOP),
    )


def _ticks(marks: Sequence[float], to: charts.Scale) -> tuple[charts.Tick, ...]:
    return tuple((to(mark), f"{mark:.6g}") for mark in marks)
