"""Which loggers a run is written down by, and how far: kept on disk, so that a run that is taken up goes on in them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from headstart import journal, loggers
from headstart.errors import HeadstartError
from headstart.files import cache_folder, json_digest
from headstart.loggers import Asked, Outcome
from headstart.progress import Progress, notice, silent
from headstart.worker import Worker, building_backend

FOLDER = "logbooks"


class Logbook:
    """The loggers of one run; nothing of it does anything where none was asked for.

    Args:
        asked: as `loggers.asked` gives them.
        name: of the run, for people.
        key: what tells this run from others, as plain JSON values: the same command finds the same book.
        progress: told once of a logger that fails.

    Attributes:
        path: what workers are given; None without loggers.
    """

    def __init__(
        self, asked: Sequence[Asked], *, name: str, key: Mapping[str, Any], progress: Progress = silent
    ) -> None:
        self.path: str | None = None
        self._progress, self._names = progress, tuple(each.name for each in asked)
        if not asked:
            return
        digest = json_digest({**key, "log": [asdict(each) for each in asked], "name": name})
        book = cache_folder() / FOLDER / f"{digest}.json"
        try:
            known = journal.read(book)["loggers"]
        except (OSError, ValueError, KeyError):
            known = {}
        facts = {each.name: {"place": each.place, "run": None, **known.get(each.name, {})} for each in asked}
        for each in facts.values():
            each["failed"] = False  # it may be better now
        try:
            book.parent.mkdir(parents=True, exist_ok=True)
            journal.write(book, {"name": name, "loggers": facts})
        except OSError as error:
            notice(progress, f"this run is not logged, since nothing can be noted in {book.parent}: {error}")
            return
        self.path = str(book)

    @property
    def on_tensorflow(self) -> bool:
        """Whether a logger's own callback wants Keras on TensorFlow, which is here."""
        wanted = any(loggers.find(name).WANTS_TENSORFLOW for name in self._names)
        return wanted and importlib.util.find_spec("tensorflow") is not None

    def hear(self, facts: Mapping[str, Any]) -> None:
        """What a worker reports."""
        if "notice" in facts:
            notice(self._progress, str(facts["notice"]))

    def finish(self, outcome: Callable[[], Outcome], histories: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
        """The run is done. Nothing that happens here is raised: there is a result.

        Args:
            histories: of each phase that has epochs, as Keras has them.
        """
        if self.path is None:
            return
        rows = {phase: epochs_of(history) for phase, history in histories.items() if history}
        try:
            with Worker(building_backend()) as worker:
                worker.call(
                    "journal:finish", progress=self.hear, book=self.path, outcome=asdict(outcome()), histories=rows
                )
        except (HeadstartError, OSError) as error:
            notice(self._progress, f"what the run came to could not be logged: {str(error).splitlines()[0]}")
            return
        if not any(each["failed"] for each in journal.read(Path(self.path))["loggers"].values()):
            Path(self.path).unlink(missing_ok=True)  # else the same command goes on in the same run


def epochs_of(history: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """Keras's history as one mapping an epoch.

    >>> epochs_of({"loss": [0.5, 0.25], "val_loss": [0.6, 0.7]})
    [{'loss': 0.5, 'val_loss': 0.6}, {'loss': 0.25, 'val_loss': 0.7}]
    """
    return [dict(zip(history, map(float, values), strict=True)) for values in zip(*history.values(), strict=True)]
