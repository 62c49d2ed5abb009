"""Figures of labels: average precision by its definition, thresholds, intervals, words."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart import thresholds
from headstart.errors import ModelFileError
from headstart.label_figures import average_precisions, score
from headstart.verdict import of_labels


def by_definition(probabilities: np.ndarray, has: np.ndarray) -> float:
    """The sum over thresholds of the gain in recall times precision."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(probabilities.tolist()), reverse=True):
        said = probabilities >= threshold
        recall = (said & has).sum() / has.sum()
        total += (recall - before) * (said & has).sum() / said.sum()
        before = recall
    return total


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=25))
def test_average_precision_is_its_definition_whatever_the_order_of_ties(pairs):
    probabilities, has = np.array([p / 6 for p, _ in pairs]), np.array([h for _, h in pairs])
    once = np.ones((1, len(pairs)), np.float32)
    found = average_precisions(once, probabilities, has)[0]
    if not has.any():
        assert np.isnan(found)
        return
    assert found == pytest.approx(by_definition(probabilities, has))
    assert average_precisions(once, probabilities[::-1], has[::-1])[0] == pytest.approx(found)


def test_a_draw_weighs_pictures_as_if_they_were_there_so_often():
    random = np.random.default_rng(0)
    probabilities, has = random.random(12), random.random(12) > 0.5
    drawn = random.integers(0, 3, (4, 12)).astype(np.float32)
    for row, found in zip(drawn, average_precisions(drawn, probabilities, has), strict=True):
        rows = np.repeat(np.arange(12), row.astype(int))
        assert found == pytest.approx(by_definition(probabilities[rows], has[rows]))


def made(count=200, seed=0, skill=2.0):
    random = np.random.default_rng(seed)
    targets = random.random((count, 3)) < [0.5, 0.2, 0.1]
    logits = random.normal(size=(count, 3)) + skill * (targets - 0.5) * [1, 1, 0]
    return 1 / (1 + np.exp(-logits)), targets


def test_figures_are_what_counting_gives():
    probabilities, targets = made()
    found = score(probabilities, targets, ["a", "b", "c"], thresholds=[0.5, 0.4, 0.9], split="test")
    said = probabilities >= [0.5, 0.4, 0.9]
    b = found.per_label[1]
    assert (b.n, b.said, b.right) == (targets[:, 1].sum(), said[:, 1].sum(), (said & targets)[:, 1].sum())
    assert b.precision == pytest.approx(b.right / b.said)
    assert b.recall == pytest.approx(b.right / b.n)
    assert b.f1 == pytest.approx(2 * b.right / (b.said + b.n))
    assert found.exact.value == pytest.approx((said == targets).all(axis=1).mean())
    assert found.decisions == pytest.approx((said == targets).mean())
    assert found.mean_average_precision == pytest.approx(np.mean([f.average_precision for f in found.per_label]))
    assert found.guessing["average_precision"] == pytest.approx(targets.mean(axis=0).mean(), abs=0.04)
    assert found.learnt
    for figures in found.per_label[:2]:
        low, high = figures.average_precision_interval
        assert low < figures.average_precision < high
        assert figures.f1_interval[0] < figures.f1 < figures.f1_interval[1]
        assert figures.found
    assert not found.per_label[2].found
    assert found.loss_interval[0] < found.loss < found.loss_interval[1]


def test_mistakes_are_those_furthest_beyond_their_threshold_first():
    probabilities = np.array([[0.95, 0.1], [0.2, 0.1], [0.6, 0.9]])
    targets = np.array([[0, 0], [1, 0], [1, 1]])
    found = score(probabilities, targets, ["a", "b"], thresholds=[0.5, 0.5], split="test", rows=[7, 8, 9])
    assert [(row, label) for row, label, _ in found.mistakes] == [(7, 0), (8, 0)]


def test_a_label_that_no_picture_has_is_not_known_and_counts_in_no_mean():
    probabilities, targets = made(40)
    targets[:, 2] = False
    found = score(probabilities, targets, ["a", "b", "c"], thresholds=[0.5] * 3, split="test")
    assert np.isnan(found.per_label[2].average_precision)
    assert np.isfinite(found.mean_average_precision)
    assert found.as_dict()["per_label"][2]["average_precision"] == {"value": None, "low": None, "high": None}
    assert "No picture had c" in of_labels(found)


