"""Means over seeds with intervals: against Wilson's and Student's own, and by simulation."""

import math

import numpy as np
import pytest

from headstart.estimates import Estimate, over_runs, spread
from headstart.intervals import wilson


def test_one_run_has_the_interval_of_its_pictures():
    found = over_runs([45 / 60], 60)
    assert (found.low, found.high) == pytest.approx(wilson(45, 60))
    assert found.value == 0.75


def test_runs_that_differ_widen_it_and_join_by_their_squares():
    values = [0.70, 0.76, 0.79]
    found = over_runs(values, 100)
    low, high = wilson(75, 100)
    half = 4.302653 * np.std(values, ddof=1) / math.sqrt(3)  # t of two degrees of freedom
    assert found.low == pytest.approx(0.75 - math.hypot(0.75 - low, half), abs=1e-6)
    assert found.high == pytest.approx(0.75 + math.hypot(high - 0.75, half), abs=1e-6)


def test_a_mean_between_two_counts_lies_between_their_intervals():
    found = over_runs([0.75, 0.76], 50)  # 37.75 pictures
    assert wilson(37, 50)[0] < over_runs([37.75 / 50], 50).low < wilson(38, 50)[0]
    assert found.value == pytest.approx(0.755)


def test_rates_stay_between_nothing_and_everything():
    found = over_runs([0.0, 1.0], 10)
    assert (found.low, found.high) == (0.0, 1.0)
    assert over_runs([1.0, 1.0], 10).high == 1.0


def test_nothing_to_average_is_an_error():
    with pytest.raises(ValueError, match="at least one run"):
        over_runs([], 10)


def test_the_spread_of_a_mean_is_students():
    assert spread(0.02, 2, 3) == pytest.approx(4.302653 * 0.02 / math.sqrt(3), rel=1e-6)
    assert spread(0.02, 0, 1) == 0.0
    assert spread(0.0, 4, 5) == 0.0


def test_differences_are_seen_from_their_intervals():
    high, low = Estimate(0.9, 0.85, 0.94), Estimate(0.6, 0.5, 0.7)
    assert high.minus(low).above
    assert low.minus(high).below
    same = high.minus(high)
    assert not same.above
    assert not same.below
    assert same.low == pytest.approx(-math.hypot(0.05, 0.04))


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Seeds have accuracies of their own around 0.8, measured on 200 pictures that all of them share."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        hard = random.random(200)  # what a picture takes, the same for all seeds
        truth = np.clip(0.8 + random.normal(0, 0.03, 3), 0, 1)
        held += over_runs([float((hard < rate).mean()) for rate in truth], 200).minus(Estimate(0.8, 0.8, 0.8)).low <= 0
    assert held / 400 > 0.95  # one end of a 95 % interval: 97.5 %, and it is made rather too wide
