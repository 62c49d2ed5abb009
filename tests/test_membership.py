"""Which pictures a model was trained on: found again exactly, kept compactly, read with distrust."""

import hashlib
import json

import numpy as np
import pytest

from headstart import membership
from headstart.membership import TrainedOn, remember


def digests(start: int, end: int) -> list[bytes]:
    return [hashlib.sha256(str(number).encode()).digest() for number in range(start, end)]


def test_what_was_trained_on_is_found_and_nothing_else_also_after_json():
    kept = remember(digests(0, 1000), "set")
    again = TrainedOn.from_dict(json.loads(json.dumps(kept.as_dict())))
    for each in (kept, again):
        assert each.holds(digests(990, 1010)).tolist() == [True] * 10 + [False] * 10
        assert (each.count, each.whole) == (1000, True)
    assert kept.holds([]).tolist() == []


def test_it_takes_eight_bytes_a_picture_before_base64():
    text = remember(digests(0, 3000), "set").as_dict()["marks"]
    assert len(text) == 3000 * 8 * 4 / 3


def test_copies_and_unreadable_files_do_not_count():
    kept = remember([*digests(0, 3), *digests(0, 3), b""], "set")
    assert kept.count == len(kept.marks) == 3


def test_two_sets_cannot_be_compared_without_their_pictures():
    one, other = remember(digests(0, 50), "one"), remember(digests(0, 50), "other")
    assert not np.isin(one.marks, other.marks).any()
    assert remember(reversed(digests(0, 50)), "one").as_dict() == one.as_dict()


def test_of_very_many_a_sample_is_kept_and_it_says_so(monkeypatch):
    monkeypatch.setattr(membership, "MOST", 100)
    kept = remember(digests(0, 1000), "set")
    assert (kept.count, len(kept.marks), kept.whole) == (1000, 100, False)
    assert kept.holds(digests(0, 1000)).sum() == 100
    assert not kept.holds(digests(1000, 2000)).any()


@pytest.mark.parametrize(
    "told",
    [None, [], "x", {}, {"count": 1, "key": "00", "marks": "?"}, {"count": 1, "key": "zz", "marks": ""},
     {"count": "many", "key": "00", "marks": ""}, {"count": 1, "key": "00", "marks": "AAAA"},
     {"count": 1, "key": 7, "marks": "AAAAAAAAAAA="}, {"count": [], "key": "00", "marks": 3}],
)  # fmt: skip
def test_what_cannot_be_read_is_not_known(told):
    assert TrainedOn.from_dict(told) is None


def test_a_key_that_is_too_long_is_cut_off():
    told = {"count": 1, "key": "00" * 500, "marks": "AAAAAAAAAAA="}
    assert TrainedOn.from_dict(told).holds(digests(0, 2)).tolist() == [False, False]


def test_a_count_without_end_is_no_list():
    told = remember([b"a" * 32], "set").as_dict()
    assert TrainedOn.from_dict({**told, "count": float("inf")}) is None
