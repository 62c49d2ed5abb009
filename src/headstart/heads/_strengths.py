"""Choose the strength of an L2 penalty by cross-validation, within a bound on multiplications.

The grid is 10^(−j/2) · 2/C, since with C classes the slopes, and so the strengths that balance them, are of order 1/C.
Whole decades are tried from strong to weak, each from the last one's solution, until the out-of-fold loss rises, then
the half decades beside the best. Where a pass over the rows of all folds is dear, the strength is chosen on fewer
folds, and where one fold is very dear on fewer classes, each with all its rows; what it is worth is then measured with
all classes. (Fewer classes are easier to tell apart, which asks for a weaker penalty: so they come last.)

A strength found on n′ rows of C′ classes serves n rows of C classes times (C′/C · n′/n)^½: at equal rows a class it is
that of the grid, at equal classes the root of the rows, as in `learning_curve`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from headstart.heads._logistic import Problem

FINE, TOLERANCE, ROUGH = 1e-5, 1e-4, 1e-2
"""What a fit may still gain, as a share of its loss: at the chosen strength, while strengths are compared, and where a
pass is dear."""
_CHEAP = 5e7  # multiplications of a pass up to which folds' fits are as fine as the one on everything
PASS = 1e9
"""Multiplications of a pass over all folds up to which all of them choose. Two folds are the least, or one where a pass
over that alone takes more; fits are rougher there too."""
CLASSES_PASS = 3e10
"""Multiplications of a pass over all rows beyond which fewer classes choose."""
_STRONGEST, _WEAKEST = -4, 10

Measure = Callable[[np.ndarray, np.ndarray], tuple[float, float]]


@dataclass
class Search:
    """Strengths tried on some of the folds of a problem.

    Attributes:
        problem: the fits.
        measure: loss and accuracy of answers, shape (n_rows, outputs), given to rows.
        fits: the folds that choose.
        tolerance: what each fit may still gain, as a share of its loss.
        table, weights: of the strengths that were tried.
    """

    problem: Problem
    measure: Measure
    fits: Sequence[int]
    tolerance: float = TOLERANCE
    table: dict[float, dict[str, float]] = field(default_factory=dict)
    weights: dict[float, np.ndarray] = field(default_factory=dict)

    @property
    def best(self) -> float:
        """The strength of least loss.

        Raises:
            ValueError: no loss is a number.
        """
        losses = {strength: row["loss"] for strength, row in self.table.items() if np.isfinite(row["loss"])}
        if not losses:
            table = tuple(self.table.values())
            raise ValueError(f"the features or the labels hold numbers that cannot be fitted. Received: losses={table}")
        return min(losses, key=lambda strength: losses[strength])

    def over(self, strengths: Sequence[float]) -> float:
        """Try given strengths, from strong to weak, until the loss has risen twice."""
        worse = 0
        for strength in strengths:
            self.attempt(strength)
            worse = 0 if self.best == strength else worse + 1
            if worse == 2:
                break
        return self.best

    def over_grid(self, unit: float) -> float:
        """Try the grid's decades, then the half decades beside the best."""
        places = {j: unit * 10 ** (-j / 2) for j in range(_STRONGEST, _WEAKEST + 1)}
        for j in range(0, _WEAKEST + 1, 2):
            self.attempt(places[j])
            if self.best != places[j]:
                break
        top = next(j for j in places if places[j] == self.best)
        if top == 0:
            top = self._upwards(places)
        for j in (top + 1, top - 1):
            if j in places and places[j] not in self.table:
                self.attempt(places[j])
                if self.best == places[j]:
                    break
        return self.best

    def _upwards(self, places: dict[int, float]) -> int:
        """Go on to stronger ones than the grid begins with, while that helps."""
        for j in range(-2, _STRONGEST - 1, -2):
            self.attempt(places[j])
            if self.best != places[j]:
                return j + 2
        return _STRONGEST

    def attempt(self, strength: float) -> None:
        """Fit at one strength and measure it."""
        start = predicted(self.weights, strength)
        weights = self.problem.solve(strength, start, tolerance=self.tolerance, fits=self.fits)
        rows, answers = self.problem.out_of_fold(weights, self.fits)
        loss, accuracy = self.measure(answers, rows)
        self.table[strength] = {"strength": strength, "accuracy": accuracy, "loss": loss}
        self.weights[strength] = weights


def predicted(known: Mapping[float, np.ndarray], strength: float) -> np.ndarray | None:
    """Weights at a strength from those at others, on the line through two of them over the logarithm of the strength.

    Between two known strengths it is an interpolation; below all of them the line goes through the two weakest, which
    leaves a third of the passes that a start from the weakest takes. None where nothing is known.
    """
    if not known:
        return None
    stronger = sorted(each for each in known if each > strength)
    weaker = sorted((each for each in known if each < strength), reverse=True)
    pair = (*stronger[:1], *weaker[:1]) if weaker else tuple(stronger[:2])
    if len(pair) < 2:
        return known[pair[0]]
    near, far = pair
    share = np.float32(np.log(strength / near) / np.log(near / far))
    line: np.ndarray = known[near] + share * (known[near] - known[far])
    return line


def tolerance_of(work: float) -> float:
    """How precisely a fit is solved whose passes take so many multiplications."""
    return FINE if work <= _CHEAP else TOLERANCE if work <= PASS else ROUGH


def folds_that_choose(work: float, folds: int) -> int:
    """How many folds the strength is chosen on, of a pass of so many multiplications a fold."""
    return min(folds, max(2 if work <= PASS else 1, int(PASS // max(work, 1))))


def classes_that_choose(labels: np.ndarray, classes: int, work: float, seed: int) -> np.ndarray:
    """Rows of the classes that the strength is chosen on: of all, or of a draw of them, as many as the bound allows."""
    if work <= CLASSES_PASS:
        return np.arange(len(labels))
    count = max(2, int(classes * (CLASSES_PASS / work) ** 0.5))
    drawn = np.random.default_rng(seed).permutation(np.unique(labels))[:count]
    return np.flatnonzero(np.isin(labels, drawn))


def transferred(rows: int, classes: int, *, to_rows: int, to_classes: int) -> float:
    """What a strength is to be multiplied with for other numbers of rows and classes."""
    return float((classes / to_classes * rows / to_rows) ** 0.5)
