"""The rule of thumb: how similar a domain is by the features alone, and what follows."""

import numpy as np
import pytest

from headstart.prior import MANY, SIMILAR, prior, similarity
from headstart.recipe import Recipe


def seen(count: int, *, classes: int = 2, apart: float = 3.0, wide: float = 1.0, seed: int = 0):
    """Classes apart along one direction each, and one more direction that is wide and tells nothing."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    X = random.normal(size=(count, 40))
    X[:, :classes] += apart * np.eye(classes)[labels]
    X[:, -1] *= wide
    return X, labels


def test_classes_along_the_widest_direction_are_a_similar_domain():
    assert similarity(*seen(200, apart=8)) > 0.9


def test_the_same_distance_beside_a_wider_direction_is_less_similar():
    near, far = similarity(*seen(200, apart=8)), similarity(*seen(200, apart=8, wide=30))
    assert far < 0.1 < near


def test_labels_that_the_features_know_nothing_of_are_not_similar():
    X, labels = seen(200)
    shuffled = np.random.default_rng(1).permutation(labels)
    assert similarity(X, shuffled) < 0.05


def test_chance_counts_for_nothing():
    """With few pictures in many dimensions classes differ by chance; what chance gives is taken away."""
    shares = [similarity(np.random.default_rng(seed).normal(size=(12, 500)), np.arange(12) % 2) for seed in range(20)]
    assert np.mean(shares) < 0.2


def test_the_worst_pair_decides():
    X, labels = seen(300, classes=3, apart=8)
    merged = X.copy()
    merged[labels == 2] = merged[labels == 1][:100]  # two of the classes look the same
    merged += 1e-3 * np.random.default_rng(0).normal(size=merged.shape)
    assert similarity(X, labels) > 0.5
    assert similarity(merged, labels) < SIMILAR


def test_a_scale_or_an_unused_label_changes_nothing():
    X, labels = seen(100)
    assert similarity(X * 1000 + 5, labels) == pytest.approx(similarity(X, labels))
    assert similarity(X, labels * 7 + 3) == pytest.approx(similarity(X, labels))


def test_features_that_are_all_the_same_are_not_similar():
    assert similarity(np.ones((20, 5)), np.arange(20) % 2) == 0.0


@pytest.mark.parametrize(
    ("pictures", "apart", "words", "cut"),
    [
        (100, 8, "the top of the frozen network", "deepest"),
        (100, 0, "an earlier cut", "earlier"),
        (MANY, 8, "tuning the top blocks", "deepest"),
        (MANY, 0, "tuning all of the network", "earlier"),
    ],
)
def test_four_corners(pictures, apart, words, cut):
    found = prior(*seen(200, apart=apart), pictures=pictures)
    assert words in found.first
    assert found.fields["cut"] == cut
    assert found.many is (pictures == MANY)
    assert found.similar is (apart == 8)
    assert f"{pictures:,}" in found.reason
    assert f"{found.similarity:.0%}" in found.reason
    assert found.as_dict()["first"] == found.first


@pytest.mark.parametrize("pictures", [100, MANY])
@pytest.mark.parametrize("apart", [8, 0])
def test_tuning_is_for_many_pictures_and_begins_with_a_linear_head(pictures, apart):
    found = prior(*seen(200, apart=apart), pictures=pictures)
    assert Recipe.from_dict({**found.fields, "cut": "auto"}).head == "linear"  # a recipe that is known
    assert ("fine_tune" in found.fields) == ("tuning" in found.first) == (pictures == MANY)


def test_many_pictures_of_many_classes_are_few():
    X, labels = seen(400, classes=10, apart=8)
    assert not prior(X, labels, pictures=MANY).many


def test_too_few_to_say():
    found = prior(*seen(4))
    assert np.isnan(found.similarity)
    assert found.as_dict()["similarity"] is None
    assert "too few to say" in found.reason
    assert "top of the frozen network" in found.first
