"""How the outputs of one linear layer answer, and what an answer costs: softmax for classes, sigmoids for labels.

A link has `loss(scores, targets, used)`, the summed loss and its slope by the scores, where `used` (rows, fits) weighs
each row in each fit; and `answers(scores)`. Scores are float32 of shape (rows, fits, outputs), targets of shape (rows,
outputs).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from headstart.heads import sigmoid, softmax


class Link(Protocol):
    """See above."""

    NAME: str

    def loss(self, scores: np.ndarray, targets: np.ndarray, used: np.ndarray) -> tuple[float, np.ndarray]: ...

    def answers(self, scores: np.ndarray) -> np.ndarray: ...


class Softmax:
    """One class a row: cross-entropy."""

    NAME = "softmax"

    def loss(self, scores: np.ndarray, targets: np.ndarray, used: np.ndarray) -> tuple[float, np.ndarray]:
        part = scores - scores.max(axis=2, keepdims=True)
        exponentials = np.exp(part)
        sums = exponentials.sum(axis=2, keepdims=True)
        targets = targets[:, None, :]
        value = float(((np.log(sums[..., 0]) - (part * targets).sum(axis=2)) * used).sum())
        return value, (exponentials / sums - targets) * used[:, :, None]

    def answers(self, scores: np.ndarray) -> np.ndarray:
        return softmax(scores)


class Sigmoid:
    """Labels that are there or not, each by itself: binary cross-entropy, summed over them.

    The sum leaves every label a problem of its own, with the penalty that it would have alone.
    """

    NAME = "sigmoid"

    def loss(self, scores: np.ndarray, targets: np.ndarray, used: np.ndarray) -> tuple[float, np.ndarray]:
        targets = targets[:, None, :]
        costs = np.logaddexp(0, scores) - scores * targets
        value = float((costs.sum(axis=2) * used).sum())
        return value, (sigmoid(scores) - targets) * used[:, :, None]

    def answers(self, scores: np.ndarray) -> np.ndarray:
        return sigmoid(scores)
