"""How each task is learnt, measured and answered: one file a task, found by listing this folder.

Each module has

    NAME                                   as `Dataset.task` has it; `targets/` has a module of the same name
    ACTIVATION                             of the last layer: softmax, sigmoid or linear
    choose(features, rows, *, ...) -> Choice                            which cut and pooling
    settle(head, dataset, rows, *, watched, tuned) -> (Head, rule)      how outputs become answers
    losses(outputs, dataset, rows) -> array                             of each picture, to compare two models by
    score(outputs, dataset, rows, *, split, rule) -> evaluation         figures on pictures of this very data set
    before(outputs, dataset, rows, *, split, rule) -> evaluation | None the same of the untrained head
    verdict(evaluation) -> str                                          the sentence to take away
    answer(file, values, *, names, rule, known) -> prediction           what is said of one picture
    unread(file, error) -> prediction                                   of one that cannot be read
    facts(rule) -> dict, read(facts, names) -> rule                     what `headstart.json` holds of the rule
    matched(dataset, names) -> Matched     pictures of another data set, in the order of the model's outputs
    rescore(outputs, truth, *, names, split, rule, rows) -> evaluation  figures on some of these

A rule is what was decided on training pictures, out of fold: a temperature for classes, a threshold for each label, an
interval for a number. What only one task has (a learning curve, a ranking of sources, a training from scratch) refuses
the others where it begins, by `only`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from headstart.calibration import HELD_OUT, OUT_OF_FOLD
from headstart.errors import InputError, RecipeError
from headstart.heads import Head
from headstart.recipe import Recipe

SAID = {"classes": "one class a picture", "labels": "labels", "numbers": "a number a picture"}


@dataclass(frozen=True)
class Matched:
    """Pictures of a data set as a model would tell them.

    Attributes:
        truth: of every picture: its class, shape (pictures,), or its targets, shape (pictures, outputs).
        usable: which pictures can be measured on, bool.
        strangers: what a picture is called that cannot be measured on, one entry a picture; empty where all can.
        foreign: how many pictures have each label that the model does not know, and count for the other labels.
    """

    truth: np.ndarray
    usable: np.ndarray
    strangers: tuple[str, ...] = ()
    foreign: Mapping[str, int] = field(default_factory=dict)


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


def check(task: str, recipe: Recipe, callbacks: Sequence[Any] = ()) -> None:
    """Refuse what a recipe asks for and a task cannot have, before any work.

    Raises:
        RecipeError: Keras's callbacks, which are told of classes alone.
    """
    if task != "classes" and (recipe.callbacks or callbacks):
        raise RecipeError(
            f"callbacks are told of the training of one class a picture; these pictures have {SAID[task]}.\n"
            "Leave the callbacks out."
        )


def held_back(
    head: Head, rows: np.ndarray, *, watched: tuple[np.ndarray, np.ndarray] | None, tuned: bool
) -> tuple[np.ndarray, np.ndarray, str] | None:
    """What a head said of pictures that it was not fitted on, which rows these are, and which pictures for people.

    Args:
        rows: that it was given to fit.
        watched: outputs and rows of pictures that were watched while it was trained and are not reported on.
        tuned: whether its network was tuned, so that what is held out was held out of the training.
    """
    if watched is not None:
        return watched[0], watched[1], HELD_OUT
    if head.held_out is None:
        return None
    places, outputs = head.held_out
    clean = places < len(rows)  # further rows are augmented views of the same pictures
    return outputs[clean], rows[places[clean]], OUT_OF_FOLD if head.history is None and not tuned else HELD_OUT


def only(task: str, what: str, *able: str) -> None:
    """Refuse what can be done for some tasks alone.

    Args:
        task: of the pictures at hand.
        what: cannot be done, as the beginning of a sentence.
        able: the tasks that it can be done for; `classes` where nothing is given.

    Raises:
        InputError: it cannot be done for this one.

    >>> only("labels", "Sources are ranked")
    Traceback (most recent call last):
    headstart.errors.InputError: Sources are ranked for one class a picture alone; these pictures have labels.
    Leave that out, or give pictures with one class a picture.
    """
    able = able or ("classes",)
    if task not in able:
        raise InputError(
            f"{what} for {' or '.join(SAID[name] for name in able)} alone; these pictures have {SAID[task]}.\n"
            f"Leave that out, or give pictures with {SAID[able[0]]}."
        )
