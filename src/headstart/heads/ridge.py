"""Ridge regression on one-hot targets, made probabilities by one softmax temperature; all of it in closed form.

minimise  ‖Y − XW − b‖² + strength · mean eigenvalue of XᵀX · ‖W‖²          probabilities = softmax(sharpness · scores)

(Hoerl and Kennard 1970). The Cholesky factor of a strength serves every class and, by the PRESS identity (Allen 1974),
every fold, so a class costs one more column on the right. Of the strengths the one of least calibrated out-of-fold
cross-entropy is taken: each is judged at the sharpness (1 / temperature) that suits it best, with smoothed targets
(Platt 1999), since ten right answers in a row are no proof that there are no wrong ones.

Where few images are described by many numbers, as by all block ends side by side, this is more accurate than logistic
regression as often as not (`bench/choice.py`), and takes a fraction of its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from headstart.errors import RecipeError, near
from headstart.few import merged, scorable
from headstart.heads import Head, HeadData, Layer, Validated, Watcher, _ridge, check_options, softmax
from headstart.heads._scaling import SCALINGS, scales, standardised
from headstart.heads._softmax import chooses as chooses
from headstart.heads._softmax import head_of, one_layer, sample
from headstart.heads._softmax import notes as notes
from headstart.heads._softmax import untrained as untrained
from headstart.probes import HeldOut, scores_out_of_fold

NAME = "ridge"
SUMMARY = "ridge regression on one-hot targets, in closed form; fast for any number of classes"
BY_EPOCHS = False
OUTPUTS = ("softmax",)

STRENGTHS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""Penalties that are tried, as shares of the mean eigenvalue, from strong to weak."""
_A_CLASS = 10  # rows of a class that a strength is chosen on, where there are many classes
_ENTRIES = 400_000  # scores that a sharpness is fitted on, at most: one number needs no more
_SHARPEST, _BLUNTEST = 10_000.0, 0.1  # a thousand classes of few pictures have scores of thousandths


def shape(classes: int, options: Mapping[str, Any], *, activation: str = "softmax") -> list[dict[str, Any]]:
    """Describe the one layer."""
    _options(options)
    return one_layer(classes, activation)


def _options(options: Mapping[str, Any]) -> tuple[tuple[float, ...], str]:
    """Strengths to try, and the scaling."""
    check_options(NAME, options, ["strength", "scaling"])
    strength, scaling = options.get("strength"), options.get("scaling")
    if strength is not None and (
        isinstance(strength, bool) or not isinstance(strength, (int, float)) or not 0 < strength <= 1e6
    ):
        raise RecipeError(f"strength of the ridge head must lie above 0 and not above 1000000; got {strength!r}")
    if scaling is not None and scaling not in SCALINGS:
        raise RecipeError(
            f"scaling of the ridge head is {' or '.join(SCALINGS)}; got {scaling!r}.{near(str(scaling), SCALINGS)}"
        )
    return STRENGTHS if strength is None else (float(strength),), scaling or "features"


def fit(
    data: HeadData, *, options: Mapping[str, Any] | None = None, progress: Any = None, watcher: Watcher | None = None
) -> Head:
    """Fit the head; `options` may name one `strength` in place of the search, and `scaling`.

    Returns:
        A head of one softmax layer with out-of-fold accuracy and loss.
    """
    del progress, watcher  # for heads that are trained by epochs
    found = data.validated or validate(data, options or {})
    return head_of(data, found, finish(data, found), solver="closed form")


def work(data: HeadData) -> float:
    """Estimate the floating-point operations of `validate` and `finish` together."""
    count, width = len(sample(data, a_class=_A_CLASS)), data.features.shape[1]
    side = min(count, width)
    return float(2.0 * count * width * side + len(STRENGTHS) * side**2 * (5 * side + 12 * data.classes))


def validate(data: HeadData, options: Mapping[str, Any], *, near: float | None = None) -> Validated:
    """Cross-validate strengths on the rows of `sample`.

    Args:
        near: a strength that was best on fewer rows: those beside it are tried alone, and as far as the loss falls, so
            that the same one is found as without it.
    """
    rows = sample(data, a_class=_A_CLASS)
    strengths, scaling = _options(options)
    features = data.features if len(rows) == len(data.features) else data.features[rows]
    X = standardised(features, data.parts, scaling)
    labels, folds = data.labels[rows], merged(data.folds[rows])
    if near is None:
        found = search(X, labels, folds, scaling=scaling, strengths=strengths, rows=rows)
        return replace(found, count=len(data.labels))
    place = min(range(len(STRENGTHS)), key=lambda at: abs(np.log(STRENGTHS[at] / near)))
    first, last = max(place - 1, 0), min(place + 2, len(STRENGTHS))
    while True:
        found = search(X, labels, folds, scaling=scaling, strengths=STRENGTHS[first:last], rows=rows)
        best = STRENGTHS.index(found.settings["strength"])
        if first < best < last - 1 or first == best == 0 or best == last - 1 == len(STRENGTHS) - 1:
            return replace(found, count=len(data.labels))
        first, last = (max(first - 2, 0), first + 2) if best == first else (last - 2, min(last + 2, len(STRENGTHS)))


