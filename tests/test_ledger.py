"""The ledger of openings: counted by contents, across processes, and honest where it cannot be written."""

import subprocess
import sys
import time

import pytest

from headstart import caching, ledger
from headstart.ledger import count, ledger_path, name_of, record

SET = [b"a" * 32, b"b" * 32, b"c" * 32]


@pytest.fixture(autouse=True)
def _own_cache(fresh_cache):
    return fresh_cache


def test_each_look_is_counted_by_the_pictures_contents():
    first = record(SET, model="one", command="train")
    assert (first.look, first.models, first.trouble) == (1, 1, "")
    assert abs(first.first - time.time()) < 60
    again = record([*reversed(SET), SET[0]], model="one", command="evaluate")
    assert (again.look, again.models, again.first) == (2, 1, first.first)
    third = record(SET, model="another", command="train")
    assert (third.look, third.models) == (3, 2)
    assert third.before == 3
    assert count() == 3


def test_a_look_at_pictures_that_were_in_another_set_counts():
    assert record(SET, model="one", command="train").before == 0
    some = record(SET[:2], model="two", command="train")
    assert (some.look, some.models, some.before) == (2, 2, 2)
    more = record([*SET, b"d" * 32], model="three", command="train")
    assert (more.look, more.models, more.before) == (3, 3, 3)
    apart = record([b"e" * 32, b"f" * 32], model="three", command="train")
    assert (apart.look, apart.models, apart.before) == (1, 1, 0)


def test_the_dictionary_is_plain():
    told = record(SET, model="one", command="train").as_dict()
    assert (told["look"], told["models"], told["trouble"]) == (1, 1, None)
    assert told["first"].endswith("Z")
    assert told["pictures"] == name_of(SET)


def test_processes_that_look_at_once_each_get_a_number_of_their_own():
    code = (
        "from headstart.ledger import record\n"
        f"print(*(record({SET!r}, model='m', command='train').look for _ in range(5)))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    looks = [int(word) for each in running for word in each.communicate(timeout=60)[0].split()]
    assert sorted(looks) == list(range(1, 21))


def test_where_nothing_can_be_written_the_count_is_not_known(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "file" / "cache"))
    opening = record(SET, model="one", command="train")
    assert (opening.look, opening.models, opening.first) == (None, None, None)
    assert "openings.sqlite cannot be written (Not a directory)" in opening.trouble
    assert count() == 0


def test_a_ledger_that_may_only_be_read_is_not_believed(monkeypatch):
    record(SET, model="one", command="train")
    connect = ledger.sqlite3.connect
    monkeypatch.setattr(
        ledger.sqlite3, "connect", lambda path, **options: connect(f"file:{path}?mode=ro", uri=True, **options)
    )
    opening = record(SET, model="one", command="train")
    assert opening.look is None
    assert "readonly" in opening.trouble


def test_a_damaged_ledger_is_kept_aside_and_no_later_count_is_believed():
    ledger_path().parent.mkdir(parents=True)
    ledger_path().write_bytes(b"no database at all, however long it is" * 100)
    assert count() == 0
    first, second = (record(SET, model="one", command="train") for _ in range(2))
    assert (first.look, second.look) == (None, None)
    assert "was damaged" in second.trouble
    aside = ledger_path().with_name("openings.sqlite.damaged")
    assert aside.read_bytes().startswith(b"no database")
    assert count() == 2
    aside.unlink()
    assert record(SET, model="one", command="train").look == 3


def test_emptying_the_cache_leaves_the_ledger():
    record(SET, model="one", command="train")
    assert caching.contents()["openings"] == 1
    caching.clear()
    assert record(SET, model="one", command="train").look == 2
