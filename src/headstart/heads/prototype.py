"""Nearest class mean under a shrunk covariance: a head for 1 to 20 pictures a class, in closed form.

Classes are Gaussians that share one covariance (linear discriminant analysis, Fisher 1936), which few pictures cannot
tell, so it is shrunk towards a multiple of the identity (Friedman 1989, "Regularized Discriminant Analysis"):

    Σ = (1 − λ) W / (n − C) + λ s I        logits = (x − μ_c)ᵀ Σ⁻¹ (x − μ_c) / −2T + log of the class's share

The quadratic term in x is the same for all classes, so what is left is one softmax layer. λ and the temperature T are
those of least out-of-fold loss, measured with smoothed targets (Platt 1999): ten right answers in a row are no proof
that there are no wrong ones. Where every picture is a fold of its own, leaving it out takes its class's mean and one
rank of W away, so all pictures are left out in closed form (Sherman and Morrison 1950).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.errors import RecipeError, near
from headstart.few import merged
from headstart.halves import widened
from headstart.heads import Head, HeadData, Layer, Validated, Watcher, check_options, softmax
from headstart.heads._scaling import SCALINGS, scales, standardised
from headstart.heads._softmax import chooses as chooses
from headstart.heads._softmax import head_of, one_layer, sample
from headstart.heads._softmax import notes as notes
from headstart.heads._softmax import untrained as untrained

NAME = "prototype"
SUMMARY = "nearest class mean under a shrunk covariance; for 1 to 20 pictures a class"
BY_EPOCHS = False
OUTPUTS = ("softmax",)  # what lies nearest is one of them

SHRINKAGES = (0.02, 0.1, 0.3, 0.6, 0.9, 1.0)
TEMPERATURES = tuple(float(t) for t in np.logspace(-5, 1, 61))
"""As shares of the mean squared distance by which the second class lies further than the nearest."""
_ENTRIES = 200_000  # distances that shrinkage and temperature are chosen on, at most
_FAR = 1e30  # the distance to a class that has no other picture


def shape(classes: int, options: Mapping[str, Any], *, activation: str = "softmax") -> list[dict[str, Any]]:
    """One softmax layer."""
    _shrinkages(options)
    return one_layer(classes, activation)


def _shrinkages(options: Mapping[str, Any]) -> tuple[float, ...]:
    check_options(NAME, options, ["shrinkage", "scaling"])
    scaling = options.get("scaling", "features")
    if scaling not in SCALINGS:
        raise RecipeError(
            f"scaling of the prototype head is {' or '.join(SCALINGS)}; got {scaling!r}.{near(str(scaling), SCALINGS)}"
        )
    if "shrinkage" not in options:
        return SHRINKAGES
    value = options["shrinkage"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise RecipeError(f"shrinkage of the prototype head must lie above 0 and not above 1; got {value!r}")
    return (float(value),)


def fit(
    data: HeadData, *, options: Mapping[str, Any] | None = None, progress: Any = None, watcher: Watcher | None = None
) -> Head:
    """Fit the head; `options` may name one `shrinkage`, above 0 to 1, in place of the search.

    Returns:
        A head of one softmax layer; its out-of-fold figures are leave-one-out where each picture is a fold.
    """
    del progress, watcher  # for heads that are trained by epochs
    validated = data.validated or validate(data, options or {})
    return head_of(data, validated, finish(data, validated), solver="closed form")


def work(data: HeadData) -> float:
    """Estimate the floating-point operations of `validate` and `finish` together."""
    count = len(sample(data))
    side = min(count, data.features.shape[1])
    fits = len(np.unique(merged(data.folds)))
    return float(2.0 * fits * (count * side**2 + len(SHRINKAGES) * side**2 * (side / 6 + 2 * data.classes)))


def validate(data: HeadData, options: Mapping[str, Any]) -> Validated:
    """Cross-validate shrinkages and temperatures on the rows of `sample`.

    Rows of which nothing can be said keep the probabilities of a far class.
    """
    rows = sample(data)
    scaling = str(options.get("scaling", "features"))
    found = cross_validate(
        data.features[rows], data.labels[rows], data.folds[rows], classes=data.classes,
        shrinkages=_shrinkages(options), parts=data.parts, scaling=scaling,
    )  # fmt: skip
    settings = {"shrinkage": found.shrinkage, "temperature": found.temperature, "scaling": scaling}
    return Validated(NAME, settings, rows, found.out_of_fold, count=len(data.labels))


def finish(data: HeadData, validated: Validated) -> tuple[Layer, ...]:
    """Fit on all rows with the shrinkage and the temperature that were found."""
    settings = validated.settings
    scale = scales(data.features, data.parts, str(settings["scaling"]))
    return (_layer(data, float(settings["shrinkage"]), float(settings["temperature"]), scale=scale),)


@dataclass(frozen=True)
class CrossValidation:
    """The search for shrinkage and temperature.

    Attributes:
        out_of_fold: probabilities of each picture from a fit that did not see it, (pictures, classes).
        measurable: the pictures whose class has others in that fit; nothing can be said of the rest.
    """

    shrinkage: float
    temperature: float
    out_of_fold: np.ndarray
    measurable: np.ndarray


def cross_validate(
    features: np.ndarray, labels: np.ndarray, folds: np.ndarray, *, classes: int,
    shrinkages: tuple[float, ...] = SHRINKAGES, parts: tuple[int, ...] = (), scaling: str = "features",
) -> CrossValidation:  # fmt: skip
    """The shrinkage and the temperature of least out-of-fold loss.

    Args:
        features: float, shape (pictures, dimensions).
        labels: 0 .. classes − 1.
        folds: which fold holds a picture out; a fold for each row leaves one out at a time, in closed form, and where
            rows share so many folds, as views of a picture do, these are taken together (`few.merged`).
        parts, scaling: how the features are scaled (`_scaling`).
    """
    from threadpoolctl import threadpool_limits

    X = standardised(features, parts, scaling)
    with threadpool_limits(1, user_api="blas"):
        spread = _of_span(X)
        alone = len(np.unique(folds)) == len(folds)
        distances = _left_out(spread, labels, classes, shrinkages) if alone else _held_out(
            spread, labels, merged(folds), classes=classes, shrinkages=shrinkages
        )  # fmt: skip
    share = _log_share(labels, classes)
    measurable = distances[0][np.arange(len(labels)), labels] < _FAR
    judges = np.flatnonzero(measurable)[:: max(1, len(labels) * classes // _ENTRIES)]
    best: tuple[float, float, float, np.ndarray] | None = None
    for shrinkage, distance in zip(shrinkages, distances, strict=True):
        nearest = np.where(distance < _FAR, distance, np.inf).min(axis=1, keepdims=True)
        gap = np.minimum(distance - nearest, _FAR)
        unit = _margin(gap)
        judge = judges if len(judges) else np.arange(len(labels))
        for temperature in (unit * share_of for share_of in TEMPERATURES):
            out = softmax(gap[judge] / (-2 * temperature) + share)
            loss = _smoothed_loss(out, labels[judge]) if len(judges) else 0.0
            if best is None or loss < best[0] - 1e-12:
                best = (loss, shrinkage, temperature, gap)
    if best is None:
        raise ValueError(f"no shrinkage could be fitted. Received: shrinkages={shrinkages}")
    _, shrinkage, temperature, gap = best
    answers = softmax(gap / (-2 * temperature) + share).astype(np.float32)
    if not len(judges):  # one picture a class: nothing was learnt of either, so neither is believed in much
        return CrossValidation(shrinkages[-1], float(spread.dimensions), answers, measurable)
    return CrossValidation(shrinkage, temperature, answers, measurable)


@dataclass(frozen=True)
class _Spread:
    """Pictures in the coordinates of their own span, which keep all distances; `dimensions` there were before."""

    points: np.ndarray
    dimensions: int


def _of_span(X: np.ndarray) -> _Spread:
    dimensions = X.shape[1]
    X = X.astype(np.float64)
    X -= X.mean(axis=0)
    if dimensions <= 2 * len(X):  # eigenvectors cost more than the few dimensions they would save
        return _Spread(X, dimensions)
    values, vectors = np.linalg.eigh(X @ X.T)
    kept = values > max(values[-1], 0.0) * 1e-12
    return _Spread(vectors[:, kept] * np.sqrt(values[kept]), dimensions)


def _means(points: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    counts = np.bincount(labels, minlength=classes)
    sums = np.zeros((classes, points.shape[1]))
    np.add.at(sums, labels, points)
    return sums / np.maximum(counts, 1)[:, None], counts


def _scatter(points: np.ndarray, labels: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and vectors of the scatter within classes."""
    rest = points - means[labels]
    values, vectors = np.linalg.eigh(rest.T @ rest)
    return np.maximum(values, 0), vectors


