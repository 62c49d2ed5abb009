"""Ridge regression as a head: against plain solutions in float64, and against fits that really leave pictures out."""

import dataclasses

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from headstart.errors import RecipeError
from headstart.heads import HeadData, ridge, softmax
from headstart.heads._scaling import scales

SIDES = [(60, 8), (40, 40), (24, 150)]  # fewer features than pictures, as many, and more


def clouds(count: int, dimensions: int, *, classes: int = 3, spread: float = 1.5, seed: int = 0) -> HeadData:
    """Overlapping clouds on features of very different scales."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    X = random.normal(size=(classes, dimensions))[labels] + spread * random.normal(size=(count, dimensions))
    X = X * random.uniform(0.05, 8, dimensions) + random.uniform(-3, 3, dimensions)
    return HeadData(X.astype(np.float32), labels, classes, np.arange(count) // classes % 5, seed)


def scaled(data: HeadData, scaling: str = "features") -> np.ndarray:
    mean, divisor = scales(data.features, data.parts, scaling)
    X: np.ndarray = (data.features.astype(np.float64) - mean) / divisor
    return X


def plain(X: np.ndarray, targets: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights and intercept of least squares with a penalty, by the normal equations in float64."""
    mean, centre = X.mean(axis=0), targets.mean(axis=0)
    inner = X - mean
    weights = np.linalg.solve(inner.T @ inner + penalty * np.eye(X.shape[1]), inner.T @ (targets - centre))
    return weights, centre - mean @ weights


