"""Writing without half-written results, digests, and the folder that headstart caches in."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs


def cache_folder() -> Path:
    """`HEADSTART_CACHE` where it is set, else the platform's cache folder for headstart."""
    named = os.environ.get("HEADSTART_CACHE")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("headstart", appauthor=False))


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened for fsync there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def why_not_writable(target: str | os.PathLike[str]) -> str | None:
    """Why a file cannot be put at `target`, known before long work begins; None where nothing speaks against it."""
    target = Path(target).absolute()
    if target.is_dir():
        return f"{target} is a folder; expected the name of a file to write"
    folder = next(parent for parent in target.parents if parent.exists())
    if not folder.is_dir():
        return f"{folder} is not a folder, so nothing can be written in it"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"you may not write in {folder}; choose another place"
    return None


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `target`, renamed to it at the end; nothing is left behind on failure.

    The suffix is kept, since some writers look at it. The parent folder is made where it is missing.

    Example:
        >>> import tempfile; folder = Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "a.txt") as path:
        ...     _ = path.write_text("whole")
        >>> (folder / "a.txt").read_text()
        'whole'
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes it private; a result has the usual mode
        os.replace(temporary, target)
        _sync_folder(target.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def atomic_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder beside `target`, renamed to it at the end.

    Where another process made `target` first, that one stays and this one is thrown away.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                with open(path, "rb+") as written:
                    os.fsync(written.fileno())
        with suppress(OSError):
            temporary.rename(target)
            _sync_folder(target.parent)
        if not target.is_dir():
            raise OSError(f"cannot put a folder at {target}")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form: the order of a mapping's keys does not matter.

    >>> json_digest({"a": 1, "b": 2}) == json_digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
