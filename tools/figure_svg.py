"""Line charts as SVG pictures that can be read in light and in dark: each carries its own ground.

A picture on a page cannot see whether the page is light or dark, so it follows the reader's system and paints what is
behind it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from headstart.report_charts import Scale, ticks

WIDTH, HEIGHT = 640, 330
LEFT, RIGHT, TOP, BOTTOM = 58, 18, 44, 84
_COLOURS = 4
_STYLE = """
  svg { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; }
  .ground { fill: #ffffff; stroke: #d8dee4; } .grid { stroke: #e4e8ec; } text { fill: #3d444d; }
  .title { fill: #1f2328; font-weight: 600; font-size: 14px; }
  .line { fill: none; stroke-width: 2.4; stroke-linejoin: round; }
  .c0 { stroke: #0b62c4; } .d0 { fill: #0b62c4; } .c1 { stroke: #b3470a; } .d1 { fill: #b3470a; }
  .c2 { stroke: #6e7781; } .d2 { fill: #6e7781; } .c3 { stroke: #1a7f37; } .d3 { fill: #1a7f37; }
  .c1 { stroke-dasharray: 9 4; } .c2 { stroke-dasharray: 2 4; } .c3 { stroke-dasharray: 12 3 2 3; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #16191d; stroke: #343a41; } .grid { stroke: #2a2f36; } text { fill: #c3cad2; }
    .title { fill: #f0f3f6; }
    .c0 { stroke: #6cb6ff; } .d0 { fill: #6cb6ff; } .c1 { stroke: #f2a15f; } .d1 { fill: #f2a15f; }
    .c2 { stroke: #9aa4af; } .d2 { fill: #9aa4af; } .c3 { stroke: #57ce7a; } .d3 { fill: #57ce7a; }
  }
"""


def chart(
    title: str, x: Sequence[float], series: Mapping[str, Sequence[float]], *, x_label: str, y_label: str,
    x_names: Sequence[str] | None = None, log: bool = False,
) -> str:  # fmt: skip
    """A line for each of up to four series over `x`; with `log`, `x` is spaced by its logarithm.

    Raises:
        ValueError: there is nothing to draw, or there are more series than colours.
    """
    values = [value for line in series.values() for value in line]
    if not values or not 1 <= len(series) <= _COLOURS:
        raise ValueError(f"a chart has 1 to {_COLOURS} series with values; got {len(series)} with {len(values)}")
    place = [math.log10(v) for v in x] if log else list(map(float, x))
    across = Scale(place[0], place[-1], LEFT + 12, WIDTH - RIGHT - 12)
    marks = ticks(min(values), max(values))
    up = Scale(marks[0], marks[-1], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
        f'<text class="title" x="{LEFT - 40}" y="26">{escape(title)}</text>',
    ]
    for value in marks:
        parts.append(f'<path class="grid" d="M{LEFT} {up(value)}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{up(value) + 4}" text-anchor="end">{value:g}</text>')
    for at, name in _names(x, place, x_names):
        parts.append(f'<text x="{across(at)}" y="{HEIGHT - BOTTOM + 19}" text-anchor="middle">{escape(name)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - BOTTOM + 40}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(
        f'<text transform="rotate(-90 16 {(TOP + HEIGHT - BOTTOM) / 2})" x="16" y="{(TOP + HEIGHT - BOTTOM) / 2}"'
        f' text-anchor="middle">{escape(y_label)}</text>'
    )
    for number, line in enumerate(series.values()):
        points = [(across(at), up(value)) for at, value in zip(place, line, strict=False)]
        parts.append(f'<polyline class="line c{number}" points="{" ".join(f"{a},{b}" for a, b in points)}"/>')
        parts.extend(f'<circle class="d{number}" cx="{a}" cy="{b}" r="3"/>' for a, b in points)
    parts.extend(_legend(list(series)))
    return "\n".join([*parts, "</svg>", ""])


def _names(x: Sequence[float], place: Sequence[float], given: Sequence[str] | None) -> list[tuple[float, str]]:
    names = list(given) if given is not None else [f"{value:g}" for value in x]
    every = math.ceil(len(names) / 16)
    return [(at, name) for index, (at, name) in enumerate(zip(place, names, strict=True)) if index % every == 0]


def _legend(names: Sequence[str]) -> list[str]:
    """Room for each name by its length, since nothing measures text here."""
    wide = [33 + 7.2 * len(name) for name in names]
    gap = max(8.0, min(40.0, (WIDTH - 40 - sum(wide)) / max(1, len(names) - 1)))
    parts, left, y = [], 20.0, HEIGHT - 18
    for number, (name, width) in enumerate(zip(names, wide, strict=True)):
        parts.append(f'<path class="line c{number}" d="M{left:g} {y - 4}h26"/>')
        parts.append(f'<text x="{left + 33:g}" y="{y}">{escape(name)}</text>')
        left = round(left + width + gap, 1)
    return parts
