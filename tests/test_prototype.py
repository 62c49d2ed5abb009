"""The head for few pictures: its closed forms against fits that really leave pictures out; which head few get."""

import dataclasses

import numpy as np
import pytest

from headstart import heads
from headstart.errors import RecipeError
from headstart.few import few, folds, merged, told
from headstart.heads import HeadData, prototype
from headstart.heads._scaling import standardised
from headstart.splits import folds as divided


def clouds(count: int, dimensions: int, *, classes: int = 3, spread: float = 1.0, seed: int = 0) -> HeadData:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    X = random.normal(size=(classes, dimensions))[labels] + spread * random.normal(size=(count, dimensions))
    X = X * random.uniform(0.2, 5, dimensions) + random.uniform(-3, 3, dimensions)
    return HeadData(X.astype(np.float32), labels, classes, np.arange(count), seed)


def left_out(X: np.ndarray, labels: np.ndarray, classes: int, shrinkage: float) -> np.ndarray:
    """Squared distances to the class means, each picture by a fit without it, in float64."""
    X = X.astype(np.float64) - X.mean(axis=0)
    found = np.full((len(X), classes), prototype._FAR)
    for row in range(len(X)):
        rest, known = np.delete(X, row, axis=0), np.delete(labels, row)
        counts = np.bincount(known, minlength=classes)
        means = np.array([rest[known == c].mean(axis=0) if counts[c] else np.zeros(X.shape[1]) for c in range(classes)])
        scatter = (rest - means[known]).T @ (rest - means[known])
        freedom = max(len(rest) - int((counts > 0).sum()), 1)
        level = np.trace(scatter) / freedom / X.shape[1] or 1.0
        covariance = (1 - shrinkage) * scatter / freedom + shrinkage * level * np.eye(X.shape[1])
        for label in np.flatnonzero(counts):
            step = X[row] - means[label]
            found[row, label] = step @ np.linalg.solve(covariance, step)
    return found


@pytest.mark.parametrize(("count", "dimensions"), [(12, 40), (30, 8)])  # more dimensions than pictures, and fewer
def test_leaving_one_out_in_closed_form_is_leaving_one_out(count, dimensions):
    data = clouds(count, dimensions)
    spread, shrinkages = prototype._of_span(data.features), (0.05, 0.5, 1.0)
    closed = prototype._left_out(spread, data.labels, 3, shrinkages)
    folded = prototype._held_out(spread, data.labels, np.arange(count), classes=3, shrinkages=shrinkages)
    for shrinkage, one, other in zip(shrinkages, closed, folded, strict=True):
        wanted = left_out(data.features, data.labels, 3, shrinkage)
        np.testing.assert_allclose(one, wanted, rtol=1e-4)
        others = wanted - wanted[:, :1]  # what all classes share does not matter, and is left out
        np.testing.assert_allclose(other - other[:, :1], others, rtol=1e-3, atol=1e-3 * np.abs(others).max())


def test_a_class_of_one_picture_is_not_there_when_that_is_left_out():
    data = clouds(7, 20)
    labels = np.array([0, 0, 0, 1, 1, 1, 2])
    closed = prototype._left_out(prototype._of_span(data.features), labels, 3, (0.3,))[0]
    np.testing.assert_allclose(closed, left_out(data.features, labels, 3, 0.3), rtol=1e-4)
    found = prototype.cross_validate(data.features, labels, np.arange(7), classes=3)
    assert found.measurable.tolist() == [True] * 6 + [False]
    assert np.isfinite(found.out_of_fold).all()


def test_the_layer_is_the_nearest_mean_that_it_says_it_is():
    data = clouds(24, 10)
    head = prototype.fit(data, options={"shrinkage": 0.4})
    X = standardised(data.features)
    means = np.array([X[data.labels == c].mean(axis=0) for c in range(3)])
    rest = X - means[data.labels]
    freedom = 24 - 3
    covariance = 0.6 * rest.T @ rest / freedom + 0.4 * (rest**2).sum() / freedom / 10 * np.eye(10)
    inverse = np.linalg.inv(covariance)
    distances = np.array([[(x - mean) @ inverse @ (x - mean) for mean in means] for x in X])
    logits = distances / (-2 * head.settings["temperature"])
    np.testing.assert_allclose(head.predict(data.features), heads.softmax(logits), atol=1e-4)


