"""Start, slope and asymptote from known curves, and which sentence they make."""

import json
from dataclasses import replace

import pytest

from headstart.estimates import over_runs
from headstart.head_start import Gain, HeadStart, Side, means
from headstart.learning_curve import LearningCurve, Point


def side(*runs, ready=0.0, seconds=1.0, loss=None):
    runs = tuple(tuple(run) for run in runs)
    losses = loss or tuple(tuple(1 - 0.9 * value for value in run) for run in runs)
    each = tuple(tuple(seconds for _ in run) for run in runs)
    return Side(tuple(0.5 for _ in runs), runs, losses, losses, each, ready)


GOOD = [0.90, 0.94, 0.95, 0.96, 0.96, 0.96, 0.96, 0.96, 0.96, 0.96]
POOR = [0.52, 0.55, 0.58, 0.60, 0.62, 0.63, 0.64, 0.70, 0.64, 0.66]


def around(run, step=0.004):
    return [[value + shift for value in run] for shift in (-step, 0.0, step)]


def curve(*points):
    return LearningCurve(
        tuple(Point(count, over_runs([rate], 1000), (rate,)) for count, rate in points), "validation", 1000, None
    )


def start(reused, scratch, **changes):
    return replace(HeadStart(side(*reused), side(*scratch), 2000, "validation", 1000, 0.5), **changes)


def test_the_three_quantities_are_what_their_names_say():
    found = start(around(GOOD), around(POOR))
    assert (found.epochs, found.seeds, found.first_part) == (10, 3, 2)
    assert found.start.reused.value == pytest.approx(0.90)
    assert found.start.scratch.value == pytest.approx(0.52)
    assert found.slope.reused.value == pytest.approx((0.94 - 0.5) / 2)
    assert found.slope.scratch.value == pytest.approx((0.55 - 0.5) / 2)
    assert found.asymptote.reused.value == pytest.approx(0.96)
    assert found.asymptote.scratch.value == pytest.approx(0.65)  # the last two of ten
    assert found.asymptote.difference.value == pytest.approx(0.31)
    assert [gain.verdict for gain in (found.start, found.slope, found.asymptote)] == ["higher"] * 3
    assert found.level_reached == 1


def test_seeds_that_differ_are_in_the_intervals():
    steady, shaken = (start(around(GOOD), around(POOR, step)).asymptote.scratch for step in (0.001, 0.03))
    assert shaken.high - shaken.low > 1.5 * (steady.high - steady.low)
    one = start([GOOD], [POOR]).asymptote.scratch
    assert one.high - one.low <= steady.high - steady.low  # of the pictures alone


def test_a_second_counts_the_pass_that_made_the_features():
    slow, quick = (
        HeadStart(side(GOOD, ready=ready, seconds=0.1), side(POOR, seconds=10.0), 2000, "test", 1000, 0.5)
        for ready in (7.8, 0.0)
    )
    assert quick.slope_a_second.reused.value == pytest.approx(0.44 / 0.2)
    assert slow.slope_a_second.reused.value == pytest.approx(0.44 / 8)
    assert slow.slope_a_second.scratch.value == pytest.approx(0.05 / 20)
    assert "7.9 s to the end of the first epoch" in slow.seconds_words()
    assert "100.0 s in all" in slow.seconds_words()


def test_verdicts_need_the_whole_interval():
    high, low = over_runs([0.9], 500), over_runs([0.6], 500)
    assert Gain(high, low).verdict == "higher"
    assert Gain(low, high).verdict == "lower"
    assert Gain(high, over_runs([0.88], 500)).verdict == "cannot be told"


# ---- the sentence ---------------------------------------------------------------------------------------------------


def test_few_pictures_reach_what_all_do_not_from_scratch():
    found = start(around(GOOD), around(POOR), curve=curve((200, 0.93), (500, 0.95), (2000, 0.96)))
    assert found.fewest.pictures == 200
    assert found.sentence.startswith("With 200 pictures the reused network reaches 93.0%")
    assert "does not reach with all 2,000: 70.0%" in found.sentence  # its best epoch, the eighth, and no mean
    assert "10 epochs, 3 seeds" in found.sentence


def test_it_takes_as_many_pictures_as_are_surely_above_the_best_epoch():
    points = ((200, 0.71), (500, 0.74), (1000, 0.93), (2000, 0.96))
    assert start(around(GOOD), around(POOR), curve=curve(*points)).fewest.pictures == 1000


