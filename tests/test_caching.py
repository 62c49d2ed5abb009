"""The cache as a whole: what is shown, pruned and cleared is headstart's own and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from headstart import caching
from headstart.store import Space, Store

DIGEST = "0123456789abcdef" * 4
SPACE = Space("context", (("fingerprint", 8),), "a label")

OURS = {
    f"trunks/{DIGEST}/trunk.json": 10,
    f"trunks/{DIGEST}/trunk.bin": 1000,
    f"trunks/.{DIGEST}-a1b2_c3d/trunk.xml": 5,  # of a process that was killed
    f"blanks/{DIGEST}.keras": 2000,
    f"blanks/.{DIGEST}-a1b2_c3d.keras": 7,
    f"archives/{DIGEST}/train/cats/cat.1.jpg": 300,
    f"downloads/{DIGEST[:16]}/flowers.zip": 400,
    "downloads/cats_and_dogs_filtered.zip": 500,
    "downloads/cats_and_dogs_filtered.zip.sha256": 65,
    "downloads/cats_and_dogs_filtered.zip.part": 50,
}
NOT_OURS = (
    "notes.txt", "features.sqlite.mine", "features.csv", "trunks/elephant.jpg", "blanks/form.keras",
    "archives/2019/letter.txt", "downloads/film.mp4", "downloads/deadbeef/x", "photos/cat.jpg",
)  # fmt: skip


def put(folder: Path, name: str, size: int = 3) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


@pytest.fixture
def folder(fresh_cache: Path) -> Path:
    """A folder that holds a cache and things of the user's."""
    for name, size in OURS.items():
        put(fresh_cache, name, size)
    for name in NOT_OURS:
        put(fresh_cache, name)
    write(20)
    return fresh_cache


def write(count: int) -> None:
    with Store() as store:
        assert store.write(SPACE, [(bytes([number]), np.full(8, number)) for number in range(count)])


def left(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_contents_by_part(folder: Path) -> None:
    found = caching.contents()
    parts = {part["name"]: (part["entries"], part["bytes"]) for part in found["parts"]}
    assert parts.pop("features")[0] == 20
    nothing = {"tuning": (0, 0), "logbooks": (0, 0)}
    assert parts == {
        "trunks": (2, 1015), "blanks": (2, 2007), "archives": (1, 300), "downloads": (4, 1015), **nothing,
    }  # fmt: skip
    assert found["folder"] == str(folder)
    assert found["bytes"] == sum(part["bytes"] for part in found["parts"])
    assert [(space["label"], space["pictures"]) for space in found["spaces"]] == [("a label", 20)]


def test_contents_of_an_empty_cache(fresh_cache: Path) -> None:
    found = caching.contents()
    assert found["spaces"] == []
    assert {part["entries"] for part in found["parts"]} == {0}


def test_clear_drops_all_that_is_headstarts_and_nothing_else(folder: Path) -> None:
    put(folder, "features.sqlite.damaged", 70)
    put(folder, "features.sqlite.damaged-wal", 70)
    freed = caching.clear()
    assert left(folder) == set(NOT_OURS)
    assert freed > sum(OURS.values())
    write(3)  # and it can be used at once
    assert caching.contents()["parts"][0]["entries"] == 3


def test_clear_leaves_no_empty_folders(fresh_cache: Path) -> None:
    put(fresh_cache, f"trunks/{DIGEST}/trunk.json")
    caching.clear()
    assert list(fresh_cache.iterdir()) == []


def test_prune_to_a_limit_drops_rows(folder: Path) -> None:
    before = left(folder)
    done = caching.prune(0)
    assert done["rows"] == 20
    assert done["folders"] == 0
    assert done["bytes"] == caching.contents()["bytes"]
    assert set(OURS) | set(NOT_OURS) <= left(folder) | {"features.sqlite"}
    assert before - left(folder) <= {"features.sqlite-wal", "features.sqlite-shm"}


def test_prune_without_a_limit_keeps_what_is_within_the_usual_one(folder: Path) -> None:
    assert caching.prune()["rows"] == 0
    assert caching.contents()["parts"][0]["entries"] == 20


def test_prune_drops_networks_that_were_not_used_for_long(folder: Path) -> None:
    old = time.time() - (caching.UNUSED_DAYS + 1) * 86_400
    for name in (f"trunks/{DIGEST}", f"blanks/{DIGEST}.keras", "trunks/elephant.jpg", f"archives/{DIGEST}"):
        os.utime(folder / name, (old, old))
    assert caching.prune()["folders"] == 2
    gone = {f"trunks/{DIGEST}/trunk.json", f"trunks/{DIGEST}/trunk.bin", f"blanks/{DIGEST}.keras"}
    assert set(OURS) - left(folder) == gone
    assert set(NOT_OURS) <= left(folder)
