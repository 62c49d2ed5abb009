"""The store: keys, damage, full and read-only disks, `kill -9`, several processes, pruning.

Numbers are made from the picture's digest, so that every row anywhere can be checked against what was meant.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headstart import store as store_module
from headstart.store import DEFAULT_LIMIT, PAGE, Space, Store, size_limit, store_path

DIMENSIONS = 48
SPACE = Space("context", (("first", 512), ("second", 1024)), "a label")
OTHER = Space("another context", SPACE.outputs)


def picture(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def meant(digest: bytes, space: Space = SPACE) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(digest + space.context.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(space.width).astype(np.float16)


def rows(start: int, stop: int, space: Space = SPACE) -> list[tuple[bytes, np.ndarray]]:
    return [(picture(number), meant(picture(number), space)) for number in range(start, stop)]


def right(store: Store, count: int, space: Space = SPACE) -> int:
    """How many of the first `count` pictures are answered; each answer must be what was meant."""
    answered = 0
    for digest, numbers in store.read(space, [picture(number) for number in range(count)]):
        assert np.array_equal(numbers, meant(digest, space))
        answered += 1
    return answered


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features.sqlite"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The store's own clock, to be set by the test."""
    hands = SimpleNamespace(now=1_000_000.0)
    monkeypatch.setattr(store_module, "time", SimpleNamespace(time=lambda: hands.now))
    return hands


# ---- what is asked for is what comes


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("shelf") / "features.sqlite") as store:
        yield store


widths = st.lists(st.integers(1, 9), min_size=1, max_size=4)
digests = st.binary(min_size=1, max_size=40)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    names = draw(st.lists(st.text(max_size=8), min_size=1, max_size=4, unique=True))
    return Space(draw(st.text(max_size=8)), tuple((name, draw(st.integers(1, 9))) for name in names))


@given(data=st.data(), space=spaces(), pictures=st.lists(digests, min_size=1, max_size=8, unique=True))
@settings(max_examples=60, deadline=None)
def test_rows_come_back_bit_for_bit(shelf: Store, data: st.DataObject, space: Space, pictures: list[bytes]) -> None:
    values = data.draw(hnp.arrays(np.uint16, (len(pictures), space.width))).view(np.float16)  # NaNs and infinities too
    assert shelf.write(space, zip(pictures, values, strict=True))
    found = dict(shelf.read(space, [*pictures, b"another"]))
    assert {key: value.tobytes() for key, value in found.items() if key != b"another"} == {
        key: value.tobytes() for key, value in zip(pictures, values, strict=True)
    }


@given(
    space=spaces(), digest=digests, change=st.sampled_from(["picture", "context", "fingerprint", "dimension", "order"])
)
@settings(max_examples=80, deadline=None)
def test_a_changed_key_has_no_answer(
    tmp_path_factory: pytest.TempPathFactory, space: Space, digest: bytes, change: str
) -> None:
    asked, wanted = space, digest
    (name, width), *rest = space.outputs
    match change:
        case "picture":
            wanted = digest[:-1] + bytes([digest[-1] ^ 1])
        case "context":
            asked = Space(space.context + "'", space.outputs)
        case "fingerprint":
            asked = Space(space.context, ((name + "'", width), *rest))
        case "dimension":
            asked = Space(space.context, ((name, width + 1), *rest))
        case "order":
            asked = Space(space.context, (("other", 1), *space.outputs))
    with Store(tmp_path_factory.mktemp("key") / "features.sqlite") as store:
        assert store.write(space, [(digest, np.zeros(space.width))])
        assert store.have(space, [digest]) == {digest}
        assert store.have(asked, [wanted]) == set()
        found = store.spaces_with(asked.context, asked.outputs)
        assert found == ([] if change != "picture" else [space])


