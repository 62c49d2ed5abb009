"""Which cut and pooling: every candidate is scored on the user's own training pictures, from one cached pass.

All candidates are screened on a sample by their out-of-fold accuracy under a ridge classifier, in closed form
(`probes`); those within noise of the best are then fitted with the linear head itself on more pictures,
cross-validated, and the choice is made among these: the smallest of those whose accuracy and loss the pictures cannot
tell from the best. Several layers side by side (`multi_layer`) are one more candidate, taken only where it is more
accurate than the best single one by more than noise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart import multi_layer
from headstart.features import Features
from headstart.few import scorable
from headstart.heads import linear
from headstart.intervals import wilson
from headstart.probes import neighbours_out_of_fold, ridge_out_of_fold
from headstart.trunk import Output

SCREEN, SAMPLE = 1_000, 3_000
"""Pictures that all candidates are screened on, and that the finalists are fitted on, at most."""
FINALISTS = 4
"""Candidates that are scored a second time, at most."""
ACCURACY_ERRORS, LOSS_ERRORS = 2.0, 0.5
"""Standard errors of the paired difference that a candidate may lie behind the best and still be chosen.

Two of accuracy are what the pictures cannot tell apart. Loss speaks of every picture, accuracy of the few that change
sides, so loss decides among those, and of it little is given away for a smaller candidate.
"""
_SOLVER_NOISE = 2e-4  # nats: fits that are the same in all but rounding differ by so little


@dataclass(frozen=True)
class Candidate:
    """One cut with one pooling, or several cuts side by side, and what it was worth.

    Attributes:
        outputs: the trunk outputs whose features stand side by side.
        accuracy, low, high: out-of-fold, with its 95 % Wilson interval.
        right: for each picture whether it was right; what paired comparisons are made of.
        losses: for each picture its out-of-fold loss: cross-entropy for a finalist, squared error for the others.
        finalist: whether it was scored with the linear head.
        neighbours: the share that a vote of nearest neighbours names right, of the same pictures; nan where it was not
            counted.
    """

    outputs: tuple[Output, ...]
    accuracy: float
    low: float
    high: float
    right: np.ndarray
    losses: np.ndarray
    finalist: bool = False
    neighbours: float = float("nan")

    @property
    def loss(self) -> float:
        return float(self.losses.mean()) if len(self.losses) else float("nan")

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(output.layer for output in self.outputs))

    @property
    def layer(self) -> str:
        """Its name; several with `+` between them."""
        return "+".join(self.layers)

    @property
    def pooling(self) -> str:
        """Of each layer: all are pooled alike."""
        return "+".join(output.pooling for output in self.outputs if output.layer == self.outputs[0].layer)

    @property
    def dimensions(self) -> int:
        return sum(output.dimensions for output in self.outputs)


@dataclass(frozen=True)
class Choice:
    """What was chosen, and everything it was chosen from, best first.

    Attributes:
        chosen: the candidate to use.
        candidates: all of them, best first.
        pictures: how many pictures they were scored on.
        why: one sentence.
    """

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    pictures: int
    why: str


def choose_cut(
    features: Features, rows: np.ndarray, labels: np.ndarray, *, folds: np.ndarray, pooling: str | None = None,
    joined: bool = False, seed: int = 0, progress: Callable[[int, int], None] | None = None,
) -> Choice:  # fmt: skip
    """Score every cut × pooling of the features and pick one.

    Args:
        features: from a trunk with one or more outputs.
        rows: the training rows of the features' data set.
        labels: their classes, 0 .. C − 1.
        folds: their cross-validation folds.
        pooling: keep to `avg`, `max`, `avg+max` or `flatten`; None tries avg, max and both.
        joined: all layers of the features are one candidate, side by side.
        seed: draws the sample where there are more than `SAMPLE` rows.
    """
    groups = joined_groups(features.outputs, pooling) if joined else groups_of(features.outputs, pooling)
    if len(groups) == 1:
        return without_comparison(groups[0], "it was the only one asked for")
    if not scorable(labels, folds).any():
        deepest = [group for group in groups if group[0].layer == features.outputs[-1].layer]
        alone = "one picture" if len(np.unique(labels)) == len(labels) else "one group of pictures"
        return without_comparison(deepest[0], f"{alone} a class leaves none to compare cuts on, and it is the deepest")
    screen_on, sample = samples(len(rows), seed)
    with one_core_each() as run:
        part = (rows[screen_on], labels[screen_on], folds[screen_on])
        screened, several = screen(features, *part, groups=groups, run=run, tell=progress, several=not joined)
        first = nearest(screened)[:FINALISTS]
        if several is not None:
            first.append(several)
        whole = (rows[sample], labels[sample], folds[sample])
        finalists = list(run(lambda candidate: fitted(features, candidate, *whole)[0], first))
    known = {finalist.outputs for finalist in finalists}
    return _pick(finalists, [c for c in screened if c.outputs not in known])


def samples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of so many rows all candidates are screened on, and which the finalists are fitted on."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[:SCREEN]), np.sort(order[:SAMPLE])


def screen(
    features: Features, rows: np.ndarray, labels: np.ndarray, folds: np.ndarray, *,
    groups: Sequence[tuple[Output, ...]], run: Map, tell: Callable[[int, int], None] | None = None,
    neighbours: bool = False, several: bool = True,
) -> tuple[list[Candidate], Candidate | None]:  # fmt: skip
    """Every candidate by the ridge probe, and the layers that are worth more together, if there are such.

    Single poolings of every layer come first; two side by side are tried only where one of them is among the nearest.

    Args:
        neighbours: count the vote of nearest neighbours too.
        several: look for layers that are worth more together.
    """
    block, columns = features.matrix(rows), columns_of(features.outputs)
    known = scorable(labels, folds)

    def part(group: tuple[Output, ...]) -> np.ndarray:
        return np.concatenate([block[:, columns[output]] for output in group], axis=1)

    def score(group: tuple[Output, ...]) -> Candidate:
        X = part(group)
        right, losses = ridge_out_of_fold(X, labels, folds)
        vote = neighbours_out_of_fold(X[known], labels[known], folds[known]) if neighbours else float("nan")
        return _candidate(group, right[known], losses[known], neighbours=vote)

    scored: list[Candidate] = []

    def score_all(some: Sequence[tuple[Output, ...]]) -> None:
        for candidate in run(score, some):
            scored.append(candidate)
            if tell is not None:
                tell(len(scored), len(groups))

    single = [group for group in groups if len(group) == 1]
    score_all(single)
    near = {candidate.layer for candidate in nearest(scored)[:FINALISTS]} if scored else set()
    score_all([group for group in groups if len(group) > 1 and (not near or group[0].layer in near)])
    if tell is not None and len(scored) < len(groups):
        tell(len(groups), len(groups))
    best = max(scored, key=_rank)
    alike = [group for group in groups if Candidate(group, *_NOTHING).pooling == best.pooling]
    if not several or best.pooling == "flatten" or not known.all():
        return scored, None
    parts = {group: part(group) for group in alike}
    chosen = multi_layer.select(parts, labels, folds, first=best.outputs, run=run)
    if chosen is None:
        return scored, None
    together = score(chosen)
    gains = not within(-together.losses, -best.losses, LOSS_ERRORS)
    return scored, together if gains else None


def fitted(
    features: Features, candidate: Candidate, rows: np.ndarray, labels: np.ndarray, folds: np.ndarray
) -> tuple[Candidate, np.ndarray]:
    """The candidate as the linear head sees it out of fold, and the probabilities of its answers."""
    found = linear.cross_validate(
        features.matrix(rows, candidate.outputs), labels, folds, classes=int(labels.max()) + 1
    )
    return judged(candidate, found.out_of_fold, labels, scorable(labels, folds)), found.out_of_fold


def judged(candidate: Candidate, out_of_fold: np.ndarray, labels: np.ndarray, known: np.ndarray) -> Candidate:
    """The candidate with the figures of out-of-fold probabilities, over the pictures that can be scored."""
    chances = out_of_fold[np.arange(len(labels)), labels][known]
    right = (out_of_fold.argmax(axis=1) == labels)[known]
    losses = -np.log(np.maximum(chances, 1e-7))
    return _candidate(candidate.outputs, right, losses, finalist=True, neighbours=candidate.neighbours)


_NOTHING = (float("nan"), 0.0, 1.0, np.zeros(0, bool), np.zeros(0))


def unscored(outputs: tuple[Output, ...]) -> Candidate:
    """A candidate of which nothing is known."""
    return Candidate(outputs, *_NOTHING)


def without_comparison(outputs: tuple[Output, ...], why: str) -> Choice:
    """What is chosen where nothing is compared."""
    only = unscored(outputs)
    return Choice(only, (only,), 0, why)


Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@contextmanager
def one_core_each() -> Iterator[Map]:
    """A map over the cores, one thread of linear algebra each: small problems lose more than they gain by sharing."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield pool.map


