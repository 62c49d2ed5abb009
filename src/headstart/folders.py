"""The rules by which a folder of pictures is read: class folders, or split folders of class folders."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from headstart.errors import PhotosError, near
from headstart.findings import Finding
from headstart.images import SUFFIXES, UNREADABLE_SUFFIXES
from headstart.listing import SPLIT_NAMES, Listing, number, some, suffix_of

TABLE_SUFFIXES = frozenset({".csv", ".parquet"})
_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


def is_litter(name: str) -> bool:
    """Whether a file or folder is the system's own and never a picture of the user's.

    >>> [is_litter(name) for name in (".DS_Store", "Thumbs.db", "__MACOSX", "cat.jpg")]
    [True, True, True, False]
    """
    return name.startswith(".") or name.lower() in _LITTER


def is_candidate(name: str) -> bool:
    """Whether a file has the name of a picture, of a format that can be read or not."""
    return suffix_of(name) in SUFFIXES or suffix_of(name) in UNREADABLE_SUFFIXES


@dataclass
class _Tally:
    """What a walk passed over."""

    ignored: int = 0
    foreign: dict[str, list[str]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)

    def findings(self) -> Iterator[Finding]:
        for suffix, files in sorted(self.foreign.items()):
            note = f"{number(len(files), 'file')} with the suffix {suffix}: {UNREADABLE_SUFFIXES[suffix]}."
            yield Finding("unreadable", tuple(sorted(files)), note, "Left out.")
        for file in self.broken:
            yield Finding("unreadable", (file,), f"{file} is not a file that can be read.", "Left out.")
        for file in self.loops:
            yield Finding("odd", (file,), f"{file} is a link to a folder that was read already.", "Not followed.")

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(sorted([file for files in self.foreign.values() for file in files] + self.broken))


@dataclass(frozen=True)
class _Folder:
    """One level of a folder, by what its entries are."""

    path: str
    prefix: str  # relative to the root, with "/" at the end; "" for the root itself
    folders: tuple[str, ...]
    pictures: tuple[str, ...]


def _holds(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a link that leads to itself
        return False


def _level(path: str, prefix: str, tally: _Tally) -> _Folder:
    folders, pictures = [], []
    try:
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if not prefix:
            raise PhotosError(f"{path} cannot be read: {error.strerror}.\nCheck its permissions.") from None
        tally.broken.append(prefix)
        found = []
    for entry in found:
        suffix = suffix_of(entry.name)
        if is_litter(entry.name):
            tally.ignored += 1
        elif _holds(entry.is_dir):
            if suffix in SUFFIXES:  # a folder with a picture's name is a slip, not a class
                tally.broken.append(f"{prefix}{entry.name}/")
            else:
                folders.append(entry.name)
        elif suffix in UNREADABLE_SUFFIXES:
            tally.foreign.setdefault(suffix, []).append(prefix + entry.name)
        elif suffix not in SUFFIXES:
            tally.ignored += 1
            if suffix in TABLE_SUFFIXES:
                tally.tables.append(prefix + entry.name)
        elif _holds(entry.is_file):
            pictures.append(prefix + entry.name)
        else:  # a link to nowhere, a pipe, a socket
            tally.broken.append(prefix + entry.name)
    return _Folder(path, prefix, tuple(folders), tuple(pictures))


def _walk(top: _Folder, name: str, tally: _Tally) -> list[str]:
    """All pictures of one class folder; every real folder is entered once, so links cannot go round."""
    pictures: list[str] = []
    above = os.path.join(os.path.realpath(top.path), "")  # a link to here or higher would take in other classes
    seen: set[str] = set()
    waiting = [(os.path.join(top.path, name), f"{top.prefix}{name}/")]
    while waiting:
        path, prefix = waiting.pop()
        real = os.path.realpath(path)
        if real in seen or above.startswith(os.path.join(real, "")):
            tally.loops.append(prefix.rstrip("/"))
            continue
        seen.add(real)
        level = _level(path, prefix, tally)
        pictures += level.pictures
        waiting += [(os.path.join(path, folder), f"{prefix}{folder}/") for folder in level.folders]
    return pictures


def read_folder(root: Path, *, training: bool = True) -> Listing:
    """The pictures of a folder of class folders, or of `train/`, `validation/` and `test/` folders of them.

    Args:
        root: the folder.
        training: False where split folders without `train/` and a single class will do.

    Raises:
        PhotosError: no pictures, no class folders, no `train/` beside the other splits, or one split twice.
    """
    tally = _Tally()
    top = _level(str(root), "", tally)
    parts = _split_folders(root, top, tally, training=training)
    rows: list[tuple[str, str, str]] = []
    empty: list[tuple[str, str]] = []
    findings: list[Finding] = []
    for split, level in parts:
        before = len(rows)
        for folder in level.folders:
            name = sys.intern(unicodedata.normalize("NFC", folder))
            found = _walk(level, folder, tally)
            rows += [(file, name, split) for file in found]
            if not found:
                empty.append((split, name))
        if level.pictures:
            findings.append(_flat(root, level, len(rows) > before))
        elif split and not level.folders:
            findings.append(
                Finding("odd", (level.prefix,), f"{level.prefix} holds no pictures.", "Taken as not there.")
            )
    if not rows:
        raise PhotosError(_nothing(root, top, tally))
    if training and not parts[0][0] and len({name for _, name, _ in rows}) == 1:
        _refuse_wrapper(root, rows[0][0].split("/")[0])
    if parts[0][0]:
        findings += _beside(top)
    rows.sort()
    return Listing(
        root=root,
        files=tuple(row[0] for row in rows),
        names=tuple(row[1] for row in rows),
        splits=tuple(row[2] for row in rows),
        empty=tuple(empty),
        skipped=tally.skipped,
        ignored=tally.ignored,
        findings=(*tally.findings(), *findings),
    )


def _split_folders(root: Path, top: _Folder, tally: _Tally, *, training: bool) -> list[tuple[str, _Folder]]:
    """The split folders by headstart's names, or the folder itself as the one part without a name."""
    named: dict[str, str] = {}
    for folder in top.folders:
        split = SPLIT_NAMES.get(folder.lower())
        if split and split in named:
            raise PhotosError(
                f"{root} has both {named[split]}/ and {folder}/ for the {split} split.\nKeep one of the two."
            )
        if split:
            named[split] = folder
    trial = _Tally()  # a second look at train/, so that nothing is counted twice where it is a class after all
    train = _level(os.path.join(top.path, named["train"]), "", trial) if "train" in named else None
    only_measured = not training and train is None and len(named) == len(top.folders) > 0
    if (train is not None and train.folders) or only_measured:
        return [(split, _level(os.path.join(top.path, folder), f"{folder}/", tally)) for split, folder in sorted(
            named.items(), key=lambda item: ("train", "validation", "test").index(item[0])
        )]  # fmt: skip
    if len(named) > 1 or (named and len(top.folders) == 1):  # one alone may be a class of its own, a train
        there = " and ".join(f"{folder}/" for folder in named.values())
        if train is not None:
            raise PhotosError(
                f"{root}/{named['train']} has {number(len(train.pictures), 'picture')} but no class folders.\n"
                f"Make a folder for each class inside {named['train']}/ and put its pictures there,\n"
                "or list the pictures in a CSV with the columns path,label,split."
            )
        raise PhotosError(
            f"{root} has {there} but no train/ folder to learn from.\n"
            "Add train/ with a folder for each class, or give a folder that holds the class folders themselves."
        )
    return [("", top)]


