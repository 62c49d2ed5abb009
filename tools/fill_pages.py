"""Write measured numbers into the pages of docs/, from the JSON files in docs/figures/.

A page says where a number comes from and how it is printed; what stands between the two comments is replaced:

    it names <!--=explain:few.pretrained.5:.0%-->70%<!--/--> of them right

The form is Python's, or `code` for a value in backticks. A value of several lines (a table, what a program printed)
takes lines of its own between the comments.

    python tools/fill_pages.py
    python tools/fill_pages.py --check     # change nothing; fail where a page says something else than the figures
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
_MARK = re.compile(r"<!--=(?P<file>[a-z_]+):(?P<key>[^\s>]+?)(?::(?P<form>[^\s:>]+))?-->.*?<!--/-->", re.DOTALL)


class FigureError(ValueError):
    """A page asks for a figure that is not there, or asks for it where it cannot stand."""


def filled(text: str, figures: Path) -> str:
    """The page with every figure as the JSON files have it.

    Raises:
        FigureError: a file or a key is missing, or a figure begins a line, which Markdown takes for raw HTML.
    """
    loaded: dict[str, Any] = {}

    def replace(match: re.Match[str]) -> str:
        file, key, form = match["file"], match["key"], match["form"] or ""
        if file not in loaded:
            path = figures / f"{file}.json"
            if not path.is_file():
                raise FigureError(f"{match[0]!r}: there is no {path}")
            loaded[file] = json.loads(path.read_text("utf-8"))
        found = _looked_up(loaded[file], key, match[0])
        value = f"`{found}`" if form == "code" else format(found, form)
        head = match[0].split("-->", 1)[0] + "-->"
        if "\n" in value:
            return f"{head}\n\n{value.strip()}\n\n<!--/-->"
        if match.string[match.start() - 1 : match.start()] == "`":
            raise FigureError(f"{match[0]!r} stands in backticks, where comments show; use the form code")
        start = match.string.rfind("\n", 0, match.start()) + 1
        if re.fullmatch(r"\s*(?:[-*>]|\d+\.)?\s*", match.string[start : match.start()]):
            raise FigureError(f"{match[0]!r} begins a line; put a word before it")
        return f"{head}{value}<!--/-->"

    return _MARK.sub(replace, text)


def _looked_up(value: Any, key: str, where: str) -> Any:
    for step in key.split("."):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, ValueError, TypeError):
            known = ", ".join(map(str, value)) if isinstance(value, dict) else f"a {type(value).__name__}"
            raise FigureError(f"{where!r}: no {step!r} in {known}") from None
    return value


def main() -> int:
    stale = []
    for page in sorted(DOCS.glob("*.md")):
        old = page.read_text("utf-8")
        try:
            new = filled(old, DOCS / "figures")
        except FigureError as error:
            print(f"{page.name}: {error}", file=sys.stderr)
            return 1
        if new != old and "--check" in sys.argv[1:]:
            stale.append(page.name)
        elif new != old:
            page.write_text(new, "utf-8")
    if stale:
        print(f"not what docs/figures says: {', '.join(stale)}. Run python tools/fill_pages.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
