"""Where a run can be written down for other programs: one file a logger, found by listing this folder.

Each module has

    NAME, EXTRA, SUMMARY                   as `--log NAME`, the extra that brings its package, and a phrase for the help
    TAKES                                  what may stand behind the `=`, as one word
    WANTS_TENSORFLOW                       whether its Keras callback runs on TensorFlow alone
    place(given, model) -> str             where it writes: what was given, else its default for this model file
    check(place) -> None                   refuse what could not work, before long work, without importing its package
    class Run(place, name, run)            as `Run` below, in a worker

`check` and `place` are called in the caller's process, everything else in a child (`journal`, `logbook`).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from headstart.errors import InputError, near


@dataclass(frozen=True)
class Asked:
    """A logger that was asked for, by name, and where it is to write."""

    name: str
    place: str


@dataclass(frozen=True)
class Outcome:
    """What a whole run came to.

    Attributes:
        figures: numbers by name, such as `test/accuracy`.
        parameters: every decision, by name; of the recipe.
        words: what came of it, in sentences.
        details: plain JSON values, all that is known of it.
        files: what was written: the model, the report.
    """

    figures: Mapping[str, float]
    parameters: Mapping[str, str]
    words: str
    details: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[str] = ()


class Run(Protocol):
    """One run in one logger; opened by several processes, one after another. Whatever fails is raised.

    Args of the constructor: the place, a name for people, and the `id` of the run to go on with, None for a new one.

    Attributes:
        id: by which the run is found again.
    """

    id: str

    def known(self, phase: str) -> set[int]:
        """The epochs (from 0) of a phase, such as `head` or `tuning`, that are written down already."""

    def begin(self, phase: str, model: Any, epochs: int) -> None:
        """Training of a Keras model begins: the logger's own Keras callback is told."""

    def epoch(self, phase: str, number: int, logs: Mapping[str, float]) -> None:
        """An epoch has ended; without `begin`, it is of an earlier training that nobody wrote down."""

    def end(self, phase: str) -> None:
        """Training has ended, or was broken off."""

    def finish(self, outcome: Outcome) -> None:
        """The run is done."""


def names() -> tuple[str, ...]:
    """The loggers that there are.

    >>> names()
    ('mlflow', 'tensorboard')
    """
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def find(name: str) -> ModuleType:
    """The module of a logger.

    Raises:
        InputError: there is none of that name.
    """
    if name not in names():
        raise InputError(f"unknown logger {name!r}; expected {' or '.join(names())}.{near(name, names())}")
    return importlib.import_module(f"{__name__}.{name}")


def asked(given: str | Sequence[str], model: Path | None = None) -> tuple[Asked, ...]:
    """What `--log NAME` or `--log NAME=PLACE` asks for, checked.

    Args:
        model: the classifier file that the run will write, where it writes one.

    Raises:
        InputError: a logger is unknown (near matches are named), named twice, or its place cannot be used;
            MissingExtraError: its package is not installed.
    """
    found: list[Asked] = []
    for text in [given] if isinstance(given, str) else given:
        if not isinstance(text, str):
            raise InputError(f"log takes names of loggers ({', '.join(names())}), or NAME=PLACE; got {text!r}")
        name, equals, place = (part.strip() for part in text.partition("="))
        module = find(name)
        if equals and not place:
            raise InputError(f"{text}: a {module.TAKES} was expected behind the =; leave the = out for the default")
        if any(each.name == name for each in found):
            raise InputError(f"the logger {name} is asked for twice; a run is written down in one place of each kind")
        found.append(Asked(name, module.place(place, model)))
        module.check(found[-1].place)
    return tuple(found)
