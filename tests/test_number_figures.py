"""Figures of a number: errors against guessing, R², intervals, coverage, words."""

import numpy as np
import pytest

from headstart import bands
from headstart.errors import ModelFileError
from headstart.number_figures import Guess, score
from headstart.report_parts import NumbersPart
from headstart.report_targets import POINTS, scatters
from headstart.verdict import of_numbers


def made(count=200, noise=0.3, seed=0, **options):
    random = np.random.default_rng(seed)
    truth = 10 + random.normal(size=count)
    said = truth + noise * random.normal(size=count)
    return score(said, truth, guess=Guess(10.0, 10.0), split="test", **options)


def test_figures_are_what_counting_gives():
    truth, said = np.array([1.0, 2.0, 4.0, 8.0, 16.0]), np.array([1.5, 2.0, 3.0, 9.0, 15.0])
    found = score(said, truth, guess=Guess(4.0, 6.0), split="test", half_width=0.7, promised=0.9)
    assert found.mae.value == pytest.approx(0.7)
    assert found.rmse.value == pytest.approx(np.sqrt((0.25 + 0 + 1 + 1 + 1) / 5))
    assert found.r2.value == pytest.approx(1 - 3.25 / 5 / truth.var())
    assert found.guess_mae.value == pytest.approx(np.abs(truth - 4).mean())
    assert found.guess_rmse.value == pytest.approx(np.sqrt(((truth - 6) ** 2).mean()))
    assert found.gain.value == pytest.approx(found.guess_mae.value - 0.7)
    assert found.coverage.value == pytest.approx(0.4)
    assert [row for row, _, _ in found.mistakes][-1] == 1


def test_numbers_far_from_nought_lose_nothing():
    near, far = made(), None
    random = np.random.default_rng(0)
    truth = 10 + random.normal(size=200)
    said = truth + 0.3 * random.normal(size=200)
    far = score(said + 1e6, truth + 1e6, guess=Guess(10.0 + 1e6, 10.0 + 1e6), split="test")
    assert far.r2.value == pytest.approx(near.r2.value, rel=1e-4)
    assert far.mae.low == pytest.approx(near.mae.low, rel=1e-3)


def test_pictures_of_one_value_have_no_variance_to_tell():
    found = score(np.arange(6.0), np.full(6, 3.0), guess=Guess(3.0, 3.0), split="test")
    assert np.isnan(found.r2.value)
    assert found.as_dict()["metrics"]["r2"] == {"value": None, "low": None, "high": None}
    assert "R²" not in of_numbers(found)


def test_the_verdict_says_what_guessing_would_have_done():
    assert "always saying 10 is" in of_numbers(made())
    assert "do not show that anything was learnt" in of_numbers(made(noise=3.0))
    assert "few pictures" in of_numbers(made(20))
    none = score(np.zeros(0), np.zeros(0), guess=Guess(0.0, 0.0), split="test")
    assert "nothing is known" in of_numbers(none)


def test_the_verdict_warns_of_intervals_that_hold_too_little():
    assert "do not rely on them" in of_numbers(made(half_width=0.1, promised=0.9))
    assert "do not rely" not in of_numbers(made(half_width=0.6, promised=0.9))


def test_intervals_hold_what_they_promise_on_new_pictures():
    random = np.random.default_rng(1)
    shares = []
    for _ in range(300):
        off = random.standard_t(3, 60)
        band = bands.fit(off, np.zeros(60), guess=Guess(0.0, 0.0))
        shares.append((np.abs(random.standard_t(3, 200)) <= band.half_width).mean())
    assert 0.89 < np.mean(shares) < 0.93


def test_too_few_pictures_promise_nothing():
    band = bands.fit(np.zeros(8), np.arange(8.0), guess=Guess(1.0, 2.0))
    assert band.half_width is None
    assert "too few" in band.words()
    assert bands.fit(np.zeros(9), np.arange(9.0), guess=Guess(1.0, 2.0)).half_width == 8


def test_an_interval_is_read_as_it_was_written():
    for count in (5, 50):
        band = bands.fit(np.zeros(count), np.arange(float(count)), guess=Guess(1.0, 2.0))
        assert bands.of_facts(band.as_dict()) == band
    for facts in (None, [], {}, {**band.as_dict(), "guess": None}, {**band.as_dict(), "half_width": "wide"},
                  {**band.as_dict(), "half_width": float("inf")}, {**band.as_dict(), "promised": None}):  # fmt: skip
        with pytest.raises(ModelFileError, match="`interval`"):
            bands.of_facts(facts)


# ---- the charts -----------------------------------------------------------------------------------------------------


def test_dots_lie_on_the_line_where_the_number_is_right():
    points = tuple((float(value), float(value)) for value in range(11))
    against, off = scatters(NumbersPart(points, 1.0, 0.9))
    (x1, y1, x2, y2), ends = against.solid, [(dot.x, dot.y) for dot in against.dots]
    assert ends[0] == (x1, y1)
    assert ends[-1] == (x2, y2)
    assert len(against.dashed) == len(off.dashed) == 2
    assert {dot.y for dot in off.dots} == {off.solid[1]}


def test_a_chart_draws_no_more_dots_than_it_can_hold_and_leaves_out_what_is_no_number():
    points = tuple((float(value), float(value) / 2) for value in range(3 * POINTS))
    against, _ = scatters(NumbersPart((*points, (float("nan"), 1.0))))
    assert against.drawn <= POINTS
    assert against.total == 3 * POINTS
    assert scatters(NumbersPart(())) == scatters(None) == []
    assert scatters(NumbersPart(((float("inf"), 1.0),))) == []
    (one, _), _ = scatters(NumbersPart(((3.0, 3.0),))), None
    assert np.isfinite([one.dots[0].x, one.dots[0].y]).all()
