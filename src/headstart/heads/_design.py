"""Standardise features and rotate them into the eigenbasis of their Gram matrix, in blocks of rows.

In that basis the Hessian of a logistic loss is nearly diagonal, so dividing by its diagonal is a good preconditioner.
Where there are fewer rows than features the basis spans the rows alone: the optimum of an L2-penalised fit lies in that
span (Kimeldorf and Wahba 1971), so fewer coordinates are exact. The basis knows no labels, and no fold.

Blocks are cut by the number of rows alone and their results are added in order, so the numbers do not depend on how
many cores there are. Each thread runs linear algebra of one thread.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from headstart.halves import widened
from headstart.heads._scaling import scales

BLOCK = 1024
"""Rows of a block, at most."""
KEEP_BYTES = 64 * 2**20
"""Rotated features up to this size are held as float32; of larger ones the weights are rotated at each pass."""
WIDEST = 2560
"""Features, or rows if they are fewer, up to which all eigenvectors are computed; beyond, those of a sample of rows."""
_SAMPLE, _LEADING = 2048, 512  # rows and leading eigenvectors of that sample
_PARALLEL = 2e8  # multiplications from which threads pay
_SPAN_LEAST = 1e-6  # eigenvalues of a span that float32 cannot tell from zero, as shares of the largest
_LEAST = 1e-7

Rows = slice | np.ndarray


class Design:
    """Standardised features in coordinates for a solver.

    Args:
        features: float16 or float32 array of shape (n_rows, n_features).

    Raises:
        ValueError: some of them are no numbers.

    Attributes:
        count: how many rows there are.
        size: how many coordinates, without the constant one that stands for the intercept.
        variances: float32 array of shape (size,): mean squares along the coordinates, or, where `leading` is not None,
            of shape (n_leading + 1,): along the leading directions, and the mean of the rest.
        leading: float32 array of shape (size, n_leading) where only leading eigenvectors are known, else None.
        width: numbers in a row of `block`.
    """

    def __init__(
        self, features: np.ndarray, parts: Sequence[int] = (), scaling: str = "features", *,
        scale: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:  # fmt: skip
        self.features, self.parts, self.scaling = features, tuple(parts), scaling
        self.count, dimensions = features.shape
        self.mean, self.deviation = scale or scales(features, parts, scaling)
        if not (np.isfinite(self.mean).all() and np.isfinite(self.deviation).all()):
            wrong = np.flatnonzero(~np.isfinite(self.mean * self.deviation))[:5].tolist()
            raise ValueError(f"features that are no numbers cannot be fitted. Received: them in columns {wrong}, …")
        self.leading: np.ndarray | None = None
        self._basis: np.ndarray | None = None
        self._rows: np.ndarray | None = None
        self._outside = False  # whether the blocks are not rotated, but the weights
        with one_thread():
            if min(features.shape) > WIDEST:
                self._sampled()
            elif dimensions <= self.count:
                self._rotated()
            else:
                self._spanned()
        self.width = 1 + (dimensions if self._rows is None else self.size)

    def _rotated(self) -> None:
        values, vectors = _eigen(sum_in_order(self._gram, blocks(self.count), self.features.size * len(self.mean)))
        kept = values > max(float(values[-1]), 0.0) * _LEAST
        self._basis = np.ascontiguousarray(vectors[:, kept])
        self.variances, self.size = values[kept] / np.float32(self.count), int(kept.sum())
        if self.count * (self.size + 1) * 4 > KEEP_BYTES:
            self._outside = True
            return
        self._rows = np.ones((self.count, self.size + 1), np.float32)
        self._fill(self._basis)

    def _spanned(self) -> None:
        """Coordinates of the rows' own span, from their inner products, a block of columns at a time."""
        gram = np.zeros((self.count, self.count), np.float32)
        for columns in blocks(len(self.mean)):
            part = self._standardised(slice(None), columns)
            gram += part @ part.T
        values, vectors = _eigen(gram)
        kept = values > max(float(values[-1]), 0.0) * _SPAN_LEAST
        values = values[kept]
        self.variances, self.size = values / np.float32(self.count), len(values)
        self._rows = np.ones((self.count, self.size + 1), np.float32)
        self._rows[:, :-1] = vectors[:, kept] * np.sqrt(values)

    def _sampled(self) -> None:
        """Columns as they are, with leading directions from evenly spaced rows."""
        part = self._standardised(np.linspace(0, self.count - 1, _SAMPLE).astype(int))
        values, vectors = _eigen(part @ part.T)
        kept = np.flatnonzero(values > max(float(values[-1]), 0.0) * _SPAN_LEAST)[-_LEADING:]
        values, vectors = values[kept], vectors[:, kept]
        self.leading = part.T @ (vectors / np.sqrt(values))
        self.size = len(self.mean)
        rest = max(self.size - float(values.sum()) / len(part), 0.0) / max(self.size - len(kept), 1)
        self.variances = np.append(values / len(part), rest).astype(np.float32)
        if self.count * (self.size + 1) * 4 <= KEEP_BYTES:
            self._rows = np.ones((self.count, self.size + 1), np.float32)
            self._fill(None)

    def _gram(self, rows: Rows) -> np.ndarray:
        block = self._standardised(rows)
        result: np.ndarray = block.T @ block
        return result

    def _fill(self, basis: np.ndarray | None) -> None:
        def fill(rows: Rows) -> None:
            block = self._standardised(rows)
            self._rows[rows, :-1] = block if basis is None else block @ basis  # type: ignore[index]

        for _ in in_order(fill, blocks(self.count), self.features.size * self.size):
            pass

    def _standardised(self, rows: Rows, columns: slice = slice(None)) -> np.ndarray:
        block = widened(self.features[rows, columns])
        block -= self.mean[columns]
        block /= self.deviation[columns]
        return block

    def block(self, rows: Rows) -> np.ndarray:
        """Some rows, float32 array of shape (n_rows, width); the last number is the constant."""
        if self._rows is not None:
            return self._rows[rows]
        part = self._standardised(rows)
        return np.concatenate([part, np.ones((len(part), 1), np.float32)], axis=1)

    def inwards(self, weights: np.ndarray) -> np.ndarray:
        """Weights by coordinate, shape (size + 1, n), as `block` is to be multiplied with, shape (width, n)."""
        if not self._outside or self._basis is None:
            return weights
        return np.concatenate([self._basis @ weights[:-1], weights[-1:]])

    def outwards(self, slopes: np.ndarray) -> np.ndarray:
        """Slopes by what `block` has, shape (width, n), by coordinate, shape (size + 1, n)."""
        if not self._outside or self._basis is None:
            return slopes
        return np.concatenate([self._basis.T @ slopes[:-1], slopes[-1:]])

    def kernel(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias on the features as they came, from weights of shape (size + 1, n_outputs)."""
        inner = weights[:-1]
        if self._basis is not None:
            kernel = self._basis @ inner
        elif self.leading is not None:
            kernel = inner
        else:  # a sum of the rows: X' U / s, where the coordinates are U s
            spread = self._rows[:, :-1] @ (inner / (self.variances[:, None] * self.count))  # type: ignore[index]
            parts = [self._standardised(slice(None), columns).T @ spread for columns in blocks(len(self.mean))]
            kernel = np.concatenate(parts)
        kernel = kernel / self.deviation[:, None]
        return kernel.astype(np.float32), (weights[-1] - self.mean @ kernel).astype(np.float32)


def one_thread() -> AbstractContextManager[Any]:
    """Keep a product to one thread, since blocks of rows go over the cores, and decompositions are slower on more."""
    from threadpoolctl import threadpool_limits

    context: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return context


def blocks(count: int) -> list[slice]:
    """Slices of nearly equal length, four, eight, … of them unless one block holds all."""
    parts = 4 * -(-count // (4 * BLOCK)) if count > BLOCK else 1
    edges = np.linspace(0, count, parts + 1).astype(int).tolist()
    return [slice(first, last) for first, last in itertools.pairwise(edges)]


def in_order(work: Callable[[Any], Any], jobs: Sequence[Any], multiplications: float) -> Iterator[Any]:
    """Results of `work` in the order of the jobs, on all cores where that pays."""
    if len(jobs) == 1 or multiplications < _PARALLEL:
        yield from map(work, jobs)
        return
    with ThreadPoolExecutor(min(os.cpu_count() or 1, len(jobs))) as pool:
        yield from pool.map(work, jobs)


def sum_in_order(work: Callable[[Any], np.ndarray], jobs: Sequence[Any], multiplications: float) -> np.ndarray:
    """The sum of arrays, added in the order of the jobs."""
    results = in_order(work, jobs, multiplications)
    total: np.ndarray = next(results)
    for result in results:
        total += result
    return total


def _eigen(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, and eigenvectors."""
    from scipy.linalg import eigh

    values, vectors = eigh(gram, driver="evd", overwrite_a=True, check_finite=False)
    return values, vectors
