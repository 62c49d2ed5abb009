"""Intervals by a seeded bootstrap, for figures that are no rate: loss, macro F1, calibration error.

Pictures are drawn anew from those at hand, as many as there are, and the figure is taken of each draw (Efron 1979).
A plain percentile interval is too narrow for few pictures; its ends are moved out as a t interval's are (Hesterberg
2015, The American Statistician 69:371-386).
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np

DRAWS = 1_000
LEAST = 5
"""Pictures below which draws of them say nothing of others."""
_WORK = 20_000_000  # numbers drawn in all, at most: of many pictures fewer draws do
_AT_ONCE = 2_000_000
_FEWEST = 200

Interval = tuple[float, float]
NOT_KNOWN: Interval = (float("nan"), float("nan"))


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], counts: np.ndarray, *, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """The bootstrap interval of a figure; (nan, nan) for fewer than `LEAST` pictures.

    Args:
        statistic: takes how often each kind of picture was drawn, float32 of shape (draws, kinds), and gives the figure
            of each draw, shape (draws,).
        counts: how many pictures of each kind there are, shape (kinds,): ones, where each is a kind of its own.
        confidence: how often such intervals hold the true figure, between 0 and 1.
        seed: decides the draws.

    Example:
        >>> losses = np.array([0.1, 0.4, 0.2, 0.9, 0.3, 0.5])
        >>> low, high = bootstrap(lambda drawn: drawn @ losses / 6, np.ones(6))
        >>> bool(low < losses.mean() < high)
        True
    """
    pictures = round(float(np.sum(counts)))
    if pictures < LEAST:
        return NOT_KNOWN
    tail = _tail(pictures, confidence)
    low, high = np.nanquantile(_figures(statistic, counts, seed), [tail, 1 - tail])
    return float(low), float(high)


def intervals(
    statistics: Callable[[np.ndarray], np.ndarray], pictures: int, count: int, *, confidence: float = 0.95,
    seed: int = 0, centred: bool = False,
) -> list[Interval]:  # fmt: skip
    """The intervals of several figures of the same pictures, from the same draws; see `bootstrap`.

    Args:
        statistics: gives `count` figures of each draw, shape (draws, count); nan where one is undefined.
        pictures: how many there are, each a kind of its own.
        centred: whether to move the interval by what the draws' mean lies off the figure itself. Of a figure that
            depends on the order of pictures, such as average precision, a draw is flattered by those drawn twice.
    """
    if pictures < LEAST:
        return [NOT_KNOWN] * count
    tail = _tail(pictures, confidence)
    found = _figures(statistics, np.ones(pictures), seed)
    itself = statistics(np.ones((1, pictures), np.float32))[0]
    spans = []
    for column, value in zip(found.T, itself, strict=True):
        known = column[np.isfinite(column)]
        low, high = np.quantile(known, [tail, 1 - tail]) if len(known) else NOT_KNOWN
        if centred and len(known):
            low, high = min(low + value - known.mean(), value), max(high + value - known.mean(), value)
        spans.append((float(low), float(high)))
    return spans


def mean_interval(values: np.ndarray, *, seed: int = 0) -> Interval:
    """The interval of a mean, such as the loss, from one number a picture."""
    values = np.asarray(values, np.float32)
    return bootstrap(lambda drawn: drawn @ values / len(values), np.ones(len(values)), seed=seed)


def calibration_interval(gaps: np.ndarray, bins: np.ndarray, *, confidence: float = 0.95, seed: int = 0) -> Interval:
    """The interval of the expected calibration error.

    Chance alone makes the error of a perfectly calibrated model larger than 0, and drawing anew adds to it once more.
    So the lower end is the error less what chance alone would give (the gaps of the draws about those at hand), which
    holds by the triangle inequality; the upper end is mirrored at the error (Davison and Hinkley 1997, section 5.2).

    Args:
        gaps: right (1 or 0) less the probability of the answer, one a picture.
        bins: the bin of each picture, from 0.
        confidence, seed: as `bootstrap` has them.
    """
    if len(gaps) < LEAST:
        return NOT_KNOWN
    table = np.zeros((len(gaps), int(bins.max()) + 1), np.float32)
    table[np.arange(len(gaps)), bins] = gaps
    whole, count = table.sum(axis=0), len(gaps)
    value = float(np.abs(whole).sum() / count)

    def figures(drawn: np.ndarray) -> np.ndarray:
        sums = drawn @ table
        return np.stack([np.abs(sums).sum(axis=1), np.abs(sums - whole).sum(axis=1)], axis=1) / count

    errors, chance = _figures(figures, np.ones(count), seed).T
    tail = _tail(count, confidence)
    low, high = value - float(np.quantile(chance, 1 - tail)), 2 * value - float(np.quantile(errors, tail))
    return max(0.0, low), min(1.0, max(high, value))


def macro_f1(confusion: np.ndarray) -> float:
    """The mean of the classes' F1 (truth in rows); classes that are neither true nor said do not count.

    >>> macro_f1(np.array([[3, 1], [0, 4]])) == (6 / 7 + 8 / 9) / 2
    True
    """
    some = confusion.sum(axis=0) + confusion.sum(axis=1)
    if not some.any():
        return float("nan")
    return float((2 * np.diag(confusion)[some > 0] / some[some > 0]).mean())


def macro_f1_interval(confusion: np.ndarray, *, seed: int = 0) -> Interval:
    """The interval of `macro_f1`: drawing pictures anew is drawing cells of the confusion."""
    classes = len(confusion)
    truth, said = np.nonzero(confusion)
    hits = truth == said

    def figures(drawn: np.ndarray) -> np.ndarray:
        found = np.empty(len(drawn))
        for row, weights in enumerate(drawn):
            both = np.bincount(truth, weights, classes) + np.bincount(said, weights, classes)
            right = np.bincount(truth[hits], weights[hits], classes)
            found[row] = (2 * right[both > 0] / both[both > 0]).mean()
        return found

    return bootstrap(figures, confusion[truth, said], seed=seed)


def _figures(statistic: Callable[[np.ndarray], np.ndarray], counts: np.ndarray, seed: int) -> np.ndarray:
    """What the statistic gives of each draw."""
    random = np.random.default_rng(seed)
    draws = int(np.clip(_WORK // max(len(counts), 1), _FEWEST, DRAWS))
    step = max(1, _AT_ONCE // len(counts))
    return np.concatenate(
        [statistic(_drawn(random, counts, min(step, draws - start))) for start in range(0, draws, step)]
    )


def _drawn(random: np.random.Generator, counts: np.ndarray, draws: int) -> np.ndarray:
    kinds, pictures = len(counts), round(float(np.sum(counts)))
    if kinds < pictures:
        return random.multinomial(pictures, counts / np.sum(counts), size=draws).astype(np.float32)
    places = random.integers(0, kinds, (draws, pictures)) + kinds * np.arange(draws)[:, None]
    return np.bincount(places.ravel(), minlength=draws * kinds).reshape(draws, kinds).astype(np.float32)


def _tail(pictures: int, confidence: float) -> float:
    """The share of draws beyond each end."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    free = pictures - 1
    # Student's t from the normal distribution (Abramowitz and Stegun 26.7.5): good to 0.02 from four degrees on.
    t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return NormalDist().cdf(-t * (pictures / free) ** 0.5)
