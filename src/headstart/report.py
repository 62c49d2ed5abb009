"""Results -> one self-contained HTML page that tells people what a training run did.

`Report` and its parts hold plain Python data, filled by the caller; `render` makes the page, `write` puts it on disk.
Whatever is None is left out of the page; an empty tuple says "looked, and there was none". Names of files and classes
are hostile until shown otherwise: they are escaped by the template, and characters that could reorder or break a line
are shown as their escapes. The page loads nothing from elsewhere, and its policy header allows its own script alone.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headstart import report_charts as charts
from headstart import report_view
from headstart import report_words as words
from headstart.files import atomic_path
from headstart.report_parts import (
    Cache,
    Choice,
    ClassRow,
    Figure,
    Headline,
    Images,
    LabelMistakes,
    LabelRow,
    Missed,
    Mistake,
    NamedHistory,
    NumbersPart,
    Off,
    Picture,
    Rate,
    Reliability,
    Reliable,
    Report,
    Seconds,
    Snippet,
    SourceFacts,
    Start,
    Strength,
)
from headstart.report_view import snippets
from headstart.report_words import percent

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = [
    "Cache", "Choice", "ClassRow", "Figure", "Headline", "Images", "LabelMistakes", "LabelRow", "Missed", "Mistake",
    "NamedHistory", "NumbersPart", "Off", "Picture", "Rate", "Reliability", "Reliable", "Report", "Seconds", "Snippet",
    "SourceFacts", "Start", "Strength", "curves_svg", "percent", "render", "snippets", "write",
]  # fmt: skip


def _name(text: str, limit: int = 60) -> Any:
    """A name set apart from the direction of the text around it, with the whole of it as a tooltip where shortened."""
    from markupsafe import Markup

    short, whole = words.shown(text, limit), words.shown(text, 400)
    if short == whole:
        return Markup("<bdi>{}</bdi>").format(short)
    return Markup('<bdi title="{}">{}</bdi>').format(whole, short)


@functools.cache
def _environment() -> Environment:
    page = words.environment()
    page.filters.update(
        name=_name, number=words.number, duration=words.duration, block=words.block, jpeg=words.jpeg_uri,
        share=charts.share,
    )  # fmt: skip
    limits = {key: value for key, value in vars(report_view).items() if key.isupper() and isinstance(value, int)}
    page.globals.update(limits, WIDTH=charts.WIDTH, HEIGHT=charts.HEIGHT, LEFT=charts.LEFT, RIGHT=charts.RIGHT,
                        TOP=charts.TOP, BOTTOM=charts.BOTTOM,
                        SQUARE=charts.SQUARE)  # fmt: skip
    return page


def prepare() -> None:
    """Compile the page's template, for whoever has a moment before the report is due."""
    page = _environment()
    parts = ("report_charts.html", "report_head_start.html", "report_targets.html", "report_tuning.html")
    for name in ("report.js", "report.html", "report.css", *parts, "curves.svg"):
        page.get_template(name)


def render(report: Report) -> str:
    """The whole page as text; the same report always gives the same page.

    >>> rate = Rate(0.9, 0.8, 0.95, n=50, split="test")
    >>> page = render(Report("Cats", "It works.", rate, ("cat", "dog"), Images(100, test=50), SourceFacts("net"),
    ...                      cut="top", pooling="avg", head="linear"))
    >>> page.startswith("<!doctype html>"), "95 % interval" in page.replace(chr(0xA0), " ")
    (True, True)
    """
    page = _environment()
    script = page.get_template("report.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return page.get_template("report.html").render(
        report=report, view=report_view.view(report), script=script, digest=digest
    )


def curves_svg(runs: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Accuracy and cross-entropy by epoch, side by side, as one SVG that stands alone: in a notebook or as a file.

    It brings its colours for light and dark and loads nothing. Its width is that of the place it is put in, 788 units
    at the most.

    Args:
        runs: Keras histories by the names of the runs: `accuracy`, `loss`, `val_accuracy`, `val_loss`, one number an
            epoch. The first three are drawn.

    Returns:
        The SVG's text; empty where no run has a finite number.

    Example:
        >>> svg = curves_svg({"plain": {"loss": [0.7, 0.4], "val_loss": [0.6, 0.5]}})
        >>> svg.startswith("<svg "), "cross-entropy" in svg, curves_svg({})
        (True, True, '')
    """
    told = [(name, history) for name, history in runs.items() if history]
    drawn = report_view.named_runs(told)
    plots = report_view.run_plots(drawn)
    if not plots:
        return ""
    template = _environment().get_template("curves.svg")
    return template.render(plots=plots, runs=drawn, undrawn=len(told) - len(drawn), xmlns=words.SVG).strip()


def write(report: Report, path: str | os.PathLike[str]) -> None:
    """Put the page at `path`; whatever was there stays whole until the new page is."""
    text = render(report)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
