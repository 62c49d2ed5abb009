"""Which cut: the closed form against plain refitting, and the choice on features whose worth is known."""

import dataclasses

import numpy as np
import pytest

from headstart import choose
from headstart.choose import choose_cut, ridge_out_of_fold
from headstart.trunk import Output

ROWS = np.arange(240)
LABELS = ROWS % 3
FOLDS = ROWS // 3 % 5


def refitted(X: np.ndarray, labels: np.ndarray, folds: np.ndarray, strength: float) -> np.ndarray:
    """Out-of-fold scores by leaving each fold out, intercept and all, and solving again, in float64."""
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    targets = np.eye(labels.max() + 1)[labels]
    targets = targets - targets.mean(axis=0)
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
    right, losses = ridge_out_of_fold(X, labels, folds, strengths=(strength,))
    scores = refitted(X.astype(np.float64), labels, folds, strength)
    targets = np.eye(3)[labels] - 1 / 3
    np.testing.assert_array_equal(right, (scores + 1 / 3).argmax(axis=1) == labels)
    np.testing.assert_allclose(losses, ((scores - targets) ** 2).sum(axis=1), rtol=2e-3, atol=1e-4)
    assert 0.3 < right.mean() < 1, "too easy or too hard to tell a right answer from a wrong one"


def test_the_best_strength_counts():
    random = np.random.default_rng(0)
    X = (random.normal(size=(3, 100))[LABELS] + random.normal(size=(240, 100)) * 4).astype(np.float32)

    def score(*strengths: float) -> tuple[float, float]:
        right, losses = ridge_out_of_fold(X, LABELS, FOLDS, strengths=strengths)
        return right.mean(), -losses.mean()

    each = [score(strength) for strength in (1e-3, 0.1, 10.0)]
    assert len(set(each)) == 3
    assert score(1e-3, 0.1, 10.0) == max(each)


def test_constant_columns_and_float16_are_no_trouble():
    X = np.c_[np.eye(3)[LABELS], np.zeros(240), np.full(240, 60_000.0)].astype(np.float16)
    right, losses = ridge_out_of_fold(X, LABELS, FOLDS)
    assert right.all()
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("dimensions", [3, 300])
def test_a_cut_that_says_the_same_of_every_picture_is_only_useless(dimensions):
    right, losses = ridge_out_of_fold(np.ones((240, dimensions), np.float16), LABELS, FOLDS)
    assert right.mean() <= 0.4
    assert np.isfinite(losses).all()


# ---- the choice ---------------------------------------------------------------------------------------------------


class Stub:
    """Features with known columns in place of a trunk's."""

    def __init__(self, columns: dict[tuple[str, str], np.ndarray]) -> None:
        self.outputs = tuple(
            Output(layer, pooling, (1, 1, block.shape[1]), block.shape[1], f"{layer} {pooling}")
            for (layer, pooling), block in columns.items()
        )
        self.blocks = dict(zip(self.outputs, columns.values(), strict=True))

    def matrix(self, rows, outputs=None):
        picked = [self.blocks[output][rows] for output in outputs or self.outputs]
        return np.concatenate(picked, axis=1).astype(np.float16)


def noise(dimensions: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(240, dimensions))


def signal(dimensions: int, seed: int, *, spread: float = 0.5, labels: np.ndarray = LABELS) -> np.ndarray:
    return np.random.default_rng(99).normal(size=(3, dimensions))[labels] + spread * noise(dimensions, seed)


def pick(features: Stub, rows: np.ndarray = ROWS, **options: object) -> choose.Choice:
    return choose_cut(features, rows, LABELS[rows], folds=FOLDS[rows], **options)


def test_the_informative_cut_is_chosen():
    features = Stub({("low", "avg"): noise(8, 0), ("middle", "avg"): signal(8, 1), ("top", "avg"): noise(8, 2)})
    choice = pick(features)
    assert (choice.chosen.layer, choice.chosen.pooling) == ("middle", "avg")
    assert choice.candidates[0].outputs == choice.chosen.outputs
    assert [c.accuracy for c in choice.candidates] == sorted((c.accuracy for c in choice.candidates), reverse=True)
    assert choice.candidates[0].accuracy > choice.candidates[1].accuracy + 0.3
    assert choice.pictures == 240
    assert choice.why.startswith("it was the best out of fold")
    assert "smallest" not in choice.why
    assert all(c.low < c.accuracy < c.high or c.accuracy == 1 for c in choice.candidates)


