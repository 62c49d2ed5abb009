"""What runs a compiled trunk: one file an engine, found by listing this folder.

Each module has

    NAME                                    as in `HEADSTART_ENGINE`
    reason_not() -> str | None              why it cannot be used here; None where it can
    version() -> str                        what its numbers depend on, without importing it
    class Engine(folder, facts)             as `Engine` below
    milliseconds(folder, facts) -> list     what each output costs a picture, measured
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from headstart.errors import EngineError, InputError, near

PREFERRED = ("openvino", "keras")


class Engine(Protocol):
    """A compiled trunk that is ready to run.

    Attributes:
        batch_size: how many pictures `infer` takes.
        parallel: how many calls of `infer` it answers at once.
    """

    batch_size: int
    parallel: int

    def infer(self, pixels: np.ndarray) -> list[np.ndarray]:
        """uint8 (batch_size, height, width, 3) → floats (batch_size, dimensions) for each output, in order."""

    def close(self) -> None:
        """Let go of the network."""


def names() -> tuple[str, ...]:
    """The engines that this headstart has, preferred ones first."""
    found = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    return tuple(sorted(found, key=lambda name: PREFERRED.index(name) if name in PREFERRED else len(PREFERRED)))


def module(name: str) -> ModuleType:
    """The module of an engine.

    Raises:
        InputError: there is no engine of that name.
    """
    if name not in names():
        raise InputError(f"unknown engine {name!r}; expected one of {', '.join(names())}.{near(name, names())}")
    return importlib.import_module(f"headstart.engines.{name}")


def choose() -> str:
    """`HEADSTART_ENGINE` where it is set, else the first that works here."""
    named = os.environ.get("HEADSTART_ENGINE")
    if named:
        why = module(named).reason_not()
        if why:
            raise InputError(f"HEADSTART_ENGINE asks for {named}, which cannot be used here: {why}")
        return named
    reasons = []
    for name in names():
        why = module(name).reason_not()
        if why is None:
            return name
        reasons.append(f"{name}: {why}")
    raise EngineError("no engine can run a network here.\n" + "\n".join(reasons))


def import_ahead() -> None:
    """Import the engine's package while there is nothing for it to run; Keras is left until it is needed."""
    if choose() == "openvino":
        module("openvino").runtime()


def load(name: str, folder: Path, facts: dict[str, Any]) -> Engine:
    """The engine of that name, with the compiled trunk in `folder` loaded."""
    engine: Engine = module(name).Engine(folder, facts)
    return engine
