"""Dividing rows with several labels: shares, groups kept whole, no dependence on the order of rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.errors import InputError
from headstart.iterative import folds, held_out


@st.composite
def sets(draw):
    rows = draw(st.integers(4, 60))
    labels = draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    targets = (random.random((rows, labels)) < random.random(labels)).astype(np.float32)
    groups = random.integers(0, max(2, rows // draw(st.integers(1, 4))), rows)
    return targets, groups


@settings(max_examples=60, deadline=None)
@given(sets(), st.floats(0.1, 0.5), st.integers(0, 5))
def test_groups_are_held_out_whole_and_labels_are_on_both_sides(data, share, seed):
    targets, groups = data
    held = held_out(targets, groups, holdout=share, seed=seed)
    for group in np.unique(groups):
        assert len(set(held[groups == group].tolist())) == 1
    for label in range(targets.shape[1]):
        holders = np.unique(groups[targets[:, label] > 0])
        if len(holders) == 1:
            continue
        if len(holders) > 2 * targets.shape[1]:  # else labels of the same groups may stand in each other's way
            assert targets[~held][:, label].any()
            assert targets[held][:, label].any()


@settings(max_examples=40, deadline=None)
@given(sets(), st.integers(2, 6))
def test_groups_are_in_one_fold_and_folds_are_numbered_from_nought(data, count):
    targets, groups = data
    found = folds(targets, groups, count=count, seed=0)
    for group in np.unique(groups):
        assert len(set(found[groups == group].tolist())) == 1
    assert found.min() >= 0
    assert found.max() < count


def test_single_rows_give_every_label_its_share():
    random = np.random.default_rng(0)
    targets = (random.random((1000, 6)) < [0.5, 0.2, 0.1, 0.05, 0.02, 0.01]).astype(float)
    held = held_out(targets, holdout=0.2, seed=3)
    assert abs(held.mean() - 0.2) < 0.01
    np.testing.assert_allclose(targets[held].sum(axis=0), 0.2 * targets.sum(axis=0), atol=1.01)
    spread = folds(targets, count=5, seed=3)
    for fold in range(5):
        np.testing.assert_allclose(targets[spread == fold].sum(axis=0), targets.sum(axis=0) / 5, atol=1.5)


def test_it_is_evener_than_chance_for_labels_that_are_rare():
    random = np.random.default_rng(1)
    targets = (random.random((400, 12)) < 0.03).astype(float)
    ours = np.abs(targets[held_out(targets, seed=0)].sum(axis=0) - 0.2 * targets.sum(axis=0)).mean()
    drawn = [
        np.abs(targets[random.permutation(400)[:80]].sum(axis=0) - 0.2 * targets.sum(axis=0)).mean() for _ in range(50)
    ]
    assert ours < min(drawn)


def test_the_order_of_the_rows_does_not_matter():
    random = np.random.default_rng(2)
    targets = (random.random((80, 3)) < 0.3).astype(float)
    keys = [b"%d" % row for row in range(80)]
    order = random.permutation(80)
    one = held_out(targets, seed=1, keys=keys)
    other = held_out(targets[order], seed=1, keys=[keys[row] for row in order])
    np.testing.assert_array_equal(one[order], other)
    assert (held_out(targets, seed=2, keys=keys) != one).any()


def test_rows_without_any_label_are_divided_too():
    assert held_out(np.zeros((50, 2)), seed=0).sum() == 10
    assert np.bincount(folds(np.zeros((50, 0)), seed=0)).tolist() == [10] * 5


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(InputError, match="between 0 and 1"):
        held_out(np.zeros((4, 1)), holdout=1.0, seed=0)
    with pytest.raises(InputError, match="two folds"):
        folds(np.zeros((4, 1)), count=1, seed=0)
    with pytest.raises(InputError, match="one entry a row"):
        held_out(np.zeros((4, 1)), np.zeros(3), seed=0)
    with pytest.raises(InputError, match="a row at least"):
        held_out(np.zeros((0, 1)), seed=0)
