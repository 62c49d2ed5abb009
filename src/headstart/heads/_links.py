"""How the outputs of one linear layer answer, and what an answer costs: softmax for classes, sigmoids for labels.

A link has `loss(scores, targets, used)`, which sums losses by fit and leaves in `scores` their slopes; `curvature`,
the mean diagonal of the Hessian by the scores; and `answers(scores)`. Scores are float32 of shape (rows, fits,
outputs), targets int of shape (rows,) for classes, float32 of shape (rows, outputs) for labels; `used`, float32 of
shape (rows, fits), weighs each row in each fit.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from headstart.heads import sigmoid, softmax


class Link(Protocol):
    """See above."""

    NAME: str

    def loss(self, scores: np.ndarray, targets: np.ndarray, used: np.ndarray) -> np.ndarray: ...

    def curvature(self, scores: np.ndarray, used: np.ndarray) -> np.ndarray: ...

    def answers(self, scores: np.ndarray) -> np.ndarray: ...


class Softmax:
    """One class a row: cross-entropy."""

    NAME = "softmax"

    def loss(self, scores: np.ndarray, targets: np.ndarray, used: np.ndarray) -> np.ndarray:
        rows = np.arange(len(scores))
        scores -= scores.max(axis=2, keepdims=True)
        own = scores[rows, :, targets]
        np.exp(scores, out=scores)
        sums = scores.sum(axis=2)
        losses: np.ndarray = ((np.log(sums) - own) * used).sum(axis=0, dtype=np.float64)
        scores *= (used / sums)[:, :, None]
        scores[rows, :, targets] -= used
        return losses

    def curvature(self, scores: np.ndarray, used: np.ndarray) -> np.ndarray:
        chances = softmax(scores.reshape(-1, scores.shape[2])).reshape(scores.shape)
        return _curvature(chances, used)

    def answers(self, scores: np.ndarray) -> np.ndarray:
        return softmax(scores)


class Sigmoid:
    """Labels that are there or not, each by itself: binary cross-entropy, summed over them.

    The sum leaves every label a problem of its own, with the penalty that it would have alone.
    """

    NAME = "sigmoid"

    def loss(self, scores: np.ndarray, targets: np.ndarray, used: np.ndarray) -> np.ndarray:
        targets = targets[:, None, :]
        costs = np.logaddexp(0, scores) - scores * targets
        losses: np.ndarray = (costs.sum(axis=2) * used).sum(axis=0, dtype=np.float64)
        scores[...] = (sigmoid(scores) - targets) * used[:, :, None]
        return losses

    def curvature(self, scores: np.ndarray, used: np.ndarray) -> np.ndarray:
        return _curvature(sigmoid(scores), used)

    def answers(self, scores: np.ndarray) -> np.ndarray:
        return sigmoid(scores)


def _curvature(chances: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Mean of p (1 − p) for each fit and output, float32 of shape (fits, outputs)."""
    chances = chances * (1 - chances)
    result: np.ndarray = np.einsum("rfc,rf->fc", chances, used)
    return result
