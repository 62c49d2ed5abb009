"""How far the best of many candidates is flattered by having been picked, and what is left when that is taken off.

The cross-validated answers of all candidates are drawn anew, images with replacement; on each draw the best candidate
is picked, and judged on the images that were not drawn (Tsamardinos et al. 2018, "Bootstrapping the out-of-sample
predictions for efficient and accurate cross-validation", Machine Learning 107:1895-1922). No model is fitted for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 300


@dataclass(frozen=True)
class Estimate:
    """Accuracy that a choice among many candidates can be expected to have on new images.

    Attributes:
        accuracy: of the chosen one, less what having been picked flatters it by, 0 to 1.
        bias: what was taken off, as a share of 1.
        candidates: how many there were.
    """

    accuracy: float
    bias: float
    candidates: int

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: None if value != value else value for name, value in vars(self).items()}


def estimate(
    losses: np.ndarray, right: np.ndarray, groups: np.ndarray | None = None, *, of: np.ndarray, seed: int = 0
) -> Estimate:
    """Estimate the accuracy of the candidate of least loss on new images.

    Args:
        losses: out-of-fold loss of each image under each candidate, float of shape (n_images, n_candidates).
        right: whether it was right, bool of the same shape.
        groups: equal numbers for images that belong together, shape (n_images,): they are drawn together.
        of: whether the chosen one was right, bool, on these or on more images.
        seed: decides the draws.

    Example:
        >>> noise = np.random.default_rng(0).random((200, 50))
        >>> found = estimate(noise, noise < 0.5, of=(noise < 0.5)[:, noise.mean(axis=0).argmin()])
        >>> found.bias > 0.02, abs(found.accuracy - 0.5) < 0.03
        (True, True)
    """
    accuracy = float(of.mean()) if len(of) else float("nan")
    if groups is not None:
        _, group = np.unique(groups, return_inverse=True)
        sizes = np.bincount(group).astype(float)
        losses, right = (
            np.stack([np.bincount(group, column) for column in values.T.astype(float)], axis=1)
            for values in (losses, right)
        )
    else:
        sizes = np.ones(len(losses))
    if len(sizes) < 5:
        return Estimate(accuracy, float("nan"), losses.shape[1])
    drawn = np.random.default_rng([seed, 23]).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), DRAWS)
    picked = ((drawn @ losses) / (drawn @ sizes)[:, None]).argmin(axis=1)
    every = np.arange(DRAWS)
    apparent = float(right[:, losses.sum(axis=0).argmin()].sum() / sizes.sum())
    left = (drawn == 0).astype(float)
    counts = left @ sizes
    outside = (left @ right.astype(float))[every, picked] / np.maximum(counts, 1)
    outside = outside[counts > 0]
    if not len(outside):
        return Estimate(accuracy, float("nan"), losses.shape[1])
    bias = max(0.0, apparent - float(outside.mean()))
    return Estimate(accuracy - bias, bias, losses.shape[1])
