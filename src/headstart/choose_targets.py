"""Which cut and pooling for labels and numbers: by the loss of answers to pictures that a fit did not see.

As `choose` does it for classes, in two steps: every candidate by ridge regression in closed form on a sample, then the
few within noise of the best by the linear head itself on more pictures. Chosen is the one of least loss; of those that
are level with it the one that costs least at prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from headstart.choose import (
    FINALISTS,
    Candidate,
    Choice,
    Cost,
    columns_of,
    joined_sets,
    one_core_each,
    pick,
    samples,
    within,
    without_comparison,
)
from headstart.features import Features
from headstart.layer_sets import all_layers, single_layers
from headstart.trunk import Output

Scores = tuple[np.ndarray, np.ndarray]
"""Of each picture: what is shown of it, at most 1 (its mean stands for accuracy), and its loss."""


class Scored(Protocol):
    """Scores of answers that a fit gave to pictures which it did not see."""

    def __call__(self, features: np.ndarray, targets: np.ndarray, folds: np.ndarray) -> Scores: ...


def choose_cut(
    features: Features, rows: np.ndarray, targets: np.ndarray, *, folds: np.ndarray, probe: Scored, head: Scored,
    pooling: str | None = None, joined: bool = False, seed: int = 0, prefer: str = "auto", cost: Cost,
    progress: Callable[[int, int], None] | None = None,
) -> Choice:  # fmt: skip
    """Score every cut × pooling of the features and pick one.

    Args:
        features: from a trunk with one or more outputs.
        rows: the training rows of the features' data set.
        targets: what they are, shape (rows, outputs).
        folds: their cross-validation folds.
        probe: scores features quickly; `head`: as the linear head would.
        pooling, joined, seed, prefer, cost: as `choose.choose_cut` has them.
    """
    sets = joined_sets(features.outputs, pooling) if joined else [
        *single_layers(features.outputs, pooling), *all_layers(features.outputs, pooling)
    ]  # fmt: skip
    groups = list(dict.fromkeys(one.outputs for one in sets))
    if len(groups) == 1:
        return without_comparison(groups[0], "it was the only one asked for")
    screen_on, sample = samples(len(rows), seed)
    block, columns = features.matrix(rows[screen_on]), columns_of(features.outputs)
    done = 0

    def screened(group: tuple[Output, ...]) -> Candidate:
        part = np.concatenate([block[:, columns[output]] for output in group], axis=1)
        return _candidate(group, probe(part, targets[screen_on], folds[screen_on]))

    def fitted(candidate: Candidate) -> Candidate:
        part = features.matrix(rows[sample], candidate.outputs)
        return _candidate(candidate.outputs, head(part, targets[sample], folds[sample]), finalist=True)

    with one_core_each() as run:
        scored = []
        for candidate in run(screened, groups):
            scored.append(candidate)
            done += 1
            if progress is not None:
                progress(done, len(groups))
        least = min(scored, key=lambda c: c.loss)
        first = sorted((c for c in scored if within(-least.losses, -c.losses, 2)), key=lambda c: c.loss)[:FINALISTS]
        finalists = list(run(fitted, first))
    known = {finalist.outputs for finalist in finalists}
    chosen, why = pick(finalists, prefer=prefer, cost=cost)
    others = [candidate for candidate in scored if candidate.outputs not in known]
    candidates = (*sorted(finalists, key=lambda c: c.loss), *sorted(others, key=lambda c: c.loss))
    return Choice(chosen, candidates, len(chosen.losses), why)


def _candidate(outputs: tuple[Output, ...], scores: Scores, *, finalist: bool = False) -> Candidate:
    right, losses = scores
    value = float(right.mean())
    half = 1.96 * float(right.std()) / max(len(right), 1) ** 0.5
    return Candidate(outputs, value, value - half, min(value + half, 1.0), right, losses, finalist, head="linear")
