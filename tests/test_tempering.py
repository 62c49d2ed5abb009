"""The temperature of least loss, held against a search over a grid, and what follows from it being least."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.tempering import BOUNDS, fitted, losses


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def answers(seed, pictures=60, classes=4, sure=2.0, right=1.0):
    draws = np.random.default_rng(seed)
    labels = draws.integers(0, classes, pictures)
    logits = draws.standard_normal((pictures, classes))
    logits[np.arange(pictures), labels] += right
    return sure * logits, labels


def plain(probabilities, labels):
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-30))


@given(st.integers(0, 10**6), st.integers(2, 80), st.integers(2, 6), st.floats(0.1, 8), st.floats(-1, 3))
@settings(max_examples=150, deadline=None)
def test_the_loss_is_never_above_the_plain_one_nor_above_that_of_any_temperature(seed, pictures, classes, sure, right):
    logits, labels = answers(seed, pictures, classes, sure, right)
    found = losses(softmax(logits), labels).mean()
    for temperature in (1.0, *np.geomspace(*BOUNDS, 30)):
        assert found <= plain(softmax(logits / temperature), labels).mean() + 1e-7


@given(st.integers(0, 10**6), st.floats(0.4, 2.5))
@settings(max_examples=100, deadline=None)
def test_how_sure_the_answers_are_does_not_matter(seed, temperature):
    logits, labels = answers(seed)
    one, other = losses(softmax(logits), labels), losses(softmax(logits / temperature), labels)
    assert np.allclose(one, other, atol=1e-6)


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_an_offset_of_a_pictures_logits_does_not_matter(seed):
    logits, labels = answers(seed)
    shifts = np.random.default_rng(seed).standard_normal((len(labels), 1)) * 30
    assert fitted(logits, labels)[0] == pytest.approx(fitted(logits + shifts, labels)[0], rel=1e-6)


def test_answers_that_were_drawn_as_they_say_are_left_as_they_are():
    draws = np.random.default_rng(0)
    logits = draws.standard_normal((20_000, 3)) * 1.5
    labels = (softmax(logits).cumsum(axis=1) > draws.random((20_000, 1))).argmax(axis=1)
    scale, error = fitted(3 * logits, labels)
    assert scale == pytest.approx(1 / 3, abs=4 * error)
    assert error < 0.01


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], [0, 1]),  # all right, and sure
        ([[1.0, 0.0], [0.0, 1.0]], [1, 0]),  # all wrong, and sure
        ([[0.5, 0.5]], [0]),
        ([[1.0]], [0]),
        ([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1]], [0, 0, 0]),  # a class that no picture is of
    ],
)
def test_answers_at_the_edge_have_a_loss(probabilities, labels):
    found = losses(np.array(probabilities, np.float32), np.array(labels))
    assert found.shape == (len(labels),)
    assert np.isfinite(found).all()
    assert (found >= -1e-9).all()


def test_answers_that_are_no_numbers_have_no_loss():
    assert np.isnan(losses(np.full((3, 2), np.nan, np.float32), np.array([0, 1, 0]))).all()
