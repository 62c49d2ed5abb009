"""Tables of pictures: CSV or Parquet with the columns path, label and, where wanted, split and group.

In place of `label` (one class a picture) there may be `labels` (several, or none, with `|` or `;` between them) or
`value` (a number).
"""

from __future__ import annotations

import csv
import difflib
import importlib.util
import math
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.errors import MissingExtraError, PhotosError, near
from headstart.findings import Finding
from headstart.images import UNREADABLE_SUFFIXES
from headstart.listing import BAR, SPLIT_NAMES, Listing, number, suffix_of

_TOLD = {"label": "classes", "labels": "labels", "value": "numbers"}
"""What a column says of its pictures: the module in `targets/`."""
_OPTIONAL = ("split", "group")


@dataclass(frozen=True)
class _Table:
    """The cells that matter, stripped, as text; `lines` says where each row stands, for messages."""

    path: Path
    columns: dict[str, list[str]]
    lines: Sequence[int]

    @property
    def told(self) -> str:
        """The column that says what is to be learnt."""
        return next(column for column in _TOLD if column in self.columns)


def read_table(table: Path, *, inside: bool = False) -> Listing:
    """The pictures that a table lists; paths are relative to the table's own folder.

    Args:
        table: a `.csv` (UTF-8; comma, semicolon or tab) or a `.parquet` file.
        inside: True for a table from an archive: then no path may lead out of its folder.

    Raises:
        PhotosError: a column is missing, a label is empty, a value is no number, a split is unknown, no listed file
            exists.
        MissingExtraError: Parquet without pyarrow.
    """
    read = _parquet(table) if table.suffix.lower() == ".parquet" else _csv(table)
    root = table.parent.resolve()
    paths, names, splits = read.columns["path"], _NAMES[read.told](read), _splits(read)
    groups = read.columns.get("group", [""] * len(paths))
    rows: set[tuple[str, str, str, str]] = set()  # a row that is written twice counts once
    missing, foreign = [], []
    for line, path, *rest in zip(read.lines, paths, names, splits, groups, strict=True):
        file = _place(root, path)
        if inside and Path(file).is_absolute():
            raise PhotosError(f"{table.name}, row {line}: {path} leads out of the archive.\nTake that row out.")
        if suffix_of(file) in UNREADABLE_SUFFIXES:
            foreign.append(file)
        elif not (root / file).is_file():
            missing.append(file)
        else:
            rows.add((file, rest[0], rest[1], rest[2]))
    if not rows:
        raise PhotosError(
            f"{table}: none of the {number(len(paths), 'listed file')} can be used; the first is {paths[0]}.\n"
            f"Paths are taken relative to the table's folder, {root}."
        )
    ordered = sorted(_joined(rows) if read.told == "labels" else rows)
    return Listing(
        root=root,
        files=tuple(row[0] for row in ordered),
        names=tuple(row[1] for row in ordered),
        splits=tuple(row[2] for row in ordered),
        groups=tuple(row[3] for row in ordered) if "group" in read.columns else None,
        folders=False,
        skipped=tuple(sorted(missing + foreign)),
        findings=tuple(_findings(missing, foreign)),
        task=_TOLD[read.told],
    )


def is_picture_table(table: Path) -> bool:
    """Whether a file is a table with the columns that headstart needs; its rows are not looked at."""
    try:
        if table.suffix.lower() == ".parquet":
            _wanted(table, _parquet_file(table).schema_arrow.names)
        else:
            with open(table, newline="", encoding="utf-8-sig") as handle:
                first = handle.readline()
                _wanted(table, next(csv.reader([first], delimiter=_delimiter(first)), []))
    except (PhotosError, UnicodeDecodeError, csv.Error):
        return False
    return True


def _wanted(table: Path, header: Sequence[str]) -> dict[str, int]:
    """Where the columns stand that headstart reads."""
    names = [name.strip().lower() for name in header]
    told = [column for column in _TOLD if column in names]
    if len(told) > 1:
        raise PhotosError(
            f"{table} has the columns {' and '.join(told)}; a model learns one of them.\n"
            "Keep that one, and rename or take out the others."
        )
    needed = ("path", *(told or ["label"]))
    for column in (*needed, *_OPTIONAL):
        if column in names:
            continue
        if column in needed:
            raise PhotosError(
                f"{table} has no column {column}; it has: {', '.join(header) or 'none'}.{near(column, names, 1)}\n"
                "Its first row must name the columns path,label (and, where wanted, split and group);"
                " in place of label it may be labels (several, with | between) or value (a number)."
            )
        slip = difflib.get_close_matches(column, names, n=1, cutoff=0.8)
        if slip:  # passing it over would lose what the user said about splits or groups
            raise PhotosError(f"{table} has a column {slip[0]}; headstart reads {column}.\nRename the column.")
    return {column: names.index(column) for column in (*needed, *_OPTIONAL) if column in names}


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _csv(table: Path) -> _Table:
    rows, lines = [], []
    try:
        with open(table, newline="", encoding="utf-8-sig") as handle:
            delimiter = _delimiter(handle.readline())
            handle.seek(0)
            reader = csv.reader(handle, delimiter=delimiter)
            header = next(reader, [])
            places = _wanted(table, header)
            for row in reader:
                if any(row):
                    rows.append(row)
                    lines.append(reader.line_num)
    except UnicodeDecodeError as error:
        raise PhotosError(f"{table} is not UTF-8 ({error.reason}).\nSave it as `CSV UTF-8`.") from None
    except csv.Error as error:
        raise PhotosError(f"{table} is not a CSV that can be read: {error}.\nSave it again as `CSV UTF-8`.") from None
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise PhotosError(
                f"{table}, row {line} has {number(len(row), 'cell')}; the first row has {len(header)}.\n"
                "Put a path that holds a comma into double quotes."
            )
    return _filled(table, {column: [row[at].strip() for row in rows] for column, at in places.items()}, lines)


