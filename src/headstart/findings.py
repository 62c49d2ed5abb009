"""What headstart noticed about a set of pictures: one row of `headstart check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

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
