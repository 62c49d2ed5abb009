"""Which cut and pooling: every candidate is scored on the user's own training pictures, from one cached pass.

The score is the out-of-fold accuracy of a ridge classifier (least squares on centred one-hot targets), in closed form:
with one eigendecomposition of a candidate's features, the hat matrix H of every strength is at hand, and the
predictions of a fold that was held out follow from the full fit (Allen 1974, the PRESS identity for blocks):

    held-out error of fold f  =  (I − H_ff)⁻¹ (y − H y)_f

So a candidate costs about as much as one fit, however many folds and strengths there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.features import Features
from headstart.intervals import wilson
from headstart.trunk import Output

SAMPLE = 3_000
"""Pictures that candidates are scored on, at most; more would cost time and no longer change the order."""
STRENGTHS = tuple(float(s) for s in np.logspace(-4, 1, 6))
"""Ridge strengths, as shares of the mean eigenvalue times the dimensions."""


@dataclass(frozen=True)
class Candidate:
    """One cut with one pooling, and what it was worth.

    Attributes:
        outputs: the trunk outputs whose features stand side by side.
        accuracy, low, high: out-of-fold, with its 95 % Wilson interval.
        loss: mean squared error of the out-of-fold scores, which decides between equal accuracies.
        right: for each picture whether it was right; what paired comparisons are made of.
        behind: how far it lies behind the best, and the standard error of that, in accuracy.
    """

    outputs: tuple[Output, ...]
    accuracy: float
    low: float
    high: float
    loss: float
    right: np.ndarray
    behind: tuple[float, float] = (0.0, 0.0)

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
    sample = _sample(len(rows), seed) if len(groups) > 1 else np.zeros(0, int)
    if len(groups) == 1:
        only = Candidate(groups[0], float("nan"), 0.0, 1.0, float("nan"), np.zeros(0, bool))
        return Choice(only, (only,), 0, "it was the only candidate")
    block = features.matrix(rows[sample])
    columns = _columns(features.outputs)
    scored = []
    for number, group in enumerate(groups):
        X = np.concatenate([block[:, columns[output]] for output in group], axis=1)
        scored.append(_score(group, X, labels[sample], folds[sample]))
        if progress is not None:
            progress(number + 1, len(groups))
    return _pick(scored, len(sample))


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


def _sample(count: int, seed: int) -> np.ndarray:
    if count <= SAMPLE:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, SAMPLE, replace=False))


def _columns(outputs: Sequence[Output]) -> dict[Output, slice]:
    columns, start = {}, 0
    for output in outputs:
        columns[output] = slice(start, start + output.dimensions)
        start += output.dimensions
    return columns


def _score(group: tuple[Output, ...], X: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> Candidate:
    accuracy, loss, right = ridge_out_of_fold(X, labels, folds)
    low, high = wilson(int(right.sum()), len(right))
    return Candidate(group, accuracy, low, high, loss, right)


def ridge_out_of_fold(X: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Out-of-fold (accuracy, squared error, which were right) of the best of `STRENGTHS`.

    Args:
        X: features, shape (pictures, dimensions), any float type.
        labels: 0 .. C − 1, shape (pictures,).
        folds: which fold holds a picture out, shape (pictures,).
    """
    X = np.asarray(X, np.float32)
    X = X - X.mean(axis=0)
    deviation = X.std(axis=0)
    X /= np.where(deviation > 1e-6, deviation, 1)
    count, dimensions = X.shape
    targets = np.eye(int(labels.max()) + 1, dtype=np.float32)[labels]
    centre = targets.mean(axis=0)
    targets -= centre
    # Of X Xᵀ and Xᵀ X the smaller one is decomposed; `rotated` holds the left singular vectors times the values.
    if dimensions <= count:
        values, vectors = np.linalg.eigh(X.T @ X)
        rotated = X @ vectors
    else:
        values, vectors = np.linalg.eigh(X @ X.T)
        rotated = vectors * np.sqrt(np.maximum(values, 0))
    values = np.maximum(values, 0)
    unit = values.sum() / min(count, dimensions)
    projected = rotated.T @ targets
    members = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    best: tuple[float, float, np.ndarray] | None = None
    for strength in STRENGTHS:
        shrunk = rotated / (values + strength * unit)
        residual = targets - shrunk @ projected
        predicted = np.empty_like(targets)
        for rows in members:
            hat = shrunk[rows] @ rotated[rows].T
            held_out = np.linalg.solve(np.eye(len(rows), dtype=np.float32) - hat, residual[rows])
            predicted[rows] = targets[rows] - held_out
        right = (predicted + centre).argmax(axis=1) == labels
        accuracy, loss = float(right.mean()), float(((predicted - targets) ** 2).sum(axis=1).mean())
        if best is None or (accuracy, -loss) > (best[0], -best[1]):
            best = (accuracy, loss, right)
    if best is None:
        raise ValueError("no strengths to choose from")
    return best


def _pick(scored: list[Candidate], pictures: int) -> Choice:
    """The cheapest of those that the pictures cannot tell from the best."""
    top = max(scored, key=lambda candidate: (candidate.accuracy, -candidate.loss))
    compared = [
        Candidate(c.outputs, c.accuracy, c.low, c.high, c.loss, c.right, _behind(top.right, c.right)) for c in scored
    ]
    compared.sort(key=lambda c: (-c.accuracy, c.loss))
    order = {candidate.layer: number for number, candidate in enumerate(scored)}
    level = [c for c in compared if c.behind[0] <= c.behind[1] / 2]
    chosen = min(level, key=lambda c: (c.dimensions, order[c.layer]))
    if chosen.outputs == top.outputs:
        why = "it was the most accurate out of fold"
        if len(level) > 1:
            why += f", and the smallest of {len(level)} within noise of that"
    else:
        why = (
            f"it is the smallest of {len(level)} candidates within noise of the best "
            f"({chosen.accuracy:.3f} against {top.accuracy:.3f})"
        )
    return Choice(chosen, tuple(compared), pictures, why)


def _behind(best: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Difference in accuracy on the same pictures and its standard error."""
    difference = best.astype(np.float32) - other.astype(np.float32)
    return float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))
