"""Multinomial logistic regression with an L2 penalty, its strength chosen by cross-validation.

minimise  mean cross-entropy + strength / 2 · ‖W‖²  over standardised features, by SciPy's L-BFGS-B (Liu and Nocedal
1989). The fits of all folds and the fit on everything are columns of one problem: a pass over the features, which
is what costs, then serves them all. Strengths go from strong to weak, each starting from the last one's solution,
until the out-of-fold loss has risen twice. The scaling is folded into the kernel at the end.

For labels the cross-entropy is binary, summed over them, so that each is a logistic regression of its own; numbers are
left to ridge regression (`_ridge.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.errors import RecipeError
from headstart.few import merged, scorable
from headstart.halves import widened
from headstart.heads import (
    Head,
    HeadData,
    Layer,
    Validated,
    Watcher,
    _links,
    _ridge,
    check_options,
    label_losses,
    log_loss,
    moments,
)
from headstart.heads._softmax import chooses as chooses
from headstart.heads._softmax import head_of, one_layer, sample
from headstart.heads._softmax import notes as notes
from headstart.heads._softmax import untrained as untrained

NAME = "linear"
SUMMARY = "logistic regression on pooled features (of numbers, ridge regression); seconds"
BY_EPOCHS = False
OUTPUTS = ("softmax", "sigmoid", "linear")

STRENGTHS = tuple(float(s) for s in np.logspace(0, -5, 11))
NUMBER_STRENGTHS = _ridge.STRENGTHS
"""Those of ridge regression, which numbers are fitted with."""
_PASSES = 60  # over the features, that a search takes in all
_CHUNK = 2048
_KEEP_BYTES = 48 * 2**20  # features up to this size are held as float32, larger ones are widened chunk by chunk


def shape(classes: int, options: Mapping[str, Any], *, activation: str = "softmax") -> list[dict[str, Any]]:
    """One layer."""
    _strengths(options)
    return one_layer(classes, activation)


def _strengths(options: Mapping[str, Any], usual: tuple[float, ...] = STRENGTHS) -> tuple[float, ...]:
    check_options(NAME, options, ["strength", "scaling"])
    if "strength" not in options:
        return usual
    value = options["strength"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e6:
        raise RecipeError(f"strength of the linear head must lie above 0 and not above 1000000; got {value!r}")
    return (float(value),)


def fit(
    data: HeadData, *, options: Mapping[str, Any] | None = None, progress: Any = None, watcher: Watcher | None = None
) -> Head:
    """Fit the head; `options` may name one `strength` in place of the search.

    Returns:
        A head of one layer with out-of-fold accuracy (of labels, the share of decisions that are right at 0.5; of
        numbers, R²) and loss (of numbers, squared error as a share of the variance).
    """
    del progress, watcher  # for heads that are trained by epochs
    if data.activation == "linear":
        return _ridge.fit(data, _strengths(options or {}, NUMBER_STRENGTHS), NAME)
    if data.activation == "sigmoid":
        return _fit_labels(data, _strengths(options or {}))
    validated = data.validated or validate(data, options or {})
    return head_of(data, validated, finish(data, validated), solver="L-BFGS")


def work(data: HeadData) -> float:
    """Estimate the floating-point operations of `validate` and `finish` together."""
    count, width = len(sample(data)), data.features.shape[1]
    fits = len(np.unique(merged(data.folds))) + 1
    return float(4.0 * count * min(count, width) * data.classes * fits * _PASSES)


def validate(data: HeadData, options: Mapping[str, Any]) -> Validated:
    """Cross-validate strengths on the rows of `sample`."""
    rows = sample(data)
    found = cross_validate(
        data.features if len(rows) == len(data.features) else data.features[rows], data.labels[rows],
        data.folds[rows], classes=data.classes, strengths=_strengths(options),
    )  # fmt: skip
    return Validated(NAME, {"strength": found.strength}, rows, found.out_of_fold, found.table)


def finish(data: HeadData, validated: Validated) -> tuple[Layer, ...]:
    """Fit on all rows at the strength that was found."""
    problem = _Problem(data.features, data.labels, data.classes, None)
    weights, _ = problem.solve(float(validated.settings["strength"]), None, tolerance=1e-5)
    return (problem.layer(weights),)


def _fit_labels(data: HeadData, strengths: tuple[float, ...]) -> Head:
    rows, targets = sample(data), data.matrix
    found = cross_validate_labels(
        data.features if len(rows) == len(data.features) else data.features[rows], targets[rows], data.folds[rows],
        strengths=strengths,
    )  # fmt: skip
    problem = _Problem(data.features, targets, targets.shape[1], None, link=_links.Sigmoid())
    weights, _ = problem.solve(found.strength, found.start, tolerance=1e-5)
    best = next(row for row in found.table if row["strength"] == found.strength)
    return Head(
        NAME, (problem.layer(weights),), best["accuracy"], best["loss"],
        found.out_of_fold if len(rows) == len(targets) else None, None, found.table,
        {"strength": found.strength, "solver": "L-BFGS-B"}, held_out=(rows, found.out_of_fold),
    )  # fmt: skip


def refit(features: np.ndarray, labels: np.ndarray, *, classes: int, strength: float) -> Layer:
    """The softmax layer of one fit at a strength that was chosen before, to the precision of the search."""
    problem = _Problem(features, labels, classes, None)
    return problem.layer(problem.solve(strength, None, tolerance=1e-3)[0])


@dataclass(frozen=True)
class CrossValidation:
    """The search for a strength: what was best, and each picture's probabilities from a fit that did not see it."""

    strength: float
    table: tuple[dict[str, float], ...]
    out_of_fold: np.ndarray
    start: np.ndarray


