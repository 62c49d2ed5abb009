"""Likely wrong labels, from probabilities alone."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.suspects import LEAST, suspects


def answers(truth: np.ndarray, classes: int, sure: float, seed: int) -> np.ndarray:
    """Probabilities as a fair classifier gives them: mostly the truth's, more or less."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(truth), classes))
    logits[np.arange(len(truth)), truth] += sure
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(3))
def test_swapped_labels_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(3), 300)
    labels = truth.copy()
    swapped = rng.choice(900, 30, replace=False)
    labels[swapped] = (labels[swapped] + rng.integers(1, 3, 30)) % 3
    found = suspects(answers(truth, 3, 6.0, seed), labels)
    rows = [each.row for each in found]
    right = len(set(rows) & set(swapped.tolist()))
    assert right >= 27
    assert right / len(rows) >= 0.8
    for each in found:
        assert each.label == labels[each.row]
        assert each.other == truth[each.row] or each.row not in swapped
        assert each.instead > each.given
    margins = [each.given - each.instead for each in found]
    assert margins == sorted(margins)


def test_right_labels_are_left_alone() -> None:
    truth = np.repeat(np.arange(4), 100)
    assert suspects(answers(truth, 4, 9.0, 0), truth) == ()


def test_a_class_that_is_seldom_sure_has_a_lower_threshold() -> None:
    """Class 1 never reaches 0.6, and still its picture among those of class 0 stands out."""
    probabilities = np.array([[0.95, 0.05]] * 50 + [[0.42, 0.58]] * 50)
    labels = np.repeat([0, 1], 50)
    labels[60] = 0
    assert [each.row for each in suspects(probabilities, labels)] == [60]


def test_hard_pictures_are_not_called_wrong() -> None:
    """They lean to the other class, and no further than that class's own threshold."""
    probabilities = np.array([[0.95, 0.05]] * 50 + [[0.05, 0.95]] * 50)
    labels = np.repeat([0, 1], 50)
    probabilities[:5] = [0.4, 0.6]
    assert suspects(probabilities, labels) == ()


def test_small_classes_are_neither_judged_nor_offered() -> None:
    truth = np.array([0] * 40 + [1] * 40 + [2] * (LEAST - 1))
    labels = truth.copy()
    labels[0], labels[-1] = 2, 0
    probabilities = answers(truth, 3, 9.0, 1)
    assert suspects(probabilities, labels) == ()
    found = suspects(probabilities, labels, least=LEAST - 1)
    assert {(each.row, each.other) for each in found} == {(0, 0), (len(labels) - 1, 2)}
    assert suspects(probabilities[:60], labels[:60], least=30) == ()


def test_as_many_as_the_joint_says() -> None:
    """Two of a hundred reach the other's threshold, so two are named, the furthest off."""
    probabilities = np.array([[0.9, 0.1]] * 100 + [[0.1, 0.9]] * 100)
    labels = np.repeat([0, 1], 100)
    probabilities[:2], probabilities[2:8] = [0.02, 0.98], [0.3, 0.7]
    found = suspects(probabilities, labels)
    assert [each.row for each in found] == [0, 1]
    assert (found[0].given, found[0].instead) == (0.02, 0.98)


def test_where_classes_lie_far_apart_a_clear_case_is_enough() -> None:
    probabilities = np.array([[0.999, 0.001]] * 50 + [[0.001, 0.999]] * 50)
    labels = np.repeat([0, 1], 50)
    probabilities[3], probabilities[4] = [0.04, 0.96], [0.06, 0.94]
    assert [each.row for each in suspects(probabilities, labels)] == [3]
