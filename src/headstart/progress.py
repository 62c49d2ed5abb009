"""How long work tells how far it is: a callable, so that nothing below the command line prints."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with the stage's name, what is done and what there is in all (None where that is not known).

    Nothing done of nothing is a notice: a sentence to be shown, about no stage.
    """

    def __call__(self, stage: str, done: int, total: int | None) -> None: ...


def silent(stage: str, done: int, total: int | None) -> None:
    """Tells nobody."""


def notice(progress: Progress, text: str) -> None:
    """Show a sentence among the progress."""
    progress(text, 0, 0)
