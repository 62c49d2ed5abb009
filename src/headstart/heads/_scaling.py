"""How features are scaled before a penalty falls on their weights.

Each feature is divided by its standard deviation. Few pictures estimate that badly, so it is shrunk towards the root
mean square of its output's deviations: the variance is `n / (n + PSEUDO)` its own and the rest the output's mean
(a James-Stein estimate with a fixed weight). Of outputs side by side the widest then has most to say; scaled by
`layers`, every output has the same total variance instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from headstart.halves import widened
from headstart.heads import moments

SCALINGS = ("features", "layers")
PSEUDO = 20
"""Pictures that the mean variance of an output counts for, where that of each of its features is estimated."""


def scales(features: np.ndarray, parts: Sequence[int] = (), scaling: str = "features") -> tuple[np.ndarray, np.ndarray]:
    """Compute what standardises features: subtract the first, divide by the second.

    Args:
        features: float array of shape (n_images, n_features).
        parts: number of features of each output side by side; one output where it is empty.
        scaling: `features` or `layers`.

    Returns:
        float32 arrays of shape (n_features,); a constant feature comes out as zeros.

    Example:
        >>> mean, deviation = scales(np.array([[0.0, 5.0], [2.0, 5.0]]))
        >>> mean.tolist(), bool(deviation[0] > 0)
        ([1.0, 5.0], True)
    """
    mean, deviation = moments(features)
    constant = deviation == 1  # as `moments` marks them; a feature that really has deviation 1 loses nothing by it
    divisor = deviation.astype(np.float64)
    widths = tuple(parts) or (features.shape[1],)
    own = len(features) / (len(features) + PSEUDO)
    for part in _slices(widths):
        live = ~constant[part]
        pooled = float((divisor[part][live] ** 2).mean()) if live.any() else 1.0
        shrunk = np.sqrt(own * divisor[part] ** 2 + (1 - own) * pooled)
        divisor[part] = np.where(live, shrunk, max(pooled**0.5, 1.0))
        if scaling == "layers":
            divisor[part] *= (len(widths) * max(int(live.sum()), 1) / len(divisor)) ** 0.5
    return mean, divisor.astype(np.float32)


def standardised(features: np.ndarray, parts: Sequence[int] = (), scaling: str = "features") -> np.ndarray:
    """Standardise features by `scales`: float32 of the same shape."""
    mean, divisor = scales(features, parts, scaling)
    result: np.ndarray = widened(np.asarray(features)) - mean
    result /= divisor
    return result


def _slices(widths: Sequence[int]) -> Iterator[slice]:
    start = 0
    for width in widths:
        yield slice(start, start + width)
        start += width
