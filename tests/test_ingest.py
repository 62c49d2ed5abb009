"""One pass over the pictures: read, hashed, thumbnailed and run once, whatever the files do meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart import alike, images, ingest
from headstart.dataset import EMPTY, Dataset
from headstart.errors import SourceError
from headstart.features import Features, extract
from headstart.ingest import Ingest
from headstart.looks import Looks, glance
from headstart.store import Store
from headstart.trunk import PendingTrunk, Trunk
from test_features import SIZE, MadeUpEngine, MadeUpTrunk, draw, made_up, meant, stored


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw(tmp_path / "pictures", 50)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store(tmp_path / "features.sqlite") as opened_store:
        yield opened_store


def pending(trunk: Trunk) -> PendingTrunk:
    future: Future[Trunk] = Future()
    future.set_result(trunk)
    return PendingTrunk(SIZE, future)


def passed(photos: Path | Dataset, trunk: MadeUpTrunk, store: Store, **more: Any) -> tuple[Dataset, Looks, Features]:
    dataset = photos if isinstance(photos, Dataset) else Dataset.open(photos)
    with Ingest(dataset, store, trunk=pending(trunk), **more) as reading:
        dataset, seen = reading.look_over()
        return dataset, seen, extract(dataset, trunk, store, first=reading.finish())


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What was read and decoded, in all threads."""
    calls: dict[str, list[Any]] = {"file_bytes": [], "decode": [], "decode_with_thumbnail": []}

    def watched(real: Any, seen: list[Any]) -> Any:

        def noticed(first: Any, *rest: Any, **more: Any) -> Any:
            seen.append(first)
            return real(first, *rest, **more)

        return noticed

    for name, seen in calls.items():
        monkeypatch.setattr(images, name, watched(getattr(images, name), seen))
    return calls


def test_it_is_what_hashing_looking_and_running_one_after_another_gives(
    folder: Path, tmp_path: Path, store: Store
) -> None:
    shutil.copy(folder / "even" / "0002.png", folder / "odd" / "copy.png")
    (folder / "odd" / "bad.png").write_bytes(b"no picture")
    (folder / "odd" / "bad too.png").write_bytes(b"no picture")
    (folder / "even" / "empty.png").write_bytes(b"")
    with Store(tmp_path / "other.sqlite") as other:
        before, looks = alike.look_over(Dataset.open(folder), other)
        features = extract(before, made_up(), other)
        dataset, seen, found = passed(folder, made_up(), store)
        assert dataset.digests == before.digests
        assert EMPTY in dataset.digests
        assert dataset.alike == before.alike
        for name in ("small", "width", "height", "format", "chroma", "edge", "edge_spread"):
            assert np.array_equal(getattr(seen, name), getattr(looks, name)), name
        assert dict(seen.bad) == dict(looks.bad)
        assert found.bad == features.bad
        assert (found.hits, found.misses) == (features.hits, features.misses)
        good = [row for row in range(len(dataset)) if row not in found.bad]
        assert np.array_equal(found.matrix(good), features.matrix(good))


class AnySize(MadeUpEngine):
    def infer(self, pixels: np.ndarray) -> list[np.ndarray]:
        return self.trunk.numbers(pixels)


def test_each_file_is_read_once_and_decoded_once(
    tmp_path: Path, store: Store, touched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (9, 12, 3), np.uint8)
        Image.fromarray(pixels).resize((320, 240), Image.Resampling.BICUBIC).save(path)
    monkeypatch.setattr(MadeUpTrunk, "load", lambda self: AnySize(self))
    trunk = replace(made_up(), image_size=(48, 48))
    future: Future[Trunk] = Future()
    future.set_result(trunk)
    with Ingest(Dataset.open(tmp_path / "photos"), store, trunk=PendingTrunk((48, 48), future)) as reading:
        dataset, seen = reading.look_over()
        features = extract(dataset, trunk, store, first=reading.finish())
    assert sorted(touched["file_bytes"]) == [dataset.path(row) for row in range(40)]
    assert [len(calls) for calls in touched.values()] == [40, 0, 40]
    pixels = np.stack([images.read(dataset.path(row), (48, 48)) for row in range(40)])
    assert np.array_equal(features.matrix(range(40)), np.concatenate(trunk.numbers(pixels), axis=1).astype(np.float16))
    assert np.abs(seen.small.astype(int) - glance(dataset).small).max() <= 2


