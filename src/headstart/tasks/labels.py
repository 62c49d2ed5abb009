"""Several labels a picture, or none: sigmoids, a threshold for each label, average precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from headstart import label_figures, thresholds
from headstart.choose import Choice, Cost
from headstart.choose_targets import Scores, choose_cut
from headstart.dataset import Dataset
from headstart.errors import PhotosError
from headstart.features import Features
from headstart.heads import Head, label_losses, linear
from headstart.label_figures import LabelsEvaluation
from headstart.predictions import LabelsPrediction
from headstart.probes import answers_out_of_fold
from headstart.tasks import Matched, held_back
from headstart.thresholds import Thresholds
from headstart.verdict import of_labels as verdict  # noqa: F401

NAME = "labels"
ACTIVATION = "sigmoid"


def choose(
    features: Features, rows: np.ndarray, *, folds: np.ndarray, pooling: str | None, joined: bool, seed: int,
    head: str, prefer: str, cost: Cost, groups: np.ndarray, progress: Callable[[int, int], None] | None,
) -> Choice:  # fmt: skip
    """By binary cross-entropy out of fold; what is shown is the share of decisions that were right."""
    del head, groups  # there is one head, and loss alone is compared
    return choose_cut(
        features, rows, features.dataset.target_matrix(rows), folds=folds, probe=_probe, head=_linear, pooling=pooling,
        joined=joined, seed=seed, prefer=prefer, cost=cost, progress=progress,
    )  # fmt: skip


def _probe(features: np.ndarray, targets: np.ndarray, folds: np.ndarray) -> Scores:
    found = min(answers_out_of_fold(features, targets, folds), key=lambda each: each.loss)
    return ((found.answers > 0.5) == (targets > 0.5)).mean(axis=1), ((found.answers - targets) ** 2).mean(axis=1)


def _linear(features: np.ndarray, targets: np.ndarray, folds: np.ndarray) -> Scores:
    found = linear.cross_validate_labels(features, targets, folds).out_of_fold
    return ((found > 0.5) == (targets > 0.5)).mean(axis=1), label_losses(found, targets)


def settle(
    head: Head,
    dataset: Dataset,
    rows: np.ndarray,
    *,
    watched: tuple[np.ndarray, np.ndarray] | None,
    tuned: bool = False,
) -> tuple[Head, Thresholds]:
    """The head as it is, and the threshold of each label."""
    held = held_back(head, rows, watched=watched, tuned=tuned)
    if held is None:
        return head, thresholds.usual(dataset.classes)
    said, which, on = held
    return head, thresholds.choose(said, dataset.target_matrix(which), dataset.classes, on=on)


def score(outputs: np.ndarray, dataset: Dataset, rows: np.ndarray, *, split: str, rule: Thresholds) -> LabelsEvaluation:
    """See `label_figures`."""
    return rescore(outputs, dataset.target_matrix(rows), names=dataset.classes, split=split, rule=rule, rows=rows)


before = score


def answer(
    file: str, values: np.ndarray, *, names: tuple[str, ...], rule: Thresholds, known: bool | None
) -> LabelsPrediction:
    """The labels that reach their threshold."""
    by_name = {name: float(value) for name, value in zip(names, values, strict=True)}
    said = tuple(name for name, least in zip(names, rule.values, strict=True) if by_name[name] >= least)
    return LabelsPrediction(file, said, by_name, known)


def unread(file: str, error: str) -> LabelsPrediction:
    """Nothing but why."""
    return LabelsPrediction(file, error=error)


def losses(outputs: np.ndarray, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Binary cross-entropy, the mean over the labels."""
    return label_losses(outputs, dataset.target_matrix(rows))


def facts(rule: Thresholds) -> dict[str, Any]:
    """The thresholds."""
    return {"thresholds": rule.as_dict()}


def read(facts: Mapping[str, Any], names: tuple[str, ...]) -> Thresholds:
    """The thresholds of a file."""
    return thresholds.of_facts(facts.get("thresholds"), names)


def matched(dataset: Dataset, names: tuple[str, ...]) -> Matched:
    """Labels by name; what the model does not know of a picture is passed over, and the picture counts.

    Raises:
        PhotosError: the pictures and the model have no label in common.
    """
    own = {name: column for column, name in enumerate(dataset.classes)}
    if not set(own) & set(names):
        raise PhotosError(
            f"none of these pictures has a label that the model knows.\nThe model: {', '.join(names[:8])}."
            f" The pictures: {', '.join(dataset.classes[:8]) or 'no label at all'}"
        )
    matrix = dataset.target_matrix()
    truth = np.zeros((len(dataset), len(names)), np.float32)
    for column, name in enumerate(names):
        if name in own:
            truth[:, column] = matrix[:, own[name]]
    foreign = {name: int(matrix[:, column].sum()) for name, column in own.items() if name not in names}
    return Matched(truth, np.ones(len(dataset), bool), foreign=foreign)


def rescore(
    outputs: np.ndarray, truth: np.ndarray, *, names: tuple[str, ...], split: str, rule: Thresholds, rows: np.ndarray
) -> LabelsEvaluation:
    """See `label_figures`."""
    return label_figures.score(outputs, truth, names, thresholds=rule.values, split=split, rows=rows)
