"""Answers of logistic regressions to rows that they did not see, at the strength that is best for that.

Where a pass over the rows is dear (many classes, many rows), fewer folds and classes choose the strength (`_strengths`)
and, where that is allowed, fewer folds are measured on. What is dear is counted in multiplications, so the numbers do
not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.few import merged, scorable
from headstart.heads import _links, label_losses, log_loss
from headstart.heads._design import Design
from headstart.heads._logistic import Problem
from headstart.heads._strengths import (
    PASS,
    TOLERANCE,
    Search,
    classes_that_choose,
    folds_that_choose,
    tolerance_of,
    transferred,
)

_FOLDS = 5  # that those which leave one out are taken together to, where a pass over ten is dear


@dataclass(frozen=True)
class Targets:
    """What is to be answered.

    Attributes:
        values: int of shape (n_rows,), classes, or float32 of shape (n_rows, n_outputs), labels that are 0 or 1.
        outputs: how many classes or labels there are.
    """

    values: np.ndarray
    outputs: int

    @property
    def link(self) -> _links.Link:
        return _links.Softmax() if self.values.ndim == 1 else _links.Sigmoid()

    def of(self, rows: np.ndarray) -> Targets:
        return Targets(self.values[rows], self.outputs)

    def known(self, folds: np.ndarray) -> np.ndarray:
        """Rows that can be answered: a fit that saw nothing of a class can say nothing of its pictures."""
        return scorable(self.values, folds) if self.values.ndim == 1 else np.ones(len(self.values), bool)

    def measure(self, answers: np.ndarray, rows: np.ndarray, known: np.ndarray) -> tuple[float, float]:
        """Loss and accuracy (of labels, the share of decisions that are right at 0.5) of answers to some rows."""
        kept = known[rows] if known[rows].any() else np.ones(len(rows), bool)
        truth, answers = self.values[rows][kept], answers[kept]
        if truth.ndim == 1:
            return log_loss(answers, truth), float((answers.argmax(axis=1) == truth).mean())
        return float(label_losses(answers, truth).mean()), float(((answers > 0.5) == (truth > 0.5)).mean())

    @property
    def unit(self) -> float:
        """The unit of the grid of strengths."""
        return 2 / max(self.outputs, 2) if self.values.ndim == 1 else 1.0


@dataclass(frozen=True)
class CrossValidation:
    """The search for a strength, and answers of fits that did not see a row.

    Attributes:
        strength: the one of least out-of-fold loss.
        table: strength, accuracy and loss of all that were tried, on the folds and classes that chose.
        out_of_fold: float32 of shape (n_answered, outputs).
        rows: which rows were answered, ascending; all of them unless fewer folds were allowed.
        known: which of these can be scored.
        accuracy, loss: over the known rows.
        design: the features that were fitted on.
        start: the mean weights of the folds' fits, to begin the fit on everything with.
    """

    strength: float
    table: tuple[dict[str, float], ...]
    out_of_fold: np.ndarray
    rows: np.ndarray
    known: np.ndarray
    accuracy: float
    loss: float
    design: Design
    start: np.ndarray


def cross_validate(
    features: np.ndarray, targets: Targets, folds: np.ndarray, strengths: Sequence[float] | None, *, seed: int = 0,
    measured: float | None = None, parts: Sequence[int] = (), scaling: str = "features",
) -> CrossValidation:  # fmt: skip
    """The strength of least out-of-fold loss; folds that leave one out are taken together.

    Args:
        features: float16 or float32, shape (n_rows, n_features).
        targets: of the rows.
        folds: int of shape (n_rows,).
        strengths: to try from strong to weak until the loss has risen twice; the grid where None.
        seed: draws the classes that choose, where all would be dear.
        measured: multiplications of a pass over the folds that are measured on; all folds where None.
        parts, scaling: how the features are scaled (`_scaling`).
    """
    design = Design(features, parts, scaling)
    cost = work(design, targets.outputs)
    folds = _together(merged(folds), cost)
    problem = Problem(design, targets.values, targets.outputs, folds, link=targets.link)
    known = targets.known(folds)
    done: dict[int, np.ndarray] = {}
    table: tuple[dict[str, float], ...] = ()
    if strengths is not None and len(strengths) == 1:
        strength = strengths[0]
    else:
        strength, table, done = _choose(features, problem, targets, strengths, seed=seed)
    count = len(problem.held_out)
    fits = range(count if measured is None else min(count, max(1, len(done), int(measured // max(cost, 1)))))
    missing = [fit for fit in fits if fit not in done]
    if missing:
        solved = problem.solve(strength, tolerance=tolerance_of(cost), fits=missing)
        done.update(zip(missing, solved, strict=True))
    rows, answers = problem.out_of_fold([done[fit] for fit in fits], fits)
    loss, accuracy = targets.measure(answers, rows, known)
    table = table or ({"strength": strength, "accuracy": accuracy, "loss": loss},)
    start = sum((done[fit] for fit in fits), np.zeros_like(done[0])) / np.float32(len(fits))
    return CrossValidation(strength, table, answers, rows, known[rows], accuracy, loss, design, start)


def work(design: Design, outputs: int) -> float:
    """Multiplications of a pass of one fit over all rows, there and back."""
    return float(design.count) * design.size * outputs


def _together(folds: np.ndarray, cost: float) -> np.ndarray:
    count = len(np.unique(folds))
    return folds % _FOLDS if count > _FOLDS and count * cost > PASS else folds


def _choose(
    features: np.ndarray, problem: Problem, targets: Targets, strengths: Sequence[float] | None, *, seed: int
) -> tuple[float, tuple[dict[str, float], ...], dict[int, np.ndarray]]:
    """The best strength, what was tried, and the weights of the folds that were solved with it on all rows."""
    cost, folds, scale = work(problem.design, targets.outputs), problem.folds, 1.0
    rows = np.arange(len(folds))
    if targets.values.ndim == 1:
        rows = classes_that_choose(targets.values, targets.outputs, cost, seed)
    whole = len(rows) == len(folds)
    if not whole:
        drawn, values = np.unique(targets.values[rows], return_inverse=True)
        scale = transferred(len(rows), len(drawn), to_rows=len(folds), to_classes=targets.outputs)
        targets, folds = Targets(values, len(drawn)), folds[rows]
        problem = Problem(
            Design(features[rows], problem.design.parts, problem.design.scaling),
            values,
            len(drawn),
            folds,
            link=targets.link,
        )
        cost = work(problem.design, targets.outputs)
    known = targets.known(folds)
    fits = range(folds_that_choose(cost, len(problem.held_out)))
    tolerance = max(tolerance_of(cost), TOLERANCE)
    search = Search(problem, lambda answers, rows: targets.measure(answers, rows, known), fits, tolerance)
    if strengths is None:
        search.over_grid(targets.unit)
    else:
        search.over([strength / scale for strength in strengths])
    table = tuple({**row, "strength": row["strength"] * scale} for row in search.table.values())
    done = dict(zip(fits, search.weights[search.best], strict=True)) if whole else {}
    return search.best * scale, table, done
