"""Whether a tuned network is kept, and what is told of it."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart import comparison
from headstart.evaluate import score
from headstart.recipe import Recipe
from headstart.tuning_evidence import Tuning
from headstart.tuning_evidence import verdict as judge
from headstart.tuning_rules import Settings


def compared(first, second):
    """Of answers that are right or wrong as told."""
    labels = np.zeros(len(first), int)

    def answers(right):
        return np.where(np.array(right)[:, None], [0.9, 0.1], [0.1, 0.9])

    return comparison.compare(*(
        score(answers(right), labels, ("a", "b"), split="validation", rows=np.arange(len(labels)))
        for right in (first, second)
    ))  # fmt: skip


def verdict(gained, lost, of=200, differences=(0.1, 0.1)):
    """So many pictures right by the tuned alone and by the frozen alone; mean and deviation of the loss that it has
    less."""
    first = np.array([True] * gained + [False] * lost + [True] * (of - gained - lost))
    second = np.array([False] * gained + [True] * lost + [True] * (of - gained - lost))
    mean, deviation = differences
    spread = np.resize([-1.0, 1.0], of) * deviation + mean
    return judge(compared(first, second), spread)


@pytest.mark.parametrize(
    ("gained", "lost", "differences", "kept", "why"),
    [
        (20, 2, (0.1, 0.1), True, "by accuracy"),
        (20, 2, (-0.1, 0.1), True, "by accuracy"),  # more pictures right, whatever the loss
        (2, 20, (0.5, 0.1), False, "fewer pictures right"),
        (3, 2, (0.1, 0.1), True, "more than noise"),
        (0, 0, (0.1, 0.1), True, "more than noise"),
        (2, 3, (0.1, 0.1), False, "fewer pictures right"),
        (3, 2, (0.01, 1.0), False, "may be noise"),
        (0, 0, (0.0, 0.0), False, "may be noise"),
        (3, 2, (-0.1, 0.1), False, "may be noise"),
    ],
)
def test_it_is_kept_where_it_is_better_by_more_than_noise(gained, lost, differences, kept, why):
    found, said = verdict(gained, lost, differences=differences)
    assert found is kept
    assert why in said


@given(st.integers(0, 60), st.integers(0, 60), st.floats(-1, 1), st.floats(0, 1))
def test_what_names_fewer_pictures_right_is_never_kept(gained, lost, mean, deviation):
    kept, _ = verdict(gained, lost, differences=(mean, deviation))
    assert not (kept and gained < lost)
    assert not (kept and gained == lost and mean <= 0)


def test_what_was_not_tried_is_told_as_frozen():
    found = Tuning("auto", False, "there are few pictures")
    assert found.words == "The network stays frozen: there are few pictures."
    assert found.decided == {"fine_tune": "off", "fine_tune_options": {}}
    assert json.loads(json.dumps(found.as_dict()))["kept"] is False


def test_what_was_kept_is_a_recipe_that_does_the_same():
    settings = Settings(epochs=3, budget=60.0, find_rate=True)
    for boundary in (None, "block5"):
        found = Tuning("auto", True, "", boundary, 2, settings, kept=True).decided
        assert found["fine_tune"] == (boundary or "full")
        assert Recipe(**found).fine_tune_options["epochs"] == 3
        assert not {"budget", "find_rate"} & set(found["fine_tune_options"])
        assert found["fine_tune_options"]["refit"] is False
        again = Tuning("auto", True, "", boundary, 2, settings, kept=True, on_all=90).decided
        assert again["fine_tune_options"]["refit"] is True
    assert Tuning("auto", True, "", "b", 2, settings, kept=False).decided["fine_tune"] == "off"
