"""Successive halving and its budget, on contenders whose worth and pace are known."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from headstart.racing import GROWTH, OutOfRaceError, OutOfTimeError, race, rounds


@dataclass(frozen=True)
class Known:
    accuracy: float
    noise: float

    def behind(self, best: Known) -> bool:
        return best.accuracy - self.accuracy > self.noise


class Track:
    """Contenders with an accuracy each, less noise on more pictures, and a clock that their work moves."""

    def __init__(self, worth: dict[str, float], *, pace: dict[str, float] | None = None, noise: float = 1.0) -> None:
        self.worth, self.pace, self.noise = worth, pace or {}, noise
        self.now = 0.0
        self.calls: list[tuple[str, int]] = []
        self.done: dict[str, int] = {}

    def score(self, name: str, count: int) -> Known:
        self.calls.append((name, count))
        self.now += self.pace.get(name, 0.0) * (count - self.done.get(name, 0))
        self.done[name] = count
        return Known(self.worth[name], self.noise / count**0.5)

    def run(self, sizes, **options):
        return race(list(self.worth), self.score, sizes=sizes, clock=lambda: self.now, **options)


def test_the_hopeless_are_dropped_early_and_the_others_see_every_picture():
    track = Track({"good": 0.9, "fair": 0.88, "bad": 0.3, "worse": 0.2, "worst": 0.1})
    went = track.run((100, 400))
    assert track.calls[5:] == [("good", 400), ("fair", 400)]
    assert [each.name for each in went.dropped] == ["bad", "worse", "worst"]
    assert went.dropped[0].pictures == 100
    assert (went.dropped[0].accuracy, went.dropped[0].best) == (0.3, 0.9)
    assert went.finished == ("good", "fair")
    assert went.pictures == {"good": 400, "fair": 400, "bad": 100, "worse": 100, "worst": 100}
    assert not went.late


def test_none_within_noise_of_the_best_is_ever_dropped():
    track = Track({name: 0.9 - 0.01 * place for place, name in enumerate("abcdefgh")}, noise=10.0)
    went = track.run((100, 400))
    assert went.dropped == ()
    assert set(went.finished) == set("abcdefgh")


def test_a_share_stays_however_far_behind():
    names = [f"net{place}" for place in range(8)]
    went = Track({name: 0.9 - 0.1 * place for place, name in enumerate(names)}, noise=0.0).run((100, 400))
    assert went.finished == tuple(names[: 8 // GROWTH])


def test_more_pictures_drop_more():
    track = Track({"good": 0.9, "near": 0.85, "far": 0.5}, noise=1.0)
    went = track.run((100, 2_500, 10_000))
    assert [each.name for each in went.dropped] == ["far", "near"]
    assert [each.pictures for each in went.dropped] == [100, 2_500]


def test_the_best_goes_first_in_later_rounds():
    track = Track({"last": 0.5, "first": 0.52})
    track.run((100, 400))
    assert track.calls == [("last", 100), ("first", 100), ("first", 400), ("last", 400)]


def test_a_budget_skips_what_would_end_too_late_and_says_so():
    track = Track({"quick": 0.8, "slow": 0.9}, pace={"quick": 0.01, "slow": 0.1})
    went = track.run((100, 400), deadline=20.0)
    assert track.calls == [("quick", 100), ("slow", 100), ("quick", 400)]
    assert went.late == {"slow": 400}
    assert went.finished == ("quick",)
    assert went.scores["slow"].accuracy == 0.9


def test_what_was_never_reached_is_late_too():
    track = Track({"a": 0.8, "b": 0.9}, pace={"a": 0.1, "b": 0.1})
    went = track.run((100,), deadline=15.0)
    assert track.calls == [("a", 100)]
    assert went.late == {"b": 100}
    assert list(went.scores) == ["a"]


def test_there_is_an_answer_however_small_the_budget():
    track = Track({"a": 0.8, "b": 0.9}, pace={"a": 1.0, "b": 1.0})
    went = track.run((100, 400), deadline=1e-9)
    assert went.finished == ("a",)
    assert went.pictures == {"a": 100}


def test_a_score_that_gives_up_keeps_what_was_known():
    track = Track({"a": 0.8, "b": 0.9})

    def score(name, count):
        if (name, count) == ("b", 400):
            raise OutOfTimeError
        return track.score(name, count)

    went = race(["a", "b"], score, sizes=(100, 400), deadline=1e9)
    assert went.late == {"b": 400}
    assert went.pictures == {"a": 400, "b": 100}


def test_one_that_cannot_run_is_left_behind_and_the_others_go_on():
    def score(name, count):
        if name == "broken":
            raise OutOfRaceError
        return Known(0.9, 1.0)

    went = race(["broken", "whole"], score, sizes=(250, 1000))
    assert went.pictures == {"whole": 1000}
    assert (went.dropped, went.late) == ((), {})
    assert race(["broken"], score, sizes=(250,)).scores == {}


@pytest.mark.parametrize(
    ("most", "contenders", "wanted"),
    [(2_000, 3, (500, 2_000)), (16_000, 2, (250, 1_000, 4_000, 16_000)), (900, 3, (900,)), (2_000, 1, (2_000,))],
)
def test_rounds(most, contenders, wanted):
    assert rounds(most, contenders) == wanted
