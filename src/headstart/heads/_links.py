"""How the outputs of one linear layer answer, and what an answer costs: softmax for classes, sigmoids for labels.

A link has `loss(scores, targets, used)`, which sums losses by fit, and the curvatures p (1 − p) of their outputs, and
leaves in `scores` the slopes of the losses; `bend(scores, steps, targets, used)`, the first and second derivatives of
the summed losses along `steps`; and `answers(scores)`. Scores are float32 of shape (rows, fits, outputs), targets int
of shape (rows,) for classes, float32 of shape (rows, outputs) for labels. `used`, float32 of shape (rows, fits), weighs
each row in each fit: by 0, or by what is the same for all rows of the fit.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from headstart.heads import sigmoid, softmax


class Link(Protocol):
    """See above."""

    NAME: str

    def loss(self, scores: np.ndarray, targets: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...

    def bend(
        self, scores: np.ndarray, steps: np.ndarray, targets: np.ndarray, used: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]: ...

    def answers(self, scores: np.ndarray) -> np.ndarray: ...


class Softmax:
    """One class a row: cross-entropy."""

    NAME = "softmax"

    def loss(self, scores: np.ndarray, targets: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(len(scores))
        scores -= scores.max(axis=2, keepdims=True)
        own = scores[rows, :, targets]
        np.exp(scores, out=scores)
        sums = scores.sum(axis=2)
        losses = ((np.log(sums) - own) * used).sum(axis=0, dtype=np.float64)
        scores *= (used / sums)[:, :, None]
        curvature = _curvature(scores, used)
        scores[rows, :, targets] -= used
        return losses, curvature

    def bend(
        self, scores: np.ndarray, steps: np.ndarray, targets: np.ndarray, used: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Overwrites `scores`."""
        scores -= scores.max(axis=2, keepdims=True)
        np.exp(scores, out=scores)
        sums = scores.sum(axis=2)
        scores *= steps
        mean = scores.sum(axis=2) / sums
        square = np.einsum("rfc,rfc->rf", scores, steps) / sums
        first = (mean - steps[np.arange(len(scores)), :, targets]) * used
        return first.sum(axis=0, dtype=np.float64), ((square - mean**2) * used).sum(axis=0, dtype=np.float64)

    def answers(self, scores: np.ndarray) -> np.ndarray:
        return softmax(scores)


class Sigmoid:
    """Labels that are there or not, each by itself: binary cross-entropy, summed over them.

    The sum leaves every label a problem of its own, with the penalty that it would have alone.
    """

    NAME = "sigmoid"

    def loss(self, scores: np.ndarray, targets: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        targets = targets[:, None, :]
        costs = np.logaddexp(0, scores) - scores * targets
        losses = (costs.sum(axis=2) * used).sum(axis=0, dtype=np.float64)
        scores[...] = sigmoid(scores) * used[:, :, None]
        curvature = _curvature(scores, used)
        scores -= targets * used[:, :, None]
        return losses, curvature

    def bend(
        self, scores: np.ndarray, steps: np.ndarray, targets: np.ndarray, used: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        chances = sigmoid(scores)
        first = np.einsum("rfc,rfc->rf", chances - targets[:, None, :], steps) * used
        second = np.einsum("rfc,rfc->rf", chances * (1 - chances), steps**2) * used
        return first.sum(axis=0, dtype=np.float64), second.sum(axis=0, dtype=np.float64)

    def answers(self, scores: np.ndarray) -> np.ndarray:
        return sigmoid(scores)


def _curvature(chances: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Sums of p (1 − p) over the rows, float32 of shape (fits, outputs), from weighed probabilities."""
    weight = np.maximum(used.max(axis=0), np.finfo(np.float32).tiny)[:, None]
    result: np.ndarray = chances.sum(axis=0) - np.einsum("rfc,rfc->fc", chances, chances) / weight
    return result