def cross_validate(
    features: np.ndarray, labels: np.ndarray, folds: np.ndarray, *, classes: int,
    strengths: tuple[float, ...] = STRENGTHS,
) -> CrossValidation:  # fmt: skip
    """The strength of least out-of-fold loss, from the strongest on until the loss has risen twice.

    Folds that leave one out are taken together: each of them would be a fit of its own.
    """
    parts = merged(folds)
    problem = _Problem(features, labels, classes, parts)
    known = scorable(labels, parts)  # a fit that saw nothing of a class can say nothing of its pictures
    known = known if known.any() else np.ones(len(labels), bool)
    table: list[dict[str, float]] = []
    best, least, start, worse = None, np.inf, None, 0
    for strength in strengths:
        start, logits = problem.solve(strength, start, tolerance=1e-3)
        probabilities = problem.out_of_fold(logits)
        loss = log_loss(probabilities[known], labels[known])
        accuracy = float((probabilities[known].argmax(axis=1) == labels[known]).mean())
        table.append({"strength": strength, "accuracy": accuracy, "loss": loss})
        worse = worse + 1 if loss >= least else 0
        if loss < least:
            least = loss
            best = (strength, probabilities, start[:, -1:])
        if worse == 2:
            break
    if best is None:
        raise ValueError(f"the features or the labels hold numbers that cannot be fitted. Received: losses={table}")
    return CrossValidation(best[0], tuple(table), best[1], best[2])


def cross_validate_labels(
    features: np.ndarray, targets: np.ndarray, folds: np.ndarray, *, strengths: tuple[float, ...] = STRENGTHS
) -> CrossValidation:
    """The same for labels, each there or not: one strength for all of them, that of least out-of-fold loss.

    Args:
        targets: 0 or 1, shape (pictures, labels).
    """
    problem = _Problem(features, targets, targets.shape[1], merged(folds), link=_links.Sigmoid())
    table: list[dict[str, float]] = []
    best, least, start, worse = None, np.inf, None, 0
    for strength in strengths:
        start, logits = problem.solve(strength, start, tolerance=1e-3)
        probabilities = problem.out_of_fold(logits)
        loss = float(label_losses(probabilities, targets).mean())
        accuracy = float(((probabilities > 0.5) == (targets > 0.5)).mean())
        table.append({"strength": strength, "accuracy": accuracy, "loss": loss})
        worse = worse + 1 if loss >= least else 0
        if loss < least:
            least, best = loss, (strength, probabilities, start[:, -1:])
        if worse == 2:
            break
    if best is None:
        raise ValueError(f"the features or the labels hold numbers that cannot be fitted. Received: losses={table}")
    return CrossValidation(best[0], tuple(table), best[1], best[2])


