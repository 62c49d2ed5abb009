"""What twice as many training pictures would probably bring: a power law looked at beyond the sizes it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart import power_law
from headstart.estimates import Estimate
from headstart.halves import widened

WIDE = 0.04
"""An interval of what a doubling brings that is wider says nothing."""
LITTLE = 0.005
_REPLICATES = 1_000


@dataclass(frozen=True)
class Outlook:
    """What twice as many training pictures would probably bring.

    Attributes:
        pictures: how many there are to train on now; the outlook is for twice as many.
        accuracy: with twice as many.
        gain: what that is above the accuracy with those that there are; 0.01 is one point.
        told: whether it can be told; the figures mean little where it cannot.
        why: what speaks against telling it; empty where it can be told.
    """

    pictures: int
    accuracy: Estimate
    gain: Estimate
    told: bool
    why: str = ""

    @property
    def words(self) -> str:
        """One sentence."""
        twice = f"Twice as many training pictures ({2 * self.pictures:,})"
        if not self.told:
            return f"What twice as many training pictures would bring cannot be told: {self.why}."
        low, high = 100 * self.gain.low, 100 * self.gain.high
        if self.gain.high < LITTLE:
            return f"{twice} would probably bring next to nothing: {max(high, 0.05):.1f} points at the most."
        return (
            f"{twice} would probably bring {100 * self.gain.value:.1f} points more ({low:.1f} to {high:.1f}), if the"
            " curve goes on as it has begun."
        )


def look_on(
    sizes: np.ndarray, table: Sequence[Sequence[np.ndarray]], clusters: Sequence[np.ndarray], *, pictures: int,
    seed: int = 0,
) -> Outlook | None:  # fmt: skip
    """A power law through the sizes, looked at beyond them, with its uncertainty by a bootstrap.

    A replicate draws groups of pictures anew, and of each part all draws but one, with repetition, which gives a mean
    of few draws the variance that it has (Rao and Wu 1988, JASA 83:231-241). It cannot be told where the law on all
    sizes but the largest does not foresee the largest within its noise, or where the interval is wider than `WIDE`.

    Args:
        sizes: ascending, shape (sizes,).
        table: for each size and part whether a draw was right: (draws, pictures).
        clusters: for each part which of its pictures belong together.
        pictures: how many there are to train on; twice as many are looked at.
    """
    if len(sizes) < 3:
        return None
    errors = np.stack([1 - _mean(blocks) for blocks in table])[None]
    replicates = _replicates(table, clusters, np.random.default_rng([seed, 17]))
    weights = 1 / np.maximum(replicates.var(axis=0), 1e-8)
    gain, accuracy = _beyond(sizes, errors, weights, pictures)
    gains, accuracies = _beyond(sizes, replicates, weights, pictures)
    said = Estimate(float(gain[0]), *_middle(gains, float(gain[0])))
    then = Estimate(float(accuracy[0]), *_middle(accuracies, float(accuracy[0])))
    why = _against(sizes, replicates, weights, said)
    return Outlook(pictures, then, said, not why, why)


def _against(sizes: np.ndarray, replicates: np.ndarray, weights: np.ndarray, gain: Estimate) -> str:
    if len(sizes) > 3:
        foreseen = power_law.fit(sizes[:-1], replicates[:, :-1], weights[:-1]).error(float(sizes[-1]))
        low, high = np.quantile(foreseen - replicates[:, -1], [0.025, 0.975])
        if not low <= 0 <= high:
            return "the smaller sizes do not foresee what the largest came to"
    if gain.high - gain.low > WIDE:
        return (
            f"anything from {100 * gain.low:.1f} to {100 * gain.high:.1f} points more goes with the sizes that were"
            " measured"
        )
    return ""


def _beyond(sizes: np.ndarray, errors: np.ndarray, weights: np.ndarray, pictures: int) -> tuple[np.ndarray, np.ndarray]:
    """What twice as many pictures bring, and the accuracy with them."""
    law = power_law.fit(sizes, errors, weights)
    now, then = law.error(pictures), law.error(2 * pictures)
    return now - then, 1 - then


def _middle(values: np.ndarray, value: float) -> tuple[float, float]:
    low, high = (float(end) for end in np.quantile(values, [0.025, 0.975]))
    return min(low, value), max(high, value)


def _mean(blocks: Sequence[np.ndarray]) -> float:
    right = float(sum(block.mean(axis=0).sum() for block in blocks))
    return right / float(sum(block.shape[1] for block in blocks))


def _replicates(
    table: Sequence[Sequence[np.ndarray]], clusters: Sequence[np.ndarray], random: np.random.Generator
) -> np.ndarray:
    """Errors of each size in each replicate, shape (replicates, sizes): the same pictures for all sizes."""
    right, total = np.zeros((_REPLICATES, len(table))), np.zeros(_REPLICATES)
    for part, groups in enumerate(clusters):
        _, group = np.unique(groups, return_inverse=True)
        counts = random.poisson(1.0, (_REPLICATES, int(group.max()) + 1)).astype(np.float32)[:, group]
        total += counts.sum(axis=1)
        for size, blocks in enumerate(table):
            block = widened(blocks[part])
            hits = counts @ block.T  # (replicates, draws)
            draws = len(block)
            taken = random.integers(0, draws, (_REPLICATES, max(draws - 1, 1)))
            right[:, size] += np.take_along_axis(hits, taken, axis=1).mean(axis=1)
    return 1 - right / np.maximum(total, 1)[:, None]