def smoothed_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Cross-entropy with one answer more than there are, which was wrong."""
    count, classes = logits.shape
    logs = np.log(np.maximum(softmax(logits), 1e-300))
    own, wrong = logs[np.arange(count), labels], 1 / (count + 2)
    return -float(((1 - wrong) * own + wrong * (logs.sum(axis=1) - own) / (classes - 1)).mean())


@pytest.mark.parametrize("scaling", ["features", "layers"])
@pytest.mark.parametrize("strength", [0.01, 1.0])
@pytest.mark.parametrize(("count", "dimensions"), SIDES)
def test_the_layer_is_plain_ridge_regression_made_sharper(count, dimensions, strength, scaling):
    data = dataclasses.replace(clouds(count, dimensions), parts=(3, dimensions - 3))
    head = ridge.fit(data, options={"strength": strength, "scaling": scaling})
    X = scaled(data, scaling)
    weights, bias = plain(X, np.eye(3)[data.labels], strength * (X**2).sum() / min(X.shape))
    (layer,) = head.layers
    scores = (data.features @ layer.kernel + layer.bias) / head.settings["sharpness"]
    np.testing.assert_allclose(scores, X @ weights + bias, atol=2e-3)
    np.testing.assert_allclose(head.predict(data.features), softmax(scores * head.settings["sharpness"]), atol=1e-5)
    assert (head.settings["strength"], head.settings["scaling"]) == (strength, scaling)


@pytest.mark.parametrize(("count", "dimensions"), SIDES)
def test_out_of_fold_answers_are_those_of_fits_that_left_the_fold_out(count, dimensions):
    data = clouds(count, dimensions, spread=3)
    found = ridge.validate(data, {"strength": 0.1})
    X = scaled(data)
    penalty = 0.1 * (X**2).sum() / min(X.shape)
    scores = np.empty((count, 3))
    for fold in range(5):
        out = data.folds == fold
        weights, bias = plain(X[~out], np.eye(3)[data.labels[~out]], penalty)
        scores[out] = X[out] @ weights + bias
    np.testing.assert_allclose(found.out_of_fold, softmax(found.settings["sharpness"] * scores), atol=0.01)
    assert found.rows.tolist() == list(range(count))


@pytest.mark.parametrize("dimensions", [10, 400])
def test_labels_that_mean_nothing_are_not_named(dimensions):
    noise = clouds(90, dimensions)
    noise = dataclasses.replace(noise, labels=np.random.default_rng(5).permutation(noise.labels))
    head = ridge.fit(noise)
    assert abs(head.accuracy - 1 / 3) < 0.2
    assert head.loss > np.log(3) - 0.1
    assert head.predict(noise.features).max() < 0.9, "what it could not name out of fold it is not sure of"


def test_the_strength_is_the_one_of_least_out_of_fold_loss():
    """Noise asks for a strong penalty; a class that shows in a small difference of two features for a weak one."""
    random = np.random.default_rng(0)
    labels = np.arange(200) % 2
    common, own = 10 * random.normal(size=200), labels + 0.2 * random.normal(size=200)
    fine = HeadData(np.c_[common, common + own].astype(np.float32), labels, 2, np.arange(200) // 2 % 5)
    fine, noise = ridge.fit(fine), ridge.fit(dataclasses.replace(fine, features=random.normal(size=(200, 150))))
    for head in (fine, noise):
        losses = {row["strength"]: row["loss"] for row in head.strengths}
        assert head.settings["strength"] == min(losses, key=losses.get)
        assert len(losses) >= 3
    assert fine.settings["strength"] < 0.01
    assert noise.settings["strength"] >= 1
    assert fine.accuracy > 0.95


@pytest.mark.parametrize("near", [3.0, 0.03, 0.001])
def test_near_a_strength_that_was_best_on_fewer_pictures_the_same_is_found_in_fewer_fits(near):
    for spread in (0.3, 1.5, 6.0):
        data = clouds(90, 20, spread=spread)
        found, whole = ridge.validate(data, {}, near=near), ridge.validate(data, {})
        assert found.settings == whole.settings
        np.testing.assert_array_equal(found.out_of_fold, whole.out_of_fold)
    close = ridge.validate(data, {}, near=whole.settings["strength"])
    assert len(close.table) <= 3


@pytest.mark.parametrize(("classes", "count"), [(2, 3000), (100, 3000), (1000, 400)])
def test_the_sharpness_is_that_of_least_cross_entropy_for_any_number_of_classes(classes, count):
    random = np.random.default_rng(classes)
    labels = random.integers(0, classes, count)
    scores = 0.15 * random.normal(size=(count, classes)) + 0.5 * np.eye(classes)[labels]
    wanted = minimize_scalar(
        lambda logarithm: smoothed_loss(scores * np.exp(logarithm), labels),
        bounds=(np.log(0.1), np.log(300)), method="bounded", options={"xatol": 1e-5},
    )  # fmt: skip
    factor, value = ridge.sharpness(scores, labels)
    assert factor == pytest.approx(np.exp(wanted.x), rel=2e-3)
    assert value == pytest.approx(wanted.fun, abs=1e-5)


@pytest.mark.parametrize(("classes", "count"), [(2, 200), (100, 1000), (1000, 2000)])
def test_no_head_would_be_better_sharper_or_blunter_for_any_number_of_classes(classes, count):
    data = clouds(count, 60, classes=classes, spread=1.0)
    data = dataclasses.replace(data, folds=np.arange(count) // classes % 2)
    found = ridge.validate(data, {"strength": 0.1})
    assert (found.out_of_fold.argmax(axis=1) == data.labels).mean() > 0.6
    assert found.losses(data.labels).mean() < np.log(classes) / 2
    logs = np.log(np.maximum(found.out_of_fold.astype(np.float64), 1e-30))
    loss = smoothed_loss(logs, data.labels)
    for factor in (0.5, 0.8, 1.25, 2.0):
        assert loss < smoothed_loss(factor * logs, data.labels)


@pytest.mark.parametrize("count", [4, 12, 200])
def test_few_right_answers_do_not_make_it_sure(count):
    data = clouds(count, 30, classes=2, spread=0.01)
    head = ridge.fit(dataclasses.replace(data, folds=np.arange(count)))
    assert head.accuracy == 1.0
    assert 0.6 < head.out_of_fold.max() < 1 - 0.3 / (count + 2)


def test_scores_without_any_sense_and_scores_all_alike_give_even_odds():
    labels = np.arange(300) % 3
    noise = np.random.default_rng(0).normal(size=(300, 3)) * 0.1
    assert softmax(ridge.sharpness(noise, labels)[0] * noise).max() < 0.6
    factor, loss = ridge.sharpness(np.full((300, 3), 0.3), labels)
    assert np.isfinite(factor)
    assert loss == pytest.approx(np.log(3))


def test_one_picture_of_each_class_is_fitted_and_nothing_is_claimed():
    data = HeadData(np.eye(3, 8, dtype=np.float32), np.arange(3), 3, np.arange(3))
    head = ridge.fit(data)
    assert np.isnan(head.accuracy)
    assert np.isfinite(head.predict(data.features)).all()


def test_features_that_say_nothing_give_the_shares_of_the_classes_their_order():
    labels = np.array([0] * 12 + [1] * 4)
    head = ridge.fit(HeadData(np.ones((16, 5), np.float16), labels, 2, np.arange(16) % 4))
    answers = head.predict(np.ones((1, 5)))[0]
    assert answers[0] > answers[1] > 0


def test_with_many_pictures_the_strength_comes_from_a_sample_and_the_fit_from_all(monkeypatch):
    monkeypatch.setattr("headstart.heads._softmax.CHOOSE_FROM", 120)
    data = clouds(400, 5)
    found = ridge.validate(data, {})
    assert len(found.rows) == len(found.out_of_fold) == 120
    head = ridge.fit(data)
    assert head.out_of_fold is None
    X = scaled(data)
    weights, bias = plain(X, np.eye(3)[data.labels], head.settings["strength"] * (X**2).sum() / 5)
    scores = head.settings["sharpness"] * (X @ weights + bias)
    np.testing.assert_allclose(head.predict(data.features), softmax(scores), atol=5e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 0}, "strength of the ridge head must lie above 0 .* got 0"),
        ({"strength": True}, "got True"),
        ({"strength": "1"}, "got '1'"),
        ({"scaling": "layer"}, "scaling of the ridge head is features or layers; got 'layer'. Did you mean layers?"),
        ({"strenght": 1}, "no option 'strenght'; it has strength, scaling. Did you mean strength?"),
    ],
)
def test_an_option_that_is_unknown_or_out_of_range_is_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        ridge.shape(2, options)
