"""States of a training, written so that one is always whole: the newest that is sound is where a run goes on.

A state is arrays and a few plain facts in one `.npz`, written beside its place and renamed to it. The last two are
kept; one that is damaged is passed over with a word, and the one before it taken.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headstart.files import atomic_path

KEPT = 2
_NAME = re.compile(r"state-(\d{8})\.npz")


@dataclass(frozen=True)
class State:
    """One state.

    Attributes:
        number: how far the training was, such as the epochs that were done.
        arrays: numbers, in the order in which they were saved.
        facts: plain JSON values.
        passed_over: files that were newer and damaged.
    """

    number: int
    arrays: tuple[np.ndarray, ...] = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()


def save(folder: Path, number: int, arrays: Sequence[np.ndarray], facts: Mapping[str, Any]) -> Path:
    """Write a state whole or not at all, and drop those before the last two.

    Raises:
        OSError: there is no room, or nothing can be written there.
    """
    target = folder / f"state-{number:08d}.npz"
    named = {f"{place:05d}": np.asarray(array) for place, array in enumerate(arrays)}
    text = np.frombuffer(json.dumps(dict(facts)).encode(), np.uint8)
    with atomic_path(target) as temporary:
        np.savez(temporary, facts=text, **named)
    for old in _states(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return target


def load(folder: Path) -> State | None:
    """The newest sound state; None where there is none.

    A zip archive holds a checksum of each member, which reading verifies.
    """
    passed_over: list[str] = []
    for path in _states(folder):
        try:
            with np.load(path, allow_pickle=False) as stored:
                facts = json.loads(stored["facts"].tobytes())
                arrays = tuple(stored[name] for name in sorted(set(stored.files) - {"facts"}))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            passed_over.append(path.name)
            continue
        return State(_number(path), arrays, facts, tuple(passed_over))
    return None


def clear(folder: Path) -> None:
    """Drop all states of a folder."""
    for path in _states(folder):
        path.unlink(missing_ok=True)


def _states(folder: Path) -> list[Path]:
    """Newest first."""
    found = [path for path in folder.glob("state-*.npz") if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=_number, reverse=True)


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match.group(1)) if match else -1