class _Problem:
    """Several logistic regressions on one set of features: one for each fold's complement, the last on all rows."""

    def __init__(
        self, features: np.ndarray, labels: np.ndarray, classes: int, folds: np.ndarray | None, *,
        link: _links.Link | None = None,
    ) -> None:  # fmt: skip
        self.classes, self.link = classes, link or _links.Softmax()
        self.count, self.dimensions = features.shape
        self.folds = folds
        held_out = np.unique(folds) if folds is not None else np.zeros(0, int)
        self.fits = len(held_out) + 1
        self.used = np.ones((self.count, self.fits), np.float32)
        for column, fold in enumerate(held_out):
            self.used[folds == fold, column] = 0
        self.used /= self.used.sum(axis=0)
        self.held_out = held_out
        self.kept = features.size * 4 <= _KEEP_BYTES
        self.features = widened(features) if self.kept else features
        self.mean, self.deviation = moments(self.features)
        if self.kept:
            self.features = self._standardised(self.features)
        self.targets = labels.astype(np.float32) if labels.ndim == 2 else np.zeros((self.count, classes), np.float32)
        if labels.ndim == 1:
            self.targets[np.arange(self.count), labels] = 1

    def _standardised(self, block: np.ndarray) -> np.ndarray:
        result: np.ndarray = (widened(block) - self.mean) / self.deviation
        return result

    def _chunks(self) -> Any:
        for start in range(0, self.count, _CHUNK):
            rows = slice(start, start + _CHUNK)
            block = self.features[rows]
            yield rows, block if self.kept else self._standardised(block)

    def solve(self, strength: float, start: np.ndarray | None, *, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
        """Weights of shape (dimensions + 1, fits, classes), the last row the biases, and the logits they give."""
        from scipy.optimize import minimize
        from threadpoolctl import threadpool_limits

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
                loss, residual = self.link.loss(part, self.targets[rows], self.used[rows])
                value += loss
                gradient[:-1] += (block.T @ residual.reshape(len(block), -1)).reshape(-1, self.fits, self.classes)
                gradient[-1] += residual.sum(axis=0)
            value += 0.5 * strength * float((weights[:-1] ** 2).sum())
            gradient[:-1] += strength * weights[:-1]
            return value, gradient.ravel().astype(np.float64)

        initial = np.zeros(int(np.prod(shape))) if start is None else start.ravel().astype(np.float64)
        options = {"maxiter": 500, "maxcor": 5, "gtol": tolerance, "ftol": tolerance * 1e-3}
        # A product with so few columns waits for memory: a second thread of linear algebra only spins beside it.
        with threadpool_limits(1, user_api="blas"):
            result = minimize(value_and_gradient, initial, jac=True, method="L-BFGS-B", options=options)
            value_and_gradient(result.x)  # so that the logits are those of the solution, not of the last trial
        return result.x.reshape(shape), logits

    def out_of_fold(self, logits: np.ndarray) -> np.ndarray:
        """Each row's probabilities from the fit that did not see it."""
        if self.folds is None or not len(self.held_out):
            return self.link.answers(logits[:, -1])
        column = np.searchsorted(self.held_out, self.folds)
        return self.link.answers(logits[np.arange(self.count), column])

    def layer(self, weights: np.ndarray) -> Layer:
        """The fit on all rows as a layer on raw features: the scaling folded in."""
        kernel = weights[:-1, -1] / self.deviation[:, None]
        bias = weights[-1, -1] - self.mean @ kernel
        return Layer(kernel.astype(np.float32), bias.astype(np.float32), self.link.NAME)
