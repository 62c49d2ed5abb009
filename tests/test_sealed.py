"""What figures say of the pictures behind them: how often they were looked at, and which were trained on."""

import hashlib

import numpy as np
import pytest

from headstart import sealed
from headstart.evaluate import Rate, score
from headstart.heads import Layer
from headstart.intervals import wilson
from headstart.ledger import Opening
from headstart.membership import remember

DIGESTS = [hashlib.sha256(bytes([number])).digest() for number in range(8)]
LABELS = np.arange(8) % 2
RATE = Rate("test", 0.98, *wilson(980, 1000), 1000)


@pytest.fixture(autouse=True)
def _own_cache(fresh_cache):
    return fresh_cache


def measured(trained, *, right=None, model="m"):
    answers = LABELS if right is None else np.where(right, LABELS, 1 - LABELS)
    facts = {} if trained is None else {"provenance": {"trained_on": remember(trained, "set").as_dict()}}
    return sealed.measure(
        np.eye(2)[answers], LABELS, ("a", "b"), split="test", rows=np.arange(8), digests=DIGESTS, facts=facts,
        model=model,
    )  # fmt: skip


def test_pictures_that_were_trained_on_are_counted_and_the_rest_has_its_own_figures():
    found = measured(DIGESTS[:6], right=[True] * 6 + [True, False])
    assert found.accuracy.value == 7 / 8
    assert (found.seen.trained, found.seen.n) == (6, 8)
    assert (found.unseen.accuracy.value, found.unseen.accuracy.n, found.unseen.accuracy.split) == (
        0.5, 2, "not trained on",
    )  # fmt: skip
    assert found.unseen.mistakes[0][0] == 7
    assert found.outcomes.trained.tolist() == [True] * 6 + [False] * 2
    text = sealed.on_training(found)
    assert "trained on 6 of these 8 pictures, so the figure is too good. On the others: accuracy 0.500" in text
    assert found.notes[0] == text
    assert found.notes[1].startswith("1st look at these 2 pictures")
    assert "so the figure is too good" in found._repr_html_()
    told = found.as_dict()
    assert told["notes"] == list(found.notes)
    assert told["trained_on"] == {"trained": 6, "n": 8, "whole": True}
    assert told["unseen"]["accuracy"]["n"] == 2


def test_only_pictures_that_were_not_trained_on_are_a_test_set():
    assert measured(DIGESTS).opened is None
    assert sealed.on_training(measured(DIGESTS)).startswith("The model was trained on all 8: the figure says")
    whole = measured(DIGESTS[:6])
    assert whole.opened.look == 1
    assert sealed.record(DIGESTS[6:], model="m", command="train").look == 2


def test_other_pictures_bring_no_warning():
    found = measured([hashlib.sha256(b"other").digest()])
    assert (found.seen.trained, found.unseen) == (0, None)
    assert sealed.on_training(found) == ""
    assert found.notes == (sealed.on_looks(found.opened, found.accuracy),)


def test_a_model_that_does_not_say_what_it_was_trained_on():
    found = measured(None)
    assert (found.seen, found.unseen, found.opened.look) == (None, None, 1)
    assert sealed.on_training(found) == ""
    assert "trained_on" not in found.as_dict()
    assert measured(None, model="other").opened.models == 2


def test_a_sample_of_the_training_pictures_gives_a_lower_bound(monkeypatch):
    monkeypatch.setattr("headstart.membership.MOST", 3)
    text = sealed.on_training(measured(DIGESTS[:6]))
    assert "trained on at least 3 of these 8" in text


@pytest.mark.parametrize(
    ("look", "models", "words"),
    [
        (1, 1, "1st look at these 1,000 pictures: no earlier figure"),
        (2, 1, "2nd look at these 1,000 pictures, at the same model each time"),
        (17, 9, "17th look at these 1,000 pictures, at 9 models: if the best of them is kept"),
    ],
)
def test_the_words_on_looks(look, models, words):
    assert sealed.on_looks(Opening(look, models, 0.0, "x"), RATE).startswith(words)


def test_many_models_may_flatter_the_best_by_what_chance_gives_the_best_of_so_many():
    def points(models):
        return float(sealed.on_looks(Opening(40, models, 0.0, "x"), RATE).split("about ")[1].split(" points")[0])

    # The best of 9 normal draws lies 1.49 deviations up on average (Harter 1961); the words give an upper bound.
    deviation = 100 * (0.98 * 0.02 / 1000) ** 0.5
    assert 1.49 * deviation < points(9) < 2.3 * deviation
    assert points(2) < points(9) < points(100)


def test_where_the_ledger_cannot_know_the_words_say_so():
    text = sealed.on_looks(Opening(None, None, None, "x", "the disk is full"), RATE)
    assert "is not known: the disk is full" in text
    assert sealed.on_looks(None, RATE) == ""


def test_a_model_has_one_name_for_what_it_computes():
    layer = Layer(np.eye(2, dtype=np.float32), np.zeros(2, np.float32), "softmax")
    other = Layer(np.eye(2, dtype=np.float32), np.array([0, 1e-3], np.float32), "softmax")
    names = {sealed.model_name([layer], ["x"]), sealed.model_name([other], ["x"]), sealed.model_name([layer], ["y"])}
    assert len(names) == 3
    assert sealed.model_name([Layer(np.asfortranarray(layer.kernel), layer.bias)], ["x"]) in names
    assert score(np.eye(2), np.array([0, 1]), ("a", "b"), split="test").opened is None


def test_a_look_at_some_of_the_pictures_before_is_told():
    sealed.record(DIGESTS[:5], model="other", command="train")
    (text,) = measured(None).notes
    assert text.startswith("2nd look at some of these 8 pictures (5 were in an earlier one), at 2 models")


def test_of_a_sample_of_what_was_trained_on_the_rest_is_no_test_set(monkeypatch):
    monkeypatch.setattr("headstart.membership.MOST", 3)
    found = measured(DIGESTS[:6])
    assert (found.seen.trained, found.seen.whole) == (3, False)
    assert found.unseen is None
    assert found.opened is None
    (text,) = found.notes
    assert "at least 3 of these 8 pictures" in text
    assert "there may be more" in text
