"""How long work tells how far it is: a callable, so that nothing below the command line prints."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with the stage's name, what is done and what there is in all (None where that is not known)."""

    def __call__(self, stage: str, done: int, total: int | None) -> None: ...


def silent(stage: str, done: int, total: int | None) -> None:
    """Tells nobody."""
