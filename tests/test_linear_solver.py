"""The solver of the linear head: optima against plain L-BFGS in float64, folds that stay apart, many classes."""

import numpy as np
import pytest
from scipy.optimize import minimize

from headstart import calibration, few
from headstart.heads import HeadData, _design, _links, _strengths, linear, log_loss, softmax
from headstart.heads._cross_validation import Targets, cross_validate
from headstart.heads._design import Design
from headstart.heads._logistic import Problem
from headstart.heads._scaling import scales


def clouds(classes: int, rows: int, dimensions: int, *, spread: float = 3.0, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Float32 features of shape (classes · rows, dimensions) and labels, in an order drawn at random."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(classes), rows))
    features = random.normal(size=(classes, dimensions))[labels] + spread * random.normal(
        size=(len(labels), dimensions)
    )
    return features.astype(np.float32), labels


def standardised(features: np.ndarray) -> np.ndarray:
    mean, divisor = scales(features)
    return (features.astype(np.float64) - mean) / divisor


def objective(flat: np.ndarray, X: np.ndarray, labels: np.ndarray, strength: float) -> tuple[float, np.ndarray]:
    """Mean cross-entropy with its penalty, and the gradient; X ends in a column of ones."""
    weights = flat.reshape(X.shape[1], -1)
    chances = softmax(X @ weights)
    value = -np.log(np.maximum(chances[np.arange(len(X)), labels], 1e-300)).mean()
    chances[np.arange(len(X)), labels] -= 1
    slopes = X.T @ chances / len(X)
    slopes[:-1] += strength * weights[:-1]
    return value + strength / 2 * float((weights[:-1] ** 2).sum()), slopes.ravel()


def plain(X: np.ndarray, labels: np.ndarray, classes: int, strength: float) -> np.ndarray:
    """Weights by SciPy's L-BFGS-B at a tight tolerance."""
    X = np.c_[X, np.ones(len(X))]
    found = minimize(
        objective, np.zeros(X.shape[1] * classes), (X, labels, strength), jac=True, method="L-BFGS-B",
        options={"maxiter": 20_000, "maxfun": 40_000, "gtol": 1e-9, "ftol": 1e-15},
    )  # fmt: skip
    return found.x.reshape(X.shape[1], classes)


def awkward(name: str) -> tuple[np.ndarray, np.ndarray]:
    features, labels = clouds(4, 15, 12)
    if name == "more numbers than pictures":
        features, labels = clouds(4, 10, 90)
    elif name == "constant columns":
        features = np.c_[features, np.full(60, 3.0), np.zeros(60)].astype(np.float32)
    elif name == "a class with one picture":
        labels = np.r_[np.arange(59) % 3, 3]
    elif name == "identical rows":
        features, labels = np.r_[features, features[:30]], np.r_[labels, labels[:30]]
    elif name == "identical rows, more numbers":
        features, labels = clouds(3, 8, 60)
        features, labels = np.r_[features, features[:10]], np.r_[labels, labels[:10]]
    elif name == "float16":
        features = (features * 5 + 300).astype(np.float16)
    elif name == "huge scale differences":
        features = (features * 10.0 ** np.linspace(-5, 5, 12)).astype(np.float32)
    elif name == "two classes":
        features, labels = clouds(2, 40, 5)
    elif name == "columns that repeat each other":
        features = np.c_[features, features * 2 + 1]
    return features, labels


AWKWARD = (
    "fewer numbers than pictures", "more numbers than pictures", "constant columns", "a class with one picture",
    "identical rows", "identical rows, more numbers", "float16", "huge scale differences", "two classes",
    "columns that repeat each other",
)  # fmt: skip


@pytest.mark.parametrize("strength", [0.3, 0.01, 1e-4])
@pytest.mark.parametrize("name", AWKWARD)
def test_the_optimum_is_that_of_plain_lbfgs(name, strength):
    features, labels = awkward(name)
    classes = int(labels.max()) + 1
    problem = Problem(Design(features), labels, classes)
    layer = problem.layer(problem.solve(strength, tolerance=1e-7)[0])
    X = standardised(features)
    weights = plain(X, labels, classes, strength)
    wanted = softmax(np.c_[X, np.ones(len(X))] @ weights)
    found = softmax(features.astype(np.float64) @ layer.kernel + layer.bias)
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    mean, divisor = scales(features)
    mine = np.r_[layer.kernel * divisor[:, None], [layer.bias + mean @ layer.kernel]]
    X = np.c_[X, np.ones(len(X))]
    value, slopes = objective(mine.ravel(), X, labels, strength)
    assert value <= objective(weights.ravel(), X, labels, strength)[0] * (1 + 1e-4) + 1e-6
    start = objective(np.zeros(mine.size), X, labels, strength)[1]
    assert np.abs(slopes).max() < 5e-3 * np.abs(start).max()


def test_a_rank_of_zero_gives_the_shares_of_the_classes():
    problem = Problem(Design(np.ones((10, 4), np.float32)), np.array([0] * 7 + [1] * 3), 2)
    layer = problem.layer(problem.solve(0.1, tolerance=1e-7)[0])
    np.testing.assert_allclose(softmax((layer.kernel.sum(axis=0) + layer.bias)[None]), [[0.7, 0.3]], atol=1e-3)


def test_each_fold_is_answered_by_the_optimum_of_the_others():
    features, labels = clouds(3, 30, 8)
    folds = np.arange(90) % 5
    found = linear.cross_validate(features, labels, folds, classes=3, strengths=(0.02,))
    X = standardised(features)
    for fold in range(5):
        out = folds == fold
        weights = plain(X[~out], labels[~out], 3, 0.02)
        np.testing.assert_allclose(
            found.out_of_fold[out], softmax(np.c_[X[out], np.ones(out.sum())] @ weights), atol=0.01
        )


@pytest.mark.parametrize("dimensions", [10, 400])
def test_labels_of_noise_cannot_be_told_out_of_fold(dimensions):
    # Whatever a fit knows of the rows it is asked about shows here: they would be answered better than by chance.
    random = np.random.default_rng(1)
    features = random.normal(size=(300, dimensions)).astype(np.float32)
    labels, folds = random.integers(0, 5, 300), np.arange(300) % 5
    for strengths in (None, (1e-3,)):
        found = linear.cross_validate(features, labels, folds, classes=5, strengths=strengths)
        assert (found.out_of_fold.argmax(axis=1) == labels).mean() < 0.3
        assert log_loss(found.out_of_fold, labels) > np.log(5) - 0.03


def test_labels_of_the_rows_held_out_change_nothing_in_their_answers():
    features, labels = clouds(3, 30, 40)
    folds = np.arange(90) % 5
    other = np.where(folds == 2, (labels + 1) % 3, labels)
    one, two = (
        linear.cross_validate(features, y, folds, classes=3, strengths=(0.01,)).out_of_fold for y in (labels, other)
    )
    np.testing.assert_array_equal(one[folds == 2], two[folds == 2])
    assert np.abs(one - two)[folds != 2].max() > 1e-3


def test_the_answers_at_a_chosen_strength_come_from_fits_without_the_row_too():
    # The path over strengths predicts where to begin by other strengths' weights of the same fold, of no other's.
    features, labels = clouds(3, 30, 40)
    folds = np.arange(90) % 5
    found = linear.cross_validate(features, labels, folds, classes=3)
    alone = linear.cross_validate(features, labels, folds, classes=3, strengths=(found.strength,))
    np.testing.assert_allclose(found.out_of_fold, alone.out_of_fold, atol=0.02)


def test_labels_are_answered_by_sigmoids_of_the_other_folds():
    features, labels = clouds(3, 40, 6)
    targets = np.eye(3, dtype=np.float32)[labels]
    targets[:, 2] = np.random.default_rng(0).random(120) < 0.05  # a rare one
    folds = np.arange(120) % 4
    found = linear.cross_validate_labels(features, targets, folds, strengths=(0.01,))
    X = standardised(features)
    for fold in range(4):
        out = folds == fold
        for label in range(3):
            # A sigmoid is a softmax of two classes whose weights differ, with half the penalty on the difference.
            weights = plain(X[~out], targets[~out, label].astype(int), 2, 0.02)
            wanted = softmax(np.c_[X[out], np.ones(out.sum())] @ weights)[:, 1]
            np.testing.assert_allclose(found.out_of_fold[out, label], wanted, atol=0.01)


@pytest.mark.parametrize("name", ["blocks", "leading directions", "weights rotated"])
def test_every_way_of_holding_the_features_has_the_same_optimum(name, monkeypatch):
    features, labels = clouds(3, 50, 20 if name != "leading directions" else 60)
    wanted = linear.refit(features, labels, classes=3, strength=0.01)
    if name == "leading directions":
        monkeypatch.setattr(_design, "WIDEST", 10)
        monkeypatch.setattr(_design, "_LEADING", 8)
    elif name == "weights rotated":
        monkeypatch.setattr(_design, "KEEP_BYTES", 0)
    monkeypatch.setattr(_design, "BLOCK", 16)
    found = linear.refit(features, labels, classes=3, strength=0.01)
    scores = [features @ layer.kernel + layer.bias for layer in (found, wanted)]
    np.testing.assert_allclose(softmax(scores[0]), softmax(scores[1]), atol=0.02)


def test_the_numbers_do_not_depend_on_the_cores(monkeypatch):
    features, labels = clouds(20, 80, 40)
    monkeypatch.setattr(_design, "_PARALLEL", 0)
    found = []
    for cores in (1, 2, 5):
        monkeypatch.setattr(_design.os, "cpu_count", lambda cores=cores: cores)
        found.append(linear.refit(features, labels, classes=20, strength=0.01).kernel)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("link", [_links.Softmax(), _links.Sigmoid()])
def test_slopes_and_bends_are_those_of_differences(link):
    random = np.random.default_rng(0)
    scores, steps = random.normal(size=(2, 6, 2, 3))
    targets = random.integers(0, 3, 6) if link.NAME == "softmax" else random.integers(0, 2, (6, 3)).astype(float)
    used = np.array([[1, 0], [1, 1], [0, 1], [1, 1], [1, 1], [1, 0]]) / [5, 4]

    def loss(length: float) -> np.ndarray:
        return link.loss(scores + length * steps, targets, used)[0]

    slopes = scores.copy()
    link.loss(slopes, targets, used)
    first, second = link.bend(scores.copy(), steps, targets, used)
    differences = (loss(1e-4) - loss(-1e-4)) / 2e-4
    np.testing.assert_allclose((slopes * steps).sum(axis=(0, 2)), differences, atol=1e-6)
    np.testing.assert_allclose(first, differences, atol=1e-6)
    np.testing.assert_allclose(second, (loss(1e-3) - 2 * loss(0) + loss(-1e-3)) / 1e-6, atol=1e-4)


@pytest.mark.parametrize(("classes", "rows", "spread"), [(2, 100, 4.0), (40, 12, 2.5), (150, 6, 1.6)])
def test_strength_and_temperature_are_sane_at_few_and_at_many_classes(classes, rows, spread):
    features, labels = clouds(classes, rows, 32, spread=spread)
    folds = few.folds(labels, np.arange(len(labels)))
    head = linear.fit(HeadData(features, labels, classes, folds))
    assert head.loss < 0.8 * np.log(classes)  # the old solver stopped at weights of zero where slopes were small
    assert 1e-5 < head.settings["strength"] * classes / 2 < 30
    _, found = calibration.calibrate(head, labels)
    assert 0.75 < found.found < 1.35


def test_where_passes_are_dear_fewer_classes_choose_and_fewer_folds_are_measured(monkeypatch):
    features, labels = clouds(40, 12, 30, spread=2.0)
    data = HeadData(features, labels, 40, few.folds(labels, np.arange(480)))
    cheap = linear.fit(data)
    monkeypatch.setattr(_strengths, "CLASSES_PASS", 5e4)
    monkeypatch.setattr(linear, "_MEASURED", 1.0)
    dear = linear.fit(data)
    assert dear.out_of_fold is None
    rows, probabilities = dear.held_out
    assert len(rows) == pytest.approx(48, abs=8)
    assert log_loss(probabilities, labels[rows]) == dear.loss
    assert dear.loss == pytest.approx(cheap.loss, rel=0.35)
    assert dear.settings["strength"] == pytest.approx(cheap.settings["strength"], rel=10)
    assert dear.settings["strength"] in [row["strength"] for row in dear.strengths]


def test_a_strength_is_carried_to_other_numbers_of_rows_and_classes():
    assert _strengths.transferred(100, 5, to_rows=400, to_classes=5) == pytest.approx(0.5)
    assert _strengths.transferred(100, 5, to_rows=400, to_classes=20) == pytest.approx(0.25)
    assert _strengths.transferred(100, 5, to_rows=100, to_classes=5) == 1.0


def test_numbers_that_are_none_are_refused_in_words():
    features, labels = clouds(2, 10, 3)
    features[3, 1] = np.nan
    with pytest.raises(ValueError, match="cannot be fitted"):
        cross_validate(features, Targets(labels, 2), np.arange(20) % 5, None)
