"""Everything that is kept between runs, looked at and emptied as one."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from headstart.files import cache_folder
from headstart.store import Store, size_limit

PARTS = ("trunks", "blanks", "archives", "downloads")
UNUSED_DAYS = 90
"""Compiled networks and blanks not used for so long are dropped by `prune`."""


def contents() -> dict[str, Any]:
    """The folder, its size, and what is in it by part."""
    folder = cache_folder()
    with Store() as store:
        sizes = store.sizes()
    parts = [{"name": "features", "entries": sum(int(s["pictures"]) for s in sizes["spaces"]), "bytes": sizes["bytes"]}]  # type: ignore[attr-defined]
    for name in PARTS:
        entries = list((folder / name).iterdir()) if (folder / name).is_dir() else []
        parts.append({"name": name, "entries": len(entries), "bytes": sum(map(_bytes, entries))})
    total = sum(int(str(part["bytes"])) for part in parts)
    return {"folder": str(folder), "bytes": total, "limit": size_limit(), "parts": parts, "spaces": sizes["spaces"]}


def prune(limit: int | None = None) -> dict[str, int]:
    """Bring the features within `limit` bytes (the usual limit where None) and drop long unused compiled networks."""
    with Store() as store:
        rows = store.prune(limit, spare=0.0 if limit is not None else 600.0)
    folders, oldest = 0, time.time() - UNUSED_DAYS * 86_400
    for name in ("trunks", "blanks"):
        for entry in (cache_folder() / name).glob("*"):
            if entry.stat().st_mtime < oldest:
                _remove(entry)
                folders += 1
    return {"rows": rows, "folders": folders, "bytes": int(contents()["bytes"])}


def clear() -> int:
    """Drop all of it; returns the bytes that were freed. Only what headstart made is touched."""
    folder = cache_folder()
    freed = int(contents()["bytes"])
    for name in PARTS:
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in folder.glob("features.sqlite*"):
        path.unlink(missing_ok=True)
    return freed


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