def test_both_ways_to_the_layer_agree():
    """With as many dimensions as pictures, one way solves by dimensions; with one more, by pictures."""
    data = clouds(20, 20)
    wider = dataclasses.replace(data, features=np.c_[data.features, np.zeros(20, np.float32)])
    one, other = (prototype.fit(each, options={"shrinkage": 1.0}) for each in (data, wider))
    np.testing.assert_allclose(one.layers[0].kernel / one.layers[0].kernel[:1],
                               other.layers[0].kernel[:20] / other.layers[0].kernel[:1], rtol=1e-3)  # fmt: skip
    assert np.isfinite(other.layers[0].kernel).all()


def test_out_of_fold_figures_are_those_of_pictures_that_were_not_seen():
    noise = clouds(60, 200, classes=2)
    noise = dataclasses.replace(noise, labels=np.random.default_rng(5).permutation(noise.labels))
    head = prototype.fit(noise)
    assert head.accuracy < 0.75
    assert (head.predict(noise.features).argmax(axis=1) == noise.labels).mean() > 0.95
    rows, answers = head.held_out
    assert len(rows) == 60
    assert (answers.argmax(axis=1) == noise.labels).mean() == pytest.approx(head.accuracy)


def test_few_right_answers_do_not_make_it_sure():
    """Six pictures far apart, all right out of fold: no more sure than six pictures can make one."""
    data = clouds(6, 30, classes=2, spread=0.01)
    head = prototype.fit(data)
    assert head.accuracy == 1.0
    assert 0.6 < head.out_of_fold.max() < 0.98


def test_one_picture_a_class_is_enough_and_nothing_is_claimed():
    data = clouds(3, 50)
    head = prototype.fit(data)
    assert np.isnan(head.accuracy)
    assert np.isnan(head.loss)
    answers = head.predict(data.features)
    assert answers.argmax(axis=1).tolist() == [0, 1, 2]
    assert 0.4 < answers.max() < 0.99


@pytest.mark.parametrize("features", [np.ones((8, 5), np.float32), np.zeros((8, 5), np.float16)])
def test_features_that_say_nothing_give_even_odds(features):
    head = prototype.fit(HeadData(features, np.arange(8) % 2, 2, np.arange(8)))
    np.testing.assert_allclose(head.predict(features), 0.5, atol=1e-3)


def test_a_common_class_is_more_probable_where_nothing_speaks_against_it():
    labels = np.array([0] * 12 + [1] * 4)
    head = prototype.fit(HeadData(np.ones((16, 5), np.float32), labels, 2, np.arange(16)))
    np.testing.assert_allclose(head.predict(np.ones((1, 5)))[0], [0.75, 0.25], atol=1e-3)


@pytest.mark.parametrize("options", [{"shrinkage": 0}, {"shrinkage": 1.5}, {"shrinkage": True}, {"shrinkage": "x"}])
def test_a_shrinkage_that_is_none_is_refused(options):
    with pytest.raises(RecipeError, match="above 0 and not above 1"):
        prototype.shape(2, options)


def test_a_misspelt_option_gets_near_matches():
    with pytest.raises(RecipeError, match="Did you mean shrinkage"):
        prototype.shape(2, {"shrinkag": 0.5})


# ---- few ------------------------------------------------------------------------------------------------------------


def test_few_pictures_are_left_out_one_group_at_a_time():
    labels = np.arange(30) % 3
    groups = np.arange(30)
    groups[29] = groups[26]  # two pictures that belong together
    keys = [b"%d" % row for row in range(30)]
    found = folds(labels, groups, keys=keys)
    assert len(np.unique(found)) == 29
    assert found[29] == found[26]
    order = np.random.default_rng(0).permutation(30)
    again = folds(labels[order], groups[order], keys=[keys[row] for row in order])
    np.testing.assert_array_equal(again, found[order])
    assert not np.array_equal(folds(labels, groups, seed=1, keys=keys), found)


def test_folds_that_leave_one_out_are_taken_together_in_fair_tens():
    labels = np.arange(60) % 3
    tens = merged(folds(labels, np.arange(60), keys=[b"%d" % row for row in range(60)]))
    counts = np.array([np.bincount(labels[tens == ten], minlength=3) for ten in range(10)])
    assert counts.min() == counts.max() == 2


def test_rows_that_share_many_folds_are_held_out_in_tens_too():
    data, thirty = clouds(60, 8), np.tile(np.arange(30), 2)  # as two views of thirty pictures are
    found, tens = (
        prototype.cross_validate(data.features, data.labels, fold, classes=3) for fold in (thirty, thirty % 10)
    )
    np.testing.assert_array_equal(found.out_of_fold, tens.out_of_fold)


