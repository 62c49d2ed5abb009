"""The division of rows: shares, groups, folds, and independence of order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.errors import InputError
from headstart.splits import assign, folds, groups_of, spread_out

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=4, max_size=80)
PURE = ROWS.map(lambda rows: [(label, label * 100 + group) for label, group in rows])  # a group has one class
SHARE = st.floats(0.05, 0.6)
SEED = st.integers(0, 5)


def columns(rows):
    labels, groups = np.array(rows).T
    names = np.unique(labels)
    return np.searchsorted(names, labels), groups


def straddles(groups, part):
    return [group for group in np.unique(groups) if len(np.unique(part[groups == group])) > 1]


@given(PURE, SHARE, SEED)
def test_held_out_share_is_within_one_group_of_the_goal(rows, share, seed):
    labels, groups = columns(rows)
    held = assign(labels, groups, holdout=share, seed=seed)
    assert straddles(groups, held) == []
    for label in np.unique(labels):
        own = labels == label
        sizes = np.unique(groups[own], return_counts=True)[1]
        if len(sizes) == 1:
            assert not held[own].any()
            continue
        assert 0 < held[own].sum() < own.sum()
        goal = np.clip(np.floor(share * own.sum() + 0.5), 1, own.sum() - 1)
        assert abs(held[own].sum() - goal) < max(sizes.max(), 2)


@given(ROWS, SHARE, SEED)
def test_groups_of_several_classes_never_straddle(rows, share, seed):
    labels, groups = columns(rows)
    assert straddles(groups, assign(labels, groups, holdout=share, seed=seed)) == []
    assert straddles(groups, folds(labels, groups, count=4, seed=seed)) == []


@given(ROWS, SEED)
def test_training_keeps_every_class_whatever_the_groups(rows, seed):
    labels, groups = columns(rows)
    held = assign(labels, groups, holdout=0.5, seed=seed)
    assert set(labels[~held]) == set(labels)


@given(st.lists(st.integers(2, 40), min_size=2, max_size=5), SHARE, SEED)
def test_single_rows_are_held_out_exactly_to_rounding(sizes, share, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    held = assign(labels, holdout=share, seed=seed)
    expected = [min(max(int(share * size + 0.5), 1), size - 1) for size in sizes]
    assert np.bincount(labels[held], minlength=len(sizes)).tolist() == expected


@given(PURE, SEED, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter_with_keys(rows, seed, random):
    labels, groups = columns(rows)
    keys = [str(row).encode() for row in range(len(rows))]
    order = np.array(random.sample(range(len(rows)), len(rows)))
    shuffled = [keys[row] for row in order]
    held = assign(labels, groups, seed=seed, keys=keys)
    assert (assign(labels[order], groups[order], seed=seed, keys=shuffled) == held[order]).all()
    fold = folds(labels, groups, count=3, seed=seed, keys=keys)
    assert (folds(labels[order], groups[order], count=3, seed=seed, keys=shuffled) == fold[order]).all()


def test_seed_decides_and_nothing_else():
    labels = np.repeat([0, 1], 50)
    keys = [bytes([row]) for row in range(100)]
    first, again, other = (assign(labels, seed=seed, keys=keys) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert (assign(labels, seed=1) == assign(labels, seed=1)).all()
    assert (folds(labels, seed=1, keys=keys) != folds(labels, seed=2, keys=keys)).any()


@settings(max_examples=60)
@given(PURE, st.integers(2, 6), SEED)
def test_folds_differ_by_at_most_one_group_of_each_class(rows, count, seed):
    labels, groups = columns(rows)
    fold = folds(labels, groups, count=count, seed=seed)
    fewest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    used = max(2, min(count, fewest))
    assert fold.max() < used
    assert straddles(groups, fold) == []
    for label in np.unique(labels):
        own = labels == label
        per_fold = np.bincount(fold[own], minlength=used)
        largest = np.unique(groups[own], return_counts=True)[1].max()
        assert per_fold.max() - per_fold.min() <= largest
        if fewest >= 2:
            assert per_fold.min() > 0


def test_folds_of_single_rows_are_even_in_class_and_in_all():
    labels = np.repeat([0, 1, 2], [11, 7, 6])
    fold = folds(labels, count=5, seed=3)
    for label in range(3):
        per_fold = np.bincount(fold[labels == label], minlength=5)
        assert per_fold.max() - per_fold.min() <= 1
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 1


def test_chained_groups_become_one():
    digests = [b"a", b"b", b"b", b"c", b"", b""]
    groups = ["p", "p", "q", "q", "", "r"]
    assert groups_of(digests, groups).tolist() == [0, 0, 0, 0, 1, 2]
    assert groups_of(digests, None).tolist() == [0, 1, 1, 2, 3, 4]
    assert groups_of(None, groups).tolist() == [0, 0, 1, 1, 2, 3]
    assert groups_of([], []).tolist() == []


def test_a_class_that_only_mixed_groups_hold_is_still_measured():
    labels = np.array([0, 1] * 6)
    groups = np.repeat(np.arange(6), 2)
    held = assign(labels, groups, holdout=0.1, seed=0)
    assert np.bincount(labels[held]).tolist() == [1, 1]


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_impossible_share_is_refused(share):
    with pytest.raises(InputError, match=r"between 0 and 1; received"):
        assign(np.array([0, 0, 1, 1]), holdout=share, seed=0)


def test_bad_columns_are_refused():
    with pytest.raises(InputError, match="labels from 0"):
        assign(np.array([0, -1]), seed=0)
    with pytest.raises(InputError, match="one entry a row"):
        folds(np.array([0, 1]), np.array([0]), seed=0)
    with pytest.raises(InputError, match="two folds"):
        folds(np.array([0, 1]), count=1, seed=0)


def test_any_beginning_of_the_order_has_each_class_in_its_share() -> None:
    labels = np.array([0] * 300 + [1] * 100)
    order = spread_out(labels, 0)
    assert sorted(order) == list(range(400))
    for count in (4, 40, 200):
        assert labels[order[:count]].mean() == pytest.approx(0.25, abs=1 / count)
    assert not np.array_equal(order, spread_out(labels, 1))
