"""Where the marks of a chart go: values to places, as plain numbers that the report's template draws as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

WIDTH, HEIGHT = 380, 236  # of a line chart, in SVG units; near to one pixel each on a phone
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 46
SQUARE = 320  # both sides of the chart of probability against what was right
POINTS, DOTS = 400, 40  # more points than this are thinned out; more dots than this are not drawn
TAG_APART = 12

Tick = tuple[float, str]  # a place and what is written there


@dataclass(frozen=True)
class Scale:
    """A straight map from values (`low` to `high`) to places (`start` to `end`).

    >>> Scale(0.5, 1.0, 0, 100)(0.75)
    50.0
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)


def share(value: float) -> float:
    """Where a rate from 0 to 1 sits on a track, in % of its width; a little room is left at both ends."""
    return Scale(0, 1, 1, 99)(min(max(value, 0.0), 1.0)) if math.isfinite(value) else 1.0


def ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """About `count` round numbers from at or below `low` to at or above `high`; both are finite.

    >>> ticks(0.932, 0.991)
    (0.92, 0.94, 0.96, 0.98, 1.0)
    >>> ticks(3, 3)
    (2.8, 2.9, 3.0, 3.1, 3.2)
    """
    if not high - low > 1e-9 * max(abs(low), abs(high)):
        pad = 0.05 * abs(high) or 0.5
        low, high = low - pad, high + pad
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return tuple(float(f"{i * step:.10g}") for i in range(first, last + 1))


def rate_ticks(values: Sequence[float]) -> tuple[float, ...]:
    """Ticks for rates: around the finite ones among `values`, never outside 0 to 1, and over 0.05 at the least.

    The least span keeps a chart from blowing noise up to the size of an effect.
    """
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    pad = max(0.005, (0.05 - (max(finite) - min(finite))) / 2)
    return ticks(max(0.0, min(finite) - pad), min(1.0, max(finite) + pad))


@dataclass(frozen=True)
class Interval:
    """One row of a dot-and-interval chart: places of the dot and of both ends, in % of the track."""

    dot: float
    low: float
    high: float


def intervals(rates: Sequence[tuple[float, float, float]]) -> tuple[tuple[Interval | None, ...], tuple[Tick, ...]]:
    """Rows for (value, low, high) on one common scale, and its ticks; None where a value is not finite.

    >>> rows, marks = intervals([(0.95, 0.9, 1.0)])
    >>> rows[0].dot, marks[0]
    (59.2, (4.0, '87.5'))
    """
    numbers = rate_ticks([v for rate in rates for v in rate])
    to = Scale(numbers[0], numbers[-1], 4, 96)
    rows = tuple(
        Interval(to(value), to(low if math.isfinite(low) else value), to(high if math.isfinite(high) else value))
        if math.isfinite(value)
        else None
        for value, low, high in rates
    )
    return rows, tuple((to(v), f"{v * 100:g}") for v in numbers)


@dataclass(frozen=True)
class Curve:
    """What is to be drawn as a line: its values in order, and how it is told from the others.

    Attributes:
        colour: 1, 2 or 3, for `.c1` to `.c3` of the style sheet.
        dash: an SVG dash pattern; empty for an unbroken line.
        tag: a letter for its end; a tagged line has no dots, since several runs are drawn together.
        low, high: ends of an interval around each of the values, drawn as a band; empty for none.
        start: the place among the x values at which it begins.
    """

    name: str
    values: Sequence[float]
    colour: int = 1
    dash: str = ""
    tag: str = ""
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    start: int = 0


@dataclass(frozen=True)
class Line:
    """A curve in its place: unbroken stretches as SVG `points`, the dots on them, its band, where the letter goes."""

    curve: Curve
    stretches: tuple[str, ...]
    dots: tuple[tuple[float, float], ...]
    tag_at: tuple[float, float] | None = None
    band: str = ""


