"""Multinomial logistic regression with an L2 penalty, its strength chosen by cross-validation.

minimise  mean cross-entropy + strength / 2 · ‖W‖²  over standardised features, by preconditioned L-BFGS in the
eigenbasis of the features (`_design`, `_lbfgs`, `_logistic`); the strength is that of least out-of-fold loss on a grid
(`_strengths`). Scaling and rotation are folded into the kernel at the end.

For labels the cross-entropy is binary, summed over them, so that each is a logistic regression of its own; numbers are
left to ridge regression (`_ridge.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from headstart.errors import RecipeError, near
from headstart.few import merged
from headstart.heads import Head, HeadData, Layer, Validated, Watcher, _cross_validation, _ridge, check_options
from headstart.heads._cross_validation import CrossValidation, Targets
from headstart.heads._cross_validation import work as multiplications
from headstart.heads._design import WIDEST, Design
from headstart.heads._logistic import Problem
from headstart.heads._scaling import SCALINGS
from headstart.heads._softmax import chooses as chooses
from headstart.heads._softmax import head_of, one_layer, sample
from headstart.heads._softmax import notes as notes
from headstart.heads._softmax import untrained as untrained
from headstart.heads._strengths import FINE, PASS, TOLERANCE, tolerance_of, transferred

NAME = "linear"
SUMMARY = "logistic regression on pooled features (of numbers, ridge regression); seconds"
BY_EPOCHS = False
OUTPUTS = ("softmax", "sigmoid", "linear")

NUMBER_STRENGTHS = _ridge.STRENGTHS
"""Those of ridge regression, which numbers are fitted with."""
_PASSES = 60  # over the features, that a search takes in all
_A_CLASS = 20  # rows of a class that a strength is chosen on, at most, where there are many classes
_MEASURED = 2e9  # multiplications of a pass over the folds that a fitted head is measured on; one is the least


def shape(classes: int, options: Mapping[str, Any], *, activation: str = "softmax") -> list[dict[str, Any]]:
    """One layer."""
    _strengths(options)
    return one_layer(classes, activation)


def _strengths(options: Mapping[str, Any]) -> tuple[float, ...] | None:
    check_options(NAME, options, ["strength", "scaling"])
    scaling = options.get("scaling", "features")
    if scaling not in SCALINGS:
        raise RecipeError(
            f"scaling of the linear head is {' or '.join(SCALINGS)}; got {scaling!r}.{near(str(scaling), SCALINGS)}"
        )
    if "strength" not in options:
        return None
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
    strengths = _strengths(options or {})
    if data.activation == "linear":
        return _ridge.fit(data, strengths or NUMBER_STRENGTHS, NAME)
    found = data.validated or validate(data, options or {})
    head = head_of(data, found, finish(data, found), solver="L-BFGS")
    if data.activation == "softmax":
        return head
    return replace(head, accuracy=found.settings["accuracy"], loss=found.settings["loss"])


def work(data: HeadData) -> float:
    """Estimate the floating-point operations of `validate` and `finish` together."""
    count, width = len(sample(data, a_class=_A_CLASS)), data.features.shape[1]
    side = min(count, width, WIDEST)
    fits = min(len(np.unique(merged(data.folds))), 5) + 1
    return float(2.0 * count * width * side + 5.0 * side**3 + 4.0 * count * side * data.classes * fits * _PASSES)


def validate(data: HeadData, options: Mapping[str, Any]) -> Validated:
    """Cross-validate strengths on the rows of `sample`; where a pass is dear, only some of them are answered."""
    strengths, scaling = _strengths(options), str(options.get("scaling", "features"))
    softmax = data.activation == "softmax"
    targets = Targets(data.labels if softmax else data.matrix, data.classes)
    rows = sample(data, a_class=_A_CLASS if softmax else 0)
    every = len(rows) == len(data.labels)
    scale = transferred(len(rows), data.classes, to_rows=len(data.labels), to_classes=data.classes)
    found = _cross_validation.cross_validate(
        data.features if every else data.features[rows], targets.of(rows), data.folds[rows],
        None if strengths is None else [strength / scale for strength in strengths], seed=data.seed, measured=_MEASURED,
        parts=data.parts, scaling=scaling,
    )  # fmt: skip
    strength = found.strength * scale if strengths is None else strengths[0]
    table = tuple({**row, "strength": row["strength"] * scale} for row in found.table)
    settings = {"strength": strength, "scaling": scaling, "accuracy": found.accuracy, "loss": found.loss}
    state = (found.design, found.start) if every else None
    return Validated(NAME, settings, rows[found.rows], found.out_of_fold, table, state=state, count=len(data.labels))


def finish(data: HeadData, validated: Validated) -> tuple[Layer, ...]:
    """Fit on all rows at the strength that was found, from the mean of the folds' fits where that is at hand."""
    targets = Targets(data.matrix if data.activation == "sigmoid" else data.labels, data.classes)
    strength, scaling = float(validated.settings["strength"]), str(validated.settings["scaling"])
    design, start = validated.state or (Design(data.features, data.parts, scaling), None)
    problem = Problem(design, targets.values, targets.outputs, None, link=targets.link)
    cost = multiplications(design, targets.outputs)
    tolerance = FINE if cost <= PASS else tolerance_of(cost)
    weights = problem.solve(strength, None if start is None else start[None], tolerance=tolerance)
    return (problem.layer(weights[0]),)


def refit(
    features: np.ndarray, labels: np.ndarray, *, classes: int, strength: float,
    scale: tuple[np.ndarray, np.ndarray] | None = None,
) -> Layer:  # fmt: skip
    """Fit the softmax layer at a strength that was chosen before, to the precision of the search.

    Args:
        scale: what to subtract from the features and to divide them by; from these rows where it is None.
    """
    problem = Problem(Design(features, scale=scale), labels, classes, None)
    return problem.layer(problem.solve(strength, tolerance=TOLERANCE)[0])


def cross_validate(
    features: np.ndarray, labels: np.ndarray, folds: np.ndarray, *, classes: int,
    strengths: Sequence[float] | None = None,
) -> CrossValidation:  # fmt: skip
    """Choose the strength of a softmax by out-of-fold loss, and answer every row by a fit that did not see it.

    Args:
        features: float16 or float32, shape (n_rows, n_features).
        labels: int of shape (n_rows,), 0 .. classes − 1.
        folds: int of shape (n_rows,); folds that leave one out are taken together.
        classes: how many there are.
        strengths: to try from strong to weak until the loss has risen twice; a grid where None.
    """
    return _cross_validation.cross_validate(features, Targets(labels, classes), folds, strengths)


def cross_validate_labels(
    features: np.ndarray, targets: np.ndarray, folds: np.ndarray, *, strengths: Sequence[float] | None = None
) -> CrossValidation:
    """Choose one strength for the sigmoids of all labels; as `cross_validate`.

    Args:
        targets: 0 or 1, shape (n_rows, n_labels).
    """
    kind = Targets(targets.astype(np.float32), targets.shape[1])
    return _cross_validation.cross_validate(features, kind, folds, strengths)
