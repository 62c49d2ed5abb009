"""Fit penalised logistic regressions on parts of the same images from one Gram matrix.

With a penalty on ‖W‖² the best weights lie in the span of the images that are fitted, so for n images of d features
only n numbers a class are unknown (the representer theorem, Kimeldorf and Wahba 1971). With K = Z Zᵀ of the
standardised features and K_RR = L Lᵀ for the rows R of a part,

    minimise  mean cross-entropy of (L u + b)  +  strength / 2 · ‖u‖²

is the fit of `heads/linear.py` in other, orthonormal coordinates: L-BFGS takes the same steps, each on n × n numbers in
place of n × d. So many fits on parts cost little beside K, which is computed once, however wide the features are.
"""

from __future__ import annotations

import numpy as np

from headstart.halves import widened
from headstart.heads._scaling import scales

_COLUMNS = 1024  # features that are standardised at once
_JITTER = 1e-5  # of the mean of the diagonal: copies make K singular, and float32 rounds


class GramLogistic:
    """Multinomial logistic regressions on rows of one block of features.

    Args:
        features: of shape (n_images, n_features), any float type; standardised over all of them.
        labels: int of shape (n_images,), 0 .. classes − 1.
        classes: how many there are.

    Example:
        >>> draws = np.random.default_rng(0)
        >>> labels = np.arange(60) % 2
        >>> features = draws.normal(size=(60, 300)) + labels[:, None]
        >>> fits = GramLogistic(features, labels, 2)
        >>> bool((fits.predict(np.arange(40), np.arange(40, 60), strength=0.1) == labels[40:]).all())
        True
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, classes: int) -> None:
        from threadpoolctl import threadpool_limits

        self.labels, self.classes = labels, classes
        self.gram = np.zeros((len(features), len(features)), np.float32)
        mean, divisor = scales(features)
        for start in range(0, features.shape[1], _COLUMNS):
            block = widened(features[:, start : start + _COLUMNS])
            block -= mean[start : start + _COLUMNS]
            block /= divisor[start : start + _COLUMNS]
            with threadpool_limits(1, user_api="blas"):  # a second thread mostly spins beside whatever else runs
                self.gram += block @ block.T

    def predict(self, rows: np.ndarray, others: np.ndarray, *, strength: float, tolerance: float = 1e-3) -> np.ndarray:
        """Fit on some rows and classify others, int array of shape (len(others),)."""
        from scipy.linalg import cholesky, solve_triangular
        from scipy.optimize import minimize

        count, classes = len(rows), self.classes
        inner = self.gram[np.ix_(rows, rows)].astype(np.float64)
        inner.flat[:: count + 1] += _JITTER * max(float(np.trace(inner)) / count, 1e-12)
        lower = cholesky(inner, lower=True, overwrite_a=True, check_finite=False)
        basis, targets = lower.astype(np.float32), np.zeros((count, classes), np.float32)
        targets[np.arange(count), self.labels[rows]] = 1

        def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
            weights = flat.reshape(count + 1, classes).astype(np.float32)
            scores = basis @ weights[:-1] + weights[-1]
            scores -= scores.max(axis=1, keepdims=True)
            answers = np.exp(scores)
            sums = answers.sum(axis=1, keepdims=True)
            value = float((np.log(sums[:, 0]) - (scores * targets).sum(axis=1)).mean())
            residual = (answers / sums - targets) / count
            gradient = np.empty_like(weights)
            gradient[:-1] = basis.T @ residual + strength * weights[:-1]
            gradient[-1] = residual.sum(axis=0)
            return value + 0.5 * strength * float((weights[:-1] ** 2).sum()), gradient.ravel().astype(np.float64)

        options = {"maxiter": 500, "maxcor": 5, "gtol": tolerance, "ftol": tolerance * 1e-3}
        start = np.zeros((count + 1) * classes)
        found = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options).x
        weights = found.reshape(count + 1, classes)
        dual = solve_triangular(lower, weights[:-1], lower=True, trans="T", check_finite=False)
        scores = self.gram[np.ix_(others, rows)] @ dual + weights[-1]
        result: np.ndarray = scores.argmax(axis=1)
        return result
