"""How far the best of many candidates is flattered by having been picked."""

import json

import numpy as np
import pytest

from headstart.selection_bias import estimate


def candidates(right: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Losses that go with being wrong, and whether each image was right."""
    noise = 0.05 * np.random.default_rng(seed).random(right.shape)
    return np.where(right, 0.1, 2.0) + noise, right


def best(losses: np.ndarray, right: np.ndarray) -> np.ndarray:
    chosen: np.ndarray = right[:, losses.mean(axis=0).argmin()]
    return chosen


@pytest.mark.parametrize("count", [60, 300])
@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_many_that_know_nothing_is_worth_about_chance(count, seed):
    losses, right = candidates(np.random.default_rng(seed).random((count, 100)) < 0.25, seed)
    chosen = best(losses, right)
    found = estimate(losses, right, of=chosen, seed=seed)
    assert chosen.mean() > 0.25 + 1 / np.sqrt(count) / 2, "it looks better than it is"
    assert abs(found.accuracy - 0.25) < 0.7 * (chosen.mean() - 0.25)
    assert found.accuracy == pytest.approx(chosen.mean() - found.bias)
    assert found.candidates == 100


def test_of_one_that_is_clearly_better_little_is_taken_off():
    random = np.random.default_rng(0)
    right = np.c_[random.random((400, 30)) < 0.5, random.random((400, 1)) < 0.9]
    losses, right = candidates(right)
    found = estimate(losses, right, of=best(losses, right))
    assert 0 <= found.bias < 0.01
    assert found.accuracy == pytest.approx(right[:, -1].mean(), abs=0.01)


def test_of_candidates_that_are_all_the_same_nothing_is_taken_off():
    losses, right = candidates(np.repeat(np.random.default_rng(0).random((200, 1)) < 0.8, 20, axis=1))
    losses = np.repeat(losses[:, :1], 20, axis=1)
    assert estimate(losses, right, of=right[:, 0]).bias < 0.01


def test_more_is_taken_off_the_more_there_were():
    right = np.random.default_rng(1).random((100, 200)) < 0.5
    biases = []
    for count in (2, 20, 200):
        losses, some = candidates(right[:, :count])
        biases.append(estimate(losses, some, of=best(losses, some)).bias)
    assert biases == sorted(biases)
    assert biases[-1] > biases[0] + 0.02


def test_the_chosen_one_may_have_been_judged_on_more_images():
    losses, right = candidates(np.random.default_rng(2).random((100, 50)) < 0.5)
    more = np.arange(1000) < 700
    found = estimate(losses, right, of=more)
    assert found.accuracy == pytest.approx(0.7 - found.bias)


def test_images_that_belong_together_are_drawn_together():
    """Ten copies of thirty images say no more than the thirty do, and flatter as much."""
    right = np.random.default_rng(3).random((30, 80)) < 0.5
    losses, right = candidates(right)
    once = estimate(losses, right, of=best(losses, right))
    tenfold, answers, groups = (np.repeat(each, 10, axis=0) for each in (losses, right, np.arange(30)))
    together = estimate(tenfold, answers, groups, of=best(tenfold, answers))
    assert together.bias == pytest.approx(once.bias, abs=1e-9)
    assert estimate(tenfold, answers, of=best(tenfold, answers)).bias < together.bias / 3


def test_it_is_the_same_every_time_and_another_for_another_seed():
    losses, right = candidates(np.random.default_rng(4).random((80, 40)) < 0.5)
    one, same, other = (estimate(losses, right, of=best(losses, right), seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.bias != other.bias
    assert one.bias == pytest.approx(other.bias, abs=0.02)


def test_of_a_handful_of_images_nothing_is_claimed():
    losses, right = candidates(np.ones((4, 3), bool))
    found = estimate(losses, right, of=right[:, 0])
    assert np.isnan(found.bias)
    assert found.accuracy == 1.0
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False)) == {"accuracy": 1.0, "bias": None, "candidates": 3}
    assert np.isnan(estimate(losses, right, of=np.zeros(0, bool)).accuracy)
