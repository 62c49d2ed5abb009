"""Closed-form probes: sums of kernels against features side by side, and the vote of neighbours."""

import numpy as np
import pytest

from headstart.probes import kernel_out_of_fold, neighbours_out_of_fold, scores_out_of_fold, standardised

ROWS = np.arange(120)
LABELS = ROWS % 3
FOLDS = ROWS // 3 % 5


def clouds(dimensions: int, *, spread: float = 1.5, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(3, dimensions))[LABELS] + spread * random.normal(size=(120, dimensions))


def refitted(X: np.ndarray, labels: np.ndarray, folds: np.ndarray, strength: float) -> np.ndarray:
    """Out-of-fold scores by leaving each fold out, intercept and all, and solving again, in float64."""
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    targets = np.eye(labels.max() + 1)[labels]
    penalty = strength * (X**2).sum() / min(X.shape) * np.eye(X.shape[1])
    scores = np.empty_like(targets)
    for fold in np.unique(folds):
        out = folds == fold
        mean, share = X[~out].mean(axis=0), targets[~out].mean(axis=0)
        inner = X[~out] - mean
        weights = np.linalg.solve(inner.T @ inner + penalty, inner.T @ (targets[~out] - share))
        scores[out] = (X[out] - mean) @ weights + share
    return scores


@pytest.mark.parametrize("dimensions", [7, 60, 150])  # fewer than the 60 pictures, as many, and more
@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_the_closed_form_is_what_refitting_gives(dimensions, strength):
    random = np.random.default_rng(dimensions)
    labels, folds = ROWS[:60] % 3, random.permutation(ROWS[:60] % 4)
    X = (random.normal(size=(3, dimensions))[labels] + random.normal(size=(60, dimensions)) * 3).astype(np.float32)
    [found] = scores_out_of_fold(standardised(X), labels, folds, strengths=(strength,))
    scores = found.scores
    assert found.strength == strength
    np.testing.assert_allclose(scores, refitted(X.astype(np.float64), labels, folds, strength), rtol=2e-3, atol=5e-4)
    assert 0.3 < (scores.argmax(axis=1) == labels).mean() < 1, "too easy or too hard to tell right from wrong"


@pytest.mark.parametrize("dimensions", [3, 300])
def test_a_cut_that_says_the_same_of_every_picture_is_only_useless(dimensions):
    for found in scores_out_of_fold(standardised(np.ones((120, dimensions), np.float16)), LABELS, FOLDS):
        assert np.isfinite(found.scores).all()
        assert (found.scores.argmax(axis=1) == LABELS).mean() <= 0.4


def test_the_sum_of_kernels_is_the_kernel_of_features_side_by_side():
    parts = [clouds(100, spread=4), clouds(90, spread=5, seed=1)]
    kernels = [standardised(X) @ standardised(X).T for X in parts]
    right, losses = kernel_out_of_fold(sum(kernels), LABELS, FOLDS, strengths=(0.03,))
    [found] = scores_out_of_fold(standardised(np.c_[parts[0], parts[1]]), LABELS, FOLDS, strengths=(0.03,))
    np.testing.assert_array_equal(right, found.scores.argmax(axis=1) == LABELS)
    np.testing.assert_allclose(losses, ((found.scores - np.eye(3)[LABELS]) ** 2).sum(axis=1), rtol=2e-3, atol=1e-3)
    assert 0.4 < right.mean() < 1


def test_neighbours_are_counted_over_other_folds_alone():
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 30))
    twins = np.concatenate([X, X])  # each picture twice, with random labels: only its twin knows its class
    labels = np.tile(random.integers(0, 2, 60), 2)
    together, apart = np.tile(np.arange(60) % 5, 2), np.concatenate([np.arange(60) % 5, (np.arange(60) + 1) % 5])
    assert neighbours_out_of_fold(twins, labels, apart, 1) == 1.0
    assert neighbours_out_of_fold(twins, labels, together, 1) < 0.8


def test_neighbours_name_what_is_near():
    assert neighbours_out_of_fold(clouds(20, spread=0.1), LABELS, FOLDS) == 1.0
    assert neighbours_out_of_fold(np.random.default_rng(1).normal(size=(120, 20)), LABELS, FOLDS) < 0.55


@pytest.mark.parametrize("count", [2, 4])
def test_no_more_neighbours_vote_than_the_smallest_class_has(count):
    """Three far pictures of a class among many of another: more voters than they are would always outvote them."""
    random = np.random.default_rng(2)
    labels = np.array([0] * 40 + [1] * count)
    X = random.normal(size=(len(labels), 12)) + 30 * labels[:, None] * random.normal(size=12)
    folds = np.arange(len(labels))
    assert neighbours_out_of_fold(X, labels, folds) == 1.0


@pytest.mark.parametrize("dimensions", [10, 300])
def test_labels_that_mean_nothing_are_not_named_when_one_is_left_out(dimensions):
    """A picture completes the sum of the others where all are centred together: nothing may follow from that."""
    random = np.random.default_rng(0)
    X, labels = standardised(random.normal(size=(60, dimensions))), random.permutation(60) % 6
    for found in scores_out_of_fold(X, labels, np.arange(60)):
        assert (found.scores.argmax(axis=1) == labels).mean() < 0.4
