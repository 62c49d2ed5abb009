"""The picture of a ranking, accuracy against the cost of prediction, and a small page around it."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headstart import report_charts as charts
from headstart import report_words as words
from headstart.files import atomic_path

if TYPE_CHECKING:
    from jinja2 import Environment

    from headstart.ranking import Ranking, Row

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 48
LISTED = 60
_COLOURS = 3  # of sources that have one of their own; the others share the last
_TIERS = 0.2  # of the height: less room than this below the frontier's lowest point would hide what lies there


@dataclass(frozen=True)
class Dot:
    """A row in its place; `colour` 1 to 3 says which source, `kind` how much there is to it."""

    x: float
    y: float
    low: float
    high: float
    colour: int
    kind: str
    title: str


@dataclass(frozen=True)
class Drawing:
    """What the SVG template draws, in WIDTH by HEIGHT units."""

    dots: tuple[Dot, ...]
    frontier: str
    x_ticks: tuple[charts.Tick, ...]
    y_ticks: tuple[charts.Tick, ...]
    sources: tuple[tuple[str, int], ...]
    below: int
    recommended: Dot | None


def drawing(ranking: Ranking) -> Drawing | None:
    """Where everything goes; None where no row has an accuracy.

    The costs are drawn by their logarithm. Rows far below all that is on the frontier are counted, not drawn.
    """
    rows = [row for row in ranking.rows if math.isfinite(row.accuracy) and row.milliseconds_per_image > 0]
    if not rows:
        return None
    edge = [row for row in ranking.frontier if row in rows]
    top = max(row.accuracy for row in rows)
    least = min(min((row.accuracy for row in edge if row.level), default=top), top - 0.05)
    floor = max(0.0, least - _TIERS * (top - least) - 0.02)
    shown = [row for row in rows if row.accuracy >= floor or row.recommended]
    numbers = charts.rate_ticks([row.accuracy for row in shown])
    to_y = charts.Scale(numbers[0], numbers[-1], HEIGHT - BOTTOM, TOP)
    costs = [math.log2(row.milliseconds_per_image) for row in shown]
    low, high = math.floor(min(costs) - 0.05), math.ceil(max(costs) + 0.05)
    to_x = charts.Scale(low, max(high, low + 1), LEFT, WIDTH - RIGHT)
    names = list(dict.fromkeys(row.source for row in sorted(shown, key=lambda row: -row.accuracy)))
    colour = {name: min(place + 1, _COLOURS) for place, name in enumerate(names)}

    def dot(row: Row) -> Dot:
        kind = "recommended" if row.recommended else "probe" if row.probe else "level" if row.level else "fitted"
        ends = (to_y(max(row.low, numbers[0])), to_y(min(row.high, numbers[-1])))
        title = (
            f"{row.label}: {row.accuracy:.1%} ({row.low:.1%} to {row.high:.1%}), {row.milliseconds_per_image:.2f} ms"
        )
        return Dot(to_x(math.log2(row.milliseconds_per_image)), to_y(row.accuracy), *ends, colour[row.source], kind,
                   words.visible(title))  # fmt: skip

    dots = [dot(row) for row in sorted(shown, key=lambda row: (row.recommended, not row.probe))]
    steps = [(to_x(math.log2(row.milliseconds_per_image)), to_y(row.accuracy)) for row in edge if row in shown]
    return Drawing(
        tuple(dots), _staircase(steps), tuple((to_x(p), f"{2.0**p:g}") for p in range(low, max(high, low + 1) + 1)),
        tuple((to_y(v), f"{v * 100:g}") for v in numbers), tuple((name, colour[name]) for name in names),
        len(rows) - len(shown), next((each for each in dots if each.kind == "recommended"), None),
    )  # fmt: skip


def _staircase(steps: Sequence[tuple[float, float]]) -> str:
    """The frontier as SVG points: what a millisecond more does not buy stays level."""
    points: list[tuple[float, float]] = []
    for x, y in steps:
        if points:
            points.append((x, points[-1][1]))
        points.append((x, y))
    if points:
        points.append((WIDTH - RIGHT, points[-1][1]))
    return " ".join(f"{x},{y}" for x, y in points)


@functools.cache
def _environment() -> Environment:
    page = words.environment()
    page.globals.update(WIDTH=WIDTH, HEIGHT=HEIGHT, LEFT=LEFT, RIGHT=RIGHT, TOP=TOP, BOTTOM=BOTTOM, xmlns=words.SVG)
    return page


def svg(ranking: Ranking) -> str:
    """Accuracy against milliseconds a picture, the frontier drawn, as one SVG that stands alone and loads nothing.

    Empty where no row has an accuracy.
    """
    found = drawing(ranking)
    return _environment().get_template("ranking.svg").render(drawing=found).strip() if found else ""


def fragment(ranking: Ranking, most: int = LISTED) -> str:
    """What to take, the picture and the first rows, as HTML for a notebook or a page."""
    from markupsafe import Markup

    template = _environment().get_template("ranking_part.html")
    return template.render(ranking=ranking, picture=Markup(svg(ranking)), most=most).strip()


def render(ranking: Ranking) -> str:
    """The whole page as text."""
    from markupsafe import Markup

    return _environment().get_template("ranking.html").render(ranking=ranking, part=Markup(fragment(ranking)))


def write(ranking: Ranking, path: str | os.PathLike[str]) -> None:
    """Put the page at `path`; whatever was there stays whole until the new page is."""
    text = render(ranking)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
