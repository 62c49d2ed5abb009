"""Which cut and pooling: every candidate is scored on the user's own training pictures, from one cached pass.

The score is the out-of-fold accuracy of a ridge classifier (least squares on centred one-hot targets), in closed form:
with the hat matrix H of the fit on everything, the predictions of a fold that was held out follow without a refit
(Allen 1974, the PRESS identity for blocks of rows):

    held-out error of fold f  =  (I − H_ff)⁻¹ (y − H y)_f

So a candidate costs one Cholesky factor a strength, however many folds there are. All candidates are screened so on a
sample; those within noise of the best are then fitted with the linear head itself on more pictures, cross-validated,
and the choice is made among these: the smallest of those whose accuracy and loss the pictures cannot tell from the
best.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.features import Features
from headstart.heads import linear
from headstart.intervals import wilson
from headstart.trunk import Output

SCREEN, SAMPLE = 1_000, 3_000
"""Pictures that all candidates are screened on, and that the finalists are fitted on, at most."""
FINALISTS = 4
"""Candidates that are scored a second time, at most."""
ACCURACY_ERRORS, LOSS_ERRORS = 2.0, 0.5
"""Standard errors of the paired difference that a candidate may lie behind the best and still be chosen.

Two of accuracy are what the pictures cannot tell apart. Loss speaks of every picture, accuracy of the few that change
sides, so loss decides among those, and of it little is given away for a smaller candidate.
"""
_SOLVER_NOISE = 2e-4  # nats: fits that are the same in all but rounding differ by so little
STRENGTHS = (0.003, 0.03, 0.3)
"""Ridge strengths, as shares of the mean eigenvalue of the features' covariance."""
_LEAST = 1e-6  # for a cut that says the same of every picture: its eigenvalues are all zero


@dataclass(frozen=True)
class Candidate:
    """One cut with one pooling, and what it was worth.

    Attributes:
        outputs: the trunk outputs whose features stand side by side.
        accuracy, low, high: out-of-fold, with its 95 % Wilson interval.
        right: for each picture whether it was right; what paired comparisons are made of.
        losses: for each picture its out-of-fold loss: cross-entropy for a finalist, squared error for the others.
        finalist: whether it was scored with the linear head.
    """

    outputs: tuple[Output, ...]
    accuracy: float
    low: float
    high: float
    right: np.ndarray
    losses: np.ndarray
    finalist: bool = False

    @property
    def loss(self) -> float:
        return float(self.losses.mean())

    @property
    def layer(self) -> str:
        return self.outputs[0].layer

    @property
    def pooling(self) -> str:
        return "+".join(output.pooling for output in self.outputs)

    @property
    def dimensions(self) -> int:
        return sum(output.dimensions for output in self.outputs)


@dataclass(frozen=True)
class Choice:
    """What was chosen, and everything it was chosen from, best first.

    Attributes:
        chosen: the candidate to use.
        candidates: all of them, best first.
        pictures: how many pictures they were scored on.
        why: one sentence.
    """

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    pictures: int
    why: str


def choose_cut(
    features: Features, rows: np.ndarray, labels: np.ndarray, *, folds: np.ndarray, pooling: str | None = None,
    seed: int = 0, progress: Callable[[int, int], None] | None = None,
) -> Choice:  # fmt: skip
    """Score every cut × pooling of the features and pick one.

    Args:
        features: from a trunk with one or more outputs.
        rows: the training rows of the features' data set.
        labels: their classes, 0 .. C − 1.
        folds: their cross-validation folds.
        pooling: keep to `avg`, `max`, `avg+max` or `flatten`; None tries avg, max and both.
        seed: draws the sample where there are more than `SAMPLE` rows.
    """
    groups = _groups(features.outputs, pooling)
    if len(groups) == 1:
        only = Candidate(groups[0], float("nan"), 0.0, 1.0, np.zeros(0, bool), np.zeros(0))
        return Choice(only, (only,), 0, "it was the only one asked for")
    order = np.random.default_rng(seed).permutation(len(rows))
    screen, sample = np.sort(order[:SCREEN]), np.sort(order[:SAMPLE])
    with _one_core_each() as run:
        screened = _screen(features, rows[screen], labels[screen], folds[screen], groups=groups, run=run, tell=progress)
        classes = int(labels.max()) + 1

        def final(candidate: Candidate) -> Candidate:
            found = linear.cross_validate(
                features.matrix(rows[sample], candidate.outputs), labels[sample], folds[sample], classes=classes
            )
            chances = found.out_of_fold[np.arange(len(sample)), labels[sample]]
            right = found.out_of_fold.argmax(axis=1) == labels[sample]
            return _candidate(candidate.outputs, right, -np.log(np.maximum(chances, 1e-7)), finalist=True)

        finalists = list(run(final, _nearest(screened)))
    return _pick(finalists, [c for c in screened if c.outputs not in {f.outputs for f in finalists}])


