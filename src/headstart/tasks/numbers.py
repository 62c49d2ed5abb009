"""One number a picture: ridge regression, an interval, the mean error against always saying the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from headstart import bands, number_figures
from headstart.bands import Band
from headstart.choose import Choice, Cost
from headstart.choose_targets import Scores, choose_cut
from headstart.dataset import Dataset
from headstart.features import Features
from headstart.heads import Head, linear
from headstart.number_figures import Guess, NumbersEvaluation
from headstart.predictions import NumberPrediction
from headstart.probes import answers_out_of_fold
from headstart.tasks import Matched, held_back
from headstart.verdict import of_numbers as verdict  # noqa: F401

NAME = "numbers"
ACTIVATION = "linear"


def choose(
    features: Features, rows: np.ndarray, *, folds: np.ndarray, pooling: str | None, joined: bool, seed: int,
    head: str, prefer: str, cost: Cost, groups: np.ndarray, progress: Callable[[int, int], None] | None,
) -> Choice:  # fmt: skip
    """By squared error out of fold; what is shown is R²."""
    del head, groups  # there is one head, and loss alone is compared
    return choose_cut(
        features, rows, features.dataset.target_matrix(rows), folds=folds, probe=_probe, head=_linear, pooling=pooling,
        joined=joined, seed=seed, prefer=prefer, cost=cost, progress=progress,
    )  # fmt: skip


def _probe(features: np.ndarray, targets: np.ndarray, folds: np.ndarray) -> Scores:
    losses = min(answers_out_of_fold(features, targets, folds), key=lambda each: each.loss).losses
    return 1 - losses, losses


def _linear(features: np.ndarray, targets: np.ndarray, folds: np.ndarray) -> Scores:
    found = answers_out_of_fold(features, targets, folds, linear.NUMBER_STRENGTHS)
    losses = min(found, key=lambda each: each.loss).losses
    return 1 - losses, losses


def settle(
    head: Head,
    dataset: Dataset,
    rows: np.ndarray,
    *,
    watched: tuple[np.ndarray, np.ndarray] | None,
    tuned: bool = False,
) -> tuple[Head, Band]:
    """The head as it is, the interval that goes with its numbers, and what always saying the same would be."""
    values = dataset.target_matrix(rows)[:, 0].astype(np.float64)
    guess = Guess(float(np.median(values)), float(values.mean()))
    held = held_back(head, rows, watched=watched, tuned=tuned)
    if held is None:
        return head, bands.fit(np.zeros(0), np.zeros(0), guess=guess)
    said, which, on = held
    return head, bands.fit(said[:, 0], dataset.target_matrix(which)[:, 0], guess=guess, on=on)


def score(outputs: np.ndarray, dataset: Dataset, rows: np.ndarray, *, split: str, rule: Band) -> NumbersEvaluation:
    """See `number_figures`."""
    return rescore(outputs, dataset.target_matrix(rows), names=dataset.classes, split=split, rule=rule, rows=rows)


def before(outputs: np.ndarray, dataset: Dataset, rows: np.ndarray, *, split: str, rule: Band) -> None:
    """None: an untrained head says numbers of another size, and what guessing is worth stands beside every figure."""
    del outputs, dataset, rows, split, rule


def answer(
    file: str, values: np.ndarray, *, names: tuple[str, ...], rule: Band, known: bool | None
) -> NumberPrediction:
    """The number, and the interval around it."""
    del names
    value, half = float(values[0]), rule.half_width
    low, high = (None, None) if half is None else (value - half, value + half)
    return NumberPrediction(file, value, low, high, known)


def unread(file: str, error: str) -> NumberPrediction:
    """Nothing but why."""
    return NumberPrediction(file, error=error)


def losses(outputs: np.ndarray, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Squared error, in variances of these pictures' numbers."""
    truth = dataset.target_matrix(rows)[:, 0].astype(np.float64)
    found: np.ndarray = (outputs[:, 0] - truth) ** 2 / max(float(truth.var()), 1e-12)
    return found


def facts(rule: Band) -> dict[str, Any]:
    """The interval."""
    return {"interval": rule.as_dict()}


def read(facts: Mapping[str, Any], names: tuple[str, ...]) -> Band:
    """The interval of a file."""
    del names
    return bands.of_facts(facts.get("interval"))


def matched(dataset: Dataset, names: tuple[str, ...]) -> Matched:
    """The numbers as they are."""
    del names
    return Matched(dataset.target_matrix(), np.ones(len(dataset), bool))


def rescore(
    outputs: np.ndarray, truth: np.ndarray, *, names: tuple[str, ...], split: str, rule: Band, rows: np.ndarray
) -> NumbersEvaluation:
    """See `number_figures`."""
    del names
    return number_figures.score(
        outputs[:, 0], truth[:, 0], guess=rule.guess, split=split, half_width=rule.half_width, promised=rule.promised,
        rows=rows,
    )  # fmt: skip
