"""How errors fall as pictures are added: an inverse power law, fitted, and looked at beyond its last point.

    error(n)  =  floor + scale · (n / largest n)^(−exponent),        floor ≥ 0, scale ≥ 0

(Cortes et al. 1993, NIPS 6; for the sizes of training sets Figueroa et al. 2012, BMC Medical Informatics 12:8). For a
given exponent the other two are least squares with a sign each, which has a closed form; the exponent is tried on a
grid. So thousands of fits, one for each replicate of a bootstrap, are one pass of numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EXPONENTS = np.geomspace(0.1, 1.5, 60)
"""Measured learning curves of classifiers have exponents of about 0.1 to 1; beyond lies noise."""

_EQUAL = 1e-12  # the variance of sizes that are the same but for rounding: they tell of no fall


@dataclass(frozen=True)
class PowerLaw:
    """Fits, one a row: `floor`, `scale` and `exponent`, each of shape (fits,); `unit` is what sizes are counted in."""

    floor: np.ndarray
    scale: np.ndarray
    exponent: np.ndarray
    unit: float

    def error(self, size: float) -> np.ndarray:
        """What each fit says of a training set of that size, shape (fits,)."""
        result: np.ndarray = self.floor + self.scale * (size / self.unit) ** -self.exponent
        return result


def fit(sizes: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> PowerLaw:
    """Fit every row of errors.

    Args:
        sizes: how many pictures were trained on, ascending, shape (sizes,).
        errors: shares that were wrong, 0 to 1, shape (fits, sizes).
        weights: what a size counts for, shape (sizes,): one over its variance.

    Raises:
        ValueError: fewer than two sizes, or shapes that do not go together.

    Example:
        >>> sizes = np.array([100.0, 200.0, 400.0, 800.0])
        >>> law = fit(sizes, (0.02 + 0.5 * sizes**-0.5)[None], np.ones(4))
        >>> round(float(law.error(1600)[0]), 4), round(0.02 + 0.5 * 1600**-0.5, 4)
        (0.0325, 0.0325)
    """
    if len(sizes) < 2 or errors.ndim != 2 or errors.shape[1] != len(sizes) or weights.shape != sizes.shape:
        raise ValueError(
            "errors is (fits, sizes), and sizes and weights have two entries or more."
            f" Received: {sizes.shape}, {errors.shape}, {weights.shape}"
        )
    unit = float(sizes[-1])
    best = np.full(len(errors), np.inf)
    found = np.zeros((3, len(errors)))
    total = weights.sum()
    for exponent in EXPONENTS:
        x = (sizes / unit) ** -exponent
        mean, middle = (weights @ x) / total, (errors @ weights) / total
        spread = weights @ (x - mean) ** 2
        slope = ((errors - middle[:, None]) * (x - mean)) @ weights
        scale = slope / spread if spread > _EQUAL * total else np.zeros(len(errors))
        floor = middle - scale * mean
        alone = (errors * x) @ weights / (weights @ x**2)  # the scale where the floor would lie below zero
        scale, floor = np.where(floor < 0, alone, scale), np.where(floor < 0, 0.0, floor)
        scale, floor = np.where(scale < 0, 0.0, scale), np.where(scale < 0, middle, floor)
        misfit = ((errors - floor[:, None] - scale[:, None] * x) ** 2) @ weights
        better = misfit < best * (1 - 1e-9)
        best = np.where(better, misfit, best)
        found[:, better] = np.stack([floor, scale, np.full(len(errors), exponent)])[:, better]
    return PowerLaw(found[0], found[1], found[2], unit)
