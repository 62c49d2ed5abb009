"""The learning curve: parts are stratified and nested, groups stay together, nothing is measured on what it saw."""

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from headstart import learning_curve
from headstart.gram_logistic import GramLogistic
from headstart.heads import linear
from headstart.learning_curve import Material, measure, on_pictures, out_of_fold
from headstart.splits import folds
from headstart.splitting import keys, together


def material(count=400, *, classes=2, distance=1.6, seed=0, groups=None):
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    features = random.normal(size=(count, 12)) + distance * np.eye(classes, 12)[labels]
    given = np.arange(count) if groups is None else groups
    return Material(features.astype(np.float32), labels, classes, given, [b"%d" % row for row in range(count)], seed)


def test_parts_have_their_share_of_every_class_and_lie_within_each_other():
    found, pool = material(300, classes=3), np.arange(20, 300)
    parts = [set(found.part(pool, share, 4).tolist()) for share in (0.1, 0.25, 0.5, 1.0)]
    assert [len(part) for part in parts] == pytest.approx([28, 70, 140, 280], abs=1)
    for smaller, larger in itertools.pairwise(parts):
        assert smaller < larger
    for part in parts:
        counts = np.bincount(found.labels[sorted(part)])
        assert counts.max() - counts.min() <= 2
    assert parts[-1] == set(pool.tolist())
    assert set(found.part(pool, 0.1, 5).tolist()) != parts[0]  # another draw


def test_groups_are_drawn_whole():
    groups = np.arange(400) // 8 * 2 + np.arange(400) % 2  # four of a class each
    found = material(400, groups=groups)
    part = found.part(np.arange(400), 0.25, 0)
    assert set(np.bincount(groups[part]).tolist()) <= {0, 4}
    assert len(part) == pytest.approx(100, abs=8)


def test_more_pictures_are_worth_more_and_each_size_is_measured_on_all():
    found = material(600)
    fold = folds(found.labels, seed=0)
    curve = out_of_fold(found, fold, strength=0.01)
    assert [point.pictures for point in curve.points] == [48, 120, 240, 480]
    assert curve.n == 600
    assert curve.measured_on == "out of fold"
    rates = [point.accuracy.value for point in curve.points]
    assert rates[-1] > rates[0] + 0.01
    assert all(point.accuracy.low < point.accuracy.value < point.accuracy.high for point in curve.points)
    assert [len(point.draws) for point in curve.points] == [2, 2, 2, 1]
    json.dumps(curve.as_dict(), allow_nan=False)
    assert f"{rates[0]:.1%}" in curve.words


def test_nothing_is_fitted_on_what_it_is_measured_on():
    """Labels are drawn by lot, so whoever has seen a picture would know more than half of the answers."""
    found = material(600, distance=0.0)
    curve = out_of_fold(found, folds(found.labels, seed=0), strength=1e-4)
    assert all(point.accuracy.low < 0.5 < point.accuracy.high for point in curve.points)
    seen = on_pictures(found, (found.features, found.labels), split="train", strength=1e-4)
    assert seen.points[-1].accuracy.low > 0.5


def test_the_largest_size_is_what_cross_validation_says():
    found = material(300)
    fold = folds(found.labels, seed=0)
    said = linear.cross_validate(found.features, found.labels, fold, classes=2, strengths=(0.01,))
    right = said.out_of_fold.argmax(axis=1) == found.labels
    curve = out_of_fold(found, fold, strength=0.01)
    assert curve.points[-1].accuracy.value == pytest.approx(right.mean(), abs=0.004)
    given = out_of_fold(found, fold, strength=0.01, known=np.arange(300) % 4 > 0)
    assert given.points[-1].accuracy.value == 0.75
    assert given.points[0] == curve.points[0]


def test_on_other_pictures_all_of_the_material_is_drawn_from():
    found, other = material(200), material(500, seed=1)
    curve = on_pictures(found, (other.features, other.labels), split="validation", strength=0.01)
    assert [point.pictures for point in curve.points] == [20, 50, 100, 200]
    assert (curve.n, curve.measured_on) == (500, "validation")
    assert [len(point.draws) for point in curve.points] == [5, 5, 5, 1]
    assert len(set(curve.points[0].draws)) > 1


def test_a_smaller_part_is_held_back_more(monkeypatch):
    asked = {}
    real = linear.refit

    def refit(features, labels, *, classes, strength, **_):
        asked[len(labels)] = strength
        return real(features, labels, classes=classes, strength=strength)

    monkeypatch.setattr(learning_curve.linear, "refit", refit)
    found = material(200)
    on_pictures(found, (found.features, found.labels), split="test", strength=0.01)
    assert asked == pytest.approx({20: 0.01 * 10**0.5, 50: 0.02, 100: 0.01 * 2**0.5, 200: 0.01})


def test_the_same_seed_gives_the_same_curve():
    found = material(200)
    fold = folds(found.labels, seed=0)
    assert out_of_fold(found, fold, strength=0.01) == out_of_fold(found, fold, strength=0.01)


def test_shares_that_large_groups_make_one_size_are_one_point():
    groups = np.arange(96) % 2 * 4 + np.arange(96) // 24  # four groups of twelve a class
    found = material(96, groups=groups)
    curve = out_of_fold(found, folds(found.labels, groups, seed=0, keys=found.keys), strength=0.03)
    assert [point.pictures for point in curve.points] == [24, 72]
    assert curve.outlook is None


