"""Scores of features in closed form, every picture judged by what was learnt without its fold.

The linear probe is a ridge classifier (least squares on centred one-hot targets): with the hat matrix H of the fit on
everything, the predictions of a fold that was held out follow without a refit (Allen 1974, the PRESS identity for
blocks of rows):

    held-out error of fold f  =  (I − H_ff)⁻¹ (y − H y)_f

The intercept is part of H. (To centre on all pictures and leave it out would tell each picture by the others, whose sum
it completes: with one left out at a time and more dimensions than pictures, any labels at all would be "right".)
So one Cholesky factor a strength serves all folds. (One eigendecomposition would serve all strengths too, and costs
more than the three factors.) Beside it stands a vote of nearest neighbours, which fits nothing at all: over many
sources and data sets it ranked them best (arXiv 2503.18528).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.halves import widened

STRENGTHS = (0.003, 0.03, 0.3)
"""Ridge strengths, as shares of the mean eigenvalue of the features' covariance."""
NEIGHBOURS = 10
_DIGITS = 4
_LEAST = 1e-6  # for a cut that says the same of every picture: its eigenvalues are all zero


def standardised(X: np.ndarray) -> np.ndarray:
    """float32 columns of mean 0 and deviation 1; constant ones stay 0."""
    X = widened(np.asarray(X))
    X = X - X.mean(axis=0)
    deviation = X.std(axis=0)
    X /= np.where(deviation > 1e-6, deviation, 1)
    return X


@dataclass(frozen=True)
class HeldOut:
    """Answers of ridge regression on one-hot targets to images that it did not see.

    Attributes:
        strength: its penalty.
        scores: float32 of shape (n_images, n_classes), about 1 for the class of an image and 0 for the others.
        dual: what the fit on all images comes to: its weights are Xᵀ times this; None where the solver did without.
    """

    strength: float
    scores: np.ndarray
    dual: np.ndarray | None


def scores_out_of_fold(
    X: np.ndarray, labels: np.ndarray, folds: np.ndarray, strengths: Sequence[float] = STRENGTHS
) -> Iterator[HeldOut]:
    """Answer every image by ridge regression on one-hot targets that did not see it, at each strength.

    Args:
        X: standardised features, float32 of shape (n_images, n_features).
        labels: 0 .. C − 1, shape (n_images,).
        folds: which fold holds an image out, shape (n_images,).
        strengths: ridge penalties, as shares of the mean eigenvalue.

    Example:
        >>> X = np.float32([[-1.0], [1.0]] * 5)
        >>> [found] = scores_out_of_fold(X, np.arange(10) % 2, np.arange(10) // 2, strengths=[0.01])
        >>> found.scores.argmax(axis=1).tolist()
        [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    """
    targets, centre = _targets(labels)
    wide = X.shape[1] > X.shape[0]
    solved = (_dual if wide else _primal)(X @ X.T if wide else X, targets, _members(folds), strengths)
    for strength, (held_out, dual) in zip(strengths, solved, strict=True):
        # Where nothing is known, noise must not decide.
        yield HeldOut(strength, np.round(targets - held_out + centre, _DIGITS), dual)


def kernel_out_of_fold(
    kernel: np.ndarray, labels: np.ndarray, folds: np.ndarray, strengths: Sequence[float] = STRENGTHS
) -> tuple[np.ndarray, np.ndarray]:
    """Judge each picture by ridge regression from inner products of features; those of features side by side are sums.

    Args:
        kernel: float32, shape (pictures, pictures).

    Returns:
        Whether each picture was right out of fold, and its squared error, at the best of the strengths.
    """
    targets, centre = _targets(labels)
    return _best(_dual(kernel, targets, _members(folds), strengths), targets, centre, labels=labels)


@dataclass(frozen=True)
class Answers:
    """What ridge regression says of pictures that it did not see.

    Attributes:
        strength: its penalty.
        answers: float64 of the targets' shape, in their unit.
        losses: squared error of each picture as a share of the targets' variance, the mean over outputs.
    """

    strength: float
    answers: np.ndarray
    losses: np.ndarray

    @property
    def loss(self) -> float:
        return float(self.losses.mean())


def answers_out_of_fold(
    X: np.ndarray, targets: np.ndarray, folds: np.ndarray, strengths: Sequence[float] = STRENGTHS
) -> list[Answers]:
    """Out-of-fold answers of ridge regression on any targets, at each strength, until the loss has risen twice.

    Args:
        X: features, shape (pictures, dimensions), any float type.
        targets: shape (pictures, outputs): numbers, or 0 and 1 for labels.
        folds: which fold holds a picture out, shape (pictures,).
        strengths: ridge penalties, as shares of the mean eigenvalue.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(60, 3))
        >>> found = answers_out_of_fold(X, X[:, :1] * 10, np.arange(60) % 5)
        >>> bool(min(each.loss for each in found) < 0.01)
        True
    """
    X = standardised(X)
    targets = np.asarray(targets, np.float64)
    centre, spread = targets.mean(axis=0), targets.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    y, members = ((targets - centre) / spread).astype(np.float32), _members(folds)
    wide = X.shape[1] > X.shape[0]
    residuals = (_dual if wide else _primal)(X @ X.T if wide else X, y, members, strengths)
    found: list[Answers] = []
    least, worse = np.inf, 0
    for strength, (residual, _) in zip(strengths, residuals, strict=True):
        held_out = residual.astype(np.float64)
        found.append(Answers(strength, (y - held_out) * spread + centre, (held_out**2).mean(axis=1)))
        worse = worse + 1 if found[-1].loss >= least else 0
        least = min(least, found[-1].loss)
        if worse == 2:
            break
    return found


