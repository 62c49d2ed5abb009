"""Features: what may answer from the store and what may not, bad pictures, and runs that are cut short.

Most tests run a made-up trunk, quick and exact, in place of a network; the keys are tested with real ones.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart import images
from headstart.augment import Augmentation, View
from headstart.dataset import Dataset
from headstart.errors import EngineError, SourceError
from headstart.features import Features, Kept, extract
from headstart.store import Store
from headstart.trunk import Output, PendingTrunk, Trunk, prepare, spec
from headstart.worker import Worker

SIZE = (16, 16)


class MadeUpEngine:
    """Simple sums of pixels; what fills up a batch is black and not counted."""

    batch_size = 8
    parallel = 2

    def __init__(self, trunk: MadeUpTrunk) -> None:
        self.trunk = trunk

    def infer(self, pixels: np.ndarray) -> list[np.ndarray]:
        assert pixels.shape == (self.batch_size, *SIZE, 3)
        self.trunk.ran.append(int(pixels.any((1, 2, 3)).sum()))
        time.sleep(self.trunk.delay)
        return self.trunk.numbers(pixels)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class MadeUpTrunk(Trunk):
    ran: list[int] = field(default_factory=list)
    delay: float = 0.0

    def load(self) -> MadeUpEngine:  # type: ignore[override]
        return MadeUpEngine(self)

    def numbers(self, pixels: np.ndarray) -> list[np.ndarray]:
        every = {
            "means": pixels.mean((1, 2)),
            "rows": pixels.mean((2, 3))[:, :4] / 2,
            "corner": pixels[:, 0, 0, :].astype(np.float32),
        }
        return [every[output.layer].astype(np.float32) for output in self.outputs]

    @property
    def pictures_run(self) -> int:
        return sum(self.ran)


def made_up(*layers: str, **changes: Any) -> MadeUpTrunk:
    widths = {"means": 3, "rows": 4, "corner": 3}
    outputs = tuple(
        Output(name, "avg", (1, 1, widths[name]), widths[name], f"fingerprint of {name}")
        for name in layers or ("means", "rows")
    )
    return MadeUpTrunk("made up", SIZE, outputs, Path(), "made-up", "1", "f32", {}, **changes)


def draw(folder: Path, count: int, seed: int = 0) -> Path:
    """A folder of two classes of small pictures, all different."""
    draws = np.random.default_rng(seed)
    for number in range(count):
        path = folder / ("even", "odd")[number % 2] / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 255, (*SIZE, 3), np.uint8)).save(path)
    return folder


def opened(folder: Path) -> Dataset:
    return Dataset.from_folder(folder).digested()


def meant(dataset: Dataset, trunk: MadeUpTrunk, rows: Iterable[int]) -> np.ndarray:
    pixels = np.stack([images.decode(dataset.path(row).read_bytes(), SIZE) for row in rows])
    return np.concatenate(trunk.numbers(pixels), axis=1).astype(np.float16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw(tmp_path / "pictures", 20)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "features.sqlite") as opened_store:
        yield opened_store


def all_of(features: Features) -> np.ndarray:
    return features.matrix(range(len(features.dataset)))


# ---- views

TURNED = Augmentation(rotation=40, zoom=0.2, horizontal_flip=True)


def seen_through(dataset: Dataset, trunk: MadeUpTrunk, rows: Iterable[int], view: View) -> np.ndarray:
    assert dataset.digests is not None
    pixels = [
        view.apply(images.decode(dataset.path(row).read_bytes(), SIZE), dataset.digests[row]) for row in rows
    ]  # fmt: skip
    return np.concatenate(trunk.numbers(np.stack(pixels)), axis=1).astype(np.float16)


def test_each_view_has_features_of_its_own(folder: Path, store: Store) -> None:
    dataset, trunk = opened(folder), made_up()
    views = [View(TURNED, 5, number) for number in range(3)]
    features = extract(dataset, trunk, store, views=lambda row: (None, *views) if row < 8 else (None,))
    assert (features.hits, features.misses) == (0, 20 + 8 * 3)
    assert trunk.pictures_run == 44
    assert np.array_equal(all_of(features), meant(dataset, trunk, range(20)))
    rows = [7, 0, 3, 3]
    for view in views:
        assert np.array_equal(features.matrix(rows, view=view), seen_through(dataset, trunk, rows, view))
    only = features.matrix(rows, [trunk.outputs[1]], view=views[2])
    assert np.array_equal(only, seen_through(dataset, made_up("rows"), rows, views[2]))


def test_a_picture_is_decoded_once_for_all_its_views(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, decode = [], images.decode

    def counted(data: bytes, size: tuple[int, int]) -> np.ndarray:
        decoded.append(data)
        return decode(data, size)

    monkeypatch.setattr(images, "decode", counted)
    views = [View(TURNED, 5, number) for number in range(8)]  # four pictures' views fill a batch
    extract(opened(folder), made_up(), store, views=lambda _: views)
    assert len(decoded) == 20


def test_more_views_run_only_those_that_are_new(folder: Path, store: Store) -> None:
    dataset = opened(folder)
    views = [View(TURNED, 5, number) for number in range(6)]
    extract(dataset, made_up(), store, views=lambda _: views[:4])
    trunk = made_up()
    features = extract(dataset, trunk, store, views=lambda _: views)
    assert (features.hits, features.misses, trunk.pictures_run) == (80, 40, 40)
    assert np.array_equal(features.matrix(range(20), view=views[1]), seen_through(dataset, trunk, range(20), views[1]))


@pytest.mark.parametrize(
    "other",
    [View(TURNED, 6, 0), View(TURNED, 5, 1), View(replace(TURNED, zoom=0.3), 5, 0), None],
    ids=["seed", "number", "augmentation", "the picture as it is"],
)
def test_another_view_is_another_question(folder: Path, store: Store, other: View | None) -> None:
    dataset = opened(folder)
    extract(dataset, made_up(), store, views=lambda _: (View(TURNED, 5, 0),))
    trunk = made_up()
    assert extract(dataset, trunk, store, views=lambda _: (other,)).hits == 0
    assert trunk.pictures_run == 20


def test_views_without_a_store_stay_in_memory(folder: Path) -> None:
    dataset, trunk, view = opened(folder), made_up(), View(TURNED, 5, 0)
    features = extract(dataset, trunk, None, views=lambda _: (view,))
    found = features.matrix(range(20), view=view)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, seen_through(dataset, trunk, range(20), view), rtol=1e-3)


def test_passes_share_the_engine_and_the_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, trunk, decoded, loaded = opened(folder), made_up(), [], []
    decode, load = images.decode, MadeUpTrunk.load
    monkeypatch.setattr(images, "decode", lambda data, size: decoded.append(data) or decode(data, size))
    monkeypatch.setattr(MadeUpTrunk, "load", lambda self: loaded.append(1) or load(self))
    kept = Kept(room=12 * SIZE[0] * SIZE[1] * 3)
    for number in range(3):
        view = View(TURNED, 5, number)
        features = extract(dataset, trunk, None, views=lambda _, view=view: (view,), kept=kept)
        found = features.matrix(range(20), view=view)
        np.testing.assert_allclose(found, seen_through(dataset, made_up(), range(20), view), rtol=1e-3)
    assert len(loaded) == 1
    assert len(decoded) == 20 + 8 + 8 + 3 * 20, "twelve fit; the check above decodes too"


def test_a_bad_picture_is_named_once_for_all_views(folder: Path, store: Store) -> None:
    (folder / "even" / "0004.png").write_bytes(b"no picture")
    views = [View(TURNED, 5, number) for number in range(3)]
    features = extract(opened(folder), made_up(), store, views=lambda _: views)
    assert len(features.bad) == 1
    good = [row for row in range(20) if row not in features.bad]
    assert features.matrix(good, view=views[0]).shape == (19, 7)


def test_views_removed_by_another_process_are_computed_again(folder: Path, tmp_path: Path, store: Store) -> None:
    dataset, trunk, view = opened(folder), made_up(), View(TURNED, 5, 0)
    features = extract(dataset, trunk, store, views=lambda _: (None, view))
    before = features.matrix(range(20), view=view)
    with Store(tmp_path / "features.sqlite") as other:
        other.prune(0, spare=0)
    trunk.ran.clear()
    assert np.array_equal(features.matrix(range(20), view=view), before)
    assert trunk.pictures_run == 20


# ---- once, and right


def test_features_are_the_trunks_numbers_row_by_row(folder: Path, store: Store) -> None:
    dataset, trunk = opened(folder), made_up()
    features = extract(dataset, trunk, store)
    assert (features.hits, features.misses, dict(features.bad)) == (0, 20, {})
    assert trunk.pictures_run == 20
    rows = [7, 3, 3, 19, 0]
    assert np.array_equal(features.matrix(rows), meant(dataset, trunk, rows))
    assert features.matrix(rows).dtype == np.float16
    assert features.matrix([]).shape == (0, 7)


def test_a_second_run_runs_nothing(folder: Path, tmp_path: Path, store: Store) -> None:
    first = extract(opened(folder), made_up(), store)
    trunk = made_up()
    with Store(tmp_path / "features.sqlite") as again:
        second = extract(opened(folder), trunk, again)
        assert (second.hits, second.misses, trunk.ran) == (20, 0, [])
        assert np.array_equal(all_of(second), all_of(first))


def test_outputs_are_told_apart_by_name_not_by_place(folder: Path, store: Store) -> None:
    dataset = opened(folder)
    extract(dataset, made_up("corner", "rows", "means"), store)
    other = made_up("means", "corner")
    features = extract(dataset, other, store)
    assert (features.misses, other.ran) == (0, [])
    assert np.array_equal(all_of(features), meant(dataset, other, range(20)))
    only = features.matrix(range(20), [other.outputs[1]])
    assert np.array_equal(only, meant(dataset, made_up("corner"), range(20)))


def test_rows_of_several_spaces_are_put_together(folder: Path, tmp_path: Path, store: Store) -> None:
    dataset = opened(folder)
    extract(dataset.take(range(5)), made_up("means"), store)
    extract(dataset.take(range(5, 12)), made_up("means", "rows"), store)
    trunk = made_up("means")
    features = extract(dataset, trunk, store)
    assert (features.hits, features.misses, trunk.pictures_run) == (12, 8, 8)
    assert np.array_equal(all_of(features), meant(dataset, trunk, range(20)))


def test_copies_run_once(folder: Path, store: Store) -> None:
    for number in range(0, 10, 2):
        shutil.copy(folder / "even" / f"{number:04}.png", folder / "odd" / f"copy of {number}.png")
    dataset, trunk = opened(folder), made_up()
    features = extract(dataset, trunk, store)
    assert len(dataset) == 25
    assert (features.hits + features.misses, trunk.pictures_run) == (20, 20)
    assert np.array_equal(all_of(features), meant(dataset, trunk, range(25)))


def test_a_renamed_or_copied_picture_is_a_hit(folder: Path, tmp_path: Path, store: Store) -> None:
    extract(opened(folder), made_up(), store)
    moved = tmp_path / "moved"
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        target = moved / ("one", "two")[number % 2] / f"renamed {number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    dataset, trunk = opened(moved), made_up()
    features = extract(dataset, trunk, store)
    assert (features.hits, features.misses) == (20, 0)
    assert np.array_equal(all_of(features), meant(dataset, trunk, range(20)))


def test_an_edited_picture_is_run_again(folder: Path, store: Store) -> None:
    extract(opened(folder), made_up(), store)
    path = folder / "odd" / "0007.png"
    before = path.stat()
    pixels = np.array(Image.open(path))
    pixels[:, :8] //= 2
    Image.fromarray(pixels).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # its dates say nothing
    dataset, trunk = opened(folder), made_up()
    features = extract(dataset, trunk, store)
    assert (features.hits, features.misses) == (19, 1)
    assert np.array_equal(all_of(features), meant(dataset, trunk, range(20)))


@pytest.mark.parametrize("change", [{"engine": "other"}, {"engine_version": "2"}, {"precision": "bf16"}])
def test_other_numerics_are_another_question(folder: Path, store: Store, change: dict[str, str]) -> None:
    dataset = opened(folder)
    extract(dataset, made_up(), store)
    assert extract(dataset, replace(made_up(), **change), store).hits == 0
    assert extract(dataset, made_up(), store).hits == 20


def test_other_decoding_is_another_question(folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = opened(folder)
    extract(dataset, made_up(), store)
    monkeypatch.setattr(images, "DECODING", images.DECODING + ", and then some")
    assert extract(dataset, made_up(), store).hits == 0


def test_progress_ends_with_all(folder: Path, store: Store) -> None:
    seen: list[tuple[int, int]] = []
    dataset = opened(folder)
    extract(dataset.take(range(6)), made_up(), store)
    extract(dataset, made_up(), store, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_data_set_that_was_not_hashed_is_refused(folder: Path, store: Store) -> None:
    with pytest.raises(EngineError, match="digested"):
        extract(Dataset.from_folder(folder), made_up(), store)


# ---- a trunk that is still in the making


def test_decoding_does_not_wait_for_the_trunk(folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    future: Future[Trunk] = Future()
    decoded = threading.Event()
    decode = images.decode

    def noticed(*arguments: Any) -> Any:
        decoded.set()
        return decode(*arguments)

    monkeypatch.setattr(images, "decode", noticed)
    dataset, trunk = opened(folder), made_up()
    compiled: list[bool] = []

    def compile_it() -> None:
        compiled.append(decoded.wait(60))
        future.set_result(trunk)

    thread = threading.Thread(target=compile_it)
    thread.start()
    features = extract(dataset, PendingTrunk(SIZE, future), store)
    thread.join()
    assert compiled == [True]
    assert (features.hits, features.misses) == (0, 20)
    assert np.array_equal(all_of(features), meant(dataset, trunk, range(20)))


def test_a_late_trunk_still_finds_what_is_stored(folder: Path, store: Store) -> None:
    dataset, trunk = opened(folder), made_up()
    extract(dataset.take(range(0, 20, 2)), made_up(), store)
    future: Future[Trunk] = Future()
    timer = threading.Timer(0.1, future.set_result, [trunk])
    timer.start()
    features = extract(dataset, PendingTrunk(SIZE, future), store)
    timer.join()
    assert (features.hits, features.misses) == (10, 10)
    assert np.array_equal(all_of(features), meant(dataset, trunk, range(20)))


def test_a_trunk_that_cannot_be_made_is_the_callers_error(folder: Path, store: Store) -> None:
    future: Future[Trunk] = Future()
    timer = threading.Timer(0.1, future.set_exception, [SourceError("no such cut")])
    timer.start()
    with pytest.raises(SourceError, match="no such cut"):
        extract(opened(folder), PendingTrunk(SIZE, future), store)
    timer.join()


# ---- pictures that cannot be used


def test_bad_pictures_are_named_and_the_others_go_on(folder: Path, store: Store) -> None:
    (folder / "odd" / "0003.png").write_bytes(b"not a picture")
    (folder / "odd" / "0005.png").write_bytes(b"")
    whole = (folder / "even" / "0008.png").read_bytes()
    (folder / "even" / "0008.png").write_bytes(whole[: len(whole) // 2])
    dataset, trunk = opened(folder), made_up()
    features = extract(dataset, trunk, store)
    assert {dataset.files[row] for row in features.bad} == {"odd/0003.png", "odd/0005.png", "even/0008.png"}
    assert all(features.bad.values())
    good = [row for row in range(20) if row not in features.bad]
    assert np.array_equal(features.matrix(good), meant(dataset, trunk, good))
    with pytest.raises(EngineError, match="cannot be read"):
        features.matrix([next(iter(features.bad))])


def test_a_picture_that_vanished_is_named(folder: Path, store: Store) -> None:
    dataset = opened(folder)
    (folder / "odd" / "0003.png").unlink()
    features = extract(dataset, made_up(), store)
    assert {dataset.files[row] for row in features.bad} == {"odd/0003.png"}
    assert features.misses == 20


def test_copies_of_a_bad_picture_are_bad_too(folder: Path, store: Store) -> None:
    for name in ("even/0002.png", "odd/0003.png"):
        (folder / name).write_bytes(b"\x89PNG and no more")
    dataset = opened(folder)
    features = extract(dataset, made_up(), store)
    assert {dataset.files[row] for row in features.bad} == {"even/0002.png", "odd/0003.png"}


def test_a_picture_changed_after_hashing_is_not_stored_under_its_old_digest(folder: Path, store: Store) -> None:
    dataset = opened(folder)
    path = folder / "odd" / "0007.png"
    original = path.read_bytes()
    Image.new("RGB", SIZE, "red").save(path)
    features = extract(dataset, made_up(), store)
    assert [dataset.files[row] for row in features.bad] == ["odd/0007.png"]
    assert "changed" in next(iter(features.bad.values()))
    path.write_bytes(original)
    again = extract(dataset, made_up(), store)
    assert (again.hits, again.misses, dict(again.bad)) == (19, 1, {})
    assert np.array_equal(all_of(again), meant(dataset, made_up(), range(20)))


# ---- a store that loses or cannot keep


def test_rows_removed_by_another_process_are_computed_again(folder: Path, tmp_path: Path, store: Store) -> None:
    dataset, trunk = opened(folder), made_up()
    features = extract(dataset, trunk, store)
    with sqlite3.connect(tmp_path / "features.sqlite") as other:
        other.execute("DELETE FROM features WHERE rowid % 2 = 0")
    other.close()
    trunk.ran.clear()
    assert np.array_equal(all_of(features), meant(dataset, trunk, range(20)))
    assert trunk.pictures_run == 10
    trunk.ran.clear()
    with sqlite3.connect(tmp_path / "features.sqlite") as other:
        other.execute("DELETE FROM features")
        other.execute("DELETE FROM spaces")
    other.close()
    rows = [4, 4, 11]
    assert np.array_equal(features.matrix(rows), meant(dataset, trunk, rows))
    assert trunk.pictures_run == 2


def test_damaged_rows_are_computed_again(folder: Path, tmp_path: Path, store: Store) -> None:
    dataset, trunk = opened(folder), made_up()
    extract(dataset, made_up(), store)
    with sqlite3.connect(tmp_path / "features.sqlite") as other:
        other.execute("UPDATE features SET numbers = zeroblob(length(numbers)) WHERE rowid % 2 = 0")
    other.close()
    features = extract(dataset, trunk, store)
    assert np.array_equal(all_of(features), meant(dataset, trunk, range(20)))
    again = extract(dataset, made_up(), store)
    assert np.array_equal(all_of(again), meant(dataset, trunk, range(20)))


def test_a_removed_row_whose_picture_is_gone_too_is_an_error(folder: Path, store: Store) -> None:
    dataset = opened(folder)
    features = extract(dataset, made_up(), store)
    store.prune(0, spare=0)
    (folder / "odd" / "0007.png").unlink()
    with pytest.raises(EngineError, match="changed on disk"):
        all_of(features)
    assert features.matrix([0]).shape == (1, 7)


def full(store: Store) -> None:
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")


def locked(store: Store) -> None:
    store._connection.execute("PRAGMA query_only = 1")


@pytest.mark.parametrize("trouble", [full, locked])
def test_what_cannot_be_kept_stays_in_memory(tmp_path: Path, store: Store, trouble: Callable[[Store], None]) -> None:
    dataset, trunk = opened(draw(tmp_path / "many", 700)), made_up()
    extract(dataset.take(range(100)), made_up(), store)
    trouble(store)
    features = extract(dataset, trunk, store)
    assert store.trouble is not None
    assert (features.hits, features.misses) == (100, 600)
    trunk.ran.clear()
    assert np.array_equal(all_of(features), meant(dataset, trunk, range(700)))
    wanted = [trunk.outputs[1]]
    assert np.array_equal(features.matrix([699, 5], wanted), meant(dataset, made_up("rows"), [699, 5]))
    assert trunk.ran == []


def test_a_full_disk_does_not_stop_a_run(tmp_path: Path, store: Store) -> None:
    resource = pytest.importorskip("resource")
    dataset, trunk = opened(draw(tmp_path / "many", 700)), made_up()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, hard))
    try:
        features = extract(dataset, trunk, store)
        trunk.ran.clear()
        assert np.array_equal(all_of(features), meant(dataset, trunk, range(700)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.trouble is not None
    assert trunk.ran == []


def test_a_store_damaged_in_the_middle_costs_only_work(folder: Path, tmp_path: Path, store: Store) -> None:
    dataset, trunk = opened(folder), made_up()
    features = extract(dataset, trunk, store)
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    store._connection.execute("PRAGMA cache_size = 0")
    path = tmp_path / "features.sqlite"
    with open(path, "rb+") as handle:
        handle.seek(4096)
        handle.write(b"\xff" * (path.stat().st_size - 4096))
    assert np.array_equal(all_of(features), meant(dataset, trunk, range(20)))


# ---- runs that are cut short

CUT_SHORT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from headstart.features import extract
from headstart.store import Store
from test_features import made_up, opened
with Store(Path(sys.argv[3])) as store:
    extract(opened(Path(sys.argv[2])), made_up(delay=0.01), store)
print("whole")
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("many") / "pictures", 1200)


def stored(path: Path) -> int:
    if not path.exists():
        return 0
    hand = sqlite3.connect(path)
    try:
        return int(hand.execute("SELECT count(*) FROM features").fetchone()[0])
    except sqlite3.OperationalError:  # begun a moment ago
        return 0
    finally:
        hand.close()


def cut(many: Path, path: Path, how: signal.Signals, more: int, delay: float) -> subprocess.CompletedProcess[str]:
    """Start a run, let it keep `more` rows and go on for `delay` seconds, send it a signal."""
    before = stored(path)
    command = [sys.executable, "-c", CUT_SHORT, str(Path(__file__).parent), str(many), str(path)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while stored(path) < before + more and running.poll() is None:
            time.sleep(0.005)
        time.sleep(delay)
        running.send_signal(how)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    return subprocess.CompletedProcess(command, running.returncode, out, err)


def check_cut(many: Path, path: Path) -> None:
    """After a run was cut short: the store is whole, and another run ends as if nothing had been."""
    with Store(path) as store:
        assert store.trouble is None
        assert store._connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        dataset, trunk = opened(many), made_up()
        features = extract(dataset, trunk, store)
        assert features.hits > 0
        assert features.hits + features.misses == 1200
        assert trunk.pictures_run == features.misses
        rows = random.Random(0).sample(range(1200), 300)
        assert np.array_equal(features.matrix(rows), meant(dataset, trunk, rows))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_killed_run_is_taken_up_where_it_ended(many: Path, tmp_path: Path) -> None:
    path = tmp_path / "features.sqlite"
    draws = random.Random(3)
    for _ in range(2):
        done = cut(many, path, signal.SIGKILL, 1, draws.uniform(0, 0.2))
        assert done.returncode == -signal.SIGKILL, done.stderr
    check_cut(many, path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_run_ended_by_the_keyboard_leaves_a_usable_store(many: Path, tmp_path: Path) -> None:
    path = tmp_path / "features.sqlite"
    done = cut(many, path, signal.SIGINT, 1, 0.05)
    assert "KeyboardInterrupt" in done.stderr
    assert done.stdout == ""
    check_cut(many, path)


# ---- real trunks: what is part of the key


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, small_trunk: Trunk, tiny_dataset: Dataset) -> Iterator[Features]:
    with Store(tmp_path_factory.mktemp("real") / "features.sqlite") as store:
        yield extract(tiny_dataset.take(range(0, 48, 4)), small_trunk, store)


@pytest.mark.parametrize("change", ["seed", "size", "cut", "pooling"])
def test_another_trunk_is_another_question(
    real: Features, worker: Worker, small_source: dict[str, Any], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setenv("HEADSTART_PRECISION", "f32")
    changes: dict[str, Any] = {
        "seed": {"seed": 1}, "size": {"image_size": (64, 96)}, "cut": {"cuts": ("conv_pw_12_relu",)},
        "pooling": {"pooling": "flatten"},
    }[change]  # fmt: skip
    wanted = spec(**({**small_source, "cuts": ("conv_pw_13_relu",)} | changes))
    other = extract(real.dataset, prepare(wanted, worker).result(), real._store)
    assert (other.hits, other.misses) == (0, 12)
    column = [output for output in real.outputs if output.layer == "conv_pw_13_relu" and output.pooling == "avg"]
    old, new = real.matrix(range(12), column), other.matrix(range(12), [other.outputs[0]])
    assert old.shape != new.shape or not np.allclose(old, new, rtol=1e-2)


def test_a_part_of_a_trunk_is_answered_from_the_whole(
    real: Features, worker: Worker, small_source: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_PRECISION", "f32")
    wanted = spec(**small_source, cuts=("conv_pw_13_relu", "conv_pw_5_relu"), pooling="max")
    part = extract(real.dataset, prepare(wanted, worker).result(), real._store)
    assert (part.hits, part.misses) == (12, 0)
    names = [(output.layer, output.pooling) for output in part.outputs]
    assert names == [("conv_pw_13_relu", "max"), ("conv_pw_5_relu", "max")]
    same = [next(o for o in real.outputs if (o.layer, o.pooling) == name) for name in names]
    assert np.array_equal(part.matrix(range(12)), real.matrix(range(12), same))


def test_another_precision_is_another_question(
    real: Features, small_source: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_PRECISION", "bf16")
    with Worker("openvino") as other:
        trunk = prepare(spec(**small_source, cuts=("conv_pw_13_relu",)), other).result()
    assert trunk.precision == "bf16"
    features = extract(real.dataset, trunk, real._store)
    assert (features.hits, features.misses) == (0, 12)
