"""Closed-form probes: sums of kernels against features side by side, and the vote of neighbours."""

import numpy as np
import pytest

from headstart.probes import kernel_out_of_fold, neighbours_out_of_fold, ridge_out_of_fold, standardised

ROWS = np.arange(120)
LABELS = ROWS % 3
FOLDS = ROWS // 3 % 5


def clouds(dimensions: int, *, spread: float = 1.5, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(3, dimensions))[LABELS] + spread * random.normal(size=(120, dimensions))


def test_the_sum_of_kernels_is_the_kernel_of_features_side_by_side():
    parts = [clouds(100, spread=4), clouds(90, spread=5, seed=1)]
    kernels = [standardised(X) @ standardised(X).T for X in parts]
    right, losses = kernel_out_of_fold(sum(kernels), LABELS, FOLDS)
    wanted_right, wanted = ridge_out_of_fold(np.c_[parts[0], parts[1]], LABELS, FOLDS)
    np.testing.assert_array_equal(right, wanted_right)
    np.testing.assert_allclose(losses, wanted, rtol=1e-3, atol=1e-5)
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
    right, _ = ridge_out_of_fold(random.normal(size=(60, dimensions)), random.permutation(60) % 6, np.arange(60))
    assert right.mean() < 0.4