def search(
    X: np.ndarray, labels: np.ndarray, folds: np.ndarray, *, scaling: str, rows: np.ndarray,
    strengths: tuple[float, ...] = STRENGTHS,
) -> Validated:  # fmt: skip
    """Find the strength of least calibrated out-of-fold cross-entropy on standardised features.

    Strengths go from strong to weak until that has risen twice.

    Args:
        X: float32 of shape (n_rows, n_features), standardised by `scaling`.
        labels, folds: of these rows.
        rows: what to call them in the result.
    """
    known = scorable(labels, folds)
    known = known if known.any() else np.ones(len(labels), bool)
    table: list[dict[str, float]] = []
    best: tuple[float, float, HeldOut] | None = None
    worse = 0
    for found in scores_out_of_fold(X, labels, folds, strengths):
        sharp, loss = sharpness(found.scores[known], labels[known])
        accuracy = float((found.scores[known].argmax(axis=1) == labels[known]).mean())
        table.append({"strength": found.strength, "accuracy": accuracy, "loss": loss})
        worse = worse + 1 if best is not None and loss >= best[0] else 0
        if best is None or loss < best[0]:
            best = (loss, sharp, found)
        if worse == 2:
            break
    if best is None:
        raise ValueError(f"no strength could be fitted. Received: strengths={strengths}")
    loss, sharp, found = best
    settings = {
        "strength": found.strength, "sharpness": sharp, "scaling": scaling, "loss": loss, "chosen_on": len(labels)
    }  # fmt: skip
    weights = X.T @ found.dual if found.dual is not None else None
    return Validated(NAME, settings, rows, softmax(np.float32(sharp) * found.scores), tuple(table), state=weights)


def finish(data: HeadData, validated: Validated) -> tuple[Layer, ...]:
    """Fit on all rows at the strength that was found: one softmax layer on raw features."""
    settings = validated.settings
    scale = mean, divisor = scales(data.features, data.parts, str(settings["scaling"]))
    if validated.state is not None and len(validated.rows) == len(data.features):
        kernel = validated.state / divisor[:, None]
        bias = data.matrix.mean(axis=0) - mean @ kernel
    else:
        chosen_on = int(settings["chosen_on"])
        # With more rows the penalty of each shrinks with their root: between a fixed prior and a fixed share.
        strength = float(settings["strength"]) * min(1.0, chosen_on / len(data.features)) ** 0.5
        fitted = _ridge.layer(data.features, data.matrix, strength, chosen_on=chosen_on, scale=scale)
        kernel, bias = fitted.kernel, fitted.bias
    sharp = np.float32(settings["sharpness"])
    return (Layer(kernel * sharp, bias * sharp, "softmax"),)


def sharpness(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Fit the factor of least smoothed cross-entropy, which is convex in it, by Newton's steps within bounds.

    Args:
        scores: of shape (n_images, n_classes).
        labels: 0 .. n_classes − 1, shape (n_images,).

    Returns:
        The factor, and the cross-entropy in nats with one answer more than there are, which was wrong.

    Example:
        >>> sharpness(np.array([[1.0, 0.0], [0.0, 1.0]] * 50), np.array([0, 1] * 50))[0] > 2
        True
    """
    step = max(1, len(scores) * scores.shape[1] // _ENTRIES)
    scores, labels = scores[::step].astype(np.float64), labels[::step]
    count, classes = scores.shape
    wrong = 1 / (count + 2)
    own = scores[np.arange(count), labels]
    wanted = float(((1 - wrong) * own + wrong * (scores.sum(axis=1) - own) / max(classes - 1, 1)).mean())
    low, high, factor = _BLUNTEST, _SHARPEST, 10.0
    for _ in range(40):
        chances = softmax(scores * factor)
        mean = (chances * scores).sum(axis=1)
        slope = float(mean.mean()) - wanted
        curve = float(((chances * scores**2).sum(axis=1) - mean**2).mean())
        low, high = (factor, high) if slope < 0 else (low, factor)
        step_to = factor - slope / curve if curve > 0 else np.inf
        following = step_to if low < step_to < high else (low * high) ** 0.5
        if abs(following - factor) < 1e-4 * factor:
            break
        factor = following
    top = (scores * factor).max(axis=1)
    loss = np.log(np.exp(scores * factor - top[:, None]).sum(axis=1)) + top
    return factor, float(loss.mean()) - factor * wanted
