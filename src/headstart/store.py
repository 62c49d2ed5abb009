"""The feature store: SQLite under the cache folder, keyed by contents.

A *space* is a list of trunk outputs under one numerics and decoding; a row is one picture's features in one space,
as float16. What a row is asked for by is a digest of everything that decides its numbers, so an old row can never
answer a new question. SQLite keeps it whole through `kill -9` and lets several processes write; each row carries a
checksum over key and value, so a damaged row is missed, not believed.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.files import cache_folder

DEFAULT_LIMIT = 10 * 2**30
USED_RESOLUTION = 600.0  # seconds: how finely "last used" is kept, so that reading seldom writes
PAGE = 32_768  # bytes: for rows of some kB four times as fast as SQLite's own 4,096 (bench/stores.py)
_AT_ONCE = 500

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spaces (
    id INTEGER PRIMARY KEY, context TEXT NOT NULL, outputs TEXT NOT NULL, label TEXT NOT NULL,
    UNIQUE (context, outputs));
CREATE TABLE IF NOT EXISTS features (
    space INTEGER NOT NULL, picture BLOB NOT NULL, checksum INTEGER NOT NULL, used REAL NOT NULL,
    numbers BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS by_picture ON features (space, picture);
CREATE INDEX IF NOT EXISTS by_use ON features (used);
"""


def store_path() -> Path:
    """Where the store lies: `features.sqlite` in the cache folder."""
    return cache_folder() / "features.sqlite"


def size_limit() -> int:
    """Bytes that the store may take: `HEADSTART_CACHE_GB` (a number of GiB), else 10 GiB."""
    named = os.environ.get("HEADSTART_CACHE_GB")
    try:
        return int(float(named) * 2**30) if named else DEFAULT_LIMIT
    except (ValueError, OverflowError):
        return DEFAULT_LIMIT


@dataclass(frozen=True)
class Space:
    """Outputs that are stored together: (fingerprint, dimensions) of each, in the order of the columns."""

    context: str
    outputs: tuple[tuple[str, int], ...]
    label: str = ""

    @property
    def width(self) -> int:
        return sum(dimensions for _, dimensions in self.outputs)