def _parquet(table: Path) -> _Table:
    file = _parquet_file(table)
    header = file.schema_arrow.names
    places = _wanted(table, header)
    read = file.read(columns=[header[at] for at in places.values()])
    columns = {column: [_text(cell) for cell in read.column(header[at]).to_pylist()] for column, at in places.items()}
    return _filled(table, columns, range(1, read.num_rows + 1))


def _text(cell: Any) -> str:
    """A cell of a Parquet file; a list, such as that of several labels, with bars between."""
    if isinstance(cell, list):
        return BAR.join(str(part).strip() for part in cell)
    return "" if cell is None else str(cell).strip()


def _parquet_file(table: Path) -> Any:
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingExtraError(f"Reading {table.name}", "parquet")
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(table)
    except (pyarrow.ArrowException, OSError) as error:
        raise PhotosError(f"{table} is not a Parquet file that can be read: {str(error).splitlines()[0]}") from None


def _filled(table: Path, columns: dict[str, list[str]], lines: Sequence[int]) -> _Table:
    if not lines:
        raise PhotosError(f"{table} names columns but lists no pictures.\nAdd a row for each picture.")
    for column in ("path", "label", "value"):
        if "" in columns.get(column, ()):
            line = lines[columns[column].index("")]
            raise PhotosError(f"{table}, row {line}: the {column} is empty.\nFill it in or take the row out.")
    return _Table(table, columns, lines)


def _classes(read: _Table) -> list[str]:
    kept = {label: sys.intern(unicodedata.normalize("NFC", label)) for label in set(read.columns["label"])}
    return [kept[label] for label in read.columns["label"]]


def _labels(read: _Table) -> list[str]:
    """Several labels a picture, each once, sorted; none where the cell is empty."""
    return [_several(cell) for cell in read.columns["labels"]]


def _several(cell: str) -> str:
    parts = (unicodedata.normalize("NFC", part.strip()) for part in cell.replace(";", BAR).split(BAR))
    return sys.intern(BAR.join(sorted({part for part in parts if part})))


def _values(read: _Table) -> list[str]:
    return [repr(_value(read, cell, line)) for cell, line in zip(read.columns["value"], read.lines, strict=True)]


def _value(read: _Table, cell: str, line: int) -> float:
    try:
        value = float("nan") if "_" in cell else float(cell)  # Python takes 1_000 for a number; nobody else does
    except ValueError:
        value = float("nan")
    if abs(value) <= _LARGEST:
        return value
    came, fix = f"the value is {cell}, which is no number", "Write a number such as 3.5, or take the row out."
    if re.fullmatch(r"[+-]?[\d.]*,\d+", cell):
        fix = "Write the decimals behind a point, as in 3.5."
    elif cell.lower() in ("nan", "na", "n/a", "none", "null", "-", "?"):
        fix = "Of this picture nothing is known to learn from: take the row out."
    elif not math.isnan(value):
        came = f"the value is {cell}, which is too large"
        fix = f"Values lie between -{_LARGEST:g} and {_LARGEST:g}: use another unit."
    raise PhotosError(f"{read.path}, row {line}: {came}.\n{fix}")


_LARGEST = 1e30  # far inside what float32 holds, so that squares of differences stay numbers in float64
_NAMES = {"label": _classes, "labels": _labels, "value": _values}


def _joined(rows: set[tuple[str, str, str, str]]) -> set[tuple[str, str, str, str]]:
    """Rows of one picture are one: a table may have a row for each label."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for file, names, split, group in rows:
        found.setdefault((file, split, group), set()).update(names.split(BAR))
    return {(file, BAR.join(sorted(names - {""})), split, group) for (file, split, group), names in found.items()}


def _splits(read: _Table) -> list[str]:
    given = read.columns.get("split", [])
    if not any(given):
        return [""] * len(read.lines)
    known = {value: SPLIT_NAMES.get(value.lower()) for value in set(given)}
    for value, line in zip(given, read.lines, strict=True):
        if known[value] is None:
            came = f"the split is {value}" if value else "the split is empty, while other rows have one"
            hint = near(value.lower(), SPLIT_NAMES, 1)
            raise PhotosError(f"{read.path}, row {line}: {came}.{hint}\nWrite train, validation or test.")
    return [known[value] or "" for value in given]


def _place(root: Path, path: str) -> str:
    """A path as it is kept: relative to the table's folder and with "/", absolute where it lies elsewhere."""
    if "\\" in path and os.sep == "/" and not (root / path).exists():
        path = path.replace("\\", "/")  # the table was written on Windows
    full = os.path.normpath(os.path.join(root, path))
    base = os.path.join(root, "")
    return (full[len(base) :] if full.startswith(base) else full).replace(os.sep, "/")


def _findings(missing: list[str], foreign: list[str]) -> Iterator[Finding]:
    if missing:
        note = f"{number(len(missing), 'listed file')} not found."
        yield Finding("unreadable", tuple(sorted(missing)), note, "Left out.")
    by_suffix: dict[str, list[str]] = {}
    for file in sorted(foreign):
        by_suffix.setdefault(suffix_of(file), []).append(file)
    for suffix, files in sorted(by_suffix.items()):
        note = f"{number(len(files), 'file')} with the suffix {suffix}: {UNREADABLE_SUFFIXES[suffix]}."
        yield Finding("unreadable", tuple(files), note, "Left out.")
