"""What fine-tuning does where nobody says otherwise, and what is refused."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart import tuning_rules
from headstart.errors import RecipeError
from headstart.tuning_rules import (
    ADAPT,
    BATCH,
    FROZEN,
    Settings,
    affordable,
    check_how,
    check_options,
    momentum_for,
    rate,
    settings_for,
    why_not_again,
    worth,
)

# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("epochs", 0, "epochs of fine-tuning is a whole number between 1 and 1000; got 0"),
        ("epochs", 2.5, "whole number"),
        ("epochs", True, "whole number"),
        ("batch_size", 5000, "between 1 and 4096"),
        ("learning_rate", float("nan"), "a number between 1e-07 and 1; got nan"),
        ("learning_rate", "fast", "a number"),
        ("learning_rate", None, "a number"),
        ("layer_decay", 1.5, "between 0.1 and 1"),
        ("label_smoothing", -0.1, "between 0 and 0.5"),
        ("budget", 0.5, "budget of fine-tuning is a number between 1"),
        ("balanced", 1, "balanced of fine-tuning is true or false; got 1"),
        ("find_rate", "yes", "true or false"),
        ("batch_norm", "frozn", "auto, frozen, adapt or batch; got 'frozn'. Did you mean frozen?"),
        ("batch_norm", None, "auto, frozen, adapt or batch"),
    ],
)
def test_a_value_that_is_none_is_refused(name, value, words):
    with pytest.raises(RecipeError) as error:
        check_options({name: value})
    assert words in str(error.value)


@pytest.mark.parametrize(("name", "meant"), [("epoch", "epochs"), ("batchnorm", "batch_norm"), ("lr", ""), (3, "")])
def test_an_option_that_there_is_not_is_named_with_those_that_look_like_it(name, meant):
    with pytest.raises(RecipeError, match="fine-tuning has no option") as error:
        settings_for(100, [50, 50], given={name: 1})
    assert ("Did you mean" in str(error.value)) == bool(meant)
    assert f"Did you mean {meant}" in str(error.value) or not meant
    assert "weight_decay" in str(error.value)


def test_two_ways_of_mixing_are_one_too_many():
    with pytest.raises(RecipeError, match="set one of them to 0"):
        check_options({"mixup": 0.2, "cutmix": 1.0})


@pytest.mark.parametrize("how", ["auto", "off", "full", "blocks=3", "block_13_project_BN"])
def test_what_can_be_meant_is_taken(how):
    check_how(how)


@pytest.mark.parametrize("how", ["", "  ", "blocks=", "blocks=0", "blocks=-1", "blocks=two", "blocks=²", "blocks=1.5"])
def test_what_nothing_is_meant_by_is_refused(how):
    with pytest.raises(RecipeError, match=r"blocks=N with N from 1 on"):
        check_how(how)


# ---- what suits a data set ------------------------------------------------------------------------------------------


def test_every_field_can_be_given_and_stays():
    told = {
        "epochs": 3, "batch_size": 8, "learning_rate": 0.01, "layer_decay": 0.5, "warmup": 0.2, "label_smoothing": 0.05,
        "weight_decay": 0.1, "clip_norm": 2.0, "batch_norm": "batch", "momentum": 0.7, "patience": 1, "balanced": True,
        "mixup": 0.2, "cutmix": 0.0, "ema": 0.9, "find_rate": True, "refit": False, "budget": 60.0,
    }  # fmt: skip
    found = settings_for(100, [50, 50], given=told)
    assert found.as_dict() == told
    assert settings_for(100, [50, 50], given=json.loads(json.dumps(found.as_dict()))) == found


def test_automatic_normalisation_is_what_was_decided():
    assert settings_for(100, [50, 50], batch_norm=ADAPT, given={"batch_norm": "auto"}).batch_norm == ADAPT
    assert settings_for(100, [50, 50], batch_norm=ADAPT, given={"batch_norm": FROZEN}).learning_rate == 3e-4
    assert settings_for(100, [50, 50], batch_norm=ADAPT).learning_rate == 1e-3


@given(st.integers(1, 2_000_000), st.lists(st.integers(0, 10**6), max_size=20), st.sampled_from([FROZEN, ADAPT, BATCH]))
def test_what_suits_is_in_range_and_whole(pictures, counts, norm):
    found = settings_for(pictures, counts, batch_norm=norm)
    assert 3 <= found.epochs <= 40
    assert found.batch_norm == norm
    assert not (found.mixup and found.cutmix)


def test_rare_classes_weigh_more_where_they_are_rare():
    assert settings_for(600, [500, 100]).balanced
    assert not settings_for(599, [499, 100]).balanced
    assert settings_for(500, [500, 0]).balanced


def test_momentum_follows_the_epochs_that_are_asked_for():
    assert settings_for(3200, [1600, 1600], given={"epochs": 1}).momentum == momentum_for(100)
    assert settings_for(3200, [1600, 1600], given={"epochs": 4}).momentum == momentum_for(400)


def test_a_set_without_classes_is_not_smoothed():
    assert settings_for(100, []).label_smoothing == 0.0
    assert settings_for(100, [50, 50]).label_smoothing == 0.1


def test_mixing_that_is_asked_for_takes_the_place_of_the_usual_one():
    assert settings_for(20_000, [10_000] * 2).mixup == 0.1
    found = settings_for(20_000, [10_000] * 2, given={"cutmix": 1.0})
    assert (found.mixup, found.cutmix) == (0.0, 1.0)


# ---- schedule, budget, promise --------------------------------------------------------------------------------------


@given(st.integers(1, 3000), st.floats(0, 0.5))
def test_the_rate_rises_to_its_peak_and_falls_to_nearly_nothing(steps, warmup):
    rates = [rate(step, steps, peak=1.0, warmup=warmup) for step in range(steps)]
    top = rates.index(max(rates))
    assert 0 < min(rates) <= max(rates) <= 1
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert abs(top + 1 - max(1, round(warmup * steps))) <= 1
    assert steps < 20 or rates[-1] < 0.02


@given(st.integers(1, 1000), st.floats(0, 1e4), st.floats(0, 1e5), st.none() | st.floats(1, 1e9))
def test_no_more_epochs_are_planned_than_fit(epochs, each, spent, budget):
    planned = affordable(epochs, epoch_seconds=each, spent=spent, budget=budget)
    assert 0 <= planned <= epochs
    if budget is None:
        assert planned == epochs
    else:
        assert planned == 0 or planned * each <= (budget - spent) * (1 + 1e-9)
        assert planned == epochs or (planned + 1) * max(each, 1e-9) > (budget - spent) * (1 - 1e-9)


def test_a_budget_that_is_spent_has_room_for_nothing():
    assert affordable(8, epoch_seconds=1.0, spent=100.0, budget=60.0) == 0


@pytest.mark.parametrize(
    ("judged", "error", "few", "tries"),
    [(400, 0.014, False, False), (256, 0.13, False, True), (256, 0.13, True, False), (0, 1.0, False, False),
     (12, 1.0, False, True), (11, 1.0, False, False), (100, 0.0, False, False)],
)  # fmt: skip
def test_tuning_is_worth_it_where_half_the_mistakes_would_show(judged, error, few, tries):
    found = worth(judged, error, few=few, near=False)
    assert worth(judged, error, few=few) == found
    assert worth(judged * 2, error, few=few, near=True).tries is tries  # there a quarter of them has to show
    assert found.tries is tries
    assert found.why[0].islower()
    assert not found.why.endswith(".")
    if not few:
        assert f"{judged:,}" in found.why


def test_the_defaults_are_within_their_own_ranges():
    assert Settings().as_dict().keys() == {
        *tuning_rules._RANGES, "batch_norm", "balanced", "find_rate", "refit",
    }  # fmt: skip


def test_what_is_kept_is_trained_once_more_unless_something_speaks_against_it():
    usual = {"apart": False, "wrong": 25, "epochs": 6, "seconds": 100.0, "left": 700.0}
    for change, words in (
        ({}, ""), ({"wrong": None}, ""), ({"left": math.inf}, ""), ({"apart": True}, "kept apart"),
        ({"wrong": 5}, "names 5 of the judging pictures wrong"), ({"wrong": 6}, ""),
        ({"epochs": 0}, "no epoch was better"),
        ({"seconds": 800.0}, "that would take 800 s, and 700 s are left"), ({"left": -5.0}, "0 s are left"),
    ):  # fmt: skip
        found = why_not_again(Settings(), **{**usual, **change})
        assert words in found, change
        assert bool(words) == bool(found), change
    assert why_not_again(Settings(refit=False), **usual) == "that was asked for"
