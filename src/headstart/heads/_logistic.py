"""Fit several L2-penalised logistic regressions on one design: one for each fold's complement, one on all rows.

minimise  mean loss + strength / 2 · ‖W‖²  by L-BFGS. In the design's coordinates the Hessian of an output is about
curvature · variance + strength, where the curvature is the mean p (1 − p) of the probabilities at hand (Boehning 1992
bounds that of a softmax by 1/2); its inverse is the preconditioner, so that a solution takes some ten to twenty passes
over the rows at any strength. From zero the first direction is that of ridge regression.

All bounds count passes, never seconds: the numbers do not depend on how fast a machine is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from headstart.heads import Layer, _links
from headstart.heads._design import Design, Rows, blocks, in_order, one_thread, sum_in_order
from headstart.heads._lbfgs import minimise

STEPS = 300
"""Steps of a fit, at most."""
_COLUMNS = 512  # outputs of all fits that are solved side by side, unless one fit has more
_FLATTEST = 0.05  # curvature of an output, as a share of the mean of all outputs


class Problem:
    """Logistic regressions on the rows of a design.

    Args:
        design: standardised features.
        targets: int of shape (n_rows,) for a softmax, float32 of shape (n_rows, n_outputs) for sigmoids.
        outputs: classes or labels.
        folds: int of shape (n_rows,); None for the fit on all rows alone.
        link: softmax or sigmoids.
    """

    def __init__(
        self, design: Design, targets: np.ndarray, outputs: int, folds: np.ndarray | None = None, *,
        link: _links.Link | None = None,
    ) -> None:  # fmt: skip
        self.design, self.outputs, self.link = design, outputs, link or _links.Softmax()
        self.folds = np.zeros(design.count, int) if folds is None else folds
        self.targets = targets.astype(np.float32) if targets.ndim == 2 else targets
        self.held_out = np.unique(folds) if folds is not None else np.zeros(0, int)
        self.fits = len(self.held_out) + 1
        used = np.ones((design.count, self.fits), np.float32)
        for column, fold in enumerate(self.held_out):
            used[folds == fold, column] = 0
        self.used = used / used.sum(axis=0, dtype=np.float64).astype(np.float32)

    def start(self, fits: int) -> np.ndarray:
        """Weights of zero, shape (fits, size + 1, outputs)."""
        return np.zeros((fits, self.design.size + 1, self.outputs), np.float32)

    def solve(
        self, strength: float, start: np.ndarray | None = None, *, tolerance: float, fits: Sequence[int] | None = None
    ) -> np.ndarray:
        """Weights of some fits (of all where None), float32 of shape (fits, size + 1, outputs); the last row is biases.

        Args:
            strength: the penalty.
            start: weights to begin from, of the shape of what is returned; zero where None.
            tolerance: the gain that is left when a fit ends, as a share of its loss.
            fits: numbers of the fits: fold by fold, then the one on all rows.
        """
        numbers = np.arange(self.fits) if fits is None else np.asarray(fits)
        found = self.start(len(numbers)) if start is None else start.copy()
        together = max(1, _COLUMNS // max(self.outputs, 1))
        with one_thread():
            for first in range(0, len(numbers), together):
                part = slice(first, first + together)
                found[part] = self._solve(strength, found[part], numbers[part], tolerance)
        return found

    def _solve(self, strength: float, start: np.ndarray, numbers: np.ndarray, tolerance: float) -> np.ndarray:
        return minimise(_Objective(self, strength, numbers), start, tolerance=tolerance, steps=STEPS)

    def scores(self, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Scores of some rows by one fit's weights, float32 of shape (n_rows, outputs)."""
        with one_thread():
            inner = self.design.inwards(weights)
            return np.concatenate([self.design.block(rows[part]) @ inner for part in blocks(len(rows))])

    def out_of_fold(self, weights: Iterable[np.ndarray], fits: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The rows that some folds' fits left out, ascending, and what those fits answer, (n_rows, outputs)."""
        rows = [np.flatnonzero(self.folds == self.held_out[fit]) for fit in fits]
        answers = [self.link.answers(self.scores(each, part)) for each, part in zip(weights, rows, strict=True)]
        order = np.argsort(np.concatenate(rows), kind="stable")
        return np.concatenate(rows)[order], np.concatenate(answers)[order]

    def layer(self, weights: np.ndarray) -> Layer:
        """One fit's weights as a layer on raw features: scaling and rotation folded in."""
        with one_thread():
            return Layer(*self.design.kernel(weights), self.link.NAME)


class _Objective:
    """Penalised losses of some fits, with the scores of the rows at the current weights and along the current step."""

    def __init__(self, problem: Problem, strength: float, numbers: np.ndarray) -> None:
        self.problem, self.link, self.strength = problem, problem.link, strength
        used = problem.used[:, numbers]
        rows = np.flatnonzero(used.any(axis=1))
        every = len(rows) == len(used)
        self.jobs = [(part, part if every else rows[part]) for part in blocks(len(rows))]
        self.used = used if every else used[rows]
        self.shape = (len(rows), len(numbers), problem.outputs)
        self.scores = self.steps = self.curvature = np.empty(0, np.float32)

    def start(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.scores = self._times(points)
        return self._values(points)

    def aim(self, points: np.ndarray, directions: np.ndarray) -> None:
        self.steps = self._times(directions)
        inner, along = points[:, :-1], directions[:, :-1]
        self.slope, self.bent = self.strength * _dots(inner, along), self.strength * _dots(along, along)

    def bend(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scale = lengths.astype(np.float32)[:, None]

        def block(job: tuple[slice, Rows]) -> np.ndarray:
            part, rows = job
            steps = self.steps[part]
            trial = steps * scale
            trial += self.scores[part]
            return np.stack(self.link.bend(trial, steps, self.problem.targets[rows], self.used[part]))

        first, second = sum_in_order(block, self.jobs, 10.0 * self.scores.size)
        return first + self.slope + lengths * self.bent, second + self.bent

    def move(self, lengths: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.steps *= lengths.astype(np.float32)[:, None]
        self.scores += self.steps
        return self._values(points)

    def keep(self, which: np.ndarray) -> None:
        self.scores, self.used, self.curvature = self.scores[:, which], self.used[:, which], self.curvature[which]

    def precondition(self, slopes: np.ndarray) -> np.ndarray:
        return _divided(self.problem.design, slopes, self.curvature, self.strength)

    def _times(self, weights: np.ndarray) -> np.ndarray:
        """Scores of the rows, float32 of shape (n_rows, fits, outputs)."""
        design, outputs = self.problem.design, self.problem.outputs
        inner = design.inwards(_side_by_side(weights))
        result = np.empty((self.shape[0], len(weights), outputs), np.float32)

        def block(job: tuple[slice, Rows]) -> None:
            part, rows = job
            np.matmul(design.block(rows), inner, out=result[part].reshape(-1, inner.shape[1]))

        for _ in in_order(block, self.jobs, len(result) * inner.size):
            pass
        return result

    def _values(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Penalised losses at the current scores, which these points have, and gradients."""
        design, (fits, _, outputs) = self.problem.design, points.shape

        def block(job: tuple[slice, Rows]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            part, rows = job
            slopes = self.scores[part].copy()
            losses, curvature = self.link.loss(slopes, self.problem.targets[rows], self.used[part])
            return losses, curvature, design.block(rows).T @ slopes.reshape(len(slopes), -1)

        results = in_order(block, self.jobs, self.scores.size * design.width)
        losses, curvature, slopes = next(results)
        for more in results:
            losses, curvature, slopes = losses + more[0], curvature + more[1], np.add(slopes, more[2], out=slopes)
        least = np.maximum(_FLATTEST * curvature.mean(axis=1, keepdims=True), 1e-7)
        self.curvature = np.maximum(curvature, least)
        slopes = design.outwards(slopes).reshape(-1, fits, outputs)
        gradient = np.ascontiguousarray(slopes.transpose(1, 0, 2))
        gradient[:, :-1] += np.float32(self.strength) * points[:, :-1]
        return losses + 0.5 * self.strength * _dots(points[:, :-1], points[:, :-1]), gradient


def _dots(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.array([float(np.vdot(a, b)) for a, b in zip(one, other, strict=True)])


def _side_by_side(weights: np.ndarray) -> np.ndarray:
    """From (fits, size + 1, outputs) to (size + 1, fits · outputs)."""
    return np.ascontiguousarray(weights.transpose(1, 0, 2)).reshape(weights.shape[1], -1)


def _divided(design: Design, slopes: np.ndarray, curvature: np.ndarray, strength: float) -> np.ndarray:
    """Slopes, (fits, size + 1, outputs), by the approximate Hessian; the intercept has variance one and no penalty."""
    curvature = curvature[:, None, :]
    result = np.empty_like(slopes)
    result[:, -1:] = slopes[:, -1:] / curvature
    inner = slopes[:, :-1]
    if design.leading is None:
        np.divide(inner, curvature * design.variances[:, None] + np.float32(strength), out=result[:, :-1])
        return result
    rest = 1 / (curvature * design.variances[-1] + np.float32(strength))
    along = 1 / (curvature * design.variances[:-1, None] + np.float32(strength)) - rest
    result[:, :-1] = inner * rest + np.matmul(design.leading, np.matmul(design.leading.T, inner) * along)
    return result
