"""What a classifier is worth with fewer pictures, and what more of them would probably bring.

A linear head is fitted again on drawn parts of the training pictures, from the features that are at hand, so no picture
is run through the network. The parts are stratified, keep groups together, and the smaller lie within the larger.

What a part is worth is measured on pictures that it has not seen, of the training pictures: those of one fold, by a
head on a part of the other folds. So each size is measured on all training pictures, and the held-back ones stay
unopened. The cut was chosen on the same pictures, which may flatter all sizes alike; the curve's shape it hardly
changes. Where the head start is measured, the sizes are measured on the very pictures that the other network is
measured on, and nothing is chosen by them.

The penalty of a part is that of the whole times the root of how many times larger the whole is: on two data sets that
had less loss than the same penalty and than one that grows in proportion.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.estimates import Estimate, joined, spread
from headstart.features import Features
from headstart.few import few
from headstart.gram_logistic import GramLogistic
from headstart.heads import Head, Layer, apply, linear
from headstart.heads._scaling import scales
from headstart.outlook import Outlook, look_on
from headstart.splits import assign, folds
from headstart.splitting import keys, together
from headstart.trunk import Output

SHARES = (0.1, 0.25, 0.5, 1.0)
DRAWS, DRAWS_WATCHED = 2, 5
"""Parts that are drawn of each size: in each fold, and where there is one set of pictures to measure on."""
WORK = 120e6
"""Numbers that the fits may go over, times classes, for a curve that nobody asked for: some tenths of a second."""
LEAST = 2  # pictures of a class in the smallest part
GRAM_MOST = 4_000
"""Images whose Gram matrix is held, at most: 64 MB; parts of more are fitted on the features themselves."""
_GRAM_SHARE = 1 / 1400  # what a number of a matrix product costs, in numbers that a fit goes over


@dataclass(frozen=True)
class Point:
    """What a part of the training pictures is worth.

    Attributes:
        pictures: how many there were to fit on.
        accuracy: the mean over the draws, with the interval that draws and pictures give it.
        draws: the accuracy of each draw.
    """

    pictures: int
    accuracy: Estimate
    draws: tuple[float, ...]


@dataclass(frozen=True)
class LearningCurve:
    """Accuracy by the number of training pictures.

    Attributes:
        points: from the fewest pictures to all that there are to fit on.
        measured_on: `out of fold`, or the name of the split.
        n: how many pictures each point is measured on.
        outlook: what twice as many would bring; None where there are too few sizes to look on.
    """

    points: tuple[Point, ...]
    measured_on: str
    n: int
    outlook: Outlook | None

    @property
    def words(self) -> str:
        """What the curve says, in two sentences."""
        first, last = self.points[0], self.points[-1]
        said = (
            f"A linear head fitted on {first.pictures:,} of the training pictures names {first.accuracy.value:.1%}"
            f" right ({_range(first.accuracy)}); fitted on {last.pictures:,}, {last.accuracy.value:.1%}"
            f" ({_range(last.accuracy)})."
        )
        return f"{said} {self.outlook.words}" if self.outlook else said

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        outlook = self.outlook
        return {
            "measured_on": self.measured_on, "n": self.n,
            "points": [
                {"pictures": each.pictures, "accuracy": each.accuracy.as_dict(), "draws": list(each.draws)}
                for each in self.points
            ],
            "twice_as_many": None if outlook is None else {
                "pictures": 2 * outlook.pictures, "accuracy": outlook.accuracy.as_dict(),
                "gain": outlook.gain.as_dict(), "told": outlook.told, "why": outlook.why,
            },
            "words": self.words,
        }  # fmt: skip


def _range(rate: Estimate) -> str:
    return f"{rate.low:.1%} to {rate.high:.1%}"


@dataclass(frozen=True)
class Material:
    """Training pictures to draw parts from: features, labels, what stays together, and names of their contents."""

    features: np.ndarray
    labels: np.ndarray
    classes: int
    groups: np.ndarray
    keys: Sequence[bytes]
    seed: int = 0

    def part(self, pool: np.ndarray, share: float, draw: int) -> np.ndarray:
        """A share of the rows `pool`, of every class, whole groups alone; a smaller share lies within a larger one."""
        if share >= 1:
            return pool
        taken = assign(
            self.labels[pool], self.groups[pool], holdout=share, seed=7919 * (self.seed + 1) + draw,
            keys=[self.keys[row] for row in pool],
        )  # fmt: skip
        part: np.ndarray = pool[taken]
        return part


def measure(
    features: Features, rows: np.ndarray, outputs: Sequence[Output], *, head: Head, fold_count: int, seed: int,
    watch: tuple[str, np.ndarray] | None = None, anyway: bool = False,
) -> LearningCurve | None:  # fmt: skip
    """The learning curve of a linear head on the features of a run.

    Args:
        rows: the training rows of the features' data set.
        outputs: the outputs that the head stands on.
        head: that of the run; its strength is used where it is linear, else one is chosen out of fold.
        fold_count, seed: as the run had them.
        watch: the name and the rows of a split to measure on; out of fold on the training pictures where it is None.
        anyway: whatever it costs; else nothing is done where it would take more than some tenths of a second.

    Returns:
        None where there are too few pictures for two sizes, or, without `anyway`, too many; and for labels and numbers,
        of which no such curve is drawn.
    """
    dataset = features.dataset
    if dataset.task != "classes":
        return None
    names, labels = keys(dataset), dataset.labels[rows]
    if np.bincount(labels, minlength=len(dataset.classes)).min() < 2 * LEAST:
        return None
    material = Material(
        np.zeros((len(rows), 0)), labels, len(dataset.classes), together(dataset)[rows], [names[row] for row in rows],
        seed,
    )  # fmt: skip
    width = sum(output.dimensions for output in outputs)
    strength = head.settings.get("strength") if head.name == linear.NAME else None
    numbers = width * len(rows)
    if gram := _by_gram(len(rows), width):
        numbers = round(SHARES[-2] * len(rows) ** 2)
    work = sum(DRAWS * share for share in SHARES[:-1]) * fold_count * numbers * material.classes
    work += gram * _GRAM_SHARE * width * len(rows) ** 2
    if not anyway and work > WORK * (1.0 if strength is not None else 0.5):
        return None
    fold = folds(labels, material.groups, count=fold_count, seed=seed, keys=material.keys)
    block = features.matrix(rows, outputs)
    material = Material(block, labels, material.classes, material.groups, material.keys, seed)
    answers = None if few(labels) else head.out_of_fold  # where there are few, the run's folds are others than these
    if strength is None:
        found = linear.cross_validate(block, labels, fold, classes=material.classes)
        strength, answers = found.strength, found.out_of_fold
    if watch is not None:
        seen = features.matrix(watch[1], outputs), dataset.labels[watch[1]]
        return on_pictures(material, seen, split=watch[0], strength=float(strength))
    known = answers.argmax(axis=1) == labels if answers is not None and len(answers) == len(labels) else None
    return out_of_fold(material, fold, strength=float(strength), known=known)


def out_of_fold(
    material: Material, fold: np.ndarray, *, strength: float, known: np.ndarray | None = None, draws: int = DRAWS
) -> LearningCurve | None:
    """Every size measured on all of the material, each fold by heads that were fitted on parts of the others.

    Args:
        fold: which fold holds a picture out, shape (pictures,).
        strength: the penalty for all pictures.
        known: for each picture whether all pictures of the other folds got it right, where that was found before.
        draws: how many parts of each size and fold.
    """
    tests = [np.flatnonzero(fold == number) for number in np.unique(fold)]
    pools = [np.flatnonzero(fold != number) for number in np.unique(fold)]
    parts = [(pool, material.features[test], material.labels[test]) for pool, test in zip(pools, tests, strict=True)]
    given = [known[test] for test in tests] if known is not None else None
    clusters = [material.groups[test] for test in tests]
    fit = None
    if _by_gram(*material.features.shape):
        fits = GramLogistic(material.features, material.labels, material.classes)

        def fit(rows: np.ndarray, number: int, penalty: float) -> np.ndarray:
            return fits.predict(rows, tests[number], strength=penalty)

    return _curve(material, parts, clusters, "out of fold", strength=strength, draws=draws, known=given, fit=fit)


def _by_gram(count: int, width: int) -> bool:
    """Whether parts are fitted faster from the Gram matrix of all images than from their features."""
    return count <= GRAM_MOST and width > SHARES[-2] * count


def on_pictures(
    material: Material, watched: tuple[np.ndarray, np.ndarray], *, split: str, strength: float,
    draws: int = DRAWS_WATCHED,
) -> LearningCurve | None:  # fmt: skip
    """Every size measured on the features and labels of other pictures, by heads on parts of all of the material."""
    parts = [(np.arange(len(material.labels)), *watched)]
    clusters = [np.arange(len(watched[1]))]
    return _curve(material, parts, clusters, split, strength=strength, draws=draws, known=None)


_Part = tuple[np.ndarray, np.ndarray, np.ndarray]  # rows to draw from; features and labels to measure on


def _curve(
    material: Material, parts: Sequence[_Part], clusters: Sequence[np.ndarray], name: str, *, strength: float,
    draws: int, known: Sequence[np.ndarray] | None,
    fit: Callable[[np.ndarray, int, float], np.ndarray] | None = None,
) -> LearningCurve | None:  # fmt: skip
    drawn = {
        share: [[material.part(pool, share, draw) for draw in range(draws if share < 1 else 1)] for pool, *_ in parts]
        for share in SHARES
    }
    drawn = {
        share: rows for share, rows in drawn.items() if all(_enough(material, row) for each in rows for row in each)
    }
    # A smaller part lies within a larger one, so where large groups make two shares one size, they are one part.
    sizes = {
        round(float(np.mean([len(row) for each in rows for row in each])), 6): share for share, rows in drawn.items()
    }
    drawn = {share: drawn[share] for share in sizes.values()}
    if len(drawn) < 2:
        return None

    scale = scales(material.features) if material.features.shape[1] else None  # as a cross-validation would

    def right(share: float, number: int, draw: int) -> np.ndarray:
        if share == 1 and known is not None:
            return known[number]
        rows, (pool, features, labels) = drawn[share][number][draw], parts[number]
        penalty = strength * (len(pool) / len(rows)) ** 0.5
        if fit is not None:
            answers = fit(rows, number, penalty)
        else:
            layer = linear.refit(
                material.features[rows], material.labels[rows], classes=material.classes, strength=penalty,
                scale=scale,
            )  # fmt: skip
            answers = _answers(layer, features)
        found: np.ndarray = answers == labels
        return found

    jobs = [
        (share, part, draw) for share in drawn for part in range(len(parts)) for draw in range(len(drawn[share][part]))
    ]
    found = dict(zip(jobs, _on_all_cores(lambda job: right(*job), jobs), strict=True))
    table = [
        [np.stack([found[share, part, draw] for draw in range(len(drawn[share][part]))]) for part in range(len(parts))]
        for share in drawn
    ]  # sizes × parts × (draws, pictures)
    n = sum(len(each) for each in clusters)
    points = tuple(_point(round(size), blocks, n) for size, blocks in zip(sizes, table, strict=True))
    outlook = look_on(np.array(list(sizes)), table, clusters, pictures=len(material.labels), seed=material.seed)
    return LearningCurve(points, name, n, outlook)


def _enough(material: Material, rows: np.ndarray) -> bool:
    return bool(np.bincount(material.labels[rows], minlength=material.classes).min() >= LEAST)


def _answers(layer: Layer, features: np.ndarray) -> np.ndarray:
    answers: np.ndarray = np.asarray(apply([layer], features).argmax(axis=1))
    return answers


def _on_all_cores(work: Callable[[Any], np.ndarray], jobs: Sequence[Any]) -> list[np.ndarray]:
    """The largest jobs first; one thread of linear algebra each."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        waiting = [pool.submit(work, job) for job in reversed(jobs)]
        return [each.result() for each in reversed(waiting)]


def _point(size: int, blocks: Sequence[np.ndarray], n: int) -> Point:
    """One size: what draws of the same part differ by tells how much a draw matters."""
    draws = len(blocks[0])
    by_draw = tuple(float(sum(block[draw].sum() for block in blocks)) / n for draw in range(draws))
    inside = sum(float(block.mean(axis=1).var(ddof=1)) if draws > 1 else 0.0 for block in blocks) / len(blocks)
    half = spread(inside**0.5, (draws - 1) * len(blocks), draws * len(blocks))
    return Point(size, joined(sum(by_draw) / draws, n, half), by_draw)
