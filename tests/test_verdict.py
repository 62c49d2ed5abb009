"""The sentence to take away: each rule, and no more than the figures say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.evaluate import Evaluation, score
from headstart.verdict import verdict


def evaluation(confusion: list[list[int]], classes: tuple[str, ...], split: str = "test") -> Evaluation:
    """An evaluation with just this confusion."""
    table = np.array(confusion)
    labels = np.repeat(np.arange(len(table)), table.sum(axis=1))
    said = np.concatenate([np.repeat(np.arange(len(table)), row) for row in table]).astype(int)
    return score(np.eye(len(table))[said] * 0.9 + 0.1 / len(table), labels, classes, split=split)


def test_the_plain_figure():
    said = verdict(evaluation([[480, 20], [10, 490]], ("cats", "dogs"), split="validation"))
    assert said == "97.0% of 1,000 validation pictures were named right (95 % interval 95.7% to 97.9%)."


def test_the_textile_story():
    classes = ("global", "local", "nominal")
    said = verdict(evaluation([[132, 0, 1], [0, 70, 63], [1, 55, 78]], classes))
    assert "98% of the mistakes are between 'local' and 'nominal', which are hardly told apart" in said
    assert "global" not in said
    assert f"{148 / 267:.1%} of their pictures are right" in said
    assert f"always saying 'nominal' would give {134 / 267:.1%}" in said
    assert "fine-tuning" in said


def test_a_pair_that_is_mixed_up_most_but_still_told_apart_is_not_called_hopeless():
    classes = ("global", "local", "nominal")
    said = verdict(evaluation([[130, 2, 1], [0, 110, 23], [1, 20, 113]], classes))
    assert "hardly told apart" not in said


def test_a_few_mistakes_are_no_story():
    classes = ("global", "local", "nominal")
    assert "hardly told apart" not in verdict(evaluation([[60, 0, 0], [0, 9, 6], [0, 3, 9]], classes))
    assert "hardly told apart" in verdict(evaluation([[60, 0, 0], [0, 9, 6], [0, 4, 8]], classes))


def test_mistakes_that_are_spread_over_many_pairs_are_nobodys_story():
    said = verdict(evaluation([[60, 20, 20], [20, 60, 20], [20, 20, 60]], ("a", "b", "c")))
    assert "hardly told apart" not in said
    assert said.startswith("60.0% of 300 test pictures")


def test_two_classes_have_no_pair_apart_from_the_rest():
    said = verdict(evaluation([[70, 30], [30, 70]], ("a", "b")))
    assert "hardly told apart" not in said


def test_what_always_naming_the_commonest_class_would_reach_is_no_learning():
    said = verdict(evaluation([[88, 2], [9, 1]], ("common", "rare")))
    assert "Always saying 'common' would give 90.0%" in said
    assert "do not show that anything was learnt" in said


def test_a_better_rate_on_too_few_pictures_is_not_yet_shown():
    said = verdict(evaluation([[4, 1], [1, 4]], ("cats", "dogs")))
    assert said.startswith("80.0% of 10 test pictures")
    assert "Always saying 'cats' would give 50.0%, which the interval still holds" in said
    assert said.endswith("Measure on more pictures.")


def test_few_pictures_are_told():
    said = verdict(evaluation([[20, 0], [0, 20]], ("a", "b")))
    assert "few pictures" in said
    assert "few pictures" not in verdict(evaluation([[25, 0], [0, 25]], ("a", "b")))


def test_nothing_to_measure_on():
    assert "nothing is known" in verdict(score(np.zeros((0, 2)), np.zeros(0, int), ("a", "b"), split="test"))


COUNTS = st.integers(0, 30)


@given(st.integers(2, 4).flatmap(lambda n: st.lists(st.lists(COUNTS, min_size=n, max_size=n), min_size=n, max_size=n)))
def test_every_table_has_a_verdict_with_its_figure(confusion):
    result = evaluation(confusion, tuple("abcd"[: len(confusion)]))
    said = verdict(result)
    assert said.endswith(".")
    assert "nan" not in said
    if result.accuracy.n:
        assert said.startswith(f"{result.accuracy.value:.1%} of {result.accuracy.n:,} test pictures")
        learnt = result.accuracy.low > result.confusion.sum(axis=1).max() / result.accuracy.n
        assert ("Always saying" in said) == (not learnt)


@pytest.mark.parametrize("names", [("it's", "b", "c"), ("a" * 60, "b", "c")])
def test_odd_class_names_are_quoted(names):
    assert repr(names[0]) in verdict(evaluation([[50, 50, 0], [50, 50, 0], [0, 0, 300]], names))


def test_the_commoner_of_a_pair_is_counted_over_all_its_pictures():
    said = verdict(evaluation([[45, 25, 30], [45, 45, 0], [0, 0, 200]], ("a", "b", "c")))
    assert f"{90 / 190:.1%} of their pictures are right where always saying 'a' would give {100 / 190:.1%}" in said


def test_a_class_without_a_picture_is_said_to_be_unknown():
    said = verdict(evaluation([[50, 0, 0], [1, 49, 0], [0, 0, 0]], ("a", "b", "c")))
    assert "No picture of c was among them, so nothing is known of how well that is named." in said
