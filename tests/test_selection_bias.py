"""How far the best of many candidates is flattered by having been picked."""

import json

import numpy as np
import pytest

from headstart.selection_bias import Estimate, estimate


def candidates(right: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Losses that go with being wrong, and whether each image was right."""
    noise = 0.05 * np.random.default_rng(seed).random(right.shape)
    return np.where(right, 0.1, 2.0) + noise, right


def estimated(losses: np.ndarray, right: np.ndarray, groups: np.ndarray | None = None, *, seed: int = 0) -> Estimate:
    """What is estimated of the candidate of least loss."""
    return estimate(losses, right, groups, seed=seed).of(best(losses, right))


def best(losses: np.ndarray, right: np.ndarray) -> np.ndarray:
    chosen: np.ndarray = right[:, losses.mean(axis=0).argmin()]
    return chosen


@pytest.mark.parametrize("count", [60, 300])
@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_many_that_know_nothing_is_worth_about_chance(count, seed):
    losses, right = candidates(np.random.default_rng(seed).random((count, 100)) < 0.25, seed)
    chosen = best(losses, right)
    found = estimated(losses, right, seed=seed)
    assert chosen.mean() > 0.25 + 1 / np.sqrt(count) / 2, "it looks better than it is"
    assert abs(found.accuracy - 0.25) < 0.7 * (chosen.mean() - 0.25)
    assert found.accuracy == pytest.approx(chosen.mean() - found.bias)
    assert found.candidates == 100


def test_of_one_that_is_clearly_better_little_is_taken_off():
    random = np.random.default_rng(0)
    right = np.c_[random.random((400, 30)) < 0.5, random.random((400, 1)) < 0.9]
    losses, right = candidates(right)
    found = estimated(losses, right)
    assert 0 <= found.bias < 0.01
    assert found.accuracy == pytest.approx(right[:, -1].mean(), abs=0.01)


def test_of_candidates_that_are_all_the_same_nothing_is_taken_off():
    losses, right = candidates(np.repeat(np.random.default_rng(0).random((200, 1)) < 0.8, 20, axis=1))
    losses = np.repeat(losses[:, :1], 20, axis=1)
    assert estimated(losses, right).bias < 0.01


def test_more_is_taken_off_the_more_there_were():
    right = np.random.default_rng(1).random((100, 200)) < 0.5
    biases = []
    for count in (2, 20, 200):
        losses, some = candidates(right[:, :count])
        biases.append(estimated(losses, some).bias)
    assert biases == sorted(biases)
    assert biases[-1] > biases[0] + 0.02


def test_the_chosen_one_may_have_been_judged_on_more_images():
    losses, right = candidates(np.random.default_rng(2).random((100, 50)) < 0.5)
    more = np.arange(1000) < 700
    found = estimate(losses, right).of(more)
    assert found.accuracy == pytest.approx(0.7 - found.bias)


def test_images_that_belong_together_are_drawn_together():
    """Ten copies of thirty images say no more than the thirty do, and flatter as much."""
    right = np.random.default_rng(3).random((30, 80)) < 0.5
    losses, right = candidates(right)
    once = estimated(losses, right)
    tenfold, answers, groups = (np.repeat(each, 10, axis=0) for each in (losses, right, np.arange(30)))
    together = estimated(tenfold, answers, groups)
    assert together.bias == pytest.approx(once.bias, abs=1e-9)
    assert estimated(tenfold, answers).bias < together.bias / 3


def test_it_is_the_same_every_time_and_another_for_another_seed():
    losses, right = candidates(np.random.default_rng(4).random((80, 40)) < 0.5)
    one, same, other = (estimated(losses, right, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.bias != other.bias
    assert one.bias == pytest.approx(other.bias, abs=0.02)


def test_of_a_handful_of_images_nothing_is_claimed():
    losses, right = candidates(np.ones((4, 3), bool))
    found = estimated(losses, right)
    assert np.isnan(found.bias)
    assert np.isnan(found.loss_bias)
    assert np.isnan(found.accuracy)
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False)) == {
        "accuracy": None, "bias": None, "loss_bias": None, "candidates": 3,
    }  # fmt: skip
    many, all_right = candidates(np.ones((40, 3), bool))
    assert np.isnan(estimate(many, all_right).of(np.zeros(0, bool)).accuracy)


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_of_the_best_of_many_is_flattered_too(seed):
    """Losses of one mean that are drawn anew: the least of them is less by luck alone, and that is taken off."""
    random = np.random.default_rng(seed)
    losses = random.normal(1.0, 0.3, size=(150, 60))
    least = losses.mean(axis=0).min()
    found = estimate(losses, losses < 1)
    assert least < 0.97
    assert least + found.loss_bias == pytest.approx(1.0, abs=0.6 * (1.0 - least))
    clear = np.c_[losses, random.normal(0.3, 0.1, size=150)]
    assert estimate(clear, clear < 1).loss_bias < 0.01
