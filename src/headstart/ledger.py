"""How often a test set was opened: a small SQLite file in the cache, written each time a figure is taken of one.

A test set is known by the contents of its pictures, whatever their names and order, and a look at one that shares
pictures with it counts too. Each opening is one row: when, by which command, of which model. Nothing is ever removed by
headstart, not even by `headstart cache clear`, since a look cannot be taken back. Where the file cannot be written, the
count is not known, and that is what is said.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Collection, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.files import cache_folder

NAME = "openings.sqlite"
_MARK = 8  # bytes of a digest that a picture is known by again
_WAIT = 20.0  # seconds for another process that is writing

_SCHEMA = """
CREATE TABLE IF NOT EXISTS openings (
    id INTEGER PRIMARY KEY, pictures TEXT NOT NULL, model TEXT NOT NULL, command TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS by_pictures ON openings (pictures);
CREATE TABLE IF NOT EXISTS members (
    picture BLOB NOT NULL, pictures TEXT NOT NULL, PRIMARY KEY (picture, pictures)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Opening:
    """One look at a test set, as the ledger counts it.

    Attributes:
        look: the how-manieth look at any of the pictures this is, from 1; None where that cannot be known.
        models: how many different models were looked at on any of them, this one among them; None likewise.
        first: when one of them was opened first, as seconds since 1970; None likewise.
        pictures: names the set by its contents.
        trouble: why the count is not known; empty where it is.
        before: how many of the pictures were in an earlier look; None where that is not known.
    """

    look: int | None
    models: int | None
    first: float | None
    pictures: str
    trouble: str = ""
    before: int | None = None

    def as_dict(self) -> dict[str, Any]:
        at = None if self.first is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.first))
        return {"look": self.look, "models": self.models, "first": at, "pictures": self.pictures,
                "looked_at_before": self.before, "trouble": self.trouble or None}  # fmt: skip


def ledger_path() -> Path:
    """Where the ledger lies: `openings.sqlite` in the cache folder."""
    return cache_folder() / NAME


def name_of(digests: Iterable[bytes]) -> str:
    """A name for a set of pictures from the SHA-256 of each, in any order, copies counting once."""
    return hashlib.sha256(b"".join(sorted(set(digests)))).hexdigest()


def record(digests: Collection[bytes], *, model: str, command: str) -> Opening:
    """Note that a figure is taken of these pictures now, and say how many times that has happened.

    Args:
        digests: SHA-256 of each picture's bytes.
        model: a name for the model that is measured, the same each time it is the same.
        command: who looks, such as `train` or `evaluate`.
    """
    marks = {digest[:_MARK] for digest in digests}
    pictures = name_of(digests)
    trouble = f"{ledger_path()} cannot be used"
    for _ in range(2):
        try:
            return _write(pictures, marks, model, command)
        except sqlite3.DatabaseError as error:
            trouble = f"the ledger {ledger_path()} cannot be written ({error})"
            if not _is_damage(error):
                break
            with suppress(OSError):
                os.replace(ledger_path(), _damaged())
        except OSError as error:
            trouble = f"the ledger {ledger_path()} cannot be written ({error.strerror})"
            break
    return Opening(None, None, None, pictures, trouble)


def count() -> int:
    """How many openings the ledger holds; 0 where there is none that can be read."""
    path = ledger_path()
    if not path.exists():
        return 0
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=_WAIT)) as connection:
        return int(connection.execute("SELECT count(*) FROM openings").fetchone()[0])
    return 0


def _write(pictures: str, marks: Collection[bytes], model: str, command: str) -> Opening:
    path = ledger_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=_WAIT, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # one process at a time, so that each has a look of its own number
        for statement in _SCHEMA.strip().split(";\n"):
            connection.execute(statement)
        connection.execute("CREATE TEMP TABLE asked (picture BLOB PRIMARY KEY)")
        connection.executemany("INSERT INTO asked VALUES (?)", [(mark,) for mark in sorted(marks)])
        (before,) = connection.execute(
            "SELECT count(DISTINCT picture) FROM asked JOIN members USING (picture)"
        ).fetchone()
        connection.execute("INSERT OR IGNORE INTO members SELECT picture, ? FROM asked", (pictures,))
        connection.execute(
            "INSERT INTO openings (pictures, model, command, at) VALUES (?, ?, ?, ?)",
            (pictures, model, command, time.time()),
        )
        look, models, first = connection.execute(
            "SELECT count(*), count(DISTINCT model), min(at) FROM openings WHERE pictures IN"
            " (SELECT DISTINCT members.pictures FROM asked JOIN members USING (picture))"
        ).fetchone()
        connection.execute("COMMIT")
    if _damaged().exists():  # whatever stood in it is not counted, so no later count can be believed
        return Opening(None, None, None, pictures, f"an earlier ledger was damaged and lies in {_damaged()}")
    return Opening(look, models, first, pictures, before=before)


def _damaged() -> Path:
    return ledger_path().with_name(f"{NAME}.damaged")


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