def test_rows_of_several_spaces_are_put_together(path: Path) -> None:
    one = Space("context", (("a", 2), ("b", 3)))
    other = Space("context", (("c", 1), ("b", 3), ("d", 2)))
    wanted = [("d", 2), ("a", 2), ("c", 1), ("a", 2)]  # one of them twice

    def of(number: int, space: Space) -> np.ndarray:
        return np.concatenate(
            [np.full(width, 200 * (number % 7) + ord(name), np.float16) for name, width in space.outputs]
        )

    pictures = [picture(number) for number in range(1_200)]  # more than are asked for at once
    with Store(path) as store:
        store.write(one, [(pictures[number], of(number, one)) for number in range(0, 1_200)])
        store.write(other, [(pictures[number], of(number, other)) for number in range(0, 1_200, 2)])
        store.write(Space("another", other.outputs), [(pictures[1], of(1, other))])
        spaces = store.spaces_with_some("context", wanted)
        assert {space.outputs for space in spaces} == {one.outputs, other.outputs}
        assert store.have_parts(spaces, pictures, wanted) == set(pictures[::2])
        found = dict(store.read_parts(spaces, pictures, wanted))
        assert set(found) == set(pictures[::2])
        for number in (0, 2, 598, 1_198):
            meant_here = np.array([200 * (number % 7) + ord(name) for name in "ddaacaa"], np.float16)
            assert np.array_equal(found[pictures[number]], meant_here)
    spoilt = sqlite3.connect(path)
    with spoilt:
        spoilt.execute(
            "UPDATE features SET numbers = zeroblob(12) WHERE picture = ? AND length(numbers) = 12", (pictures[2],)
        )
    spoilt.close()
    with Store(path) as store:
        assert pictures[2] not in dict(store.read_parts(spaces, pictures[:4], wanted))
        assert store.have_parts(spaces, pictures[:4], wanted) == {pictures[0]}


def test_spaces_that_hold_all_or_nothing_of_what_is_wanted_are_no_parts(path: Path) -> None:
    with Store(path) as store:
        for outputs in ((("a", 2), ("b", 3)), (("c", 1),), (("b", 3), ("c", 1))):
            space = Space("context", outputs)
            store.write(space, [(picture(1), np.ones(space.width, np.float16))])
        assert [space.outputs for space in store.spaces_with_some("context", [("a", 2), ("b", 3)])] == [
            (("b", 3), ("c", 1))
        ]


def test_spaces_that_hold_what_is_wanted_come_smallest_first(path: Path) -> None:
    small = Space("context", (("second", 1024),))
    apart = Space("context", (("first", 512), ("third", 32)))
    with Store(path) as store:
        for space in (SPACE, small, apart, OTHER):
            assert store.write(space, rows(0, 1, space))
        assert store.spaces_with("context", [("second", 1024)]) == [small, SPACE]
        assert store.spaces_with("context", [("second", 1024), ("first", 512)]) == [SPACE]
        assert store.spaces_with("context", [("second", 31)]) == []


def test_a_row_written_again_is_replaced(path: Path) -> None:
    with Store(path) as store:
        store.write(SPACE, [(picture(0), np.zeros(DIMENSIONS))])
        store.write(SPACE, rows(0, 1))
        assert right(store, 1) == 1
        assert store.sizes()["spaces"][0]["pictures"] == 1


def test_more_pictures_than_one_question_takes(path: Path) -> None:
    with Store(path) as store:
        assert store.write(SPACE, rows(0, 1203))
        assert right(store, 1300) == 1203


def test_a_label_need_not_be_text(path: Path) -> None:
    space = Space("context", (("first", 16),), os.fsdecode(b"caf\xe9.keras"))
    with Store(path) as store:
        assert store.write(space, rows(0, 2, space))
        assert right(store, 2, space) == 2


