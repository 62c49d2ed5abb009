"""Bootstrap intervals: how often they hold the truth, against closed forms, and at the edges."""

import math

import numpy as np
import pytest

from headstart import resampling
from headstart.heads import softmax
from headstart.resampling import bootstrap, calibration_interval, macro_f1, macro_f1_interval, mean_interval


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution_for_many_pictures():
    values = np.random.default_rng(3).exponential(size=1000)
    low, high = mean_interval(values)
    error = values.std() / math.sqrt(1000)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)


def test_few_pictures_get_the_wider_interval_of_students_t():
    values = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    low, high = mean_interval(values)
    plain = 1.96 * values.std() / math.sqrt(5)  # of the percentile interval; that of t is 1.96 / 2.776 of its own
    assert -low == pytest.approx(high, abs=0.25)
    assert high > 1.25 * plain


def test_the_same_seed_gives_the_same_interval_and_another_one_another():
    values = np.random.default_rng(0).normal(size=60)
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval(values) != mean_interval(values, seed=1)


def test_fewer_pictures_than_five_have_no_interval():
    assert all(map(math.isnan, mean_interval(np.ones(4))))
    assert all(map(math.isnan, calibration_interval(np.ones(4), np.zeros(4, int))))
    assert all(map(math.isnan, macro_f1_interval(np.diag([2, 2]))))
    assert all(map(math.isnan, mean_interval(np.zeros(0))))
    assert mean_interval(np.ones(5)) == (1.0, 1.0)


def test_kinds_of_pictures_may_be_counted_in_place_of_listed():
    listed = mean_interval(np.repeat([0.0, 1.0], [300, 700]))
    counted = bootstrap(lambda drawn: drawn[:, 1] / 1000, np.array([300, 700]))
    assert counted == pytest.approx(listed, abs=0.006)


def test_many_pictures_are_drawn_less_often_but_never_seldom(monkeypatch):
    drawn = []

    def figures(counts):
        drawn.append(len(counts))
        assert (counts.sum(axis=1) == counts.shape[1]).all()
        return counts[:, 0]

    monkeypatch.setattr(resampling, "_WORK", 100_000)
    monkeypatch.setattr(resampling, "_AT_ONCE", 10_000)
    bootstrap(figures, np.ones(200))
    assert (sum(drawn), max(drawn)) == (500, 50)
    drawn.clear()
    bootstrap(figures, np.ones(5000))
    assert sum(drawn) == 200


def test_macro_f1_leaves_out_classes_that_are_neither_true_nor_said():
    confusion = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert macro_f1(confusion) == (6 / 7 + 8 / 9) / 2
    assert math.isnan(macro_f1(np.zeros((2, 2))))
    low, high = macro_f1_interval(confusion * 20)
    assert 0.8 < low < macro_f1(confusion) < high < 1
    assert macro_f1_interval(np.diag([5, 5])) == (1.0, 1.0)


def answers(random, count, too_sure):
    logits = random.normal(size=(count, 3)) * 2
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)  # as the logits promise
    said = softmax(logits * too_sure)
    sure = said.max(axis=1)
    return (said.argmax(axis=1) == labels) - sure, np.minimum((sure * 10).astype(int), 9)


@pytest.mark.parametrize(("too_sure", "truth"), [(1.0, 0.0), (2.0, None)])
def test_the_interval_of_the_calibration_error_holds_it_though_chance_makes_it_larger(monkeypatch, too_sure, truth):
    monkeypatch.setattr(resampling, "DRAWS", 200)
    random = np.random.default_rng(7)
    if truth is None:
        gaps, bins = answers(random, 200_000, too_sure)
        truth = sum(abs(gaps[bins == b].sum()) for b in range(10)) / len(gaps)
        assert truth > 0.1
    held = [
        low <= truth <= high for low, high in (calibration_interval(*answers(random, 200, too_sure)) for _ in range(60))
    ]
    assert np.mean(held) > 0.87