def test_many_pictures_are_divided_as_ever():
    labels, groups = np.arange(63) % 3, np.arange(63)
    np.testing.assert_array_equal(folds(labels, groups, count=5, seed=3), divided(labels, groups, count=5, seed=3))
    five = np.arange(63) % 5
    assert merged(five) is five


@pytest.mark.parametrize(("each", "wanted"), [(1, True), (20, True), (21, False)])
def test_what_is_few(each, wanted):
    assert few(np.arange(4 * each) % 4) is wanted


# ---- the head that is left to the pictures -------------------------------------------------------------------------


def chosen_of(data: HeadData, names: set[str]) -> heads.Head:
    """The head that is left to the pictures, seen to be the best of these and of their average."""
    head = heads.find("auto").fit(data)
    losses = head.settings["chosen_from"]
    assert set(losses) == {*names, "blend"}
    for name in names:
        alone = heads.find(name).fit(data)
        assert losses[name] == pytest.approx(heads.log_loss(alone.out_of_fold, data.labels))
    assert losses[head.name] == min(losses.values())
    assert heads.log_loss(head.out_of_fold, data.labels) == pytest.approx(losses[head.name])
    again = heads.find(head.name).fit(data, options=head.options)
    np.testing.assert_allclose(again.predict(data.features), head.predict(data.features), atol=5e-3)
    return head


@pytest.mark.parametrize("seed", range(3))
def test_many_pictures_get_the_best_out_of_fold_of_those_that_are_no_prototype(seed):
    chosen_of(clouds(90, 5, seed=seed), {"ridge", "linear"})


def test_few_pictures_may_get_the_prototype_too_and_are_told_what_it_was_chosen_from():
    head = chosen_of(clouds(18, 200), {"ridge", "linear", "prototype"})
    losses = head.settings["chosen_from"]
    (sentence,) = told(head.name, head.settings)
    assert sentence.startswith(f"Of 4 heads {head.name} had the least loss, {min(losses.values()):.3f}, against ")
    for name, loss in losses.items():
        assert (f"{loss:.3f} of {name}" in sentence) == (name != head.name)
    assert told("linear", {"strength": 1.0}) == ()


def test_where_classes_are_clouds_and_pictures_are_few_the_prototype_is_chosen():
    assert heads.find("auto").fit(clouds(12, 30, spread=2.0, seed=4)).name == "prototype"


@pytest.mark.parametrize("seed", range(3))
def test_the_head_of_least_loss_is_not_always_the_same(seed):
    """Where a border is all that matters, logistic regression is ahead of least squares."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(400, 4)) * np.where(random.random((400, 1)) < 0.1, 20, 1)
    data = HeadData(X.astype(np.float32), (X[:, 0] > 0).astype(int), 2, np.arange(400) % 5)
    losses = heads.find("auto").fit(data).settings["chosen_from"]
    assert losses["linear"] < losses["ridge"]
    assert heads.find("auto").fit(data).name == "linear"


def test_views_of_few_pictures_are_still_few_pictures():
    data = clouds(18, 200)
    random = np.random.default_rng(1)
    seen = np.concatenate([data.features + 0.01 * random.normal(size=data.features.shape) for _ in range(5)])
    tiled = dataclasses.replace(
        data, features=seen.astype(np.float32), labels=np.tile(data.labels, 5), folds=np.tile(data.folds, 5)
    )
    assert not few(tiled.labels)
    many = {"ridge", "linear", "blend"}
    assert set(heads.find("auto").fit(tiled).settings["chosen_from"]) == many
    known = dataclasses.replace(tiled, clean=18)
    assert set(heads.find("auto").fit(known).settings["chosen_from"]) == {*many, "prototype"}


def test_one_picture_a_class_gets_the_prototype():
    assert heads.find("auto").fit(clouds(3, 20)).name == "prototype"


@pytest.mark.parametrize(
    ("options", "name"),
    [({"strength": 0.1}, "linear"), ({"shrinkage": 0.1}, "prototype"), ({"scaling": "layers"}, "ridge")],
)
def test_an_option_that_one_of_them_has_chooses_it(options, name):
    head = heads.find("auto").fit(clouds(12, 20), options=options)
    assert head.name == name
    if name != "blend":
        assert dict(head.settings).items() >= options.items()


def test_an_option_that_none_has_is_refused():
    with pytest.raises(RecipeError, match="has no option 'strenght'"):
        heads.find("auto").shape(3, {"strenght": 1.0})