class Store:
    """One open store; may be used from several threads and from several processes at once.

    Trouble with the disk never stops a run: `write` says False where a row could not be kept, and a store that is
    damaged beyond SQLite's own repair is moved aside and begun anew.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or store_path()
        self.trouble: str | None = None
        self._lock = threading.RLock()
        self._unsound: set[tuple[str, tuple[tuple[str, int], ...], bytes]] = set()  # rows found damaged
        self._file = self._which_file()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect(self.path)
        except (sqlite3.Error, OSError) as error:
            # A layout that does not fit is an error of SQL: an altered schema, or that of another version.
            unfit = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
            self._connection = self._begin_anew(error) if unfit or _is_damage(error) else self._in_memory(error)
        self._file = self._which_file()

    def _which_file(self) -> int | None:
        try:
            return self.path.stat().st_ino
        except OSError:
            return None

    @staticmethod
    def _connect(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA page_size={PAGE}")
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(_SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _in_memory(self, error: Exception) -> sqlite3.Connection:
        self.trouble = f"the feature store {self.path} cannot be used ({error}); features are kept in memory"
        return self._connect(Path(":memory:"))

    def _begin_anew(self, error: Exception) -> sqlite3.Connection:
        """Move a damaged store aside, unless another process has done so since this one opened it."""
        aside = self.path.with_name(f"{self.path.name}.damaged")
        try:
            if self._which_file() == self._file:
                for suffix in ("-wal", "-shm", ""):  # the log first: a new store must never find an old one's log
                    with suppress(FileNotFoundError):
                        os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
            connection = self._connect(self.path)
        except (sqlite3.Error, OSError) as second:
            return self._in_memory(second)
        self._file = self._which_file()
        self.trouble = f"the feature store was damaged ({error}); it was moved to {aside} and begun anew"
        return connection

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Damage met while the store is open: begin anew and go on as if nothing had been stored."""
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                if _is_damage(error):
                    self._connection.close()
                    self._connection = self._begin_anew(error)
                else:
                    self.trouble = f"the feature store {self.path} cannot be used now ({error})"

    def _space_id(self, space: Space, *, create: bool) -> int | None:
        key = (space.context, json.dumps(space.outputs))
        find = "SELECT id FROM spaces WHERE context = ? AND outputs = ?"
        row = self._connection.execute(find, key).fetchone()
        if row is None and create:
            self._connection.execute(
                "INSERT OR IGNORE INTO spaces (context, outputs, label) VALUES (?, ?, ?)",
                (*key, space.label.encode("utf-8", "replace").decode()),  # a path need not be text
            )
            row = self._connection.execute(find, key).fetchone()
        return row[0] if row else None

    def spaces_with(self, context: str, wanted: Sequence[tuple[str, int]]) -> list[Space]:
        """Stored spaces of the context that hold all the wanted outputs, smallest first."""
        return sorted(
            (space for space in self._spaces(context) if set(wanted) <= set(space.outputs)),
            key=lambda space: space.width,
        )

    def spaces_with_some(self, context: str, wanted: Sequence[tuple[str, int]]) -> list[Space]:
        """Stored spaces of the context that hold some of the wanted outputs but not all, most of them first."""
        counted = [(len(set(wanted).intersection(space.outputs)), space) for space in self._spaces(context)]
        some = [(count, space) for count, space in counted if 0 < count < len(set(wanted))]
        return [space for _, space in sorted(some, key=lambda pair: (-pair[0], pair[1].width))]

    def _spaces(self, context: str) -> list[Space]:
        found: list[Space] = []
        with self._guarded():
            for outputs, label in self._connection.execute(
                "SELECT outputs, label FROM spaces WHERE context = ?", (context,)
            ):
                with suppress(ValueError, TypeError):  # a damaged row is no space
                    found.append(
                        Space(context, tuple((str(name), int(width)) for name, width in json.loads(outputs)), label)
                    )
        return found

    def read(self, space: Space, pictures: Sequence[bytes]) -> Iterator[tuple[bytes, np.ndarray]]:
        """(picture's digest, float16 numbers) of each of the pictures that is stored and whole."""
        for start in range(0, len(pictures), _AT_ONCE):
            yield from self._read_some(space, pictures[start : start + _AT_ONCE])

    def _read_some(self, space: Space, pictures: Sequence[bytes]) -> list[tuple[bytes, np.ndarray]]:
        rows: list[tuple[bytes, Any, Any, Any]] = []
        with self._guarded():
            number = self._space_id(space, create=False)
            if number is None:
                return []
            marks = ",".join("?" * len(pictures))
            now = time.time()
            rows = self._connection.execute(
                f"SELECT picture, checksum, used < ?, numbers FROM features WHERE space = ? AND picture IN ({marks})",
                (now - USED_RESOLUTION, number, *pictures),
            ).fetchall()
            stale = [(now, number, row[0]) for row in rows if row[2]]
            if stale:
                with suppress(sqlite3.OperationalError), self._transaction():  # a full disk can still be read
                    self._connection.executemany("UPDATE features SET used = ? WHERE space = ? AND picture = ?", stale)
        found: dict[bytes, np.ndarray] = {}  # each once: a damaged index may find a row twice
        for picture, checksum, _, numbers in rows:
            sound = isinstance(numbers, bytes) and len(numbers) == 2 * space.width
            if sound and checksum == _checksum(space, picture, numbers):
                found[picture] = np.frombuffer(numbers, np.float16)
        self._unsound.update((space.context, space.outputs, row[0]) for row in rows if row[0] not in found)
        return list(found.items())

    def have(self, space: Space, pictures: Sequence[bytes]) -> set[bytes]:
        """Which of the pictures have a row that was not found damaged; whether it is whole shows when it is read."""
        found: set[bytes] = set()
        for start in range(0, len(pictures), _AT_ONCE):
            some = pictures[start : start + _AT_ONCE]
            with self._guarded():
                number = self._space_id(space, create=False)
                if number is None:
                    return set()
                marks = ",".join("?" * len(some))
                rows = self._connection.execute(
                    f"SELECT picture FROM features WHERE space = ? AND picture IN ({marks})", (number, *some)
                ).fetchall()
                found.update(row[0] for row in rows if (space.context, space.outputs, row[0]) not in self._unsound)
        return found

    def have_parts(
        self, spaces: Sequence[Space], pictures: Sequence[bytes], wanted: Sequence[tuple[str, int]]
    ) -> set[bytes]:
        """Which of the pictures have rows in these spaces that together hold all the wanted outputs."""
        lacking = {picture: set(wanted) for picture in pictures}
        for space in spaces:
            for picture in self.have(
                space, [picture for picture, names in lacking.items() if names & set(space.outputs)]
            ):
                lacking[picture] -= set(space.outputs)
        return {picture for picture, names in lacking.items() if not names}

    def read_parts(
        self, spaces: Sequence[Space], pictures: Sequence[bytes], wanted: Sequence[tuple[str, int]]
    ) -> Iterator[tuple[bytes, np.ndarray]]:
        """(picture's digest, float16 numbers of the wanted outputs) of each picture whose rows in these spaces together
        hold them all and are whole."""
        places: dict[tuple[str, int], list[slice]] = {}
        start = 0
        for name, width in wanted:
            places.setdefault((name, width), []).append(slice(start, start + width))
            start += width
        for first in range(0, len(pictures), _AT_ONCE):
            some = pictures[first : first + _AT_ONCE]
            rows = {picture: (np.empty(start, np.float16), set(wanted)) for picture in some}
            for space in spaces:
                asked = [picture for picture, (_, lacking) in rows.items() if lacking & set(space.outputs)]
                for picture, values in self._read_some(space, asked) if asked else ():
                    joined, lacking = rows[picture]
                    at = 0
                    for output in space.outputs:
                        for place in places[output] if output in lacking else ():
                            joined[place] = values[at : at + output[1]]
                        at += output[1]
                    lacking -= set(space.outputs)
            yield from ((picture, joined) for picture, (joined, lacking) in rows.items() if not lacking)

    def write(self, space: Space, rows: Iterable[tuple[bytes, np.ndarray]]) -> bool:
        """Keep rows, all or none of them; False where they could not be kept (a full disk, a locked store)."""
        blobs = [(picture, np.ascontiguousarray(values, np.float16).tobytes()) for picture, values in rows]
        kept = False
        with self._guarded():
            try:
                with self._transaction():
                    number = self._space_id(space, create=True)
                    now = time.time()
                    self._connection.executemany(
                        "INSERT OR REPLACE INTO features (space, picture, checksum, used, numbers)"
                        " VALUES (?, ?, ?, ?, ?)",
                        [(number, picture, _checksum(space, picture, blob), now, blob) for picture, blob in blobs],
                    )
                kept = True
                self._unsound.difference_update((space.context, space.outputs, picture) for picture, _ in blobs)
            except sqlite3.OperationalError as error:
                if _is_damage(error):
                    raise
                self.trouble = f"features could not be kept in {self.path}: {error}"
        return kept

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def sizes(self) -> dict[str, Any]:
        """What is stored: bytes on disk, rows, and the spaces with their labels and rows."""
        spaces: list[dict[str, Any]] = []
        with self._guarded():
            rows = self._connection.execute(
                "SELECT s.label, count(f.picture), coalesce(sum(length(f.numbers)), 0), max(f.used)"
                " FROM spaces s LEFT JOIN features f ON f.space = s.id GROUP BY s.id ORDER BY max(f.used) DESC"
            )
            spaces = [{"label": row[0], "pictures": row[1], "bytes": row[2], "used": row[3]} for row in rows]
        return {"path": str(self.path), "bytes": self.bytes_on_disk(), "limit": size_limit(), "spaces": spaces}

    def bytes_on_disk(self) -> int:
        """Bytes of the store and its write-ahead log."""
        return sum(path.stat().st_size for suffix in ("", "-wal") if (path := Path(f"{self.path}{suffix}")).exists())

    def prune(self, limit: int | None = None, *, spare: float = 600.0) -> int:
        """Drop the least recently used rows until the store takes at most `limit` bytes; returns how many went.

        Rows used in the last `spare` seconds stay, so that no run loses what it is working with.
        """
        limit = size_limit() if limit is None else limit
        before = time.time() - (spare + USED_RESOLUTION if spare else 0.0)
        dropped = 0
        with self._guarded():
            while (excess := self._used_bytes() - limit) > 0:
                gone = self._drop_oldest(excess, before)
                if gone == 0:
                    break
                dropped += gone
            if dropped:
                self._connection.execute("DELETE FROM spaces WHERE id NOT IN (SELECT DISTINCT space FROM features)")
                # Each step gives one page back, and `execute` takes one step alone.
                self._connection.executescript("PRAGMA incremental_vacuum")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return dropped

    def _drop_oldest(self, excess: int, before: float) -> int:
        """Drop rows last used before that time, oldest first, until about `excess` bytes are free."""
        with self._transaction():
            oldest = self._connection.execute(
                "SELECT rowid, length(numbers) FROM features WHERE used <= ? ORDER BY used LIMIT 1000", (before,)
            ).fetchall()
            gone: list[tuple[int]] = []
            for row, size in oldest:
                if excess <= 0:
                    break
                gone.append((row,))
                excess -= size
            self._connection.executemany("DELETE FROM features WHERE rowid = ?", gone)
        return len(gone)

    def _used_bytes(self) -> int:
        with closing(self._connection.cursor()) as cursor:
            pages, free, size = (
                cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)


def _checksum(space: Space, picture: bytes, numbers: bytes) -> int:
    start = zlib.crc32(f"{space.context}{space.outputs}".encode() + picture)
    return zlib.crc32(numbers, start)


def _is_damage(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
