"""The weighted mean of heads, each on some of the features."""

import dataclasses
import json

import numpy as np
import pytest

from headstart import heads
from headstart.errors import RecipeError
from headstart.heads import HeadData, Validated, apply, blend, log_loss, softmax
from headstart.recipe import Recipe

PARTS = (5, 3, 12)
MEMBERS = [
    {"head": "ridge", "scaling": "layers", "parts": [0, 2], "weight": 0.6},
    {"head": "linear", "scaling": "features", "parts": [1], "weight": 0.3},
    {"head": "prototype", "weight": 0.1},
]


def clouds(count: int = 60, *, classes: int = 3, spread: float = 2.0, seed: int = 0) -> HeadData:
    """Overlapping clouds on the features of three outputs, of very different scales."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    X = random.normal(size=(classes, sum(PARTS)))[labels] + spread * random.normal(size=(count, sum(PARTS)))
    X = X * random.uniform(0.05, 8, sum(PARTS)) + random.uniform(-3, 3, sum(PARTS))
    return HeadData(X.astype(np.float32), labels, classes, np.arange(count) // classes % 5, seed, parts=PARTS)


def part(data: HeadData, columns: list[int], parts: tuple[int, ...]) -> HeadData:
    return dataclasses.replace(data, features=data.features[:, columns], parts=parts)


def logits(head: heads.Head, data: HeadData) -> np.ndarray:
    (layer,) = head.layers
    found: np.ndarray = data.features @ layer.kernel + layer.bias
    return found


def answered(losses: np.ndarray, labels: np.ndarray, head: str = "ridge") -> Validated:
    """What a head of known losses out of fold says of two classes."""
    right = np.exp(-losses)
    out = np.empty((len(labels), 2), np.float32)
    out[np.arange(len(labels)), labels], out[np.arange(len(labels)), 1 - labels] = right, 1 - right
    return Validated(head, {"scaling": "features"}, np.arange(len(labels)), out)


def weights(found: Validated) -> dict[str, float]:
    return {each["head"]: each["weight"] for each in found.settings["members"]}


@pytest.mark.parametrize("scaling", ["features", "layers"])
def test_it_is_the_mean_of_the_logits_of_ridge_and_linear_where_nothing_else_is_said(scaling):
    data = clouds()
    head, *members = (heads.find(name).fit(data, options={"scaling": scaling}) for name in ("blend", "ridge", "linear"))
    assert len(head.layers) == 1
    wanted = np.mean([logits(member, data) for member in members], axis=0)
    np.testing.assert_allclose(head.predict(data.features), softmax(wanted), atol=1e-4)
    logs = np.mean([np.log(member.out_of_fold) for member in members], axis=0)
    np.testing.assert_allclose(head.out_of_fold, softmax(logs), atol=1e-4)
    assert weights(heads.find("blend").validate(data, {})) == {"ridge": 0.5, "linear": 0.5}


def test_members_have_their_own_weight_scaling_and_outputs():
    data = clouds()
    head = blend.fit(data, options={"members": MEMBERS})
    members = [
        (part(data, [*range(5), *range(8, 20)], (5, 12)), "ridge", {"scaling": "layers"}, 0.6),
        (part(data, [5, 6, 7], (3,)), "linear", {}, 0.3),
        (data, "prototype", {}, 0.1),
    ]
    fitted = [(heads.find(name).fit(some, options=options), some, weight) for some, name, options, weight in members]
    wanted = sum(weight * logits(each, some) for each, some, weight in fitted)
    np.testing.assert_allclose(head.predict(data.features), softmax(wanted), atol=1e-4)
    logs = sum(weight * np.log(each.out_of_fold) for each, _, weight in fitted)
    np.testing.assert_allclose(head.out_of_fold, softmax(logs), atol=1e-4)


def test_it_is_told_in_a_recipe_what_it_is_made_of_and_is_the_same_again():
    data = clouds()
    head = blend.fit(data, options={"members": MEMBERS})
    recipe = Recipe(head="blend", head_options=head.options)
    options = Recipe.from_dict(json.loads(json.dumps(recipe.as_dict()))).head_options
    again = blend.fit(data, options=options)
    np.testing.assert_allclose(again.predict(data.features), head.predict(data.features), atol=5e-3)
    by_itself = heads.find("auto").fit(data, options=options)
    assert by_itself.name == "blend"
    np.testing.assert_array_equal(by_itself.layers[0].kernel, again.layers[0].kernel)


@pytest.mark.parametrize("taken_apart", [False, True])
def test_what_was_averaged_is_told_with_its_outputs_and_is_the_same_again(taken_apart):
    """A blend among those that are averaged is taken apart, and its members are still given what it was given."""
    data = clouds(spread=4)
    narrow = part(data, [5, 6, 7], (3,))
    some = [heads.find(name).validate(narrow, {}) for name in ("ridge", "linear")]
    some = [blend.mean(some)] if taken_apart else some
    whole = heads.find("ridge").validate(data, {})
    every = [*(dataclasses.replace(each, parts=(1,)) for each in some), dataclasses.replace(whole, parts=(0, 1, 2))]
    found = blend.average(every, data.labels, np.ones(60, bool))
    assert {(each["head"], *each["parts"]) for each in found.settings["members"]} == {
        ("ridge", 1), ("linear", 1), ("ridge", 0, 1, 2),
    }  # fmt: skip
    head = blend.fit(dataclasses.replace(data, validated=found))
    again = blend.fit(data, options=head.options)
    np.testing.assert_allclose(again.predict(data.features), head.predict(data.features), atol=5e-3)
    np.testing.assert_allclose(again.out_of_fold, head.out_of_fold, atol=0.02)


def test_the_head_that_is_left_to_pictures_of_several_outputs_is_told_so_that_it_is_the_same_again():
    data = clouds(spread=4)
    tried = [heads.find(name).validate(data, {}) for name in ("ridge", "linear")]
    found = blend.average([*tried, blend.mean(tried)], data.labels, np.ones(60, bool))
    head = blend.fit(dataclasses.replace(data, validated=found))
    again = blend.fit(data, options=head.options)
    np.testing.assert_allclose(again.predict(data.features), head.predict(data.features), atol=5e-3)


# ---- what each weighs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("errors", [0.0, 0.5, 2.0])
def test_each_weighs_what_its_loss_out_of_fold_says_of_it(errors):
    labels = np.arange(400) % 2
    even = np.full(400, 0.3)
    step = np.where(np.arange(400) // 2 % 2 == 0, 0.1, -0.1)
    more = even + step + errors * 0.1 / 20
    found = blend.average([answered(even, labels), answered(more, labels, "linear")], labels, np.ones(400, bool))
    assert weights(found)["linear"] / weights(found)["ridge"] == pytest.approx(np.exp(-errors), rel=0.02)
    assert sum(weights(found).values()) == pytest.approx(1, abs=1e-5)


def test_what_is_worse_beyond_doubt_has_no_say():
    labels = np.arange(400) % 2
    noise = 0.1 * np.random.default_rng(0).random(400)
    some = [answered(0.3 + noise, labels), answered(0.6 + noise[::-1], labels, "linear")]
    found = blend.average(some, labels, np.ones(400, bool))
    assert weights(found) == {"ridge": 1.0}
    np.testing.assert_allclose(found.out_of_fold, some[0].out_of_fold, atol=1e-5)


def test_there_are_no_more_members_than_there_may_be():
    labels = np.arange(400) % 2
    random = np.random.default_rng(0)
    some = [
        dataclasses.replace(answered(0.3 + 0.1 * random.random(400), labels), parts=(number,))
        for number in range(blend.MOST + 4)
    ]
    assert len(blend.average(some, labels, np.ones(400, bool)).members) <= blend.MOST


def test_the_mean_of_what_errs_differently_is_better_than_each():
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 2000)
    logit = np.where(labels == 1, 1.0, -1.0)
    some = []
    for name in ("ridge", "linear"):
        z = logit + 1.5 * random.normal(size=2000)
        out = np.c_[1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))].astype(np.float32)
        some.append(Validated(name, {}, np.arange(2000), out))
    found = blend.average(some, labels, np.ones(2000, bool))
    assert log_loss(found.out_of_fold, labels) < min(log_loss(each.out_of_fold, labels) for each in some) - 0.02


def test_rows_that_nothing_can_be_said_of_decide_nothing():
    labels = np.arange(400) % 2
    even, known = np.full(400, 0.3), np.arange(400) < 300
    step = np.where(np.arange(400) // 2 % 2 == 0, 0.1, -0.1)
    more = np.where(known, even + step + 0.1 / 300**0.5, 9.0)
    found = blend.average([answered(even, labels), answered(more, labels, "linear")], labels, known)
    assert weights(found)["linear"] / weights(found)["ridge"] == pytest.approx(np.exp(-1), rel=0.02)


def test_it_is_judged_on_the_rows_that_all_members_answered():
    data = clouds()
    one, other = (heads.find(name).validate(data, {}) for name in ("ridge", "linear"))
    some = dataclasses.replace(one, rows=one.rows[10:], out_of_fold=one.out_of_fold[10:])
    both, whole = blend.mean([some, other]), blend.mean([one, other])
    assert both.rows.tolist() == list(range(10, 60))
    np.testing.assert_array_equal(both.out_of_fold, whole.out_of_fold[10:])


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 1.0}, "the blend head has no option 'strength'; it has members, scaling"),
        ({"scaling": "layer"}, "Did you mean layers"),
        ({"members": []}, "a list of 1 to 8 mappings"),
        ({"members": [{"head": "ridge"}] * 9}, "a list of 1 to 8 mappings"),
        ({"members": "ridge"}, "a list of 1 to 8 mappings"),
        ({"members": ["ridge"]}, "a mapping of head, scaling, strength, parts, weight"),
        ({"members": [{"weight": 1.0}]}, "a mapping of head, scaling, strength, parts, weight"),
        ({"members": [{"head": "ridge", "wieght": 1.0}]}, "a mapping of head, scaling, strength, parts, weight"),
        ({"members": [{"head": "blend"}]}, "is ridge, linear or prototype; got 'blend'"),
        ({"members": [{"head": "dense"}]}, "is ridge, linear or prototype; got 'dense'"),
        ({"members": [{"head": "rigde"}]}, "Did you mean ridge"),
        ({"members": [{"head": "ridge", "weight": 0}]}, "above 0 and not above 1; got 0"),
        ({"members": [{"head": "ridge", "weight": True}]}, "got True"),
        ({"members": [{"head": "ridge", "scaling": "layer"}]}, "Did you mean layers"),
    ],
)
def test_what_no_blend_can_be_made_of_is_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        blend.shape(3, options)


@pytest.mark.parametrize("parts", [[3], [-1], [0.5]])
def test_outputs_that_there_are_not_are_refused(parts):
    with pytest.raises(RecipeError, match="places of outputs, 0 to 2"):
        blend.fit(clouds(), options={"members": [{"head": "ridge", "parts": parts}]})


def test_it_is_finished_without_what_was_left_of_the_cross_validation():
    data = clouds()
    found = blend.validate(data, {"members": MEMBERS})
    one, other = (blend.finish(data, each) for each in (found, found.without_state()))
    np.testing.assert_allclose(apply(one, data.features), apply(other, data.features), atol=0.01)
