"""Intervals for rates."""

from __future__ import annotations

from statistics import NormalDist


def wilson(right: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for `right` out of `count` (Wilson 1927, JASA 22:209-212).

    Args:
        right: successes, 0 .. count.
        count: trials; 0 gives the interval from 0 to 1.
        confidence: how often such intervals hold the true rate, between 0 and 1.

    >>> [round(value, 4) for value in wilson(8, 10)]
    [0.4902, 0.9433]
    >>> wilson(0, 0)
    (0.0, 1.0)
    """
    if not 0 <= right <= count:
        raise ValueError(f"right must lie between 0 and count. Received: right={right}, count={count}")
    if count == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = right / count
    middle = rate + z * z / (2 * count)
    half = z * (rate * (1 - rate) / count + z * z / (4 * count * count)) ** 0.5
    scale = 1 + z * z / count
    # At the ends rounding could leave the interval by a hair.
    low = 0.0 if right == 0 else (middle - half) / scale
    high = 1.0 if right == count else (middle + half) / scale
    return low, high