def test_no_picture_and_few_pictures_say_so():
    nothing = score(np.zeros((0, 2)), np.zeros((0, 2)), ["a", "b"], thresholds=[0.5, 0.5], split="test")
    assert "nothing is known" in of_labels(nothing)
    probabilities, targets = made(30, skill=8.0)
    few = score(probabilities, targets, ["a", "b", "c"], thresholds=[0.5] * 3, split="test")
    assert "few pictures" in of_labels(few)


def test_the_verdict_says_where_nothing_was_learnt_and_which_labels_are_doubtful():
    random = np.random.default_rng(3)
    targets = random.random((100, 2)) < 0.3
    blind = score(random.random((100, 2)), targets, ["a", "b"], thresholds=[0.5, 0.5], split="test")
    assert "do not show that anything was learnt" in of_labels(blind)
    probabilities, targets = made(300, skill=4.0)
    said = of_labels(score(probabilities, targets, ["a", "b", "c"], thresholds=[0.5] * 3, split="test"))
    assert "Not surely better than guessing: c." in said
    assert "300 test pictures" in said


def test_guessing_is_taken_for_learning_about_as_seldom_as_is_said():
    learnt, found = 0, 0
    for seed in range(60):
        random = np.random.default_rng(1000 + seed)
        targets = random.random((40, 2)) < 0.3
        blind = score(random.random((40, 2)), targets, ["a", "b"], thresholds=[0.5, 0.5], split="test")
        learnt += blind.learnt
        found += sum(each.found for each in blind.per_label)
    assert learnt <= 5  # of 60, where 1 or 2 are expected
    assert found <= 9  # of 120, where 3 are expected


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    big_p, big_t = made(60_000, seed=9)
    truth = by_definition_fast(big_p[:, 0], big_t[:, 0])
    hits = 0
    for seed in range(40):
        p, t = made(80, seed=seed)
        low, high = (
            score(p, t, ["a", "b", "c"], thresholds=[0.5] * 3, split="x").per_label[0].average_precision_interval
        )
        hits += low <= truth <= high
    assert hits >= 33


def by_definition_fast(probabilities, has):
    return average_precisions(np.ones((1, len(has)), np.float32), probabilities, has)[0]


# ---- thresholds -----------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(25, 80))
def test_no_other_threshold_has_a_greater_f1(seed, count):
    random = np.random.default_rng(seed)
    has = random.random(count) < 0.5
    given_ = np.round(np.clip(random.normal(0.5 + 0.2 * has, 0.2), 0.03, 0.97), 2)
    found = thresholds.choose(given_[:, None], has[:, None], ["a"])
    if not found.chosen[0]:
        assert found.values == (0.5,)
        assert min(has.sum(), count - has.sum()) < thresholds.LEAST
        return

    def f1(threshold):
        said = given_ >= threshold
        return 2 * (said & has).sum() / (said.sum() + has.sum())

    assert f1(found.values[0]) == pytest.approx(found.f1[0])
    assert found.f1[0] >= max(f1(each) for each in given_) - 1e-9


def test_rare_labels_keep_the_usual_threshold_and_the_words_say_so():
    found = thresholds.choose(np.linspace(0, 1, 30)[:, None], np.arange(30)[:, None] > 26, ["rare"])
    assert (found.values, found.chosen) == ((0.5,), (False,))
    assert "rare: 0.5, since fewer than 10" in found.words()
    assert thresholds.usual(["a"]).values == (0.5,)


def test_thresholds_are_read_as_they_were_written():
    found = thresholds.choose(np.linspace(0, 1, 60)[:, None], np.arange(60)[:, None] > 20, ["a"])
    assert thresholds.of_facts(found.as_dict(), ["a"]) == found
    bad = (None, [], {}, {"labels": {}}, {"labels": [{"label": "b", "threshold": 0.5}]})
    for facts in bad:
        with pytest.raises(ModelFileError, match="`thresholds`"):
            thresholds.of_facts(facts, ["a"])
    with pytest.raises(ModelFileError, match="`thresholds`"):
        thresholds.of_facts({"labels": [{"label": "a", "threshold": float("nan")}]}, ["a"])


def test_an_evaluation_is_told_with_what_its_pictures_were_used_for():
    probabilities, targets = made(30)
    found = score(probabilities, targets, ["a", "b", "c"], thresholds=[0.5] * 3, split="test")
    told = dataclasses.replace(found, notes=("A note.",), left_out={"copies": 2}).as_dict()
    assert told["notes"] == ["A note."]
    assert told["left_out"] == {"copies": 2}
    assert told["accuracy"] is None