@dataclass(frozen=True)
class Plot:
    """A line chart, ready to be drawn in WIDTH by HEIGHT units."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    mark: float | None
    mark_label: str
    note: str


def _x_axis(low: float, high: float, log: bool) -> tuple[Scale, tuple[Tick, ...]]:
    if log:
        first, last = math.floor(low + 1e-9), max(math.ceil(high - 1e-9), math.floor(low + 1e-9) + 1)
        every = max(1, math.ceil((last - first) / 6))
        signs = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
        to = Scale(first, last, LEFT + 6, WIDTH - RIGHT - 6)
        return to, tuple((to(p), "10" + str(p).translate(signs)) for p in range(first, last + 1, every))
    if high <= low:  # one epoch: a dot in the middle
        return Scale(low - 1, low + 1, LEFT, WIDTH - RIGHT), ((Scale(-1, 1, LEFT, WIDTH - RIGHT)(0), f"{low:g}"),)
    to = Scale(low, high, LEFT + 6, WIDTH - RIGHT - 6)
    whole = [v for v in ticks(low, high, 6) if v == int(v) and low <= v <= high]
    return to, tuple((to(v), f"{v:g}") for v in whole)


def _line(curve: Curve, places: Sequence[tuple[float, float | None]]) -> Line:
    stretches: list[list[tuple[float, float]]] = [[]]
    for x, y in places:
        if y is None:
            stretches.append([])
        else:
            stretches[-1].append((x, y))
    dots = [point for points in stretches for point in points]
    lone = [points[0] for points in stretches if len(points) == 1]
    lines = tuple(" ".join(f"{x},{y}" for x, y in points) for points in stretches if len(points) > 1)
    kept = lone if lines and (curve.tag or len(dots) > DOTS) else dots
    return Line(curve, lines, tuple(kept), dots[-1] if curve.tag and dots else None)


def _spread(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Letters of lines that end together are moved apart, up or down, and stay within the chart."""
    moved = list(lines)
    for end in {line.tag_at[0] for line in lines if line.tag_at}:
        column = sorted((line.tag_at[1], i) for i, line in enumerate(lines) if line.tag_at and line.tag_at[0] == end)
        lowest, taken = HEIGHT - BOTTOM - TAG_APART * (len(column) - 1), -math.inf
        for rank, (y, i) in enumerate(column):
            taken = max(taken + TAG_APART, min(y, lowest + TAG_APART * rank))
            moved[i] = replace(lines[i], tag_at=(end, round(taken, 2)))
    return tuple(moved)


@dataclass(frozen=True)
class Dot:
    """Answers of about equal probability in their place; `low` and `high` are the ends of the upright line."""

    x: float
    y: float
    low: float
    high: float
    width: float
    title: str


@dataclass(frozen=True)
class Reliable:
    """A square of probability against what was right, both from 0 to 1: the diagonal, dots, and bars of how many."""

    ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    after: tuple[Dot, ...]
    before: tuple[Dot, ...]
    start: tuple[float, float]
    end: tuple[float, float]


def reliability(
    after: Sequence[tuple[float, float, float, float, int]],
    before: Sequence[tuple[float, float, float, float, int]] = (),
) -> Reliable:
    """Places for (mean probability, share right, low, high, how many) of each bin; larger bins have larger dots.

    >>> dot = reliability([(0.5, 0.25, 0.0, 1.0, 40)]).after[0]
    >>> dot.x, dot.y, (dot.low, dot.high)
    (183.0, 208.5, (274.0, 12.0))
    """
    to_x, to_y = Scale(0, 1, LEFT, SQUARE - RIGHT), Scale(0, 1, SQUARE - BOTTOM, TOP)
    largest = max((row[4] for row in (*after, *before)), default=1)

    def dots(rows: Sequence[tuple[float, float, float, float, int]]) -> tuple[Dot, ...]:
        return tuple(
            Dot(
                to_x(probability), to_y(right), to_y(low), to_y(high), round(3 + 5 * (count / largest) ** 0.5, 2),
                f"{count:,} answer{'s' if count != 1 else ''} of mean probability {probability:.1%}: {right:.1%} right,"
                f" 95 % interval {low:.1%} to {high:.1%}",
            )
            for probability, right, low, high, count in rows
        )  # fmt: skip

    marks = [(value, f"{value * 100:g}") for value in (0, 0.25, 0.5, 0.75, 1)]
    return Reliable(
        tuple((to_x(v), text) for v, text in marks), tuple((to_y(v), text) for v, text in marks), dots(after),
        dots(before), (to_x(0), to_y(0)), (to_x(1), to_y(1)),
    )  # fmt: skip


