"""Fit several L2-penalised logistic regressions on one design: one for each fold's complement, one on all rows.

minimise  mean loss + strength / 2 · ‖W‖²  by L-BFGS. In the design's coordinates the Hessian is about
curvature · variance + strength, where the curvature is the mean p (1 − p) of the fit that is begun from (1/C (1 − 1/C)
at zero; Boehning 1992 bounds it by 1/2); its inverse is the preconditioner, so that a solution takes some ten passes
over the rows at any strength. From zero the first step is ridge regression.

All bounds count passes, never seconds: the numbers do not depend on how fast a machine is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from headstart.heads import Layer, _links
from headstart.heads._design import Design, Rows, blocks, in_order, sum_in_order
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
        from threadpoolctl import threadpool_limits

        numbers = np.arange(self.fits) if fits is None else np.asarray(fits)
        found = self.start(len(numbers)) if start is None else start.copy()
        together = max(1, _COLUMNS // max(self.outputs, 1))
        with threadpool_limits(1, user_api="blas"):  # threads go over blocks of rows, each with linear algebra of one
            for first in range(0, len(numbers), together):
                part = slice(first, first + together)
                found[part] = self._solve(strength, found[part], numbers[part], tolerance)
        return found

    def _solve(self, strength: float, start: np.ndarray, numbers: np.ndarray, tolerance: float) -> np.ndarray:
        used = self.used[:, numbers]
        jobs = self._jobs(used)
        flat = start.shape[1:]
        diagonal = self._curvature(start, used, jobs)

        def evaluate(points: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            losses, slopes = self._evaluate(points.reshape(-1, *flat), used[:, which], jobs)
            penalised = points.reshape(-1, *flat)[:, :-1]
            losses += 0.5 * strength * np.array([float(np.vdot(each, each)) for each in penalised])
            slopes[:, :-1] += np.float32(strength) * penalised
            return losses, slopes

        def precondition(slopes: np.ndarray, which: np.ndarray) -> np.ndarray:
            return _divided(self.design, slopes, diagonal[which], strength)

        return minimise(evaluate, start, precondition, tolerance=tolerance, steps=STEPS)

    def _jobs(self, used: np.ndarray) -> list[Rows]:
        """Blocks of the rows that any of the fits uses."""
        rows = np.flatnonzero(used.any(axis=1))
        if len(rows) == self.design.count:
            return list(blocks(len(rows)))
        return [rows[part] for part in blocks(len(rows))]

    def _evaluate(self, weights: np.ndarray, used: np.ndarray, jobs: list[Rows]) -> tuple[np.ndarray, np.ndarray]:
        """Mean losses and their slopes, without the penalty."""
        fits = len(weights)
        inner = self.design.inwards(_side_by_side(weights))

        def block(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
            part = self.design.block(rows)
            scores = (part @ inner).reshape(-1, fits, self.outputs)
            losses = self.link.loss(scores, self.targets[rows], used[rows])
            return losses, part.T @ scores.reshape(len(part), -1)

        results = in_order(block, jobs, len(used) * inner.size)
        losses, slopes = next(results)
        for more, further in results:
            losses += more
            slopes += further
        slopes = self.design.outwards(slopes).reshape(-1, fits, self.outputs)
        return losses, np.ascontiguousarray(slopes.transpose(1, 0, 2))

    def _curvature(self, weights: np.ndarray, used: np.ndarray, jobs: list[Rows]) -> np.ndarray:
        """Mean p (1 − p) of each fit and output, none much below the mean of the fit."""
        if not weights.any():
            chance = 1 / self.outputs if self.link.NAME == "softmax" else 0.5
            return np.full((len(weights), self.outputs), chance * (1 - chance) if chance < 1 else 0.25, np.float32)
        inner = self.design.inwards(_side_by_side(weights))

        def block(rows: Rows) -> np.ndarray:
            scores = (self.design.block(rows) @ inner).reshape(-1, len(weights), self.outputs)
            return self.link.curvature(scores, used[rows])

        found = sum_in_order(block, jobs, len(used) * inner.size)
        result: np.ndarray = np.maximum(found, np.maximum(_FLATTEST * found.mean(axis=1, keepdims=True), 1e-7))
        return result

    def scores(self, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Scores of some rows by one fit's weights, float32 of shape (n_rows, outputs)."""
        inner = self.design.inwards(weights)
        parts = [self.design.block(rows[part]) @ inner for part in blocks(len(rows))]
        return np.concatenate(parts)

    def out_of_fold(self, weights: Iterable[np.ndarray], fits: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The rows that some folds' fits left out, ascending, and what those fits answer, (n_rows, outputs)."""
        rows = [np.flatnonzero(self.folds == self.held_out[fit]) for fit in fits]
        answers = [self.link.answers(self.scores(each, part)) for each, part in zip(weights, rows, strict=True)]
        order = np.argsort(np.concatenate(rows), kind="stable")
        return np.concatenate(rows)[order], np.concatenate(answers)[order]

    def layer(self, weights: np.ndarray) -> Layer:
        """One fit's weights as a layer on raw features: scaling and rotation folded in."""
        return Layer(*self.design.kernel(weights), self.link.NAME)


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
