"""How a set of pictures shows itself: counts in a terminal, counts and sample pictures in a notebook."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from headstart.errors import PictureError

Counts = Mapping[str, Mapping[str, int]]

_MOST = 20
"""Classes listed by name; the rest is summed up in one row."""


def sample(labels: np.ndarray, count: int = 9) -> list[int]:
    """Up to `count` rows that show as many classes as can be, spread over each class; always the same ones.

    >>> sample(np.array([0, 0, 0, 0, 1, 1, -1]), 4)
    [0, 2, 4, 5]
    """
    known = np.flatnonzero(labels >= 0)
    if not len(known):
        return []
    classes = np.unique(labels[known])
    classes = classes[np.linspace(0, len(classes) - 1, min(count, len(classes))).astype(int)]
    sizes = np.bincount(labels[known])[classes]
    shares = np.zeros(len(classes), int)
    while shares.sum() < count and np.any(shares < sizes):
        shares[np.argmin(np.where(shares < sizes, shares, count))] += 1
    rows: list[int] = []
    for label, size, share in zip(classes, sizes, shares, strict=True):
        rows += np.flatnonzero(labels == label)[np.arange(share) * size // share].tolist()
    return sorted(rows)


def _table(counts: Counts, what: str, whole: str, sums: Sequence[int] | None) -> list[list[str]]:
    """A header, a row a class and a last row of sums: those given, or those of the rows."""
    sums = [sum(split.values()) for split in counts.values()] if sums is None else sums
    heads = [split or "pictures" for split in counts]
    names = list(next(iter(counts.values()), {}))
    shown = names if len(names) <= _MOST else names[: _MOST - 1]
    rows = [[name, *(f"{split[name]:,}" for split in counts.values())] for name in shown]
    if len(shown) < len(names):
        rest = names[len(shown) :]
        rows.append([f"{len(rest):,} more", *(f"{sum(split[name] for name in rest):,}" for split in counts.values())])
    return [[what, *heads], *rows, [whole, *(f"{count:,}" for count in sums)]]


def text(
    title: str, counts: Counts, notes: Iterable[str], *, what: str = "class", whole: str = "all",
    sums: Sequence[int] | None = None,
) -> str:  # fmt: skip
    """For a terminal; `what`, `whole` and `sums` as `html` has them.

    >>> print(text("3 pictures", {"train": {"cats": 2, "dogs": 1}}, ["1 picture skipped"]))
    3 pictures
      class  train
      cats       2
      dogs       1
      all        3
      1 picture skipped
    """
    table = _table(counts, what, whole, sums)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in table
    ]
    return "\n".join([title, *(f"  {line.rstrip()}" for line in [*lines, *notes])])


def _indexed(table: list[list[str]], classes: int) -> list[list[str]]:
    """The table with the position of each class among all of them, as probabilities are ordered."""
    column = ["index", *map(str, range(classes if classes <= _MOST else _MOST - 1))]
    return [[name, column[row] if row < len(column) else "", *cells] for row, (name, *cells) in enumerate(table)]


def html(
    title: str, counts: Counts, notes: Iterable[str], *, shown: Sequence[tuple[Path, str]], what: str = "class",
    whole: str = "all", sums: Sequence[int] | None = None,
) -> str:  # fmt: skip
    """For a notebook: counts, class indices and a grid of small pictures, all in one fragment without scripts.

    Args:
        title: one line above the table.
        counts: pictures of each class in each split.
        notes: lines below the table.
        shown: files to show, each with its class name; files that cannot be read are passed over.
        what, whole: what the first row and the last are called.
        sums: pictures in each split, where a picture may be in several rows.
    """
    head, *rows = _indexed(_table(counts, what, whole, sums), len(next(iter(counts.values()), {})))
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    lines = "".join(f"<div>{escape(line)}</div>" for line in notes)
    grid = "".join(figure(path, name) for path, name in shown)
    style = "display:grid;grid-template-columns:repeat(3,max-content);gap:8px;margin-top:8px"
    return (
        f"<div><b>{escape(title)}</b><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"
        f'{lines}<div style="{style}">{grid}</div></div>'
    )


def figure(path: Path, name: str) -> str:
    """One small picture with its name below, as HTML; empty where it cannot be read."""
    from headstart.images import thumbnail_jpeg

    try:
        data = base64.b64encode(thumbnail_jpeg(path, longest=160)).decode()
    except (PictureError, OSError):
        return ""
    caption = escape(name)
    picture = f'<img alt="{caption}" src="data:image/jpeg;base64,{data}">'
    return f'<figure style="margin:0">{picture}<figcaption>{caption}</figcaption></figure>'