def _band(curve: Curve, xs: Sequence[float], to_x: Scale, to_y: Scale) -> str:
    """The outline of the interval around a curve, as SVG `points`; empty where there is none."""
    ends = [
        (to_x(x), to_y(low), to_y(high))
        for x, low, high in zip(xs[curve.start :], curve.low, curve.high, strict=False)
        if math.isfinite(low) and math.isfinite(high)
    ]
    if len(ends) < 2:
        return ""
    upper, lower = [(x, high) for x, _, high in ends], [(x, low) for x, low, _ in reversed(ends)]
    return " ".join(f"{x},{y}" for x, y in upper + lower)


def plot(
    title: str,
    x: Sequence[float],
    curves: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    rate: bool = False,
    log: bool = False,
    mark: float | None = None,
    mark_label: str = "",
    x_marks: Sequence[float] = (),
) -> Plot | None:
    """A line chart of `curves` over `x` (ascending), or None where no number in them is finite.

    A curve may be shorter than `x`. Values that are not finite break a line, and the chart's note says so. With
    `rate`, values are shares from 0 to 1 and are labelled in per cent; with `log`, `x` is drawn by its power of ten.
    With `x_marks` the axis ends with `x`, and these of its values are written below it.
    """
    finite = [v for curve in curves for v in curve.values if math.isfinite(v)]
    if not finite or not x:
        return None
    xs = [math.log10(v) for v in x] if log else list(x)
    to_x, x_ticks = _x_axis(xs[0], xs[-1], log)
    if x_marks and xs[-1] > xs[0]:
        to_x = Scale(xs[0], xs[-1], LEFT + 14, WIDTH - RIGHT - 14)
        x_ticks = tuple((to_x(math.log10(v) if log else v), f"{v:,.0f}") for v in x_marks)
    finite += [v for curve in curves for v in (*curve.low, *curve.high) if math.isfinite(v)]
    numbers = rate_ticks(finite) if rate else ticks(min(finite), max(finite))
    to_y = Scale(numbers[0], numbers[-1], HEIGHT - BOTTOM, TOP)
    every = math.ceil(len(xs) / POINTS)
    lines = []
    for curve in curves:
        if not len(curve.values):
            continue
        pairs = list(zip(xs[curve.start :], curve.values, strict=False))
        pairs = pairs[::every] if (len(pairs) - 1) % every == 0 else [*pairs[::every], pairs[-1]]
        drawn = _line(curve, [(to_x(a), to_y(b) if math.isfinite(b) else None) for a, b in pairs])
        lines.append(replace(drawn, band=_band(curve, xs, to_x, to_y)))
    lost = sum(not math.isfinite(v) for curve in curves for v in curve.values)
    note = f"{lost} of the values {'was' if lost == 1 else 'were'} not a number and cannot be drawn." if lost else ""
    at = None if mark is None else to_x(math.log10(mark) if log else mark)
    y_ticks = tuple((to_y(v), f"{v * 100:g}" if rate else f"{v:g}") for v in numbers)
    return Plot(title, x_label, y_label, x_ticks, y_ticks, _spread(lines), at, mark_label, note)
