"""Keras callbacks on a head's training: those that a recipe names, and Keras objects that Python hands over.

Both run on Keras's own classes and on the whole classifier, trunk and head, so that a ModelCheckpoint is a model that
`keras.models.load_model` opens anywhere and that takes pictures. What a recipe names runs in a worker, on TensorFlow
where TensorBoard is among it; objects run in this process, on the Keras that they were made with.

Callbacks are told that training and each epoch begin and end, with Keras's logs (`accuracy`, `loss`, `val_accuracy`,
`val_loss`), never of batches. `model.stop_training` and `model.optimizer.learning_rate` are obeyed, and so are weights
that a callback puts into the head as training ends (EarlyStopping's `restore_best_weights`); weights that it changes
earlier are not. Paths are relative to the caller's working directory.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from headstart import callback_arguments, heads
from headstart.callback_arguments import choose
from headstart.errors import InputError
from headstart.heads import Layer, Watcher
from headstart.keras_callbacks import Bridge, Start, read_layers, write_layers
from headstart.logbook import Logbook
from headstart.recipe import Recipe
from headstart.worker import Worker, building_backend

__all__ = ["check", "choose", "watch"]

_TOLD = ("on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end")
_OF_BATCHES = (
    "on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end", "on_test_begin", "on_test_end",
    "on_test_batch_begin", "on_test_batch_end",
)  # fmt: skip


@contextmanager
def watch(recipe: Recipe, given: Sequence[Any], blank: Path, log: Logbook | None = None) -> Iterator[Watcher]:
    """The callbacks of a recipe, loggers, and Keras objects beside them, as one watcher.

    Args:
        given: Keras callbacks, told after those of the recipe.
        blank: the classifier's model with any weights in its head.
        log: loggers of the run.

    Raises:
        InputError: a callback fails; RecipeError where the recipe names it.
    """
    check((), given)
    settings = heads.find(recipe.head).settings_of(recipe.head_options)
    start = Start(str(blank), settings["optimizer"], float(settings["momentum"]))
    sides: list[_Side] = []
    with ExitStack() as stack:
        logged = log is not None and log.path is not None
        if recipe.callbacks or logged:
            tensorboard = any("TensorBoard" in each for each in recipe.callbacks) or (
                log is not None and log.on_tensorflow
            )
            worker = stack.enter_context(Worker("tensorflow" if tensorboard else building_backend()))
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="headstart-", ignore_cleanup_errors=True))
            sides.append(_There(recipe.callbacks, worker, Path(folder), log if logged else None))
        if given:
            sides.append(_Here(given))
        yield _All(start, sides)


def check(callbacks: Sequence[Mapping[str, Any]], given: Sequence[Any] = ()) -> None:
    """Refuse what could not run, before long work begins and without importing Keras.

    Args:
        callbacks: as a recipe has them.
        given: what should be Keras callbacks.

    Raises:
        RecipeError: a callback or an argument is unknown (near matches are named), a value is of the wrong kind, a file
            cannot be written; InputError: an object is no Keras callback, or would never be called; MissingExtraError:
            TensorBoard is asked for and is not installed.
    """
    callback_arguments.check(callbacks)
    for each in given:
        _check_given(each)


def _check_given(callback: Any) -> None:
    keras, name = sys.modules.get("keras"), type(callback).__name__
    if isinstance(callback, type):
        raise InputError(f"callbacks takes objects; got the class {callback.__name__}. Call it: {callback.__name__}()")
    if keras is None or not isinstance(callback, keras.callbacks.Callback):
        hint = " A mapping belongs into the recipe: Recipe(callbacks=(...,))." if isinstance(callback, Mapping) else ""
        raise InputError(
            f"callbacks takes Keras 3 callbacks, such as keras.callbacks.EarlyStopping(); got {callback!r}"
            f" of {type(callback).__module__}.{hint}"
        )
    base, checkpoint, board = keras.callbacks.Callback, keras.callbacks.ModelCheckpoint, keras.callbacks.TensorBoard
    for kind, argument in ((checkpoint, "save_freq"), (board, "update_freq")):
        if isinstance(callback, kind) and getattr(callback, argument) != "epoch":
            raise InputError(f"{argument} of {name} counts batches, and callbacks are told of epochs; leave it out")
    if isinstance(callback, board):
        callback_arguments.check_tensorboard()
    if isinstance(callback, keras.callbacks.BackupAndRestore):
        raise InputError(f"{name} takes up a broken-off fit() of Keras again, which this training is not; leave it out")
    own = [hook for hook in (*_TOLD, *_OF_BATCHES) if not _same(getattr(callback, hook), getattr(base, hook))]
    if own and not set(own) & set(_TOLD) and type(callback) is not keras.callbacks.TerminateOnNaN:
        raise InputError(
            f"the callback {name} would never be called: it has {', '.join(own)}, and callbacks are told of epochs"
            f" alone ({', '.join(_TOLD)})"
        )


def _same(method: Any, function: Any) -> bool:
    return getattr(method, "__func__", None) is function


# ---- the two sides --------------------------------------------------------------------------------------------------


class _Side(Protocol):
    """Callbacks in one process. `layers` is asked for where they look at weights."""

    def begin(self, start: Start, layers: Callable[[], Sequence[Layer]]) -> None: ...

    def epoch_begin(self, epoch: int, rate: float) -> float: ...

    def epoch_end(
        self, epoch: int, logs: Mapping[str, float], *, layers: Callable[[], Sequence[Layer]], rate: float
    ) -> tuple[bool, float]: ...

    def end(self, restored: Sequence[Layer] | None) -> Sequence[Layer] | None:
        """Weights that these callbacks put back, or None; `restored` are those of the callbacks before them."""


class _Here:
    """Keras objects, in this process."""

    def __init__(self, callbacks: Sequence[Any]) -> None:
        self._callbacks = callbacks
        self._looks = any(_looks(callback) for callback in callbacks)

    def begin(self, start: Start, layers: Callable[[], Sequence[Layer]]) -> None:
        self._bridge = Bridge(start, self._callbacks)
        self._bridge.begin(layers() if self._looks else None)

    def epoch_begin(self, epoch: int, rate: float) -> float:
        return self._bridge.epoch_begin(epoch, rate)

    def epoch_end(
        self, epoch: int, logs: Mapping[str, float], *, layers: Callable[[], Sequence[Layer]], rate: float
    ) -> tuple[bool, float]:
        return self._bridge.epoch_end(epoch, logs, layers=layers() if self._looks else None, rate=rate)

    def end(self, restored: Sequence[Layer] | None) -> Sequence[Layer] | None:
        return self._bridge.end(restored if self._looks else None, self._looks)


def _looks(callback: Any) -> bool:
    """Whether an object may look at weights: not where it is one of Keras's own that does not."""
    own = getattr(sys.modules["keras"].callbacks, type(callback).__name__, None) is type(callback)
    return not own or callback_arguments.looks(type(callback).__name__, vars(callback))