def test_the_smaller_of_equals_is_chosen_and_the_sentence_says_so():
    early = signal(20, 1, spread=1.2)
    features = Stub({("deep", "avg"): np.c_[early, np.ones((240, 4))], ("early", "avg"): early})
    choice = pick(features)
    assert choice.chosen.layer == "early"
    assert "smallest of 2" in choice.why


def test_of_equals_of_one_size_one_is_chosen_the_same_way_every_time():
    block = signal(8, 1)
    features = Stub({("early", "avg"): block, ("late", "avg"): block})
    assert pick(features).chosen.layer == pick(features).chosen.layer == "early"


def test_a_small_but_clearly_worse_cut_is_not_chosen():
    features = Stub({("small", "avg"): signal(2, 1, spread=3), ("large", "avg"): signal(60, 2)})
    assert pick(features).chosen.layer == "large"


def test_both_poolings_together_are_a_candidate():
    halves = LABELS // 2, LABELS % 2  # each block can tell apart only half of what there is to tell
    features = Stub({
        ("top", "avg"): np.c_[halves[0], halves[0]] + 0.1 * noise(2, 1),
        ("top", "max"): np.c_[halves[1], halves[1]] + 0.1 * noise(2, 2),
    })  # fmt: skip
    choice = pick(features)
    assert sorted(c.pooling for c in choice.candidates) == ["avg", "avg+max", "max"]
    assert choice.chosen.pooling == "avg+max"
    assert [output.pooling for output in choice.chosen.outputs] == ["avg", "max"]
    assert choice.chosen.dimensions == 4


def test_a_pooling_that_was_asked_for_is_kept_to():
    columns = {(layer, pooling): signal(4, 1) for layer in ("low", "top") for pooling in ("avg", "max")}
    assert {c.pooling for c in pick(Stub(columns), pooling="avg+max").candidates} == {"avg+max"}
    only_avg = {key: block for key, block in columns.items() if key[1] == "avg"}
    assert {c.pooling for c in pick(Stub(only_avg), pooling="avg").candidates} == {"avg"}


def test_a_single_candidate_is_not_scored():
    features = Stub({("top", "flatten"): signal(4, 1)})
    features.matrix = None  # not asked for
    choice = pick(features, pooling="flatten")
    assert (choice.chosen.layer, choice.pictures, choice.why) == ("top", 0, "it was the only one asked for")
    assert np.isnan(choice.chosen.accuracy)
    assert choice.candidates == (choice.chosen,)


def test_many_pictures_are_sampled_by_the_seed(monkeypatch):
    monkeypatch.setattr(choose, "SCREEN", 60)
    monkeypatch.setattr(choose, "SAMPLE", 120)
    features = Stub({("low", "avg"): signal(4, 1, spread=3), ("top", "avg"): signal(4, 2, spread=1.5)})
    asked = []
    matrix = features.matrix
    features.matrix = lambda rows, outputs=None: (asked.append(len(rows)), matrix(rows, outputs))[1]
    one, same, other = pick(features), pick(features), pick(features, seed=1)
    assert one.pictures == 120
    assert max(asked) == 120
    assert [c.accuracy for c in one.candidates] == [c.accuracy for c in same.candidates]
    assert not np.array_equal(one.candidates[0].right, other.candidates[0].right)
    assert one.chosen.layer == "top"


def test_progress_counts_the_candidates():
    told = []
    columns = {("low", "avg"): signal(4, 1), ("top", "avg"): signal(4, 2), ("top", "max"): signal(4, 3)}
    pick(Stub(columns), progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (4, 4)
    assert {total for _, total in told} == {4}


def test_pictures_that_nobody_could_name_count_for_no_figure():
    labels = LABELS.copy()
    labels[:3] = 3  # a class that is in one fold alone
    features = Stub({("top", "avg"): signal(8, 1, spread=0.1)})
    (found,), _ = choose.screen(
        features, ROWS, labels, FOLDS, groups=choose.groups_of(features.outputs, None), run=map, neighbours=True,
        several=False,
    )  # fmt: skip
    assert len(found.right) == 237
    assert found.accuracy == found.neighbours == 1.0


def test_rows_and_labels_go_together():
    rows = np.random.default_rng(0).permutation(240)[:150]
    features = Stub({("low", "avg"): noise(8, 0), ("top", "avg"): signal(8, 1)})
    choice = pick(features, rows)
    assert choice.chosen.layer == "top"
    assert choice.candidates[0].accuracy > 0.95


def test_a_candidate_is_frozen():
    choice = pick(Stub({("top", "avg"): signal(4, 1), ("low", "avg"): noise(4, 1)}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        choice.chosen.accuracy = 1.0