def _candidate(
    outputs: tuple[Output, ...], right: np.ndarray, losses: np.ndarray, *, finalist: bool = False,
    neighbours: float = float("nan"),
) -> Candidate:  # fmt: skip
    low, high = wilson(int(right.sum()), len(right))
    value = float(right.mean()) if len(right) else float("nan")
    return Candidate(outputs, value, low, high, right, losses, finalist, neighbours)


def nearest(scored: list[Candidate]) -> list[Candidate]:
    """Those whose distance to the best is within two standard errors, the nearest first."""
    top = max(scored, key=_rank)
    near = [c for c in scored if within(top.right, c.right, 2)]
    return sorted(near, key=_rank, reverse=True)


def _rank(candidate: Candidate) -> tuple[float, float]:
    return candidate.accuracy, -candidate.loss


def groups_of(outputs: Sequence[Output], pooling: str | None) -> list[tuple[Output, ...]]:
    """Every layer under each pooling, and under both side by side."""
    by_layer: dict[str, list[Output]] = {}
    for output in outputs:
        by_layer.setdefault(output.layer, []).append(output)
    groups: list[tuple[Output, ...]] = []
    for members in by_layer.values():
        both = len(members) > 1 and pooling in (None, "avg+max")
        if pooling is None or not both:
            groups += [(member,) for member in members]
        if both:
            groups.append(tuple(members))
    return groups