def test_nothing_is_decoded_or_loaded_where_all_is_stored(
    folder: Path, store: Store, touched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed(folder, made_up(), store)
    assert len(touched["file_bytes"]) == 50
    for seen in touched.values():
        seen.clear()
    monkeypatch.setattr(MadeUpTrunk, "load", lambda _: pytest.fail("the engine was loaded"))
    dataset, _, features = passed(folder, made_up(), store)
    assert (features.hits, features.misses) == (50, 0)
    assert [len(seen) for seen in touched.values()] == [50, 0, 0]
    touched["file_bytes"].clear()
    passed(dataset, made_up(), store)  # hashed before: nothing is even read
    assert touched["file_bytes"] == []


def test_a_bad_picture_is_not_tried_again(folder: Path, store: Store, touched: Any, monkeypatch: Any) -> None:
    passed(folder, made_up(), store)
    (folder / "odd" / "bad.png").write_bytes(b"no picture")
    (folder / "odd" / "link.png").symlink_to(folder / "nowhere.png")
    touched["decode"].clear()
    monkeypatch.setattr(MadeUpTrunk, "load", lambda _: pytest.fail("the engine was loaded"))
    dataset, seen, features = passed(folder, made_up(), store)
    bad = {dataset.files[row]: why for row, why in features.bad.items()}
    assert bad["odd/bad.png"].startswith("it is text, not a picture")
    assert set(seen.bad) == set(features.bad)
    assert features.misses == 1


def test_copies_are_run_once(folder: Path, store: Store) -> None:
    for number in range(0, 50, 2):
        shutil.copy(folder / "even" / f"{number:04}.png", folder / "odd" / f"copy of {number}.png")
    trunk = made_up()
    dataset, seen, features = passed(folder, trunk, store)
    assert (len(dataset), trunk.pictures_run, features.misses) == (75, 50, 50)
    assert seen.readable.all()
    assert np.array_equal(features.matrix(range(75)), meant(dataset, trunk, range(75)))


def test_a_file_that_is_edited_once_it_was_read_is_the_old_one_in_all_respects(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is overwritten as soon as its bytes are in memory."""
    old, real = meant(Dataset.open(folder), made_up(), range(50)), images.file_bytes
    digests = Dataset.open(folder).digested().digests

    def overwritten(path: Any, **more: Any) -> bytes:
        data = real(path, **more)
        Image.new("RGB", SIZE, (1, 2, 3)).save(path)
        return data

    monkeypatch.setattr(images, "file_bytes", overwritten)
    dataset, seen, features = passed(folder, made_up(), store)
    assert dataset.digests == digests
    assert not features.bad
    assert np.array_equal(features.matrix(range(50)), old)
    assert (seen.contrast > 0).all()


def test_a_file_that_is_edited_between_hashing_and_decoding_is_left_out(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where files are too large to be held they are read twice, and the second bytes must be the first."""
    monkeypatch.setattr(ingest, "_HELD_BYTES", 0)
    edited, real, count = folder / "odd" / "0007.png", images.file_bytes, []

    def overwritten(path: Any, **more: Any) -> bytes:
        data = real(path, **more)
        if Path(path) == edited and not count:
            count.append(1)
            Image.new("RGB", SIZE, (1, 2, 3)).save(path)
        return data

    monkeypatch.setattr(images, "file_bytes", overwritten)
    dataset, _, features = passed(folder, made_up(), store)
    assert [dataset.files[row] for row in features.bad] == ["odd/0007.png"]
    assert "changed while headstart ran" in next(iter(features.bad.values()))
    good = [row for row in range(50) if row not in features.bad]
    assert np.array_equal(features.matrix(good), meant(dataset, made_up(), good))
    assert stored(store.path) == 49 * 2


def test_a_hashed_set_keeps_its_digests(folder: Path, store: Store) -> None:
    dataset = Dataset.open(folder).digested()
    Image.new("RGB", SIZE, (1, 2, 3)).save(folder / "odd" / "0007.png")
    after, _, features = passed(dataset, made_up(), store)
    assert after.digests == dataset.digests
    assert [after.files[row] for row in features.bad] == ["odd/0007.png"]


def test_features_that_cannot_be_stored_stay_in_memory(folder: Path, store: Store, monkeypatch: Any) -> None:
    monkeypatch.setattr(store, "write", lambda *_: False)
    dataset, _, features = passed(folder, made_up(), store)
    assert np.array_equal(features.matrix(range(50)), meant(dataset, made_up(), range(50)))


def test_reading_does_not_wait_for_the_trunk_and_what_is_stored_is_not_run(
    folder: Path, store: Store, touched: Any
) -> None:
    extract(Dataset.open(folder).digested().take(range(0, 50, 2)), made_up(), store)
    touched["decode"].clear()
    future: Future[Trunk] = Future()
    trunk = made_up()
    with Ingest(Dataset.open(folder), store, trunk=PendingTrunk(SIZE, future)) as reading:
        dataset, seen = reading.look_over()
        assert seen.readable.all()
        assert trunk.ran == []
        future.set_result(trunk)
        first = reading.finish()
    assert (trunk.pictures_run, first.misses) == (25, 25)
    features = extract(dataset, trunk, store, first=first)
    assert (features.hits, features.misses) == (25, 25)
    assert np.array_equal(features.matrix(range(50)), meant(dataset, trunk, range(50)))


def test_decoded_pictures_are_bounded(folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "LOOKAHEAD_BYTES", 10 * SIZE[0] * SIZE[1] * 3)
    held, keep = [], ingest._Pass._take

    def noticed(self: Any, chunk: Any) -> None:
        keep(self, chunk)
        held.append(self.held)

    monkeypatch.setattr(ingest._Pass, "_take", noticed)
    dataset, _, features = passed(folder, made_up(delay=0.002), store)
    assert max(held) <= 10, "a chunk is an eighth of what may wait"
    assert np.array_equal(features.matrix(range(50)), meant(dataset, made_up(), range(50)))


def test_a_trunk_that_cannot_be_made_is_told_at_once(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "LOOKAHEAD_BYTES", 1)
    future: Future[Trunk] = Future()
    future.set_exception(SourceError("no such layer"))
    with Ingest(Dataset.open(folder), store, trunk=PendingTrunk(SIZE, future)) as reading:
        with pytest.raises(SourceError, match="no such layer"):
            reading.look_over()
        with pytest.raises(SourceError, match="no such layer"):
            reading.finish()


def test_an_engine_that_fails_is_told(folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> list[np.ndarray]:
        raise SourceError("the engine broke")

    monkeypatch.setattr(MadeUpEngine, "infer", broken)
    reading = Ingest(Dataset.open(folder), store, trunk=pending(made_up()))
    with reading, pytest.raises(SourceError, match="the engine broke"):
        reading.finish()


def test_leaving_early_ends_the_pass_and_keeps_what_was_computed(tmp_path: Path, store: Store) -> None:
    folder, trunk = draw(tmp_path / "many", 600), made_up(delay=0.02)
    threads = threading.active_count()
    with Ingest(Dataset.open(folder), store, trunk=pending(trunk)):
        while trunk.pictures_run < 64:
            time.sleep(0.01)
    deadline = time.monotonic() + 20
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads
    ran = trunk.pictures_run
    assert ran < 600
    _, _, features = passed(folder, made_up(), store)
    assert features.hits >= ran - 4 * 16  # but for what was under way


def test_a_late_trunk_does_not_keep_anyone_who_leaves(folder: Path, store: Store) -> None:
    never: Future[Trunk] = Future()
    start = time.monotonic()
    with Ingest(Dataset.open(folder), store, trunk=PendingTrunk(SIZE, never)) as reading:
        reading.look_over()
    assert time.monotonic() - start < 20
    never.set_exception(SourceError("closed"))  # as a worker that is closed does; its thread ends


def test_progress_ends_with_all(folder: Path, store: Store) -> None:
    told: list[tuple[str, int, int | None]] = []
    passed(folder, made_up(), store, progress=lambda *step: told.append(step))
    for stage in ("reading", "features"):
        steps = [done for name, done, total in told if name == stage and total == 50]
        assert steps == sorted(set(steps))
        assert steps[-1] == 50


CUT_SHORT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from headstart.dataset import Dataset
from headstart.ingest import Ingest
from headstart.store import Store
from test_features import made_up
from test_ingest import pending
trunk = pending(made_up(delay=0.01))
with Store(Path(sys.argv[3])) as store, Ingest(Dataset.open(sys.argv[2]), store, trunk=trunk) as reading:
    print(reading.finish())
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_killed_pass_is_taken_up_where_it_ended(tmp_path: Path) -> None:
    folder, path = draw(tmp_path / "many", 1500), tmp_path / "features.sqlite"
    command = [sys.executable, "-c", CUT_SHORT, str(Path(__file__).parent), str(folder), str(path)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while stored(path) < 1 and running.poll() is None:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    out, _ = running.communicate(timeout=60)
    assert out == ""
    with Store(path) as store:
        assert store._connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        dataset, seen, features = passed(folder, made_up(), store)
        assert features.hits + features.misses == 1500
        rows = range(0, 1500, 7)
        assert np.array_equal(features.matrix(rows), meant(dataset, made_up(), rows))
        assert np.array_equal(seen.small, glance(dataset).small)