class _There:
    """Callbacks that a recipe names, in a worker. Weights go through a file, and back."""

    def __init__(
        self, callbacks: Sequence[Mapping[str, Any]], worker: Worker, folder: Path, log: Logbook | None = None
    ) -> None:
        self._callbacks, self._worker, self._log = [dict(each) for each in callbacks], worker, log
        self._weights, self._restored = folder / "weights.npz", folder / "restored.npz"
        named = [(name, given) for each in callbacks for name, given in each.items()]
        self._looks = any(callback_arguments.looks(name, given) for name, given in named)
        self._steers_early = any(name == "LearningRateScheduler" for name, _ in named)
        self._waiting: list[Future[Any]] = []

    def begin(self, start: Start, layers: Callable[[], Sequence[Layer]]) -> None:
        """Not waited for: the worker gets ready while the first epoch runs."""
        book = self._log.path if self._log is not None else None
        self._submit("begin", start=asdict(start), callbacks=self._callbacks, weights=self._written(layers), book=book)

    def epoch_begin(self, epoch: int, rate: float) -> float:
        if not self._steers_early:
            self._submit("epoch_begin", epoch=epoch, rate=rate)
            return rate
        return float(self._call("epoch_begin", epoch=epoch, rate=rate))

    def epoch_end(
        self, epoch: int, logs: Mapping[str, float], *, layers: Callable[[], Sequence[Layer]], rate: float
    ) -> tuple[bool, float]:
        self._wait()  # until what was written before has been read
        stop, rate = self._call("epoch_end", epoch=epoch, logs=dict(logs), weights=self._written(layers), rate=rate)
        return bool(stop), float(rate)

    def end(self, restored: Sequence[Layer] | None) -> Sequence[Layer] | None:
        if restored is not None:
            raise InputError("the callbacks of a recipe are told first. Received: restored weights of other callbacks")
        found = self._call("end", looks=self._looks, restored=str(self._restored))
        return read_layers(self._restored) if found else None

    def _written(self, layers: Callable[[], Sequence[Layer]]) -> str | None:
        if not self._looks:
            return None
        try:
            write_layers(self._weights, layers())
        except OSError as error:
            raise InputError(
                f"the weights of an epoch cannot be written for its callbacks: {error}.\n"
                "Make room there, or name another folder in TMPDIR."
            ) from error
        return str(self._weights)

    def _submit(self, job: str, **arguments: Any) -> None:
        self._waiting.append(self._worker.submit(f"keras_callbacks:{job}", progress=self._hear, **arguments))

    def _call(self, job: str, **arguments: Any) -> Any:
        self._wait()
        return self._worker.call(f"keras_callbacks:{job}", progress=self._hear, **arguments)

    def _hear(self, facts: dict[str, Any]) -> None:
        if self._log is not None:
            self._log.hear(facts)

    def _wait(self) -> None:
        while self._waiting:
            self._waiting.pop(0).result()