def test_the_same_pictures_are_named_where_fewer_do_not_do():
    points = ((200, 0.5), (500, 0.6), (1000, 0.7), (2000, 0.96))
    for given in (curve(*points), None):
        said = start(around(GOOD), around(POOR), curve=given).sentence
        assert said.startswith("With the same 2,000 pictures the reused network reaches 96.0%")
        assert "70.0%" in said


def test_where_reuse_does_not_help_it_says_so():
    found = start(around(POOR), around(GOOD), curve=curve((200, 0.55), (2000, 0.66)))
    assert found.sentence.startswith("Reuse does not help here")
    assert found.asymptote.verdict == "lower"
    assert found.rows()[2][1].startswith("no, lower: -31.0 points")


def test_where_it_cannot_be_told_it_says_so():
    found = start(around(POOR), around(POOR), curve=curve((200, 0.55), (2000, 0.66)))
    assert "cannot tell" in found.sentence
    assert [text.startswith("cannot be told") for _, text in found.rows()] == [True, True, True]


def test_training_that_still_learns_has_no_asymptote_yet():
    curves = {
        "still improved when its budget ended": [0.9 - 0.08 * epoch for epoch in range(10)],
        "stayed at that of guessing": [0.70 + 0.005 * (epoch % 2) for epoch in range(10)],
        "was unstable": [0.6, *[float("nan")] * 9],
        "": [0.5 + 0.001 * (epoch % 2) for epoch in range(10)],
    }
    for words, losses in curves.items():
        scratch = side([0.6] * 10, [0.6] * 10, loss=(tuple(losses), tuple(losses)))
        sentence = HeadStart(side(GOOD, GOOD), scratch, 2000, "validation", 1000, 0.5).sentence
        assert [each for each in curves if each and each in sentence] == [words] * bool(words)


def test_the_loss_of_guessing_is_that_of_the_classes_that_there_are():
    """0.9 nats are worse than guessing between two, and well below what guessing among ten gives."""
    flat = tuple(0.9 + 0.001 * (epoch % 2) for epoch in range(10))
    scratch = side([0.6] * 10, loss=(flat,))
    for classes, told in ((2, True), (10, False)):
        found = HeadStart(side(GOOD), scratch, 2000, "validation", 1000, 0.5, classes=classes)
        assert ("stayed at that of guessing" in found.sentence) is told
        assert found.as_dict()["scratch"]["curves"] == ("not learning" if told else "settled")
    assert found.as_dict()["scratch_curves"] == "settled"


def test_accuracy_that_still_rises_has_not_levelled_off_whatever_the_loss_does():
    level = ((0.7,) * 10,) * 2
    for run, told in ((POOR, True), ([*POOR[:6], *[0.64] * 4], False), ([0.6, 0.7], False)):
        scratch = side(run, run, loss=tuple(each[: len(run)] for each in level))
        assert scratch.rising is told
        found = HeadStart(side(GOOD, GOOD), scratch, 2000, "validation", 1000, 0.5)
        assert ("still improved" in found.sentence) is told


def test_few_epochs_show_no_asymptote():
    found = start([GOOD[:2]], [POOR[:2]])
    assert found.scratch.kind(2) == "too short"
    assert "do not show where it would level off" in found.sentence
    assert start([GOOD[:1]], [POOR[:1]]).slope.reused.value == pytest.approx(0.4)


# ---- as data --------------------------------------------------------------------------------------------------------


def test_it_is_plain_json_also_where_a_training_broke():
    broken = tuple(float("nan") for _ in POOR)
    found = HeadStart(side(GOOD), side(POOR, loss=(broken,)), 2000, "validation", 1000, 0.5)
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert told["sentence"] == found.sentence
    assert told["scratch"]["loss"] == [[None] * 10]
    assert set(told["start"]) == {"reused", "scratch", "difference", "verdict"}
    assert told["asymptote"]["difference"]["low"] == pytest.approx(found.asymptote.difference.low)


def test_what_is_drawn_begins_before_training():
    values, low, high = means(side(*around(GOOD)), 1000)
    assert (len(values), len(low), len(high)) == (11, 11, 11)
    assert values[0] == 0.5
    assert values[1] == pytest.approx(0.9)
    assert all(a < b < c for a, b, c in zip(low, values, high, strict=True))
