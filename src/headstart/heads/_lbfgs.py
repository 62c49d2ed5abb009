"""Minimise several smooth convex functions side by side by preconditioned L-BFGS (Liu and Nocedal 1989).

Each function has curvature pairs, a step and an end of its own; only the passes over the data are shared. A function is
done when the Newton decrement, half the slope along the direction, is a small share of its value: what is left to gain,
whatever the scale of features, penalty and number of classes.

A linear model's scores are linear in its weights, so a step's length is found without a further product: by Newton's
method on the slope along the step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

MEMORY = 8
"""Curvature pairs."""
LEAST = 1e-3
"""The value from which on a smaller one makes the decrement to stop at no smaller."""
_FLAT = 0.3  # slope at a step's end, as a share of that at its beginning
_TRIALS = 6  # lengths of a step, at most


class Objective(Protocol):
    """Functions at their current points."""

    def start(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values, float64 array of shape (n,), and gradients, of the points' shape (n, ...)."""

    def aim(self, points: np.ndarray, directions: np.ndarray) -> None:
        """Take directions to step along."""

    def bend(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and second derivatives along the directions at some lengths, float64 arrays of shape (n,)."""

    def move(self, lengths: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and gradients at the ends of the steps, which are these points."""

    def keep(self, which: np.ndarray) -> None:
        """Go on with some of the functions, bool array of shape (n,)."""

    def precondition(self, slopes: np.ndarray) -> np.ndarray:
        """An approximate inverse Hessian times an array of the points' shape."""


def minimise(objective: Objective, start: np.ndarray, *, tolerance: float, steps: int) -> np.ndarray:
    """Minimisers, float32 array of the shape of `start`.

    Args:
        objective: the functions.
        start: float32 array of shape (n_functions, ...).
        tolerance: the decrement to stop at, as a share of the value.
        steps: how many there are at most.
    """
    found = start.copy()
    numbers = np.arange(len(start))
    point, pairs = start, _Pairs()
    value, gradient = objective.start(point)
    for _ in range(steps):
        direction = -pairs.times(gradient, objective)
        slope = _dots(direction, gradient)
        busy = -slope / 2 > tolerance * np.maximum(value, LEAST)
        if not busy.all():
            found[numbers[~busy]] = point[~busy]
            numbers, point, direction, slope = numbers[busy], point[busy], direction[busy], slope[busy]
            value, gradient = value[busy], gradient[busy]
            pairs.keep(busy)
            objective.keep(busy)
        if not len(numbers):
            return found
        objective.aim(point, direction)
        length = _length(objective, slope, value)
        following = point + _column(length, point) * direction
        value, new_gradient = objective.move(length, following)
        pairs.add(following - point, new_gradient - gradient)
        point, gradient = following, new_gradient
    found[numbers] = point
    return found


def _length(objective: Objective, slope: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Lengths at which the slope is nearly flat, by Newton's method within a bracket."""
    low, high = np.zeros(len(slope)), np.full(len(slope), np.inf)
    length = np.clip(value / -slope, 1e-3, 1.0)  # no loss is below zero, so a long step from far off is too long
    best: np.ndarray = length
    least = np.full(len(slope), np.inf)
    for _ in range(_TRIALS):
        first, second = objective.bend(length)
        better = np.abs(first) < least
        best, least = np.where(better, length, best), np.where(better, np.abs(first), least)
        flat = least <= _FLAT * -slope
        if flat.all():
            break
        low, high = np.where(first < 0, length, low), np.where(first < 0, high, length)
        following = length - first / np.maximum(second, 1e-30)
        inside = (following > low) & (following < np.minimum(high, 10 * length))
        following = np.where(inside, following, np.where(np.isinf(high), 4 * length, (low + high) / 2))
        length = np.where(flat, best, following)
    return best


@dataclass
class _Pairs:
    """Steps, the changes of the gradients along them, and the inverses of their inner products."""

    steps: list[np.ndarray] = field(default_factory=list)
    changes: list[np.ndarray] = field(default_factory=list)
    inverses: list[np.ndarray] = field(default_factory=list)

    def add(self, step: np.ndarray, change: np.ndarray) -> None:
        product = _dots(step, change)
        inverse = np.where(product > 0, 1 / np.maximum(product, 1e-300), 0.0)  # 0 leaves a pair out
        for each, new in ((self.steps, step), (self.changes, change), (self.inverses, inverse)):
            each.append(new)
            del each[:-MEMORY]

    def keep(self, which: np.ndarray) -> None:
        for each in (self.steps, self.changes, self.inverses):
            each[:] = [array[which] for array in each]

    def times(self, gradient: np.ndarray, objective: Objective) -> np.ndarray:
        """The approximate inverse Hessian times the gradient: the two loops."""
        q, weights = gradient.copy(), []
        for step, change, inverse in zip(self.steps[::-1], self.changes[::-1], self.inverses[::-1], strict=True):
            weights.append(_dots(step, q) * inverse)
            _add(q, -weights[-1], change)
        if self.steps:
            change, inverse = self.changes[-1], self.inverses[-1]
            scale = _dots(change, objective.precondition(change)) * inverse
            q = objective.precondition(q) / _column(np.where(scale > 0, scale, 1.0), q)
        else:
            q = objective.precondition(q)
        for step, change, inverse, weight in zip(self.steps, self.changes, self.inverses, weights[::-1], strict=True):
            _add(q, weight - _dots(change, q) * inverse, step)
        return q


def _column(numbers: np.ndarray, like: np.ndarray) -> np.ndarray:
    result: np.ndarray = numbers.astype(np.float32).reshape(-1, *[1] * (like.ndim - 1))
    return result


def _dots(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.array([float(np.dot(a.ravel(), b.ravel())) for a, b in zip(one, other, strict=True)])


def _add(to: np.ndarray, weights: np.ndarray, what: np.ndarray) -> None:
    """Add multiples in place."""
    for row, weight, other in zip(to, weights, what, strict=True):
        row += np.float32(weight) * other
