"""Minimise several smooth convex functions side by side by preconditioned L-BFGS (Liu and Nocedal 1989).

Each function has curvature pairs, a step and an end of its own; only their evaluations are shared, since one pass over
the data serves all of them. A function is done when the Newton decrement, half the slope along the direction, is a
small share of its value: what is left to gain, whatever the scale of features, penalty and number of classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

MEMORY = 8
"""Curvature pairs."""
LEAST = 1e-3
"""The value from which on a smaller one makes the decrement to stop at no smaller."""
_SUFFICIENT = 1e-4  # share of the slope that a step has to gain (Armijo)
_SHORTENINGS = 12

Evaluate = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Precondition(Protocol):
    """An approximate inverse Hessian times slopes, by the numbers of the functions."""

    def __call__(self, slopes: np.ndarray, which: np.ndarray) -> np.ndarray: ...


def minimise(
    evaluate: Evaluate, start: np.ndarray, precondition: Precondition, *, tolerance: float, steps: int,
    first: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:  # fmt: skip
    """Minimisers, float32 array of the shape of `start`.

    Args:
        evaluate: values, float64 array of shape (n,), and gradients, of the points' shape, for points of shape
            (n, ...) and the numbers of the functions that they belong to.
        start: float32 array of shape (n_functions, ...).
        precondition: an approximate inverse Hessian times an array of the points' shape, by the functions' numbers.
        tolerance: the decrement to stop at, as a share of the value.
        steps: how many there are at most.
        first: values and gradients of `start`, where they are known.

    Example:
        >>> scale = np.array([[1.0, 100.0]], np.float32)
        >>> def bowl(points, numbers):
        ...     return (scale * (points - 1) ** 2).sum(axis=1), 2 * scale * (points - 1)
        >>> zero = np.zeros((1, 2), np.float32)
        >>> minimise(bowl, zero, lambda slopes, which: slopes / 200, tolerance=1e-9, steps=50).round(3)
        array([[1., 1.]], dtype=float32)
    """
    found = start.copy()
    numbers = np.arange(len(start))
    value, gradient = evaluate(start, numbers) if first is None else first
    point, pairs = start, _Pairs()
    for _ in range(steps):
        direction = -pairs.times(gradient, functools.partial(precondition, which=numbers))
        slope = _dots(direction, gradient)
        busy = -slope / 2 > tolerance * np.maximum(np.abs(value), LEAST)
        if not busy.all():
            found[numbers[~busy]] = point[~busy]
            numbers, point, direction, slope = numbers[busy], point[busy], direction[busy], slope[busy]
            value, gradient = value[busy], gradient[busy]
            pairs.keep(busy)
        if not len(numbers):
            return found
        following, new_value, new_gradient = _search(evaluate, point, direction, value, slope, numbers)
        pairs.add(following - point, new_gradient - gradient)
        point, value, gradient = following, new_value, new_gradient
    found[numbers] = point
    return found


def _search(
    evaluate: Evaluate, point: np.ndarray, direction: np.ndarray, value: np.ndarray, slope: np.ndarray,
    numbers: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Full steps, shortened by the secant of the slopes for the functions that gain too little.

    A convex function that still falls at the end of a step has fallen all along it: that is known from the slope where
    rounding hides it in the value.
    """
    length = np.ones(len(point))
    following = point + direction
    new_value, gradient = evaluate(following, numbers)
    for _ in range(_SHORTENINGS):
        new_slope = _dots(gradient, direction)
        enough = (new_slope <= 0) | (new_value <= value + _SUFFICIENT * length * slope)
        bad = np.flatnonzero(~enough)
        if not len(bad):
            break
        rise = np.nan_to_num(new_slope[bad], nan=np.inf)
        length[bad] *= np.clip(-slope[bad] / (rise - slope[bad]), 0.1, 0.9)
        following[bad] = point[bad] + _column(length[bad], point) * direction[bad]
        new_value[bad], gradient[bad] = evaluate(following[bad], numbers[bad])
    return following, new_value, gradient


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

    def times(self, gradient: np.ndarray, precondition: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The approximate inverse Hessian times the gradient: the two loops."""
        q, weights = gradient.copy(), []
        for step, change, inverse in zip(self.steps[::-1], self.changes[::-1], self.inverses[::-1], strict=True):
            weights.append(_dots(step, q) * inverse)
            _add(q, -weights[-1], change)
        if self.steps:
            change, inverse = self.changes[-1], self.inverses[-1]
            scale = _dots(change, precondition(change)) * inverse
            q = precondition(q) / _column(np.where(scale > 0, scale, 1.0), q)
        else:
            q = precondition(q)
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