def _screen(
    features: Features, rows: np.ndarray, labels: np.ndarray, folds: np.ndarray, *,
    groups: Sequence[tuple[Output, ...]], run: _Map, tell: Callable[[int, int], None] | None,
) -> list[Candidate]:  # fmt: skip
    """Single poolings of every layer first; two side by side only where one of them is among the nearest."""
    block, columns = features.matrix(rows), _columns(features.outputs)

    def score(group: tuple[Output, ...]) -> Candidate:
        X = np.concatenate([block[:, columns[output]] for output in group], axis=1)
        return _candidate(group, *ridge_out_of_fold(X, labels, folds))

    scored: list[Candidate] = []

    def score_all(some: Sequence[tuple[Output, ...]]) -> None:
        for candidate in run(score, some):
            scored.append(candidate)
            if tell is not None:
                tell(len(scored), len(groups))

    single = [group for group in groups if len(group) == 1]
    score_all(single)
    near = {candidate.layer for candidate in _nearest(scored)} if scored else set()
    score_all([group for group in groups if len(group) > 1 and (not near or group[0].layer in near)])
    if tell is not None and len(scored) < len(groups):
        tell(len(groups), len(groups))
    return scored


_Map = Callable[[Callable[[Any], Candidate], Iterable[Any]], Iterable[Candidate]]


