"""Results are written whole or not at all; digests; the cache folder."""

import os
import stat
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.files import atomic_folder, atomic_path, cache_folder, file_digest, json_digest, why_not_writable


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole(tmp_path):
    with atomic_path(tmp_path / "new" / "a.keras") as path:
        assert path.suffix == ".keras"
        path.write_bytes(b"first")
        assert not (tmp_path / "new" / "a.keras").exists()
        made = path.stat().st_ino
    assert (tmp_path / "new" / "a.keras").stat().st_ino == made, "renamed, not copied"
    assert (tmp_path / "new" / "a.keras").read_bytes() == b"first"
    assert names(tmp_path / "new") == ["a.keras"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_whole_and_nothing_beside_it(tmp_path, failure):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write_half():
        with atomic_path(target) as path:
            path.write_text("half")
            raise failure

    with pytest.raises(failure):
        write_half()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_writer_that_replaces_its_file_is_fine(tmp_path):
    with atomic_path(tmp_path / "a.txt") as path:
        other = path.with_name("other")
        other.write_text("whole")
        os.replace(other, path)
    assert (tmp_path / "a.txt").read_text() == "whole"


@pytest.mark.skipif(os.name == "nt", reason="file modes are POSIX")
def test_a_result_has_the_mode_that_the_umask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a.txt") as path:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_folder_appears_whole(tmp_path):
    with atomic_folder(tmp_path / "deep" / "made") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a").write_text("1")
        assert not (tmp_path / "deep" / "made").exists()
    assert (tmp_path / "deep" / "made" / "inner" / "a").read_text() == "1"
    assert names(tmp_path / "deep") == ["made"]


def test_a_failure_leaves_no_folder(tmp_path):

    def write_half():
        with atomic_folder(tmp_path / "made") as folder:
            (folder / "a").write_text("half")
            raise ValueError("half done")

    with pytest.raises(ValueError, match="half done"):
        write_half()
    assert names(tmp_path) == []


def test_of_two_makers_of_a_folder_the_first_stays(tmp_path):
    barrier = threading.Barrier(2, timeout=20)
    failures = []

    def make(text):
        try:
            with atomic_folder(tmp_path / "made") as folder:
                (folder / "a").write_text(text)
                barrier.wait()
        except BaseException as error:
            failures.append(error)

    makers = [threading.Thread(target=make, args=(text,)) for text in ("one", "two")]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert failures == []
    assert (tmp_path / "made" / "a").read_text() in ("one", "two")
    assert names(tmp_path) == ["made"]


def test_a_file_in_the_folders_place_is_told(tmp_path):
    (tmp_path / "made").write_text("in the way")
    with pytest.raises(OSError, match="cannot put a folder at"), atomic_folder(tmp_path / "made"):
        pass
    assert (tmp_path / "made").read_text() == "in the way"


def test_whether_a_file_can_be_written_is_known_before(tmp_path):
    (tmp_path / "file").write_text("")
    assert why_not_writable(tmp_path / "new" / "deep" / "a.html") is None
    assert why_not_writable(tmp_path / "file") is None
    assert why_not_writable("a.html") is None
    assert "is a folder" in why_not_writable(tmp_path)
    assert f"{tmp_path / 'file'} is not a folder" in why_not_writable(tmp_path / "file" / "deep" / "a.html")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert f"may not write in {tmp_path}" in why_not_writable(tmp_path / "new" / "a.html")


def test_the_cache_folder_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HEADSTART_CACHE", "~/there")
    assert cache_folder() == tmp_path / "there"
    monkeypatch.delenv("HEADSTART_CACHE")
    assert cache_folder().name == "headstart"


def test_a_files_digest_is_that_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


LEAVES = st.none() | st.booleans() | st.integers() | st.text()
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_change_a_json_digest(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert json_digest(dict(items)) == json_digest(value)


@pytest.mark.parametrize(
    ("one", "other"),
    [({"a": 1}, {"a": "1"}), ({"a": [1, 2]}, {"a": [2, 1]}), ({"a": {"b": 1}}, {"a": 1, "b": 1}), ({"a": None}, {})],
)
def test_what_differs_has_another_digest(one, other):
    assert json_digest(one) != json_digest(other)


def test_what_json_cannot_say_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        json_digest({"a": float("nan")})
