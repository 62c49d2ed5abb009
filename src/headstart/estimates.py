"""Figures that were measured several times on the same pictures: means with intervals, and their differences.

Such a figure is uncertain twice: another seed would give another one (Student's t over the runs), and other pictures
would (Wilson's interval). The two are independent and are joined by square-and-add, each side by itself, which is also
how the interval of a difference is made from those of its parts (Newcombe 1998, Statistics in Medicine 17:873-890; Zou
and Donner 2008, Statistics in Medicine 27:1693-1702). Two figures of the same pictures tend to rise and fall
together, which is left out of the account: the interval of their difference is rather too wide than too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headstart.intervals import wilson


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Plain JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def minus(self, other: Estimate) -> Estimate:
        """The difference of two figures.

        >>> found = Estimate(0.9, 0.86, 0.92).minus(Estimate(0.7, 0.66, 0.73))
        >>> [round(value, 3) for value in (found.value, found.low, found.high)]
        [0.2, 0.15, 0.245]
        """
        value = self.value - other.value
        return Estimate(
            value,
            value - math.hypot(self.value - self.low, other.high - other.value),
            value + math.hypot(self.high - self.value, other.value - other.low),
        )

    def over(self, divisor: float) -> Estimate:
        """A share of the figure: the gain of one epoch from that of several.

        >>> Estimate(0.5, 0.25, 0.75).over(5)
        Estimate(value=0.1, low=0.05, high=0.15)
        """
        return Estimate(self.value / divisor, self.low / divisor, self.high / divisor)

    @property
    def above(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.low > 0

    @property
    def below(self) -> bool:
        """Whether the whole interval lies below zero."""
        return self.high < 0


def over_runs(values: Sequence[float], count: int) -> Estimate:
    """The mean of a rate over runs that differ by their seeds, all measured on the same pictures.

    Args:
        values: the rate of each run, 0 to 1; of a single run the interval is that of the pictures alone.
        count: how many pictures each was measured on.

    Returns:
        The mean with its 95 % interval, within 0 to 1.

    Raises:
        ValueError: there are no values.

    Example:
        >>> over_runs([0.8], 10) == Estimate(0.8, *wilson(8, 10))
        True
        >>> over_runs([0.5, 0.5, 0.5], 10) == over_runs([0.5], 10)
        True
    """
    if not values:
        raise ValueError("a figure needs at least one run. Received: values=()")
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1))
    return joined(mean, count, spread(deviation, len(values) - 1, len(values)))


def joined(rate: float, count: int, half: float) -> Estimate:
    """A rate of `count` pictures whose runs alone would give it an interval of plus and minus `half`.

    >>> joined(0.8, 10, 0.0) == Estimate(0.8, *wilson(8, 10))
    True
    """
    low, high = _of_pictures(rate, count)
    return Estimate(rate, max(0.0, rate - math.hypot(rate - low, half)), min(1.0, rate + math.hypot(high - rate, half)))


def spread(deviation: float, degrees: int, runs: int) -> float:
    """Half of the 95 % t interval of a mean of `runs` runs; nothing where their deviation is not known.

    Args:
        deviation: of one run.
        degrees: the degrees of freedom that it was estimated with.

    >>> round(spread(0.01, 4, 5), 4), spread(0.01, 0, 1)
    (0.0124, 0.0)
    """
    if degrees < 1 or deviation < 1e-12:
        return 0.0
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975)) * deviation / math.sqrt(runs)


def _of_pictures(rate: float, count: int) -> tuple[float, float]:
    """Wilson's interval for a rate that need not be a whole number of pictures, being a mean."""
    below, share = math.floor(rate * count), rate * count - math.floor(rate * count)
    if share < 1e-9 or share > 1 - 1e-9:
        return wilson(round(rate * count), count)
    (a, b), (c, d) = wilson(below, count), wilson(below + 1, count)
    return a + share * (c - a), b + share * (d - b)
