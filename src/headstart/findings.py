"""What headstart noticed about a set of pictures: one row of `headstart check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from headstart.errors import PhotosError

Kind = Literal[
    "unreadable", "odd", "duplicate", "near_duplicate", "leak", "two_labels",
    "suspect_label", "class_mismatch", "imbalance", "shortcut",
]  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing noticed about some files.

    Attributes:
        kind: one of the contract's kinds.
        files: the files concerned, as the user knows them (relative to the folder given).
        note: what was seen, in one sentence.
        action: what headstart did about it, in one sentence.
    """

    kind: Kind
    files: tuple[str, ...]
    note: str
    action: str

    def as_dict(self) -> dict[str, object]:
        return {"kind": self.kind, "files": list(self.files), "note": self.note, "action": self.action}


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each kind.

    >>> counts([Finding("leak", ("a", "b"), "", ""), Finding("leak", ("c", "d"), "", "")])
    {'leak': 2}
    """
    return dict(Counter(finding.kind for finding in findings))


def refuse(findings: Iterable[Finding]) -> None:
    """For `--strict`: nothing may be found.

    Raises:
        PhotosError: something was.
    """
    found = list(findings)
    if found:
        kinds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts(found).items())
        raise PhotosError(
            f"{kinds}: with --strict nothing may be found. For example: {found[0].note}\n"
            "See all of it with headstart check, put it right, or leave --strict out."
        )


class Findings(tuple[Finding, ...]):
    """All that was noticed, as it prints well in a terminal and in a notebook.

    >>> print(Findings([Finding("leak", ("train/a.jpg", "test/b.jpg"), "The same picture is in both.", "Left out.")]))
    leak: The same picture is in both. Left out.
        train/a.jpg, test/b.jpg
    >>> print(Findings())
    Nothing to report.
    """

    __slots__ = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind."""
        return counts(self)

    def __str__(self) -> str:
        lines = []
        for finding in self:
            lines.append(f"{finding.kind.replace('_', ' ')}: {finding.note} {finding.action}")
            if finding.files:
                lines.append(f"    {_some(finding.files)}")
        return "\n".join(lines) or "Nothing to report."

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><td>{escape(f.kind.replace('_', ' '))}</td><td>{escape(f.note)} {escape(f.action)}</td>"
            f"<td>{escape(_some(f.files))}</td></tr>"
            for f in self
        )
        head = "<tr><th>kind</th><th>what was seen, and done</th><th>files</th></tr>"
        return f"<table>{head}{rows}</table>" if rows else "<p>Nothing to report.</p>"


def _some(files: tuple[str, ...], count: int = 5) -> str:
    more = f" and {len(files) - count:,} more" if len(files) > count else ""
    return ", ".join(files[:count]) + more
