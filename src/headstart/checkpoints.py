"""States of a training, written so that one is always whole: the newest that is sound is where a run goes on.

A state is arrays and a few plain facts in one `.npz`, written beside its place and renamed to it. The last two are
kept; one that is damaged, or of another training, is dropped with a word, and the one before it taken.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headstart.files import atomic_path

KEPT = 2
STOP = "stop"
"""A file of this name in the folder of states asks a training to save and end."""
_NAME = re.compile(r"state-(\d{8})\.npz")


@dataclass(frozen=True)
class State:
    """One state.

    Attributes:
        number: how far the training was, such as the epochs that were done.
        arrays: numbers, in the order in which they were saved.
        facts: plain JSON values.
    """

    number: int
    arrays: tuple[np.ndarray, ...] = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict)


def save(folder: Path, number: int, arrays: Sequence[np.ndarray], facts: Mapping[str, Any]) -> Path:
    """Write a state whole or not at all, and drop those before the last two.

    Raises:
        OSError: there is no room, or nothing can be written there.
    """
    target = folder / f"state-{number:08d}.npz"
    named: dict[str, Any] = {f"{place:05d}": np.asarray(array) for place, array in enumerate(arrays)}
    text = np.frombuffer(json.dumps(dict(facts)).encode(), np.uint8)
    with atomic_path(target) as temporary:
        np.savez(temporary, facts=text, **named)
    for old in _states(folder)[KEPT:]:
        _drop(old)
    return target


def load(folder: Path, like: Sequence[np.ndarray]) -> tuple[State | None, tuple[str, ...]]:
    """The newest sound state, None where there is none, and the names of those that were passed over on the way.

    What is passed over is dropped, so that no later state is taken for older than it; so is what a process that was
    killed while it wrote has left.

    Args:
        like: arrays with the shapes and kinds of numbers that a state of this training has.
    """
    wanted = [(array.shape, array.dtype) for array in like]
    for path in folder.glob(".state-*.npz"):
        _drop(path)
    passed_over: list[str] = []
    for path in _states(folder):
        state = _read(path)
        if state is not None and [(array.shape, array.dtype) for array in state.arrays] == wanted:
            return state, tuple(passed_over)
        passed_over.append(path.name)
        _drop(path)
    return None, tuple(passed_over)


def clear(folder: Path) -> None:
    """Drop all states of a folder."""
    for path in (*_states(folder), *folder.glob(".state-*.npz")):
        _drop(path)


def _read(path: Path) -> State | None:
    """The state in a file; None where the file is no such thing, or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # a member's checksum does not fit
                return None
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(stored["facts"].tobytes())
            arrays = tuple(stored[name] for name in sorted(set(stored.files) - {"facts"}))
    except MemoryError:  # nothing is known about the file
        raise
    except Exception:  # one wrong byte makes zipfile, zlib and numpy raise nearly anything
        return None
    return State(_number(path), arrays, facts) if isinstance(facts, dict) else None


def _drop(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _states(folder: Path) -> list[Path]:
    """Newest first."""
    found = [path for path in folder.glob("state-*.npz") if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=_number, reverse=True)


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match.group(1)) if match else -1