def test_the_environment_names_place_and_limit(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store_path() == fresh_cache / "features.sqlite"
    assert size_limit() == DEFAULT_LIMIT
    for text, limit in (("0.5", 2**29), ("much", DEFAULT_LIMIT), ("inf", DEFAULT_LIMIT), ("", DEFAULT_LIMIT)):
        monkeypatch.setenv("HEADSTART_CACHE_GB", text)
        assert size_limit() == limit
    monkeypatch.setenv("HEADSTART_CACHE_GB", "0")
    with Store() as store:
        store.write(SPACE, rows(0, 5))
        assert (fresh_cache / "features.sqlite").exists()
        assert store.prune(spare=0) == 5
    monkeypatch.setenv("HEADSTART_CACHE", str(fresh_cache / "elsewhere"))
    with Store() as store:
        assert store.path == fresh_cache / "elsewhere" / "features.sqlite"


def test_several_threads_share_a_store(path: Path) -> None:
    faults: list[object] = []

    def work(store: Store, first: int) -> None:
        try:
            for start in range(first, first + 300, 20):
                assert store.write(SPACE, rows(start, start + 20))
                assert right(store, 100) >= 20 or first
        except BaseException as error:
            faults.append(error)

    with Store(path) as store:
        threads = [threading.Thread(target=work, args=(store, first)) for first in (0, 100, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults
        assert right(store, 600) == 500


# ---- pruning


def test_the_least_recently_used_rows_go_first(path: Path, clock: SimpleNamespace) -> None:
    with Store(path) as store:
        for start in range(0, 2000, 500):
            store.write(SPACE, rows(start, start + 500))
            clock.now += 5_000
        assert right(store, 500) == 500  # the oldest are used again
        clock.now += 5_000
        full = store._used_bytes()
        dropped = store.prune(full * 4 // 5)
        assert store._used_bytes() <= full * 4 // 5
        assert 400 <= dropped < 1000  # indexes shrink late, so it takes more rows than their share
        assert right(store, 500) == 500
        left = store.have(SPACE, [picture(number) for number in range(2000)])
        assert {picture(number) for number in range(1500, 2000)} <= left
        assert len(left & {picture(number) for number in range(500, 1000)}) == max(0, 500 - dropped)


def test_the_file_shrinks(path: Path, clock: SimpleNamespace) -> None:
    with Store(path) as store:
        store.write(SPACE, rows(0, 3000))
        clock.now += 10_000
        before = store.bytes_on_disk()
        assert store.prune(0) == 3000
        assert store.bytes_on_disk() < before / 4
        assert store.sizes()["spaces"] == []


def test_what_was_used_a_moment_ago_is_spared(path: Path, clock: SimpleNamespace) -> None:
    with Store(path) as store:
        store.write(SPACE, rows(0, 10))
        clock.now += 550
        assert right(store, 10) == 10  # too soon to be noted as another use
        clock.now += 550
        assert store.prune(0, spare=600) == 0
        clock.now += 5_000
        assert store.prune(0, spare=600) == 10


def test_a_store_within_its_limit_stays_whole(path: Path, clock: SimpleNamespace) -> None:
    with Store(path) as store:
        store.write(SPACE, rows(0, 100))
        clock.now += 10**6
        assert store.prune(10**9) == 0
        assert right(store, 100) == 100


# ---- disks that are full or cannot be written


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Files of this process end at so many bytes, as on a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(store: Store) -> int:
    """Write until a write fails; the number of pictures that were kept."""
    for start in range(0, 100_000, 100):
        if not store.write(SPACE, rows(start, start + 100)):
            return start
    raise AssertionError("the disk was never full")


def test_a_full_disk_ends_writing_not_reading(path: Path, clock: SimpleNamespace) -> None:
    with Store(path) as store:
        with small_files(4_000_000):
            kept = fill(store)
            assert kept > 0
            assert store.trouble is not None
            assert str(path) in store.trouble
            clock.now += 10_000  # now reading wants to note the use, and cannot
            assert right(store, kept + 100) == kept
        assert store.write(SPACE, rows(kept, kept + 100))
        assert right(store, kept + 100) == kept + 100


def test_a_use_that_cannot_be_noted_is_no_trouble(path: Path, clock: SimpleNamespace) -> None:
    with Store(path) as store:
        store.write(SPACE, rows(0, 50))
        store._connection.execute("PRAGMA query_only = 1")
        clock.now += 10_000
        assert right(store, 50) == 50
        assert store.trouble is None


def test_a_really_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root on Linux")
    try:
        with Store(folder / "features.sqlite") as store:
            kept = fill(store)
            assert right(store, kept + 100) == kept
        (folder / "more").write_bytes(b"0" * shutil.disk_usage(folder).free)
        with Store(folder / "features.sqlite") as store:
            assert right(store, kept + 100) == kept
            assert not store.write(SPACE, rows(kept, kept + 1000)) or right(store, kept + 1000) == kept + 1000
        with Store(folder / "new" / "features.sqlite") as store:  # no room for so much as an empty store
            assert store.trouble is not None
            assert store.write(SPACE, rows(0, 3))
            assert right(store, 3) == 3
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def nobody() -> Iterator[None]:
    """Without root's power to write anywhere."""
    if os.name == "nt":
        pytest.skip("folders are not made read-only by their mode here")
    if os.getuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("before", ["empty", "store", "damaged"])
def test_a_read_only_folder_is_worked_around(before: str) -> None:
    folder = Path(tempfile.mkdtemp())  # not below tmp_path, which only its owner may enter
    path = folder / "features.sqlite"
    try:
        if before != "empty":
            with Store(path) as store:
                store.write(SPACE, rows(0, 5))
        if before == "damaged":
            path.write_text("no database at all " * 500)
        folder.chmod(0o555)
        with nobody(), Store(path) as store:
            assert store.trouble is not None
            right(store, 5)
            assert store.write(SPACE, rows(5, 9))
            assert set(map(picture, range(5, 9))) <= store.have(SPACE, [picture(number) for number in range(9)])
            right(store, 9)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with Store(tmp_path / "file" / "features.sqlite") as store:
        assert store.trouble is not None
        assert store.write(SPACE, rows(0, 3))
        assert right(store, 3) == 3


# ---- damage


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of 300 rows whose last 150 are only in the write-ahead log."""
    folder = tmp_path_factory.mktemp("sound")
    path = tmp_path_factory.mktemp("live") / "features.sqlite"
    with Store(path) as store:
        store.write(SPACE, rows(0, 150))
        store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        store.write(SPACE, rows(150, 300))
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", folder)
    return folder


def flip(file: Path, draws: random.Random, count: int) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(count):
        data[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
    file.write_bytes(data)


def flipped(path: Path, draws: random.Random) -> None:
    flip(path, draws, draws.choice([1, 3, 30, 300]))


def flipped_log(path: Path, draws: random.Random) -> None:
    flip(Path(f"{path}-wal"), draws, draws.choice([1, 3, 30]))


def flipped_head(path: Path, draws: random.Random) -> None:
    """In the page that holds the header and the schema; without the log, which has that page too."""
    log_removed(path, draws)
    data = bytearray(path.read_bytes())
    data[draws.randrange(100) if draws.random() < 0.5 else draws.randrange(PAGE)] ^= 1 << draws.randrange(8)
    path.write_bytes(data)


def cut_short(path: Path, draws: random.Random) -> None:
    os.truncate(path, draws.randrange(path.stat().st_size))


def cut_log_short(path: Path, draws: random.Random) -> None:
    os.truncate(f"{path}-wal", draws.randrange(Path(f"{path}-wal").stat().st_size))


def log_removed(path: Path, draws: random.Random) -> None:
    Path(f"{path}-wal").unlink()


def pages_swapped(path: Path, draws: random.Random) -> None:
    data = bytearray(path.read_bytes())
    one, two = (PAGE * draws.randrange(1, len(data) // PAGE) for _ in range(2))
    data[one : one + PAGE], data[two : two + PAGE] = data[two : two + PAGE], data[one : one + PAGE]
    path.write_bytes(data)


DAMAGES = [flipped, flipped_log, flipped_head, cut_short, cut_log_short, log_removed, pages_swapped]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_never_gives_a_wrong_feature(
    sound: Path, tmp_path: Path, damage: Callable[[Path, random.Random], None]
) -> None:
    harmed = 0
    for seed in range(25):
        path = tmp_path / str(seed) / "features.sqlite"
        shutil.copytree(sound, path.parent)
        damage(path, random.Random(seed))
        with Store(path) as store:
            harmed += right(store, 300) < 300
            kept = store.write(SPACE, rows(290, 310))
            answered = right(store, 310)
            assert answered >= 20 or not kept
            store.prune(0, spare=0)
            store.sizes()
        with Store(path) as store:
            store.write(SPACE, rows(0, 300))
            right(store, 310)
    assert harmed > 0  # else nothing was damaged


@pytest.mark.parametrize("content", [b"hello " * 3000, b"SQLite format 3\0" + b"\xff" * 9000, b"\0" * 50])
def test_what_is_no_store_is_moved_aside_and_begun_anew(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with Store(path) as store:
        assert store.write(SPACE, rows(0, 20))
        assert store.trouble is not None
    assert path.with_name("features.sqlite.damaged").read_bytes() == content
    with Store(path) as store:
        assert store.trouble is None
        assert right(store, 20) == 20


def test_a_new_store_does_not_find_the_old_ones_log(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy" / "features.sqlite"
    shutil.copytree(sound, path.parent)
    data = path.read_bytes()
    path.write_bytes(b"\xff" * len(data))
    Path(f"{path}-wal").write_bytes(Path(f"{path}-wal").read_bytes()[: 32 + 24 + PAGE])  # one whole page: the first
    with Store(path) as store:
        assert store.trouble is not None
        assert store._connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert store.sizes()["spaces"] == []
        assert store.write(SPACE, rows(0, 50))
        assert right(store, 300) == 50
    with Store(path) as store:
        assert right(store, 300) == 50


def test_a_store_of_another_layout_is_begun_anew(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE features (name TEXT)")
    other.close()
    for _ in range(2):
        with Store(path) as store:
            assert store.write(SPACE, rows(0, 5))
            assert right(store, 5) == 5
    assert right(Store(path), 5) == 5


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE features SET numbers = zeroblob(length(numbers))",
        "UPDATE features SET numbers = substr(numbers, 1, 60)",
        "UPDATE features SET numbers = numbers || numbers",
        "UPDATE features SET numbers = 'text'",
        "UPDATE features SET numbers = 7",
        "UPDATE features SET checksum = checksum + 1",
        "UPDATE features SET checksum = 'text'",
        "UPDATE features SET space = (SELECT id FROM spaces WHERE context = 'another context') WHERE space ="
        " (SELECT id FROM spaces WHERE context = 'context')",
        "UPDATE features SET picture = CAST('x' || picture AS BLOB)",
        "UPDATE spaces SET context = 'yet another' WHERE context = 'context'",
        "UPDATE spaces SET outputs = '[[' ",
        "UPDATE spaces SET outputs = '[1, 2]'",
        "UPDATE spaces SET outputs = 5",
        "UPDATE spaces SET outputs = CAST(x'fffe' AS TEXT)",
        "DELETE FROM spaces",
        "DROP TABLE spaces",
        "DROP TABLE features",
    ],
)
def test_rows_altered_behind_the_stores_back_are_not_believed(path: Path, change: str) -> None:
    with Store(path) as store:
        store.write(SPACE, rows(0, 30))
        store.write(OTHER, rows(30, 60, OTHER))
    with sqlite3.connect(path) as hand:
        hand.execute(change)
    hand.close()
    with Store(path) as store:
        assert right(store, 60) == 0
        right(store, 60, OTHER)
        store.spaces_with("context", SPACE.outputs)
        assert store.write(SPACE, rows(0, 30))
        assert right(store, 60) == 30


def test_a_use_that_is_no_number_is_no_fault(path: Path) -> None:
    with Store(path) as store:
        store.write(SPACE, rows(0, 30))
        store._connection.execute("UPDATE features SET used = 'yesterday'")
        assert right(store, 30) == 30


def test_two_rows_exchanged_are_missed(path: Path) -> None:
    with Store(path) as store:
        store.write(SPACE, rows(0, 3))
        one, two = picture(0), picture(1)
        numbers, checksum = store._connection.execute(
            "SELECT numbers, checksum FROM features WHERE picture = ?", (one,)
        ).fetchone()
        store._connection.execute(
            "UPDATE features SET numbers = ?, checksum = ? WHERE picture = ?", (numbers, checksum, two)
        )
        assert [digest for digest, _ in store.read(SPACE, [one, two])] == [one]


def test_a_row_found_damaged_counts_as_missing_until_it_is_written_again(path: Path) -> None:
    with Store(path) as store:
        store.write(SPACE, rows(0, 3))
        store._connection.execute("UPDATE features SET checksum = 1 WHERE picture = ?", (picture(1),))
        every = [picture(number) for number in range(3)]
        assert right(store, 3) == 2
        assert store.have(SPACE, every) == {picture(0), picture(2)}
        store.write(SPACE, rows(1, 2))
        assert store.have(SPACE, every) == set(every)
        assert right(store, 3) == 3


def test_damage_met_by_two_stores_is_cleared_once(path: Path) -> None:
    with Store(path) as first, Store(path) as second:
        first.write(SPACE, rows(0, 2000))
        first._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with open(path, "rb+") as handle:  # in place, as a failing disk does it
            handle.seek(PAGE)
            handle.write(b"\xff" * (path.stat().st_size - PAGE))
        for store in (first, second):
            store._connection.execute("PRAGMA cache_size = 0")
        assert first.write(SPACE, rows(0, 50)) or first.write(SPACE, rows(0, 50))
        right(second, 100)
        assert second.write(SPACE, rows(50, 100))
        with Store(path) as third:
            assert right(third, 100) == 100  # what the first wrote since was not moved aside by the second


# ---- processes

WORK = """
import os, random, signal, sqlite3, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from headstart.store import Store
from test_store import OTHER, SPACE, meant, picture, right, rows
path = Path(sys.argv[2])
"""

KILLED = """
draws = random.Random(7)
for turn in range(30):
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with Store(path) as store:
            for start in range(turn * 200, 10**6, 20):
                store.write(SPACE, rows(start, start + 20))
                os.write(tell, b".")
                store.write(OTHER, rows(start, start + 5, OTHER))
                if start % 100 == 80:
                    store.prune(1_000_000, spare=0)
    for _ in range(draws.randrange(8)):  # so many writes later, however slow the machine; some die before their first
        os.read(hear, 1)
    time.sleep(draws.uniform(0.0, 0.01))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    os.close(hear), os.close(tell)
    if not path.exists():
        continue
    hand = sqlite3.connect(path, timeout=0, isolation_level=None)
    hand.execute("PRAGMA journal_mode=WAL")
    assert hand.execute("PRAGMA integrity_check").fetchall() == [("ok",)], turn
    hand.execute("BEGIN IMMEDIATE")  # refused at once where a lock is stuck
    hand.execute("ROLLBACK")
    hand.close()
    with Store(path) as store:
        assert store.trouble is None, store.trouble
        spaces = dict(store._connection.execute("SELECT id, context FROM spaces"))
        for space, digest, numbers in store._connection.execute("SELECT space, picture, numbers FROM features"):
            of = SPACE if spaces[space] == SPACE.context else OTHER
            assert bytes(numbers) == meant(digest, of).tobytes(), turn
        known = right(store, (turn + 2) * 200)
        assert store.write(SPACE, rows(0, 3)) and right(store, 3) == 3
        print(turn, known)
"""

TOGETHER = """
def work(seed):
    draws = random.Random(seed)
    with Store(path) as store:
        for turn in range(60):
            start = draws.randrange(0, 180)
            assert store.write(SPACE, rows(start, start + 20)), store.trouble
            assert right(store, 200) >= 20
        assert store.trouble is None, store.trouble

children = []
for seed in range(3):
    child = os.fork()
    if child == 0:
        try:
            work(seed)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
with Store(path) as store:
    print(0, right(store, 200))
"""


def in_a_process(script: str, path: Path) -> list[list[int]]:
    """Run a script that forks; it prints lines of numbers."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    command = [sys.executable, "-W", "ignore", "-c", WORK + script, str(Path(__file__).parent), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return [[int(word) for word in line.split()] for line in done.stdout.splitlines()]


def test_kill_at_any_moment_leaves_a_whole_store(path: Path) -> None:
    found = in_a_process(KILLED, path)
    assert len(found) >= 20
    assert sum(known > 20 for _, known in found) >= 10  # the writers were well under way


def test_processes_share_a_store(path: Path) -> None:
    assert in_a_process(TOGETHER, path)[0][1] > 150
