"""Ridge regression on standardised features and targets, its strength chosen out of fold, in closed form.

minimise  squared error + strength · mean eigenvalue of the features' inner products · ‖w‖²

(Hoerl and Kennard 1970). Out-of-fold answers follow from the fit on everything without a refit, fold by fold (Allen
1974, see `probes`). Strengths go from strong to weak until the squared error has risen twice. The scalings of features
and targets are folded into the layer at the end.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from headstart.few import merged
from headstart.halves import widened
from headstart.heads import Head, HeadData, Layer, moments
from headstart.heads._softmax import sample
from headstart.probes import answers_out_of_fold

STRENGTHS = tuple(float(s) for s in np.logspace(1, -4, 11))
WIDEST = 6_000
"""Features, or pictures, up to which a system of so many unknowns is solved at once; beyond it is solved by steps."""
_PRECISE = 2_048  # features up to which their inner products are summed as 64-bit numbers
_CHUNK = 2048
_STEPS = 300


def fit(data: HeadData, strengths: tuple[float, ...], name: str) -> Head:
    """A head of one linear layer, with the answers of fits that did not see a picture in `out_of_fold`.

    `strengths` has the mean squared error of each strength as a share of the targets' variance, as `loss`, and what
    is left of 1 as `accuracy`, which is R².
    """
    targets = data.matrix.astype(np.float64)
    rows = sample(data)
    folds = merged(data.folds[rows])
    part = data.features if len(rows) == len(data.features) else data.features[rows]
    wanted = targets[rows]
    found = answers_out_of_fold(part, wanted, folds, strengths)
    best = min(found, key=lambda each: each.loss)
    table = tuple({"strength": each.strength, "accuracy": 1 - each.loss, "loss": each.loss} for each in found)
    return Head(
        name, (layer(data.features, targets, best.strength, chosen_on=len(rows)),), 1 - best.loss, best.loss,
        best.answers.astype(np.float32) if len(rows) == len(targets) else None, None, table,
        {"strength": best.strength, "solver": "ridge"}, held_out=(rows, best.answers.astype(np.float32)),
    )  # fmt: skip


def layer(
    features: np.ndarray, targets: np.ndarray, strength: float, *, chosen_on: int,
    scale: tuple[np.ndarray, np.ndarray] | None = None,
) -> Layer:  # fmt: skip
    """The fit on all rows as a layer on raw features.

    Args:
        chosen_on: how many pictures the strength was chosen on; with more of them the penalty of each stays the same.
        scale: what to subtract from the features and to divide them by; their moments where it is None.
    """
    system = _System(features, targets, scale)
    shift = max(strength * system.trace / max(min(chosen_on, system.width), 1), 1e-6)
    solve = _primal if system.width <= min(system.count, WIDEST) else _dual if system.count <= WIDEST else _stepped
    kernel = solve(system, shift) * system.spread / system.deviation[:, None]
    bias = system.centre - system.mean.astype(np.float64) @ kernel
    return Layer(kernel.astype(np.float32), bias.astype(np.float32), "linear")


class _System:
    """Standardised features, a block at a time, and standardised targets."""

    def __init__(
        self, features: np.ndarray, targets: np.ndarray, scale: tuple[np.ndarray, np.ndarray] | None = None
    ) -> None:
        self.features, (self.count, self.width) = features, features.shape
        self.mean, self.deviation = scale or moments(features)
        self.centre, spread = targets.mean(axis=0), targets.std(axis=0)
        self.spread = np.where(spread > 0, spread, 1.0)
        self.targets = ((targets - self.centre) / self.spread).astype(np.float32)
        self.trace = sum(float((block**2).sum(dtype=np.float64)) for _, block in self.rows())

    def rows(self) -> Iterator[tuple[slice, np.ndarray]]:
        for start in range(0, self.count, _CHUNK):
            part = slice(start, start + _CHUNK)
            yield part, (widened(self.features[part]) - self.mean) / self.deviation

    def columns(self) -> Iterator[tuple[slice, np.ndarray]]:
        for start in range(0, self.width, _CHUNK):
            part = slice(start, start + _CHUNK)
            yield part, (widened(np.ascontiguousarray(self.features[:, part])) - self.mean[part]) / self.deviation[part]


def _primal(system: _System, shift: float) -> np.ndarray:
    """As many equations as there are features."""
    from scipy.linalg import cho_factor, cho_solve

    gram = np.zeros((system.width, system.width), np.float64 if system.width <= _PRECISE else np.float32)
    right = np.zeros((system.width, system.targets.shape[1]))
    for rows, block in system.rows():
        gram += block.T @ block
        right += block.T @ system.targets[rows]
    gram[np.diag_indices(system.width)] += shift
    return np.asarray(cho_solve(cho_factor(gram, lower=True, overwrite_a=True), right.astype(gram.dtype)))


def _dual(system: _System, shift: float) -> np.ndarray:
    """As many equations as there are pictures."""
    from scipy.linalg import cho_factor, cho_solve

    kernel = np.zeros((system.count, system.count))
    for _, block in system.columns():
        kernel += block @ block.T
    kernel[np.diag_indices(system.count)] += shift
    dual = cho_solve(cho_factor(kernel, lower=True), system.targets.astype(np.float64)).astype(np.float32)
    return np.concatenate([block.T @ dual for _, block in system.columns()]).astype(np.float64)


def _stepped(system: _System, shift: float) -> np.ndarray:
    """Conjugate gradients on the same system (Hestenes and Stiefel 1952), one column of targets after the other."""
    from scipy.sparse.linalg import LinearOperator, cg

    def product(vector: np.ndarray) -> np.ndarray:
        total = shift * vector
        for _, block in system.rows():
            total = total + block.T @ (block @ vector.astype(np.float32))
        return total

    width = system.width
    operator = LinearOperator((width, width), matvec=product, dtype=np.float64)
    right = np.zeros((width, system.targets.shape[1]))
    for rows, block in system.rows():
        right += block.T @ system.targets[rows]
    return np.stack([cg(operator, column, rtol=1e-5, maxiter=_STEPS)[0] for column in right.T], axis=1)
