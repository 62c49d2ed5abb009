"""Names, numbers and pictures as the report shows them: plain words, nothing that acts without being seen."""

from __future__ import annotations

import base64
import json
import math
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from headstart import compiled_templates

if TYPE_CHECKING:
    from jinja2 import BaseLoader, Environment

THUMBNAIL_BYTES, BLOCK_CHARACTERS = 60_000, 20_000
SVG = "http:" + "//www.w3.org/2000/svg"  # the name of a format, not an address: nothing is fetched


def visible(text: str, keep: str = "\n\t") -> str:
    r"""The text with characters that act without being seen (control, direction, stray surrogates) as their escapes.

    >>> visible("cat\u202egpj.exe"), visible("a\nb", keep="")
    ('cat\\u202egpj.exe', 'a\\nb')
    """
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    keep += "\u200c\u200d"  # joiners belong to scripts and to emoji
    return "".join(
        c if c in keep or unicodedata.category(c) not in hidden else c.encode("unicode_escape").decode() for c in text
    )


def shown(text: str, limit: int = 60) -> str:
    """A name on one line, shortened in the middle: the start and the end of a path tell most.

    >>> shown("a-very-long-name-of-a-file.jpg", 15)
    'a-very-…ile.jpg'
    """
    text = visible(str(text), keep="")
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[: limit - 1 - half]}…{text[-half:]}"


def cuts(layers: str) -> str:
    """Name the layers of a cut; where several are joined the first and the last of them, and how many there are.

    >>> cuts("mixed7"), cuts("mixed3+mixed7"), cuts("mixed3+mixed5+mixed7"), cuts("all")
    ('mixed7', 'mixed3 + mixed7', 'mixed3 … mixed7, 3 cuts', 'all block ends')
    """
    if layers == "all":
        return "all block ends"
    names = layers.split("+")
    return " + ".join(names) if len(names) < 3 else f"{names[0]} … {names[-1]}, {len(names)} cuts"


def percent(value: float | None, digits: int = 1) -> str:
    """A rate in words; what is not all or nothing is never rounded to it.

    >>> [percent(v).replace(chr(0xA0), " ") for v in (0.9856, 1.0, 0.99999, math.nan)]
    ['98.6 %', '100 %', 'over 99.9 %', 'not known']
    """
    if value is None or not math.isfinite(value):
        return "not known"
    if value in (0, 1):
        return f"{value * 100:.0f}\xa0%"
    edge = 0.1**digits
    if round(value * 100, digits) >= 100:
        return f"over {100 - edge:.{digits}f}\xa0%"
    if round(value * 100, digits) <= 0:
        return f"under {edge:.{digits}f}\xa0%"
    return f"{value * 100:.{digits}f}\xa0%"


def number(value: float | None) -> str:
    """A number as people write it; three significant digits below a thousand."""
    if value is None or not math.isfinite(value):
        return "not a number" if value is not None else "not known"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds in the unit that fits.

    >>> [duration(s).replace(chr(0xA0), " ") for s in (0.42, 5.94, 75, 4000)]
    ['0.42 s', '5.9 s', '1 min 15 s', '1 h 6 min']
    """
    if seconds < 59.95:
        return f"{seconds:.2f}\xa0s" if seconds < 1 else f"{seconds:.1f}\xa0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\xa0min {rest}\xa0s"
    return f"{minutes // 60}\xa0h {minutes % 60}\xa0min"


def block(value: Mapping[str, Any]) -> str:
    """A mapping as indented JSON, cut off where it would swell the page."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return text if len(text) <= BLOCK_CHARACTERS else f"{text[:BLOCK_CHARACTERS]}\n… (shortened)"


def jpeg_uri(data: bytes | None) -> str:
    """A thumbnail as a data URI; empty where it is no JPEG or too heavy for a page."""
    if not data or len(data) > THUMBNAIL_BYTES or not data.startswith(b"\xff\xd8"):
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def environment() -> Environment:
    """Templates of headstart: what they are given is escaped and made visible, and what they lack is an error."""
    from jinja2 import Environment, StrictUndefined

    page = Environment(
        loader=cast("BaseLoader", compiled_templates.Templates()), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_harmless,
        optimized=False,  # what is kept compiled must hang on the template alone, not on filters of constants
    )  # fmt: skip
    page.filters.update(shown=shown, percent=percent, finite=math.isfinite, cuts=cuts)
    return page


def _harmless(value: Any) -> Any:
    return visible(value) if type(value) is str else value  # Markup is a str too, and done already
