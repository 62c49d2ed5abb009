"""What was found before labels are settled: one row a picture, the same for a folder and for a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headstart.findings import Finding

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""How people call the three splits, in lower case, and what headstart calls them."""

BAR = "|"
"""What stands between the labels of one picture."""


@dataclass(frozen=True)
class Listing:
    """Pictures with the class names and splits that their owner gave them.

    Attributes:
        root: the folder that `files` are relative to.
        files: one path a picture, sorted; absolute where it lies outside `root`.
        names: the class name of each picture.
        splits: "train", "validation" or "test" for each picture; "" for all where none is given.
        groups: which pictures belong together, "" for a picture on its own; None where nothing is said.
        folders: True where classes and splits are folders: then messages end their names with "/".
        empty: (split, class name) of class folders that hold no picture.
        skipped: candidates that cannot be used (no such file, a format that cannot be read).
        ignored: how many other files were passed over.
        findings: what was noticed on the way.
        task: what `names` are: one of the modules in `targets/`. Of `labels` they are joined by `BAR`, sorted; of
            `numbers` they are the numbers as text.
    """

    root: Path
    files: tuple[str, ...]
    names: tuple[str, ...]
    splits: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    folders: bool = True
    empty: tuple[tuple[str, str], ...] = ()
    skipped: tuple[str, ...] = ()
    ignored: int = 0
    findings: tuple[Finding, ...] = ()
    task: str = "classes"

    def place(self, split: str) -> str:
        """A split as its owner would write it: `validation/` for a folder, `validation` for a table."""
        return (split or "the folder") + ("/" if self.folders and split else "")


def suffix_of(name: str) -> str:
    """The suffix in lower case, with its dot; cheaper than pathlib's, for millions of names.

    >>> suffix_of("holiday.2024/IMG_1.JPG")
    '.jpg'
    """
    dot = name.rfind(".")
    return name[dot:].lower() if dot > name.rfind("/") else ""


def some(names: list[str] | tuple[str, ...], count: int = 5) -> str:
    """The first few names, for a message.

    >>> some(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:count])
    return shown if len(names) <= count else f"{shown} and {len(names) - count} more"


def number(count: int, thing: str) -> str:
    """A count with its noun.

    >>> number(1, "picture"), number(1200, "class")
    ('1 picture', '1,200 classes')
    """
    ending = "" if count == 1 else "es" if thing.endswith("s") else "s"
    return f"{count:,} {thing}{ending}"