def test_sizes_without_two_of_a_class_are_left_out():
    curve = out_of_fold(material(30, classes=3), np.arange(30) // 3 % 5, strength=0.1)
    assert [point.pictures for point in curve.points] == [6, 12, 24]
    assert out_of_fold(material(9, classes=3), np.arange(9) // 3 % 2, strength=0.1) is None


def test_a_run_is_measured_from_its_features_unless_it_would_take_long(trained, monkeypatch):
    rows, outputs = trained.rows["train"], trained.choice.chosen.outputs
    asked = {"head": trained.head, "fold_count": trained.recipe.folds, "seed": trained.recipe.seed}
    curve = measure(trained.features, rows, outputs, **asked)
    assert curve.n == 39
    assert curve == trained.learning_curve
    monkeypatch.setattr(learning_curve, "WORK", 1.0)
    assert measure(trained.features, rows, outputs, **asked) is None
    assert measure(trained.features, rows, outputs, anyway=True, **asked) == curve


def test_a_head_that_is_not_linear_gets_a_strength_of_its_own(trained):
    rows, outputs = trained.rows["train"], trained.choice.chosen.outputs
    dataset, names = trained.dataset, keys(trained.dataset)
    labels, key = dataset.labels[rows], [names[row] for row in rows]
    fold = folds(labels, together(dataset)[rows], count=5, seed=0, keys=key)
    said = linear.cross_validate(trained.features.matrix(rows, outputs), labels, fold, classes=3)
    for other in ("dense", "prototype"):  # whatever they call a strength, and whatever they answered
        head = SimpleNamespace(name=other, settings={"strength": -1}, out_of_fold=np.zeros((39, 3)))
        curve = measure(trained.features, rows, outputs, head=head, fold_count=5, seed=0)
        assert curve.points[-1].accuracy.value == (said.out_of_fold.argmax(axis=1) == labels).mean()


def test_where_pictures_are_few_the_runs_own_answers_are_of_larger_parts_and_do_not_count(trained, monkeypatch):
    """The run left out a tenth at a time, and the curve's folds a fifth: its last point is of fits on four fifths."""
    rows, outputs = trained.rows["train"], trained.choice.chosen.outputs
    dataset, names = trained.dataset, keys(trained.dataset)
    labels, key = dataset.labels[rows], [names[row] for row in rows]
    fold = folds(labels, together(dataset)[rows], count=5, seed=0, keys=key)
    said = linear.cross_validate(trained.features.matrix(rows, outputs), labels, fold, classes=3, strengths=(0.03,))
    head = SimpleNamespace(name="linear", settings={"strength": 0.03}, out_of_fold=np.eye(3)[(labels + 1) % 3])
    last = measure(trained.features, rows, outputs, head=head, fold_count=5, seed=0).points[-1]
    assert last.accuracy.value == pytest.approx((said.out_of_fold.argmax(axis=1) == labels).mean(), abs=0.03)
    monkeypatch.setattr(learning_curve, "few", lambda _: False)
    assert measure(trained.features, rows, outputs, head=head, fold_count=5, seed=0).points[-1].accuracy.value == 0


def test_few_pictures_of_a_class_give_no_curve(trained):
    rows = trained.rows["train"]
    labels = trained.dataset.labels[rows]
    few = rows[np.concatenate([np.flatnonzero(labels == label)[:3] for label in range(3)])]
    found = measure(
        trained.features, few, trained.choice.chosen.outputs, head=trained.head, fold_count=3, seed=0, anyway=True
    )
    assert found is None


def test_wide_features_give_the_curve_that_fits_on_them_give(monkeypatch):
    found = material(300)
    noise = np.random.default_rng(5).normal(size=(300, 700)) * 0.3
    wide = replace(found, features=np.concatenate([found.features, noise], axis=1).astype(np.float32))
    fold = folds(wide.labels, seed=0)
    by_gram = out_of_fold(wide, fold, strength=0.05)
    monkeypatch.setattr(learning_curve, "GRAM_MOST", 0)
    asked = []
    real = linear.refit
    monkeypatch.setattr(learning_curve.linear, "refit", lambda *given, **more: asked.append(1) or real(*given, **more))
    plain = out_of_fold(wide, fold, strength=0.05)
    assert asked
    assert [point.pictures for point in by_gram.points] == [point.pictures for point in plain.points]
    for one, other in zip(by_gram.points, plain.points, strict=True):
        assert one.accuracy.value == pytest.approx(other.accuracy.value, abs=0.02)


def test_copies_and_constant_features_do_not_break_the_gram_matrix():
    draws = np.random.default_rng(0)
    labels = np.arange(80) % 3
    features = (draws.normal(size=(80, 500)) + labels[:, None]).astype(np.float16)
    features[:, :40] = 7
    features[40:60] = features[20:40]
    fits = GramLogistic(features, labels[np.r_[:40, 20:40, 60:80]], 3)
    answers = fits.predict(np.arange(60), np.arange(60, 80), strength=0.1)
    assert (answers == labels[60:80]).mean() > 0.9
