"""The temperature of least cross-entropy: how sure answers should have been, apart from which they were.

Two networks are only comparable by loss once neither is too sure or too shy; label smoothing, for one, makes a network
shy. So losses are compared at the best temperature of each.
"""

from __future__ import annotations

import numpy as np

BOUNDS = (0.05, 20.0)
"""Temperatures that are looked at."""
_TINY = 1e-30


def fitted(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The scale (1 / temperature) of least loss, which is convex in it, by Newton's steps within bounds; its error.

    Args:
        logits: float64 of shape (pictures, classes).
        labels: 0 .. classes − 1, shape (pictures,).

    Returns:
        The scale, and its standard error as that of a maximum-likelihood estimate whose model need not be right (Huber
        1967).
    """
    low, high = 1 / BOUNDS[1], 1 / BOUNDS[0]
    true = logits[np.arange(len(labels)), labels]
    scale = 1.0
    for _ in range(60):
        probabilities = softmax(logits * scale)
        mean = (probabilities * logits).sum(axis=1)
        slopes = mean - true
        slope = float(slopes.mean())
        curve = float(((probabilities * logits**2).sum(axis=1) - mean**2).mean())
        low, high = (scale, high) if slope < 0 else (low, scale)
        step = scale - slope / curve if curve > 0 else np.inf
        following = step if low < step < high else (low * high) ** 0.5
        if abs(following - scale) < 1e-9 * scale:
            break
        scale = following
    return scale, float((slopes**2).mean() ** 0.5 / (max(curve, _TINY) * len(labels) ** 0.5))


def losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each picture's cross-entropy (nats) at the temperature of least loss on these pictures.

    >>> losses(np.array([[0.6, 0.4], [0.4, 0.6]]), np.array([0, 1])).round(3).tolist()
    [0.0, 0.0]
    """
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), _TINY))
    scale, _ = fitted(logits, labels)
    chances = softmax(logits * scale)[np.arange(len(labels)), labels]
    found: np.ndarray = -np.log(np.maximum(chances, 1e-7))
    return found


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows that sum to one.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return result