def neighbours_out_of_fold(X: np.ndarray, labels: np.ndarray, folds: np.ndarray, count: int = NEIGHBOURS) -> float:
    """The share named right by a vote of the nearest pictures of other folds (cosine of standardised features).

    Args:
        count: neighbours that vote, weighted by their cosine; no more than the smallest class has pictures.
    """
    X = standardised(X)
    X /= np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-6)
    near = X @ X.T
    near[folds[:, None] == folds] = -np.inf
    classes = int(labels.max()) + 1
    sizes = np.bincount(labels, minlength=classes)
    count = max(1, min(count, int(sizes[sizes > 0].min()), len(labels) - 1))
    voters = np.argpartition(-near, count - 1, axis=1)[:, :count]
    weights = np.take_along_axis(near, voters, axis=1)
    weights = np.where(np.isfinite(weights), np.maximum(weights, 0) + 1e-6, 0)
    votes = np.zeros((len(labels), classes), np.float32)
    for place in range(count):
        np.add.at(votes, (np.arange(len(labels)), labels[voters[:, place]]), weights[:, place])
    return float((votes.argmax(axis=1) == labels).mean())


def _targets(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    targets = np.eye(int(labels.max()) + 1, dtype=np.float32)[labels]
    centre = targets.mean(axis=0)
    return targets - centre, centre


def _members(folds: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(folds == fold) for fold in np.unique(folds)]


def _best(
    residuals: Iterator[tuple[np.ndarray, Any]], targets: np.ndarray, centre: np.ndarray, *, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    scores = []
    for held_out, _ in residuals:
        answers = np.round(targets - held_out + centre, _DIGITS)  # where nothing is known, rounding is not to decide
        right = answers.argmax(axis=1) == labels
        scores.append((right, (held_out**2).sum(axis=1)))
    return max(scores, key=lambda score: (score[0].mean(), -score[1].mean()))


def _primal(
    X: np.ndarray, targets: np.ndarray, members: Sequence[np.ndarray], strengths: Sequence[float]
) -> Iterator[tuple[np.ndarray, None]]:
    """Compute held-out residuals for each strength where there are no more dimensions than pictures.

    The inner products of the pictures outside a fold are those of all less the fold's, so a fold costs one Cholesky
    factor a strength, however many pictures there are.
    """
    from scipy.linalg import cho_factor, cho_solve

    gram, cross = X.T @ X, X.T @ targets
    unit = max(float(np.trace(gram)) / len(gram), _LEAST)
    found = [np.empty_like(targets) for _ in strengths]
    for rows in members:
        inner, count = X[rows], len(X) - len(rows)
        mean = -inner.sum(axis=0) / count  # of the others, since the mean of all is zero
        share = -targets[rows].sum(axis=0) / count
        others = gram - inner.T @ inner - count * np.outer(mean, mean)
        right = cross - inner.T @ targets[rows] - count * np.outer(mean, share)
        for residual, strength in zip(found, strengths, strict=True):
            shifted = others.copy()
            shifted[np.diag_indices_from(shifted)] += np.float32(strength * unit)
            weights = cho_solve(cho_factor(shifted, lower=True, overwrite_a=True), right, check_finite=False)
            residual[rows] = targets[rows] - share - (inner - mean) @ weights
    yield from ((residual, None) for residual in found)


def _dual(
    kernel: np.ndarray, targets: np.ndarray, members: Sequence[np.ndarray], strengths: Sequence[float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Compute the same from the pictures' inner products, where there are more dimensions than pictures; and the dual.

    There I − H is the inverse of the shifted kernel times the shift, less what the intercept takes; the shift cancels.
    """
    from scipy.linalg.blas import ssymm
    from scipy.linalg.lapack import spotrf, spotri

    unit = max(float(np.trace(kernel)) / len(kernel), _LEAST)
    for strength in strengths:
        shift = strength * unit
        shifted = np.array(kernel.T, np.float32, order="F")
        shifted[np.diag_indices_from(shifted)] += np.float32(shift)
        factor, failed = spotrf(shifted, lower=1, overwrite_a=1)
        if failed:
            raise ValueError(f"the features hold numbers that cannot be fitted. Received: strength={strength}")
        inverse, _ = spotri(factor, lower=1, overwrite_c=1)  # its lower triangle alone
        residual = ssymm(1.0, inverse, targets, lower=1)
        intercept = np.float32(1 / (shift * len(kernel)))
        held_out = np.empty_like(targets)
        for rows in members:
            block = np.tril(inverse[np.ix_(rows, rows)])
            block += np.tril(block, -1).T
            held_out[rows] = np.linalg.solve(block - intercept, residual[rows])
        yield held_out, residual
