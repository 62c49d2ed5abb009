"""Event files for TensorBoard: one folder a run, in it one for each phase, as Keras's own callback lays them out.

Where the worker has Keras on TensorFlow, epochs go through `keras.callbacks.TensorBoard`. What is written without a
model (final figures, epochs of an earlier training) goes through the package `tensorboard` itself, which needs no
TensorFlow for that.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.errors import InputError, MissingExtraError
from headstart.files import why_not_writable
from headstart.loggers import Outcome

NAME, EXTRA, TAKES = "tensorboard", "tensorboard", "FOLDER"
WANTS_TENSORFLOW = True
SUMMARY = "event files, by default in logs/ beside the model"


def place(given: str, model: Path | None) -> str:
    """
    >>> place("", Path("models/flowers.keras")), place("runs", None), place("", None)
    ('models/logs', 'runs', 'logs')
    """
    return given or str((model.parent if model is not None else Path()) / "logs")


def check(place: str) -> None:
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingExtraError("logging to TensorBoard", EXTRA)
    if why := why_not_writable(Path(place) / "run" / "events"):
        raise InputError(f"TensorBoard: {why}")


class Run:
    """A folder of its own: two runs in one folder would be drawn as one zigzag."""

    def __init__(self, place: str, name: str, run: str | None) -> None:
        if run is None:
            stem = run = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
            number = 2
            while (Path(place) / run).exists():
                run, number = f"{stem}-{number}", number + 1
        self.id, self.folder = run, Path(place) / run
        self.folder.mkdir(parents=True, exist_ok=True)
        self._callbacks: dict[str, Any] = {}
        self._writers: dict[Path, Any] = {}

    def known(self, phase: str) -> set[int]:
        from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator

        if not (self.folder / phase / "train").is_dir():
            return set()
        found = EventAccumulator(str(self.folder / phase / "train"), size_guidance={TENSORS: 0}).Reload()
        return {event.step for event in found.Tensors("epoch_loss")} if "epoch_loss" in found.Tags()[TENSORS] else set()

    def begin(self, phase: str, model: Any, epochs: int) -> None:
        import keras

        if keras.backend.backend() != "tensorflow":  # Keras's callback writes by TensorFlow
            return
        callback = keras.callbacks.TensorBoard(str(self.folder / phase))
        callback.set_params({"verbose": 0, "epochs": epochs, "steps": None})
        callback.set_model(model)
        callback.on_train_begin({})
        self._callbacks[phase] = callback

    def epoch(self, phase: str, number: int, logs: Mapping[str, float]) -> None:
        callback = self._callbacks.get(phase)
        if callback is None:
            for part, prefix in (("train", ""), ("validation", "val_")):
                mine = {name: value for name, value in logs.items() if name.startswith("val_") == bool(prefix)}
                values = {f"epoch_{name.removeprefix(prefix)}": value for name, value in mine.items()}
                self._write(self.folder / phase / part, values, step=number)
            return
        if "learning_rate" in logs:
            callback.model.optimizer.learning_rate = logs["learning_rate"]  # the callback looks there
        callback.on_epoch_begin(number, {})
        callback.on_epoch_end(number, dict(logs))
        for writer in callback._writers.values():  # else it takes up to two minutes until anybody sees the epoch
            writer.flush()

    def end(self, phase: str) -> None:
        callback = self._callbacks.pop(phase, None)
        if callback is not None:
            callback.on_train_end({})

    def finish(self, outcome: Outcome) -> None:
        from tensorboard.plugins.hparams import summary_v2 as hparams
        from tensorboard.plugins.text.summary_v2 import text_pb

        rows = [f"| {name} | `{value}` |" for name, value in outcome.parameters.items()]
        table = "\n".join(["| decision | value |", "|---|---|", *rows])
        known = {"verdict": outcome.words, "recipe": table, "files": "\n".join(f"- `{file}`" for file in outcome.files)}
        texts = [text_pb(name, text) for name, text in known.items()]
        details = text_pb("result", f"```json\n{json.dumps(outcome.details, ensure_ascii=False, indent=1)}\n```")
        recipe = hparams.hparams_pb(dict(outcome.parameters), trial_id=self.id)
        self._write(self.folder, outcome.figures, step=0, others=[*texts, details, recipe])
        for writer in self._writers.values():
            writer.close()

    def _write(self, folder: Path, figures: Mapping[str, float], *, step: int, others: Sequence[Any] = ()) -> None:
        """Scalars and other summaries, without Keras."""
        from tensorboard.compat.proto import event_pb2
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if not figures and not others:
            return
        if folder not in self._writers:
            self._writers[folder] = EventFileWriter(str(folder))
        for summary in (*(scalar_pb(name, value) for name, value in figures.items()), *others):
            self._writers[folder].add_event(event_pb2.Event(wall_time=time.time(), step=step, summary=summary))
        self._writers[folder].flush()
