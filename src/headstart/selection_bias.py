"""How far the best of many candidates is flattered by having been picked, and what is left when that is taken off.

The cross-validated answers of all candidates are drawn anew, images with replacement; on each draw the best candidate
is picked, and judged on the images that were not drawn (Tsamardinos et al. 2018, "Bootstrapping the out-of-sample
predictions for efficient and accurate cross-validation", Machine Learning 107:1895-1922). No model is fitted for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

DRAWS = 300
LEAST = 5
"""Images, or groups of them, below which draws say nothing."""


@dataclass(frozen=True)
class Estimate:
    """How far a choice among many candidates is flattered.

    Attributes:
        accuracy: of the chosen one, less what having been picked flatters it by, 0 to 1; nan where it is not known.
        bias: what was taken off, as a share of 1.
        loss_bias: by how much the loss of the one of least loss is flattered, in its own unit, at least 0.
        candidates: how many there were.
    """

    accuracy: float
    bias: float
    loss_bias: float
    candidates: int

    def of(self, right: np.ndarray) -> Estimate:
        """Apply the bias to a candidate that was right on some images, bool of shape (n_images,), and not on others."""
        accuracy = float(right.mean()) if len(right) else float("nan")
        return replace(self, accuracy=accuracy - self.bias)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: None if value != value else value for name, value in vars(self).items()}


def estimate(losses: np.ndarray, right: np.ndarray, groups: np.ndarray | None = None, *, seed: int = 0) -> Estimate:
    """Estimate how far the candidate of least loss is flattered.

    Args:
        losses: out-of-fold loss of each image under each candidate, float of shape (n_images, n_candidates).
        right: whether it was right, bool of the same shape.
        groups: equal numbers for images that belong together, shape (n_images,): they are drawn together.
        seed: decides the draws.

    Returns:
        The biases, and the accuracy of the candidate of least loss without them; nan for fewer than five images or
        groups.

    Example:
        >>> noise = np.random.default_rng(0).random((200, 50))
        >>> found = estimate(noise, noise < 0.5)
        >>> best = (noise < 0.5)[:, noise.mean(axis=0).argmin()].mean()
        >>> bool(found.accuracy < best), found.bias > 0.02, found.loss_bias > 0.02
        (True, True, True)
    """
    sizes = np.ones(len(losses))
    right = right.astype(float)
    if groups is not None:
        _, group = np.unique(groups, return_inverse=True)
        sizes = np.bincount(group).astype(float)
        losses, right = (
            np.stack([np.bincount(group, column) for column in values.T], axis=1) for values in (losses, right)
        )
    nothing = Estimate(float("nan"), float("nan"), float("nan"), losses.shape[1])
    if len(sizes) < LEAST:
        return nothing
    drawn = np.random.default_rng([seed, 23]).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), DRAWS)
    picked = ((drawn @ losses) / (drawn @ sizes)[:, None]).argmin(axis=1)
    left = (drawn == 0).astype(float)
    counts = left @ sizes
    judged = np.flatnonzero(counts > 0)
    if not len(judged):
        return nothing
    best = int(losses.sum(axis=0).argmin())

    def flattered(values: np.ndarray) -> tuple[float, float]:
        """The mean of the best candidate, and by how much that lies above the mean of what is picked elsewhere."""
        outside = ((left @ values)[judged, picked[judged]] / counts[judged]).mean()
        apparent = float(values[:, best].sum() / sizes.sum())
        return apparent, apparent - float(outside)

    apparent, bias = flattered(right)
    loss_bias = max(0.0, -flattered(losses)[1])
    bias = max(0.0, bias)
    return Estimate(apparent - bias, bias, loss_bias, losses.shape[1])