def joined_groups(outputs: Sequence[Output], pooling: str | None) -> list[tuple[Output, ...]]:
    """All layers side by side, under each pooling."""
    if pooling is not None:
        return [tuple(outputs)]
    poolings = tuple(dict.fromkeys(output.pooling for output in outputs))
    each = [tuple(output for output in outputs if output.pooling == name) for name in poolings]
    return [*each, tuple(outputs)] if len(each) > 1 else each


def columns_of(outputs: Sequence[Output]) -> dict[Output, slice]:
    """Where each output's numbers stand in a matrix of all of them."""
    columns, start = {}, 0
    for output in outputs:
        columns[output] = slice(start, start + output.dimensions)
        start += output.dimensions
    return columns


def _pick(finalists: list[Candidate], others: list[Candidate]) -> Choice:
    """The smallest of the finalists that the pictures cannot tell from the best of them.

    Layers side by side are a larger model that is harder to reason about, so they have to be the more accurate by more
    than noise.
    """
    single = [c for c in finalists if len(c.layers) == 1] or finalists
    accurate = max(single, key=_rank)
    level = [c for c in single if within(accurate.right, c.right, ACCURACY_ERRORS)]
    best = min(level, key=lambda c: c.loss)
    level = [c for c in level if within(-best.losses, -c.losses, LOSS_ERRORS)]
    chosen = min(level, key=lambda c: (c.dimensions, c.loss))
    candidates = (*sorted(finalists, key=_rank, reverse=True), *sorted(others, key=_rank, reverse=True))
    together = max((c for c in finalists if len(c.layers) > 1), key=_rank, default=None)
    if together is not None and not within(together.right, accurate.right, ACCURACY_ERRORS):
        why = f"{len(together.layers)} layers side by side were more accurate than the best of them by more than noise"
        return Choice(together, candidates, len(together.right), why)
    if chosen is best:
        why = "it was the best out of fold"
        if len(level) > 1:
            why += f", and the smallest of {len(level)} within noise of that"
    else:
        why = f"it is the smallest of {len(level)} within noise of the best"
    return Choice(chosen, candidates, len(chosen.right), f"{why}, in accuracy and loss")


def within(best: np.ndarray, other: np.ndarray, errors: float) -> bool:
    """Whether `other` lies behind `best` by no more than so many standard errors of the paired difference."""
    difference = best.astype(np.float64) - other.astype(np.float64)
    return bool(difference.mean() <= errors * difference.std() / np.sqrt(len(difference)) + _SOLVER_NOISE)