def _flat(root: Path, level: _Folder, has_classes: bool) -> Finding:
    count = number(len(level.pictures), "picture")
    if has_classes or not level.prefix:
        where = level.prefix or "the folder"
        return Finding("odd", level.pictures, f"{count} in {where} beside the class folders: no class.", "Left out.")
    note = f"{count} in {level.prefix} without class folders: no figure can be made from them."
    return Finding("odd", level.pictures, note, f"Left out. Use `headstart predict MODEL {root}/{level.prefix}`.")


def _beside(top: _Folder) -> Iterator[Finding]:
    for folder in top.folders:
        if folder.lower() not in SPLIT_NAMES:
            note = f"{folder}/ beside train/ is no split.{near(folder.lower(), ('train', 'validation', 'test'), 1)}"
            yield Finding("odd", (f"{folder}/",), note, "Left out.")
    if top.pictures:
        note = f"{number(len(top.pictures), 'picture')} beside train/: neither split nor class."
        yield Finding("odd", top.pictures, note, "Left out.")


def _refuse_wrapper(root: Path, name: str) -> None:
    """One class that looks like a whole set of its own: say where it is, instead of `one class`."""
    inside = _level(str(root / name), "", _Tally())
    if len(inside.folders) > 1 and not inside.pictures:
        raise PhotosError(
            f"{root} holds one folder, {name}/, which looks like the set itself: {some(inside.folders)}.\n"
            f"Give {root / name} instead."
        )


def _nothing(root: Path, top: _Folder, tally: _Tally) -> str:
    if top.pictures:
        table = f"\n{tally.tables[0]} lies there: give it instead if it has these columns." if tally.tables else ""
        return (
            f"{root} holds {number(len(top.pictures), 'picture')} but no class folders.\nMake a folder for each class "
            f"and put its pictures there, or list them in a CSV with the columns path,label.{table}"
        )
    if tally.foreign:
        suffix = min(tally.foreign)
        return f"{root} holds no picture that can be read.\nIt has {suffix} files: {UNREADABLE_SUFFIXES[suffix]}."
    return (
        f"{root} holds no pictures ({number(tally.ignored, 'other file')} ignored).\n"
        "Give a folder with a folder of pictures for each class."
    )
