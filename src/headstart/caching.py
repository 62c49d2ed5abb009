"""Everything that is kept between runs, looked at and emptied as one."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from headstart import ledger
from headstart.files import cache_folder
from headstart.store import Store, size_limit

PARTS = {
    "trunks": r"[0-9a-f]{64}",
    "blanks": r"[0-9a-f]{64}\.keras",
    "archives": r"[0-9a-f]{64}",
    "tuning": r"[0-9a-f]{64}",
    "logbooks": r"[0-9a-f]{64}\.json",
    "downloads": r"[0-9a-f]{16}|cats_and_dogs_filtered\.zip(\.\w+)*",
}
"""Folders, and what headstart calls its entries: `HEADSTART_CACHE` may name a folder that holds other things too."""
_UNFINISHED = r"\.[0-9a-f]{64}-\w+(\.\w+)?"  # what `atomic_path` and `atomic_folder` leave behind where they are killed
_STORE = re.compile(r"features\.sqlite(\.damaged)?(-wal|-shm)?")
UNUSED_DAYS = 90
"""Compiled networks and blanks not used for so long are dropped by `prune`."""


def contents() -> dict[str, Any]:
    """The folder, its size, and what is in it by part."""
    folder = cache_folder()
    with Store() as store:
        sizes = store.sizes()
    pictures = sum(int(space["pictures"]) for space in sizes["spaces"])
    parts: list[dict[str, Any]] = [{"name": "features", "entries": pictures, "bytes": sizes["bytes"]}]
    for name in PARTS:
        entries = _entries(name)
        parts.append({"name": name, "entries": len(entries), "bytes": sum(map(_bytes, entries))})
    total = sum(part["bytes"] for part in parts)
    return {
        "folder": str(folder), "bytes": total, "limit": size_limit(), "parts": parts, "spaces": sizes["spaces"],
        "openings": ledger.count(),
    }  # fmt: skip


def prune(limit: int | None = None) -> dict[str, int]:
    """Bring the features within `limit` bytes (the usual limit where None) and drop long unused compiled networks."""
    with Store() as store:
        rows = store.prune(limit, spare=0.0 if limit is not None else 600.0)
    folders, oldest = 0, time.time() - UNUSED_DAYS * 86_400
    for name in ("trunks", "blanks", "tuning", "logbooks"):
        for entry in _entries(name):
            if entry.stat().st_mtime < oldest:
                _remove(entry)
                folders += 1
    return {"rows": rows, "folders": folders, "bytes": int(contents()["bytes"])}


def clear() -> int:
    """Drop all of it but the ledger of openings; returns the bytes that were freed.

    Only what headstart made is touched. A look at a test set cannot be taken back, so `ledger` stays.
    """
    folder = cache_folder()
    freed = int(contents()["bytes"])
    for name in PARTS:
        for entry in _entries(name):
            _remove(entry)
        with suppress(OSError):  # missing, or something of the user's is in it
            (folder / name).rmdir()
    for path in folder.glob("features.sqlite*"):
        if _STORE.fullmatch(path.name):
            path.unlink(missing_ok=True)
    return freed


def _entries(part: str) -> list[Path]:
    """What headstart has put into one of its folders, whole or half-written."""
    folder = cache_folder() / part
    ours = re.compile(f"{PARTS[part]}|{_UNFINISHED}")
    return [path for path in folder.iterdir() if ours.fullmatch(path.name)] if folder.is_dir() else []


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