@contextmanager
def _one_core_each() -> Iterator[_Map]:
    """A map over the cores, one thread of linear algebra each: small problems lose more than they gain by sharing."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield pool.map


def _candidate(
    outputs: tuple[Output, ...], right: np.ndarray, losses: np.ndarray, *, finalist: bool = False
) -> Candidate:
    low, high = wilson(int(right.sum()), len(right))
    return Candidate(outputs, float(right.mean()), low, high, right, losses, finalist)


def _nearest(scored: list[Candidate]) -> list[Candidate]:
    """Those whose distance to the best is within two standard errors, the nearest first."""
    top = max(scored, key=_rank)
    near = [c for c in scored if _within(top.right, c.right, 2)]
    return sorted(near, key=_rank, reverse=True)[:FINALISTS]


def _rank(candidate: Candidate) -> tuple[float, float]:
    return candidate.accuracy, -candidate.loss


def _groups(outputs: Sequence[Output], pooling: str | None) -> list[tuple[Output, ...]]:
    by_layer: dict[str, list[Output]] = {}
    for output in outputs:
        by_layer.setdefault(output.layer, []).append(output)
    groups: list[tuple[Output, ...]] = []
    for members in by_layer.values():
        both = len(members) > 1 and pooling in (None, "avg+max")
        if pooling is None or not both:
            groups += [(member,) for member in members]
        if both:
            groups.append(tuple(members))
    return groups


def _columns(outputs: Sequence[Output]) -> dict[Output, slice]:
    columns, start = {}, 0
    for output in outputs:
        columns[output] = slice(start, start + output.dimensions)
        start += output.dimensions
    return columns


def ridge_out_of_fold(
    X: np.ndarray, labels: np.ndarray, folds: np.ndarray, strengths: Sequence[float] = STRENGTHS
) -> tuple[np.ndarray, np.ndarray]:
    """For each picture whether it was right out of fold, and its squared error, at the best of the strengths.

    Args:
        X: features, shape (pictures, dimensions), any float type.
        labels: 0 .. C − 1, shape (pictures,).
        folds: which fold holds a picture out, shape (pictures,).
        strengths: ridge penalties, as shares of the mean eigenvalue.
    """
    X = np.asarray(X, np.float32)
    X = X - X.mean(axis=0)
    deviation = X.std(axis=0)
    X /= np.where(deviation > 1e-6, deviation, 1)
    targets = np.eye(int(labels.max()) + 1, dtype=np.float32)[labels]
    centre = targets.mean(axis=0)
    targets -= centre
    residuals = _dual if X.shape[1] > X.shape[0] else _primal
    members = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    scores = []
    for held_out in residuals(X, targets, members, strengths):
        right = (targets - held_out + centre).argmax(axis=1) == labels
        scores.append((right, (held_out**2).sum(axis=1)))
    return max(scores, key=lambda score: (score[0].mean(), -score[1].mean()))


def _primal(
    X: np.ndarray, targets: np.ndarray, members: Sequence[np.ndarray], strengths: Sequence[float]
) -> Iterator[np.ndarray]:
    """Held-out residuals for each strength where there are no more dimensions than pictures."""
    from scipy.linalg import cho_factor, solve_triangular

    gram = X.T @ X
    unit = max(np.trace(gram) / len(gram), _LEAST)
    for strength in strengths:
        factor, _ = cho_factor(gram + np.eye(len(gram), dtype=np.float32) * strength * unit, lower=True)
        whitened = solve_triangular(factor, X.T, lower=True, check_finite=False)
        residual = targets - whitened.T @ (whitened @ targets)
        held_out = np.empty_like(targets)
        for rows in members:
            part = whitened[:, rows]
            held_out[rows] = np.linalg.solve(np.eye(len(rows), dtype=np.float32) - part.T @ part, residual[rows])
        yield held_out


def _dual(
    X: np.ndarray, targets: np.ndarray, members: Sequence[np.ndarray], strengths: Sequence[float]
) -> Iterator[np.ndarray]:
    """The same from the pictures' inner products, where there are more dimensions than pictures.

    There I − H is the inverse of the shifted kernel times the shift, which cancels.
    """
    from scipy.linalg import cho_factor, cho_solve

    kernel = X @ X.T
    unit = max(np.trace(kernel) / len(kernel), _LEAST)
    identity = np.eye(len(kernel), dtype=np.float32)
    for strength in strengths:
        inverse = cho_solve(cho_factor(kernel + identity * strength * unit, lower=True), identity, check_finite=False)
        residual = inverse @ targets
        held_out = np.empty_like(targets)
        for rows in members:
            held_out[rows] = np.linalg.solve(inverse[np.ix_(rows, rows)], residual[rows])
        yield held_out


def _pick(finalists: list[Candidate], others: list[Candidate]) -> Choice:
    """The smallest of the finalists that the pictures cannot tell from the best of them."""
    accurate = max(finalists, key=_rank)
    level = [c for c in finalists if _within(accurate.right, c.right, ACCURACY_ERRORS)]
    best = min(level, key=lambda c: c.loss)
    level = [c for c in level if _within(-best.losses, -c.losses, LOSS_ERRORS)]
    chosen = min(level, key=lambda c: (c.dimensions, c.loss))
    candidates = (*sorted(finalists, key=_rank, reverse=True), *sorted(others, key=_rank, reverse=True))
    if chosen is best:
        why = "it was the best out of fold"
        if len(level) > 1:
            why += f", and the smallest of {len(level)} within noise of that"
    else:
        why = f"it is the smallest of {len(level)} within noise of the best"
    return Choice(chosen, candidates, len(chosen.right), f"{why}, in accuracy and loss")


def _within(best: np.ndarray, other: np.ndarray, errors: float) -> bool:
    """Whether `other` lies behind `best` by no more than so many standard errors of the paired difference."""
    difference = best.astype(np.float64) - other.astype(np.float64)
    return bool(difference.mean() <= errors * difference.std() / np.sqrt(len(difference)) + _SOLVER_NOISE)