class _All:
    """All callbacks of a run as the trainer sees them: one rate, one wish to stop, one set of weights put back."""

    def __init__(self, start: Start, sides: Sequence[_Side]) -> None:
        self._start, self._sides = start, sides
        self._rate = self._told = 0.0
        self._like: Sequence[Layer] = ()

    def begin(self, epochs: int, layers: Sequence[Layer], learning_rate: float) -> None:
        self._rate = self._told = learning_rate
        empty = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)  # weights may be large, and are not kept
        self._like = [replace(layer, kernel=empty[0], bias=empty[1]) for layer in layers]
        units = [layer.bias.size for layer in layers]
        start = replace(self._start, learning_rate=learning_rate, epochs=epochs, units=units)
        for side in self._sides:
            side.begin(start, lambda: layers)

    def epoch_begin(self, epoch: int) -> float | None:
        for side in self._sides:
            self._rate = side.epoch_begin(epoch, self._rate)
        changed = self._rate != self._told
        self._told = self._rate
        return self._rate if changed else None

    def epoch_end(self, epoch: int, logs: Mapping[str, float], layers: Callable[[], Sequence[Layer]]) -> bool:
        made: list[Sequence[Layer]] = []

        def once() -> Sequence[Layer]:
            if not made:
                made.append(layers())
            return made[0]

        stop = False
        for side in self._sides:
            wish, self._rate = side.epoch_end(epoch, logs, layers=once, rate=self._rate)
            stop = stop or wish
        return stop

    def end(self) -> Sequence[Layer] | None:
        restored: Sequence[Layer] | None = None
        for side in self._sides:
            restored = side.end(restored) or restored
        if restored is None:
            return None
        return [replace(like, kernel=new.kernel, bias=new.bias) for like, new in zip(self._like, restored, strict=True)]