def _level(total: float, freedom: float, dimensions: int) -> float:
    """The mean variance within classes; one where no class has two pictures."""
    return total / (freedom * dimensions) if total > 1e-12 else 1.0


def _left_out(spread: _Spread, labels: np.ndarray, classes: int, shrinkages: tuple[float, ...]) -> list[np.ndarray]:
    """Squared distances of every picture to the class means without it, for each shrinkage, (pictures, classes)."""
    means, counts = _means(spread.points, labels, classes)
    values, vectors = _scatter(spread.points, labels, means)
    points, means = spread.points @ vectors, means @ vectors
    rest = points - means[labels]
    own = counts[labels]
    alone = own == 1
    factor = np.where(alone, 0.0, own / np.maximum(own - 1, 1))  # of the rank that goes with a picture
    present = int((counts > 0).sum())
    freedom = np.maximum(len(labels) - 1 - present + alone, 1).astype(float)
    total = values.sum() - factor * (rest**2).sum(axis=1)
    level = np.array([_level(t, f, spread.dimensions) for t, f in zip(total, freedom, strict=True)])
    found = []
    for shrinkage in shrinkages:
        a = (1 - shrinkage) / freedom
        inverse = 1 / (a[:, None] * values + (shrinkage * level)[:, None])
        weighted = rest * inverse
        lost = 1 - a * factor * np.einsum("ij,ij->i", rest, weighted)
        gain = a * factor / np.maximum(lost, 1e-9)
        distances = np.empty((len(labels), classes))
        for label in range(classes):
            step = points - means[label]
            step[labels == label] *= factor[labels == label, None]  # the mean moves away from the picture
            distances[:, label] = np.einsum("ij,ij,ij->i", step, inverse, step)
            distances[:, label] += gain * np.einsum("ij,ij->i", step, weighted) ** 2
        distances[:, counts == 0] = _FAR
        distances[alone, labels[alone]] = _FAR
        found.append(distances)
    return found


