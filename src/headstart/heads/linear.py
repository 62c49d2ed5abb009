"""Multinomial logistic regression with an L2 penalty, its strength chosen by cross-validation.

minimise  mean cross-entropy + strength / 2 · ‖W‖²  over standardised features, by SciPy's L-BFGS-B (Liu and Nocedal
1989). The fits of all folds and the fit on everything are columns of one problem: a pass over the features, which
is what costs, then serves them all. Strengths go from strong to weak, each starting from the last one's solution,
until the out-of-fold loss has risen twice. The scaling is folded into the kernel at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headstart.errors import RecipeError, near
from headstart.heads import Head, HeadData, Layer, log_loss, softmax

NAME = "linear"
SUMMARY = "logistic regression on pooled features; seconds; the default"

STRENGTHS = tuple(float(s) for s in np.logspace(0, -5, 11))
_CHOOSE_FROM = 6_000  # pictures: enough to place the strength within noise
_CHUNK = 4096
_KEEP_BYTES = 48 * 2**20  # features up to this size are held as float32, larger ones are widened chunk by chunk


def shape(classes: int, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One softmax layer."""
    _strengths(options)
    return [{"units": classes, "activation": "softmax", "dropout": 0.0}]


def _strengths(options: Mapping[str, Any]) -> tuple[float, ...]:
    for name in options:
        if name != "strength":
            raise RecipeError(f"the linear head has no option {name!r}; it has strength.{near(name, ['strength'])}")
    if "strength" not in options:
        return STRENGTHS
    value = options["strength"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e6:
        raise RecipeError(f"strength of the linear head must lie above 0 and not above 1000000; got {value!r}")
    return (float(value),)


def fit(data: HeadData, *, options: Mapping[str, Any] | None = None, progress: Any = None) -> Head:
    """Fit the head; `options` may name one `strength` in place of the search.

    Returns:
        A head of one softmax layer with out-of-fold accuracy and loss.
    """
    del progress  # for heads that are trained by epochs
    strengths = _strengths(options or {})
    rows = _sample(data)
    chosen, table, out_of_fold, start = _search(data, rows, strengths)
    if len(rows) < len(data.labels):
        problem = _Problem(data.features, data.labels, data.classes, None)
        weights, _ = problem.solve(chosen, start)
        layer = problem.layer(weights, 0)
        probabilities = None
    else:
        layer, probabilities = start, out_of_fold
    best = next(row for row in table if row["strength"] == chosen)
    return Head(
        NAME, (layer,), best["accuracy"], best["loss"], probabilities, None, tuple(table),
        {"strength": chosen, "solver": "L-BFGS-B"},
    )  # fmt: skip


def _sample(data: HeadData) -> np.ndarray:
    """All rows, or a seeded sample of them that is large enough to choose the strength on."""
    count = len(data.labels)
    if count <= _CHOOSE_FROM:
        return np.arange(count)
    return np.sort(np.random.default_rng(data.seed).choice(count, _CHOOSE_FROM, replace=False))


def _search(
    data: HeadData, rows: np.ndarray, strengths: tuple[float, ...]
) -> tuple[float, list[dict[str, float]], np.ndarray, Any]:
    """The strength of least out-of-fold loss, the table, its out-of-fold probabilities, its fit on all rows."""
    labels, folds = data.labels[rows], data.folds[rows]
    features = data.features if len(rows) == len(data.features) else data.features[rows]
    problem = _Problem(features, labels, data.classes, folds)
    table: list[dict[str, float]] = []
    best: tuple[float, float, np.ndarray, Layer] | None = None
    start, worse = None, 0
    for strength in strengths:
        start, logits = problem.solve(strength, start)
        probabilities = problem.out_of_fold(logits)
        loss = log_loss(probabilities, labels)
        accuracy = float((probabilities.argmax(axis=1) == labels).mean())
        table.append({"strength": strength, "accuracy": accuracy, "loss": loss})
        if best is None or loss < best[0]:
            best, worse = (loss, strength, probabilities, problem.layer(start, problem.fits - 1)), 0
        else:
            worse += 1
            if worse == 2:
                break
    if best is None:
        raise ValueError(f"no strength to choose from. Received: strengths={strengths}")
    return best[1], table, best[2], best[3]


class _Problem:
    """Several logistic regressions on one set of features: one for each fold's complement, the last on all rows."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, classes: int, folds: np.ndarray | None) -> None:
        self.labels, self.classes = labels, classes
        self.count, self.dimensions = features.shape
        self.folds = folds
        held_out = np.unique(folds) if folds is not None else np.zeros(0, int)
        self.fits = len(held_out) + 1
        self.used = np.ones((self.count, self.fits), np.float32)
        for column, fold in enumerate(held_out):
            self.used[folds == fold, column] = 0
        self.used /= self.used.sum(axis=0)
        self.held_out = held_out
        self.mean, self.deviation = _moments(features)
        keep = features.size * 4 <= _KEEP_BYTES
        self.features = self._standardised(features) if keep else features
        self.kept = keep
        self.targets = np.zeros((self.count, classes), np.float32)
        self.targets[np.arange(self.count), labels] = 1

    def _standardised(self, block: np.ndarray) -> np.ndarray:
        result: np.ndarray = (np.asarray(block, np.float32) - self.mean) / self.deviation
        return result

    def _chunks(self) -> Any:
        for start in range(0, self.count, _CHUNK):
            rows = slice(start, start + _CHUNK)
            block = self.features[rows]
            yield rows, block if self.kept else self._standardised(block)

    def solve(self, strength: float, start: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Weights of shape (dimensions + 1, fits, classes), the last row the biases, and the logits they give."""
        from scipy.optimize import minimize

        shape = (self.dimensions + 1, self.fits, self.classes)
        logits = np.empty((self.count, self.fits, self.classes), np.float32)

        def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
            weights = flat.reshape(shape).astype(np.float32)
            gradient = np.zeros(shape, np.float32)
            value = 0.0
            for rows, block in self._chunks():
                part = (block @ weights[:-1].reshape(self.dimensions, -1)).reshape(-1, self.fits, self.classes)
                part += weights[-1]
                logits[rows] = part
                part = part - part.max(axis=2, keepdims=True)
                exponentials = np.exp(part)
                sums = exponentials.sum(axis=2, keepdims=True)
                targets = self.targets[rows][:, None, :]
                used = self.used[rows]
                value += float((((np.log(sums[..., 0]) - (part * targets).sum(axis=2))) * used).sum())
                residual = (exponentials / sums - targets) * used[:, :, None]
                gradient[:-1] += (block.T @ residual.reshape(len(block), -1)).reshape(-1, self.fits, self.classes)
                gradient[-1] += residual.sum(axis=0)
            value += 0.5 * strength * float((weights[:-1] ** 2).sum())
            gradient[:-1] += strength * weights[:-1]
            return value, gradient.ravel().astype(np.float64)

        initial = np.zeros(int(np.prod(shape))) if start is None else start.ravel().astype(np.float64)
        options = {"maxiter": 200, "maxcor": 10, "gtol": 1e-4, "ftol": 1e-7}
        result = minimize(value_and_gradient, initial, jac=True, method="L-BFGS-B", options=options)
        value_and_gradient(result.x)  # so that the logits are those of the solution, not of the last trial
        return result.x.reshape(shape), logits

    def out_of_fold(self, logits: np.ndarray) -> np.ndarray:
        """Each row's probabilities from the fit that did not see it."""
        if self.folds is None or not len(self.held_out):
            return softmax(logits[:, -1])
        column = np.searchsorted(self.held_out, self.folds)
        return softmax(logits[np.arange(self.count), column])

    def layer(self, weights: np.ndarray, fit: int) -> Layer:
        """One fit as a layer on raw features: the scaling folded in."""
        kernel = weights[:-1, fit] / self.deviation[:, None]
        bias = weights[-1, fit] - self.mean @ kernel
        return Layer(kernel.astype(np.float32), bias.astype(np.float32), "softmax")


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature, chunk by chunk; a constant feature gets deviation 1."""
    total, squares = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for start in range(0, len(features), _CHUNK):
        block = np.asarray(features[start : start + _CHUNK], np.float64)
        total += block.sum(axis=0)
        squares += np.einsum("ij,ij->j", block, block)
    mean = total / len(features)
    deviation = np.sqrt(np.maximum(squares / len(features) - mean**2, 0))
    deviation[deviation < 1e-6 * (np.abs(mean) + 1e-6)] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)
