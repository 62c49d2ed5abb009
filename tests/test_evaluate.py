"""From probabilities to figures."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headstart.evaluate import Rate, score
from headstart.intervals import wilson

CLASSES = ("ant", "bee", "cat")
PROBABILITIES = np.array(
    [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.05, 0.9, 0.05], [0.5, 0.25, 0.25]]
)
LABELS = np.array([0, 1, 1, 0, 0, 0])


@pytest.fixture
def evaluation():
    return score(PROBABILITIES, LABELS, CLASSES, split="test")


def test_the_confusion_has_the_truth_in_rows(evaluation):
    assert evaluation.confusion.tolist() == [[2, 2, 0], [1, 1, 0], [0, 0, 0]]


def test_the_accuracy_has_its_interval_its_n_and_its_split(evaluation):
    low, high = wilson(3, 6)
    assert evaluation.accuracy == Rate("test", 0.5, low, high, 6)
    assert str(evaluation.accuracy) == f"0.500 ({low:.3f} to {high:.3f}, n = 6, test)"


def test_the_loss_is_the_mean_cross_entropy(evaluation):
    assert evaluation.loss == pytest.approx(-np.log([0.7, 0.8, 0.3, 0.2, 0.05, 0.5]).mean())


def test_precision_and_recall_of_each_class(evaluation):
    ant, bee, cat = evaluation.per_class
    assert (ant.name, ant.precision, ant.recall, ant.n) == ("ant", pytest.approx(2 / 3), 0.5, 4)
    assert ant.f1 == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert (bee.precision, bee.recall, bee.n) == (pytest.approx(1 / 3), 0.5, 2)
    assert all(math.isnan(value) for value in (cat.precision, cat.recall, cat.f1))


def test_a_class_that_is_never_said_and_one_that_is_never_true():
    never_said = score(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]), ("a", "b"), split="test")
    assert math.isnan(never_said.per_class[1].precision)
    assert (never_said.per_class[1].recall, never_said.per_class[1].f1) == (0, 0)
    never_true = score(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]), ("a", "b"), split="test")
    assert never_true.per_class[1].precision == 0
    assert math.isnan(never_true.per_class[1].recall)


def test_mistakes_come_most_confident_first_and_carry_the_callers_rows():
    evaluation = score(PROBABILITIES, LABELS, CLASSES, split="test", rows=[10, 11, 12, 13, 14, 15])
    assert evaluation.mistakes == ((14, 1, 0.9), (13, 1, 0.7), (12, 0, 0.6))


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy():
    # Ten answers at 0.95 of which 7 are right, ten at 0.65 of which 6 are: gaps of 0.25 and 0.05.
    sure = np.repeat([0.95, 0.65], 10)
    right = np.r_[[True] * 7, [False] * 3, [True] * 6, [False] * 4]
    evaluation = score(np.c_[sure, 1 - sure], (~right).astype(int), ("a", "b"), split="test")
    assert evaluation.calibration_error == pytest.approx(0.15)


def test_certain_answers_fall_in_the_last_bin():
    evaluation = score(np.array([[1.0, 0.0], [0.95, 0.05]]), np.array([1, 0]), ("a", "b"), split="test")
    assert evaluation.calibration_error == pytest.approx(0.975 - 0.5), "one bin of two answers"


def test_no_pictures_give_no_figures():
    evaluation = score(np.zeros((0, 2)), np.zeros(0, int), ("a", "b"), split="test")
    assert math.isnan(evaluation.accuracy.value)
    assert math.isnan(evaluation.loss)
    assert (evaluation.accuracy.low, evaluation.accuracy.high, evaluation.accuracy.n) == (0.0, 1.0, 0)
    assert evaluation.mistakes == ()
    assert evaluation.reliability == ()
    json.dumps({**evaluation.as_dict(), "accuracy": None, "loss": None, "calibration": None}, allow_nan=False)
    assert evaluation.confusion.tolist() == [[0, 0], [0, 0]]


def test_the_dictionary_is_json_with_null_for_what_is_undefined(evaluation):
    told = json.loads(json.dumps(evaluation.as_dict(), allow_nan=False))
    assert set(told) == {"accuracy", "loss", "loss_interval", "macro_f1", "per_class", "confusion", "calibration"}
    assert set(told["accuracy"]) == {"split", "value", "low", "high", "n"}
    assert told["per_class"][2] == {
        "class": "cat", "precision": None, "recall": None, "f1": None, "n": 0, "said": 0,
        "precision_interval": [0.0, 1.0], "recall_interval": [0.0, 1.0],
    }  # fmt: skip
    assert told["per_class"][0]["precision_interval"] == list(wilson(2, 3))
    assert told["per_class"][0]["recall_interval"] == list(wilson(2, 4))
    assert told["macro_f1"]["value"] == pytest.approx((4 / 7 + 2 / 5) / 2)
    assert told["loss_interval"]["low"] < told["loss"] < told["loss_interval"]["high"]
    bins = told["calibration"]["reliability"]
    assert [(row["begin"], row["n"]) for row in bins] == [(0.5, 1), (0.6, 1), (0.7, 2), (0.8, 1), (0.9, 1)]
    assert (bins[2]["probability"], bins[2]["right"]) == (pytest.approx(0.7), 0.5)
    assert told["confusion"] == [[2, 2, 0], [1, 1, 0], [0, 0, 0]]


def test_too_few_pictures_have_figures_without_intervals():
    told = score(PROBABILITIES[:4], LABELS[:4], CLASSES, split="test").as_dict()
    assert told["loss_interval"] == {"low": None, "high": None}
    assert (told["macro_f1"]["low"], told["calibration"]["low"]) == (None, None)
    assert told["accuracy"]["low"] > 0


def test_a_notebook_shows_names_escaped():
    page = score(PROBABILITIES, LABELS, ("<b>", "bee", "cat"), split="test")._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


@settings(max_examples=50)
@given(st.data())
def test_the_figures_agree_with_each_other(data):
    count, classes = data.draw(st.integers(1, 30)), data.draw(st.integers(2, 5))
    raw = data.draw(arrays.arrays(np.float32, (count, classes), elements=st.floats(1 / 64, 1, width=32)))
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)))
    evaluation = score(raw / raw.sum(axis=1, keepdims=True), labels, [f"c{i}" for i in range(classes)], split="test")
    assert evaluation.confusion.sum() == count
    assert evaluation.confusion.sum(axis=1).tolist() == [figures.n for figures in evaluation.per_class]
    assert len(evaluation.mistakes) == round(count * (1 - evaluation.accuracy.value))
    sure = [probability for _, _, probability in evaluation.mistakes]
    assert sure == sorted(sure, reverse=True)
    assert 0 <= evaluation.calibration_error <= 1
    assert evaluation.loss >= 0
    recalled = sum(f.recall * f.n for f in evaluation.per_class if f.n)
    assert recalled / count == pytest.approx(evaluation.accuracy.value)


def test_probabilities_that_are_no_numbers_give_figures_and_no_crash():
    found = score(np.full((4, 2), np.nan), np.array([0, 1, 0, 1]), ["a", "b"], split="test")
    assert found.accuracy.n == 4
    assert found.reliability[0].n == 4
