"""The recipe: every decision as data, refused where it makes no sense."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.errors import RecipeError
from headstart.recipe import Recipe

RECIPES = st.builds(
    Recipe,
    source=st.text(min_size=1),
    image_size=st.none() | st.tuples(st.integers(16, 2048), st.integers(16, 2048)),
    cut=st.text(min_size=1),
    head_options=st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False, allow_infinity=False)),
    holdout=st.floats(0.05, 0.5),
    folds=st.integers(2, 20),
    max_bad=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)


@given(RECIPES)
def test_a_recipe_comes_back_from_json_as_it_went(recipe):
    assert Recipe.from_dict(json.loads(json.dumps(recipe.as_dict(), allow_nan=False))) == recipe


def test_the_dictionary_holds_every_field():
    assert set(Recipe().as_dict()) == {field.name for field in dataclasses.fields(Recipe)}


def test_what_is_not_given_takes_its_default():
    assert Recipe.from_dict({"seed": 3}) == Recipe(seed=3)
    assert Recipe.from_dict({}) == Recipe()


def test_an_unknown_field_is_refused_with_its_near_match():
    with pytest.raises(RecipeError, match=r"no field 'hed'; it has source, .* Did you mean head?"):
        Recipe.from_dict({"hed": "linear"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prefer": "smal"}, "prefer is auto, small or accurate; got 'smal'. Did you mean small?"),
        ({"prefer": "acurate"}, "Did you mean accurate?"),
        ({"prefer": None}, "got None"),
        ({"holdout": 0.04}, "holdout must lie between 0.05 and 0.5; got 0.04"),
        ({"holdout": 0.6}, "got 0.6"),
        ({"holdout": float("nan")}, "got nan"),
        ({"holdout": "0.2"}, "got '0.2'"),
        ({"holdout": None}, "got None"),
        ({"folds": 1}, "folds must lie between 2 and 20; got 1"),
        ({"folds": 2.5}, "folds must be a whole number; got 2.5"),
        ({"max_bad": -0.1}, "max_bad must lie between 0.0 and 1.0"),
        ({"max_bad": True}, "got True"),
        ({"seed": -1}, "seed must lie between 0 and 4294967295"),
        ({"seed": 1.5}, "seed must be a whole number; got 1.5"),
        ({"image_size": [8, 160]}, "image_size must lie between 16 and 2048; got 8"),
        ({"image_size": [160, 4000]}, "got 4000"),
        ({"image_size": 160}, "image_size must be .height, width.; got 160"),
        ({"image_size": [160]}, r"image_size must be \(height, width\); got \(160,\)"),
        ({"image_size": ["a", 160]}, "image_size must lie between 16 and 2048; got 'a'"),
        ({"augment": "flips"}, "augment 'flips' is not known; .* Did you mean flip"),
        ({"fine_tune": "blocks=0"}, "blocks=N with N from 1 on, or the layer .*; got 'blocks=0'"),
        ({"fine_tune": ""}, "fine_tune is auto, off, full, blocks=N"),
        ({"fine_tune_options": {"epoch": 3}}, "fine-tuning has no option 'epoch'; .* Did you mean epochs"),
        ({"fine_tune_options": {"batch_norm": "freeze"}}, "auto, frozen, adapt or batch; got 'freeze'"),
        ({"fine_tune_options": {"epochs": 2.5}}, "epochs of fine-tuning is a whole number between 1 and 1000; got 2.5"),
        ({"fine_tune_options": {"balanced": 1}}, "balanced of fine-tuning is true or false; got 1"),
        ({"fine_tune_options": {"mixup": 0.2, "cutmix": 1.0}}, "mixup or by cutmix"),
        ({"source": 3}, "source must be text; got 3"),
        ({"head": None}, "head must be text; got None"),
        ({"head_options": [1]}, r"head_options must be a mapping; got \[1\]"),
    ],
)
def test_values_that_make_no_sense_are_refused(values, message):
    with pytest.raises(RecipeError, match=message):
        Recipe.from_dict(values)


def test_a_mapping_is_needed():
    with pytest.raises(RecipeError, match="a recipe is a mapping of fields; got 'source: x'"):
        Recipe.from_dict("source: x")
