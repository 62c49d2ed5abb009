"""In a worker: the loggers of a run, told of a training; one that fails is left out, and the training goes on.

Which loggers there are, where they write and which run they are at stands in a small file, the book (`logbook`). It is
how the processes of a run, and the command that takes up a broken-off one, come to write in the same run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart import loggers
from headstart.errors import HeadstartError
from headstart.files import atomic_path
from headstart.loggers import Outcome, Run
from headstart.worker import report_progress


def read(book: Path) -> dict[str, Any]:
    """`name` of the run, and of each logger `place`, `run` (None before it is opened) and whether it `failed`."""
    found: dict[str, Any] = json.loads(book.read_text("utf-8"))
    return found


def write(book: Path, facts: Mapping[str, Any]) -> None:
    with atomic_path(book) as temporary:
        temporary.write_text(json.dumps(dict(facts)), "utf-8")


class Journal:
    """The loggers of a book, at one phase of the run.

    Args:
        book: None for no loggers.
        phase: `head` or `tuning`; may be changed.
    """

    def __init__(self, book: str | None, phase: str = "") -> None:
        self.phase = phase
        self._book = Path(book) if book is not None else None
        self._runs: dict[str, Run] = {}
        self._known: dict[tuple[str, str], set[int]] = {}
        facts = read(self._book) if self._book is not None else {"loggers": {}}
        for name, each in facts["loggers"].items():
            if not each["failed"]:
                self._safely(name, self._open, name, facts["name"], each)

    def begin(self, model: Any, *, epochs: int) -> None:
        """A training of a Keras model with an optimizer begins."""
        for name, run in tuple(self._runs.items()):
            self._safely(name, run.begin, self.phase, model, epochs)

    def tell(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """All epochs so far, the first one first; those that are written down already are not written again."""
        for name, run in tuple(self._runs.items()):
            self._safely(name, self._tell, name, run, epochs)

    def end(self) -> None:
        for name, run in tuple(self._runs.items()):
            self._safely(name, run.end, self.phase)

    def finish(self, outcome: Outcome) -> None:
        for name, run in tuple(self._runs.items()):
            self._safely(name, run.finish, outcome)

    def _open(self, name: str, title: str, each: Mapping[str, Any]) -> None:
        run: Run = loggers.find(name).Run(each["place"], title, each["run"])
        self._runs[name] = run
        self._note(name, run=run.id)

    def _tell(self, name: str, run: Run, epochs: Sequence[Mapping[str, float]]) -> None:
        at = (name, self.phase)
        if at not in self._known:
            self._known[at] = run.known(self.phase)
        for number, logs in enumerate(epochs):
            if number not in self._known[at]:
                run.epoch(self.phase, number, logs)
                self._known[at].add(number)

    def _safely(self, name: str, action: Callable[..., None], *values: Any) -> None:
        """A logger may meet anything: no server, a full disk, a package of another version. None of it ends a run."""
        try:
            action(*values)
        except Exception as error:
            self._runs.pop(name, None)
            said = str(error).strip().splitlines() or [type(error).__name__]
            kind = "" if isinstance(error, HeadstartError) else f"{type(error).__name__}: "
            report_progress(notice=f"logging to {name} failed, and goes no further in this run: {kind}{said[0][:300]}")
            self._note(name, failed=True)

    def _note(self, name: str, **facts: Any) -> None:
        if self._book is not None:
            whole = read(self._book)
            whole["loggers"][name].update(facts)
            write(self._book, whole)


def watcher(journal: Journal, epochs: int) -> Any:
    """A Keras callback that passes on to a journal what it is told."""
    import keras

    class Passing(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.told: list[dict[str, float]] = []

        def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
            journal.begin(self.model, epochs=epochs)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            self.told.append({**{name: float(value) for name, value in (logs or {}).items()}, "learning_rate": rate})
            journal.tell(self.told)

        def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002
            journal.end()

    return Passing()


def finish(book: str, outcome: dict[str, Any], histories: dict[str, list[dict[str, float]]]) -> None:
    """A run is done: epochs that nobody wrote down, such as those of a training that an earlier command did, and what
    it came to.

    Args:
        outcome: the fields of an `Outcome`.
        histories: the epochs of each phase.
    """
    journal = Journal(book)
    for phase, epochs in histories.items():
        journal.phase = phase
        journal.tell(epochs)
    journal.finish(Outcome(**outcome))
