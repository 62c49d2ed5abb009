"""What a model is to tell of a picture: one file a task, found by listing this folder.

Each module has

    NAME                                               as `Dataset.task` has it
    COLUMN                                             what says it in a table
    WHAT, ALL                                          what a table of counts heads its first and calls its last row
    settle(listing, *, training) -> Settled            names, as their owner gave them, to targets
    counts(dataset, rows) -> dict                      pictures by class, label or range, for people
    title(dataset) -> str                              "48 pictures of 3 classes"
    divide(dataset, rows, groups, *, holdout, seed, keys) -> bool a row      which of the rows to hold out
    deal(dataset, rows, groups, *, count, seed, keys) -> int a row           the cross-validation fold of each row
    lacking(dataset, rows) -> list of names            what these rows leave nothing to learn from
    absent(truth, names) -> list of names              what pictures that are measured on lack
    matrix(dataset, rows) -> float32 (rows, outputs)   what the outputs of a head are trained towards

They know nothing of features and heads; what is made of targets there is in `tasks/`.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from headstart.findings import Finding


@dataclass(frozen=True)
class Settled:
    """What pictures are to be told as, from what their owner wrote.

    Attributes:
        outputs: the names of a head's outputs: classes, labels, or the one name of a number.
        labels: int32 of shape (pictures,): the class where there is one a picture; else 0 for pictures that count.
        names: what each picture is, for people.
        targets: float32 of shape (pictures, outputs); None where `labels` say it all.
        findings: where splits disagree.
    """

    outputs: tuple[str, ...]
    labels: np.ndarray
    names: tuple[str, ...]
    targets: np.ndarray | None = None
    findings: tuple[Finding, ...] = ()


def names() -> tuple[str, ...]:
    """The tasks that there are."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def find(name: str) -> ModuleType:
    """The module of a task.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in names():
        raise ValueError(f"a task is one of {', '.join(names())}. Received: {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
