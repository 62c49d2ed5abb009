"""One class a picture: softmax, a temperature, accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from headstart import tempering
from headstart.calibration import Calibration, calibrate
from headstart.choose import Choice, Cost, choose_cut
from headstart.dataset import Dataset
from headstart.evaluate import Evaluation
from headstart.evaluate import score as score_classes
from headstart.features import Features
from headstart.heads import Head
from headstart.predictions import Prediction
from headstart.tasks import Matched
from headstart.verdict import verdict as verdict

NAME = "classes"
ACTIVATION = "softmax"


def choose(
    features: Features, rows: np.ndarray, *, folds: np.ndarray, pooling: str | None, joined: bool, seed: int,
    head: str, prefer: str, cost: Cost, groups: np.ndarray, progress: Callable[[int, int], None] | None,
) -> Choice:  # fmt: skip
    """See `headstart.choose`."""
    return choose_cut(
        features, rows, features.dataset.labels[rows], folds=folds, pooling=pooling, joined=joined, seed=seed,
        head=head, prefer=prefer, cost=cost, groups=groups, progress=progress,
    )  # fmt: skip


def settle(
    head: Head,
    dataset: Dataset,
    rows: np.ndarray,
    *,
    watched: tuple[np.ndarray, np.ndarray] | None,
    tuned: bool = False,
) -> tuple[Head, Calibration]:
    """One temperature, folded into the head: see `calibration`."""
    apart = (watched[0], dataset.labels[watched[1]]) if watched is not None else None
    return calibrate(head, dataset.labels[rows], watched=apart, smoothed=tuned)


def score(
    outputs: np.ndarray, dataset: Dataset, rows: np.ndarray, *, split: str, rule: Calibration | None
) -> Evaluation:
    """See `evaluate`."""
    del rule  # it is inside the head
    return score_classes(outputs, dataset.labels[rows], dataset.classes, split=split, rows=rows)


before = score


def answer(
    file: str, values: np.ndarray, *, names: tuple[str, ...], rule: Calibration | None, known: bool | None
) -> Prediction:
    """The most probable class."""
    del rule
    best = int(values.argmax())
    by_name = {name: float(value) for name, value in zip(names, values, strict=True)}
    return Prediction(file, names[best], float(values[best]), by_name, known)


def unread(file: str, error: str) -> Prediction:
    """Nothing but why."""
    return Prediction(file, error=error)


def losses(outputs: np.ndarray, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Cross-entropy at the best temperature, so that being too sure or too shy is no difference."""
    return tempering.losses(outputs, dataset.labels[rows])


def facts(rule: Calibration) -> dict[str, Any]:
    """What was found out about the probabilities."""
    return {"calibration": rule.as_dict()}


def read(facts: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Nothing: the temperature is inside the model."""
    del facts, names


def matched(dataset: Dataset, names: tuple[str, ...]) -> Matched:
    """Classes by name."""
    index = {name: number for number, name in enumerate(names)}
    labels = np.array([index.get(name, -1) for name in dataset.names], int)
    return Matched(labels, labels >= 0, dataset.names)


def rescore(
    outputs: np.ndarray, truth: np.ndarray, *, names: tuple[str, ...], split: str, rule: None, rows: np.ndarray
) -> Evaluation:
    """See `evaluate`."""
    del rule
    return score_classes(outputs, truth, names, split=split, rows=rows)
