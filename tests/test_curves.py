"""What the curves say: exact shapes, noise, real runs of a small network, and what no shape may break."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.curves import Gap, Kind, Reading, read
from headstart.errors import InputError

NOTHING = {"dropout": False, "augmented": False, "early_stop": False, "units": 1024}


def falling(epochs: int, start: float = 0.7, end: float = 0.02) -> np.ndarray:
    return np.geomspace(start, end, epochs)


def valley(epochs: int, bottom: int, low: float = 0.3, end: float = 0.6) -> np.ndarray:
    """Down to `low` at epoch `bottom` (from 1), then up to `end`, evenly."""
    down = np.geomspace(2 * low, low, bottom)
    return np.concatenate([down, np.geomspace(low, end, epochs - bottom + 1)[1:]])


def noisy(values: np.ndarray, size: float, seed: int, memory: float = 0.0) -> np.ndarray:
    """Multiplied by noise of `size`, of which the share `memory` stays from epoch to epoch."""
    steps = np.random.default_rng(seed).normal(size=len(values))
    for i in range(1, len(steps)):
        steps[i] += memory * steps[i - 1]
    return values * np.exp(size * steps)


def network(seed: int, *, dropout: float = 0.0, pictures: int = 80, rate: float = 0.05, epochs: int = 60) -> dict:
    """A real run: 30 numbers a picture, 64 ReLU units, one sigmoid, plain SGD, a tenth or so of the labels wrong."""
    random = np.random.default_rng(seed)
    truth = random.normal(size=30)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        features = random.normal(size=(count, 30))
        return features, ((features @ truth > 0) ^ (random.random(count) < 0.15)).astype(float)

    def loss(z: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(np.logaddexp(0, z) - y * z))

    (x, y), (seen, named) = draw(pictures), draw(400)
    w, u = random.normal(size=(30, 64)) * math.sqrt(2 / 30), random.normal(size=64) / 8
    history: dict[str, list[float]] = {name: [] for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
    for _ in range(epochs):
        losses, right = [], []
        for rows in np.split(random.permutation(pictures), range(20, pictures, 20)):
            hidden = np.maximum(x[rows] @ w, 0)
            kept = (random.random(hidden.shape) >= dropout) / (1 - dropout)
            z = hidden * kept @ u
            losses.append(loss(z, y[rows]))
            right.append(np.mean((z > 0) == y[rows]))
            error = (1 / (1 + np.exp(-z)) - y[rows]) / len(rows)
            back = np.outer(error, u) * kept * (hidden > 0)
            u -= rate * ((hidden * kept).T @ error)
            w -= rate * (x[rows].T @ back)
        z = np.maximum(seen @ w, 0) @ u
        values = (np.mean(losses), np.mean(right), loss(z, named), np.mean((z > 0) == named))
        for name, value in zip(history, values, strict=True):
            history[name].append(float(value))
    return history


@pytest.mark.parametrize(("epochs", "bottom"), [(6, 2), (10, 4), (20, 5), (100, 12), (100, 70)])
def test_a_validation_loss_that_rises_while_training_falls_is_over_fitting(epochs, bottom):
    reading = read({"loss": falling(epochs), "val_loss": valley(epochs, bottom)}, training=NOTHING)
    assert (reading.kind, reading.epoch) == ("over-fitting", bottom)
    assert f"least at epoch {bottom}" in reading.words
    assert reading.remedies == ("dropout", "augmentation", "early stopping", "fewer units than 1024")
    assert reading.words.endswith("dropout, augmentation, early stopping or fewer units than 1024.")


@pytest.mark.parametrize("seed", range(5))
def test_noise_hides_neither_a_real_rise_nor_one_late_spike_makes_one(seed):
    loss = noisy(falling(60), 0.1, seed)
    assert read({"loss": loss, "val_loss": noisy(valley(60, 15), 0.08, seed + 50)}).kind == "over-fitting"
    flat = noisy(np.full(60, 0.3), 0.08, seed + 90)
    flat[-1] = 2.0
    assert read({"loss": loss, "val_loss": flat}).kind != "over-fitting"
    burst = noisy(np.full(100, 0.3), 0.05, seed)
    burst[-3:] = 1.0
    assert read({"loss": falling(100), "val_loss": burst}).kind != "over-fitting"


def test_in_a_short_curve_a_steady_climb_counts_for_more_than_a_rise_to_and_fro():
    loss, fall = [0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08], [0.6, 0.5, 0.4, 0.38]
    assert read({"loss": loss, "val_loss": [*fall, 0.5, 0.6, 0.7]}).kind == "over-fitting"
    assert read({"loss": loss, "val_loss": [*fall, 0.6, 0.5, 0.7]}).kind == "settled"


@pytest.mark.parametrize("epochs", [6, 10, 30, 100])
@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_flat_noise_is_hardly_ever_called_over_fitting(epochs, memory):
    kinds = Counter(
        read(
            {"loss": noisy(falling(epochs), 0.05, seed), "val_loss": noisy(np.full(epochs, 0.3), 0.1, -~seed, memory)}
        ).kind
        for seed in range(200)
    )
    assert kinds["over-fitting"] <= (8 if memory else 5), kinds
    assert kinds["settled"] >= 175, kinds


def test_a_rise_too_small_to_matter_is_not_called_over_fitting():
    assert read({"loss": falling(40), "val_loss": valley(40, 10, 0.3, 0.3 * 1.04)}).kind == "settled"
    assert read({"loss": falling(40), "val_loss": valley(40, 10, 0.3, 0.3 * 1.15)}).kind == "over-fitting"
    assert read({"loss": falling(40, end=1e-4), "val_loss": valley(40, 10, 0.002, 0.004)}).kind == "settled"


def test_over_fitting_needs_a_training_loss_that_falls():
    flat = read({"loss": np.full(40, 0.3), "val_loss": valley(40, 10)})
    assert flat.kind == "unstable"
    assert "training loss does not fall" in flat.words
    later = np.concatenate([falling(10, 0.7, 0.3), np.full(30, 0.3)])  # it fell, but not while validation rose
    assert read({"loss": later, "val_loss": valley(40, 10)}).kind == "unstable"


@pytest.mark.parametrize("harder", [1.0, 3.0, 20.0])
def test_a_training_curve_made_worse_by_dropout_or_augmentation_is_read_alike(harder):
    history = {
        "loss": harder * noisy(falling(50), 0.05, 1), "val_loss": noisy(valley(50, 20), 0.03, 2),
        "accuracy": np.linspace(0.6, 0.7, 50), "val_accuracy": np.linspace(0.8, 0.9, 50),
    }  # fmt: skip
    reading = read(history, training={"dropout": True, "augmented": True})
    assert reading.kind == "over-fitting"
    assert reading.gap is not None
    assert reading.gap.value < 0
    assert not reading.gap.real
    assert reading.remedies == ("early stopping", "fewer units")


@pytest.mark.parametrize("seed", range(2))
def test_a_network_that_learns_by_heart_is_recognised_and_dropout_holds_it_back(seed):
    plain, held = read(network(seed), training=NOTHING), read(network(seed, dropout=0.8), training=NOTHING)
    assert plain.kind == "over-fitting"
    assert plain.gap is not None
    assert plain.gap.real
    assert held.kind != "over-fitting"


def test_a_real_network_that_is_stopped_early_is_settled_or_learning():
    assert read(network(0, pictures=2000, epochs=8)).kind in ("settled", "still learning")
    assert read(network(0, rate=1e-5)).kind == "not learning"


def test_a_real_network_that_diverges_is_unstable():
    with np.errstate(all="ignore"):
        assert read(network(0, rate=30.0)).kind == "unstable"


def test_still_learning_and_settled_are_told_by_the_last_third():
    going = read({"loss": falling(30), "val_loss": falling(30, 0.8, 0.2)})
    assert (going.kind, going.remedies) == ("still learning", ("more epochs",))
    done = read({"loss": falling(30), "val_loss": 0.2 + 0.5 * np.exp(-np.arange(30.0))})
    assert done.kind == "settled"
    assert done.remedies == ()


def test_a_settled_run_with_a_real_gap_says_so_and_names_remedies():
    history = {"loss": falling(30), "val_loss": np.full(30, 0.2), "accuracy": np.full(30, 0.99),
               "val_accuracy": np.full(30, 0.92)}  # fmt: skip
    wide = read(history, training=NOTHING, pictures=(2000, 1000))
    assert wide.kind == "settled"
    assert "7.0 points above" in wide.words
    assert wide.remedies[0] == "dropout"
    few = read(history, training=NOTHING, pictures=(2000, 40))  # 40 pictures cannot tell 0.92 from 0.99
    assert "points" not in few.words
    assert few.remedies == ()


def test_the_noise_of_the_gap_is_binomial_where_the_pictures_are_counted():
    history = {"accuracy": [0.9] * 10, "val_accuracy": [0.8] * 10}
    gap = read(history, pictures=(10_000, 400)).gap
    assert gap is not None
    assert gap.value == pytest.approx(0.1)
    assert gap.noise == pytest.approx(2 * math.sqrt(0.09 / 10_000 + 0.16 / 400), rel=0.01)
    perfect = read({"accuracy": [1.0] * 10, "val_accuracy": [1.0] * 10}, pictures=(50, 50)).gap
    assert perfect is not None
    assert perfect.noise > 0
    assert read({"loss": [1.0], "val_loss": [1.0]}).gap is None


def test_flat_at_the_loss_of_guessing_is_not_learning():
    def flat(at: float, **training: object) -> Reading:
        return read(
            {"loss": noisy(np.full(20, at), 0.01, 1), "val_loss": noisy(np.full(20, at), 0.01, 2)}, training=training
        )

    assert flat(math.log(2)).kind == "not learning"
    assert flat(math.log(6), classes=6).kind == "not learning"
    assert flat(0.8, classes=6).kind == "settled"  # far better than guessing one of six from the first epoch on
    assert flat(0.3).kind == "settled"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["loss", "val_loss"])
def test_a_loss_that_is_not_a_number_is_unstable_from_that_epoch(bad, name):
    history = {"loss": list(falling(10)), "val_loss": list(falling(10))}
    history[name][6:] = [bad] * 4
    reading = read(history)
    assert reading.kind == "unstable"
    assert "in 4 of 10 epochs, the first time in epoch 7" in reading.words
    assert reading.epoch == (6 if name == "val_loss" else 10)
    assert reading.remedies == ("a lower learning rate",)
    assert read({"loss": [math.nan] * 2, "val_loss": [bad] * 2}).epoch is None


def test_losses_that_rise_or_jump_are_unstable():
    up = np.geomspace(0.5, 40, 20)
    assert "rose again" in read({"loss": up, "val_loss": up}).words
    jumps = np.where(np.arange(40) % 2 == 0, 0.4, 4.0)
    jumping = read({"loss": jumps, "val_loss": jumps})
    assert jumping.kind == "unstable"
    assert "jumps" in jumping.words


@pytest.mark.parametrize("epochs", range(5))
def test_less_than_five_epochs_are_too_short(epochs):
    reading = read({"loss": [0.5, 0.3, 0.1, 0.05][:epochs], "val_loss": [0.3, 0.5, 0.8, 1.0][:epochs]})
    assert reading.kind == "too short"
    assert reading.epoch == (1 if epochs else None)
    assert f": {epochs} epoch" in reading.words


def test_without_a_validation_loss_nothing_is_claimed():
    assert read({"loss": [0.5] * 30, "accuracy": [0.9] * 30}).kind == "too short"
    assert read({}).kind == "too short"


def test_remedies_leave_out_what_is_in_use():
    history = {"loss": falling(30), "val_loss": valley(30, 8)}
    assert read(history).remedies == ("dropout", "augmentation", "early stopping", "fewer units")
    assert "where it is not in use" in read(history).words
    assert "What helps and is not in use: dropout" in read(history, training=NOTHING).words
    one = read(history, training={**NOTHING, "dropout": True, "augmented": True, "units": 0})
    assert one.remedies == ("early stopping",)
    every = read(history, training={"dropout": True, "augmented": True, "early_stop": True, "units": 0})
    assert every.remedies == ("more dropout", "more pictures")


def test_an_unknown_fact_is_refused_with_a_near_match():
    with pytest.raises(InputError, match=r"no fact 'droput'.*Did you mean dropout\?"):
        read({}, training={"droput": True})


def test_a_reading_is_plain_json():
    reading = read({"loss": falling(8), "val_loss": valley(8, 3), "accuracy": [0.9] * 8, "val_accuracy": [0.8] * 8})
    told = json.loads(json.dumps(reading.as_dict()))
    assert told["kind"] == "over-fitting"
    assert told["gap"]["value"] == pytest.approx(0.1)
    assert str(reading) == reading.words == told["words"]
    assert not Gap(0.01, 0.0).real  # a hundredth matters to nobody


numbers = st.lists(st.floats(width=32), max_size=60)


@given(loss=numbers, val_loss=numbers, accuracy=numbers, val_accuracy=numbers, scale=st.sampled_from([1.0, 1e300]))
@settings(max_examples=150, deadline=None)
def test_any_history_is_read_without_fault(loss, val_loss, accuracy, val_accuracy, scale):
    history = {"loss": loss, "val_loss": [v * scale for v in val_loss], "accuracy": accuracy,
               "val_accuracy": val_accuracy}  # fmt: skip
    reading = read(history, pictures=(100, 0))
    assert reading.kind in get_args(Kind)
    assert "nan" not in reading.words
    count = min(len(loss), len(val_loss))
    if reading.epoch is None:
        assert not any(map(math.isfinite, history["val_loss"][:count]))
    else:
        least = min(v for v in history["val_loss"][:count] if math.isfinite(v))
        assert history["val_loss"][reading.epoch - 1] == least
    whole = all(map(math.isfinite, loss[:count] + history["val_loss"][:count]))
    assert whole or reading.kind == "unstable"