def _held_out(
    spread: _Spread, labels: np.ndarray, folds: np.ndarray, *, classes: int, shrinkages: tuple[float, ...]
) -> list[np.ndarray]:
    """The same where folds of several pictures are held out together, less what all classes of a picture share.

    A Cholesky factor a fold and shrinkage: six of them cost less than the eigenvectors that would serve all six.
    """
    from scipy.linalg import cho_factor, cho_solve

    found = [np.empty((len(labels), classes)) for _ in shrinkages]
    everything = spread.points.astype(np.float32)
    for fold in np.unique(folds):
        out = folds == fold
        means, counts = _means(everything[~out], labels[~out], classes)
        centres = means.astype(np.float32)
        rest = everything[~out] - centres[labels[~out]]
        scatter = rest.T @ rest
        freedom = max(int((~out).sum()) - int((counts > 0).sum()), 1)
        level = _level(float(np.trace(scatter)), freedom, spread.dimensions)
        for distances, shrinkage in zip(found, shrinkages, strict=True):
            covariance = scatter * np.float32((1 - shrinkage) / freedom)
            covariance[np.diag_indices_from(covariance)] += np.float32(shrinkage * level)
            solved = cho_solve(cho_factor(covariance, lower=True, overwrite_a=True), centres.T, check_finite=False)
            distances[out] = (centres.T * solved).sum(axis=0) - 2 * everything[out] @ solved
            distances[np.ix_(out, counts == 0)] = _FAR
    return found


def _margin(gap: np.ndarray) -> float:
    """How much further the second class lies than the nearest, in the mean; 1 where no distance differs."""
    second = np.partition(gap, 1, axis=1)[:, 1]
    known = second[(second > 0) & (second < _FAR)]
    return float(known.mean()) if len(known) else 1.0


def _smoothed_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Cross-entropy with one answer more than there are pictures, which was wrong."""
    count, classes = probabilities.shape
    logs = np.log(np.maximum(probabilities, 1e-300))
    wrong = 1 / (count + 2)
    own = logs[np.arange(count), labels]
    other = (logs.sum(axis=1) - own) / max(classes - 1, 1)
    return float(-((1 - wrong) * own + wrong * other).mean())


def _log_share(labels: np.ndarray, classes: int) -> np.ndarray:
    counts = np.bincount(labels, minlength=classes)
    result: np.ndarray = np.log(np.maximum(counts, 0.5) / len(labels))
    return result


def _layer(
    data: HeadData, shrinkage: float, temperature: float, *, scale: tuple[np.ndarray, np.ndarray]
) -> Layer:  # fmt: skip
    """The fit on all pictures as one layer on raw features."""
    mean, deviation = scale
    X = ((widened(np.asarray(data.features)) - mean) / deviation).astype(np.float64)
    centres, counts = _means(X, data.labels, data.classes)
    rest = X - centres[data.labels]
    freedom = max(len(X) - int((counts > 0).sum()), 1)
    level = _level(float((rest**2).sum()), freedom, X.shape[1])
    a, b = (1 - shrinkage) / freedom, shrinkage * level
    if X.shape[1] <= len(X):
        solved = np.linalg.solve(a * (rest.T @ rest) + b * np.eye(X.shape[1]), centres.T)
    else:  # by the pictures' inner products (Woodbury)
        inner = np.eye(len(X)) + a / b * (rest @ rest.T)
        solved = (centres.T - a / b * rest.T @ np.linalg.solve(inner, rest @ centres.T)) / b
    kernel = solved / temperature
    bias = -0.5 * (centres * kernel.T).sum(axis=1) + _log_share(data.labels, data.classes)
    kernel = kernel / deviation[:, None]
    bias = bias - mean @ kernel
    return Layer(kernel.astype(np.float32), bias.astype(np.float32), "softmax")
