"""Keras's callbacks on a training that Keras does not do.

A `Bridge` holds the whole classifier as a Keras model, compiled so that callbacks find what they look for: an optimizer
with a learning rate, metrics by name, `stop_training`. The trainer's weights are put into it when a callback may look,
and what a callback changed goes back. The same bridge serves objects in the caller's process and, by the functions at
the end of this file, callbacks that a recipe names, in a worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart import journal
from headstart.callback_arguments import schedule
from headstart.errors import EngineError, HeadstartError, InputError, RecipeError
from headstart.heads import Layer
from headstart.heads._optimizers import Optimizer

_USUAL = (OSError, ValueError, TypeError, KeyError, RuntimeError)
"""What Keras's own callbacks raise where an argument or a file is at fault."""


@dataclass(frozen=True)
class Start:
    """What a bridge is made of.

    Attributes:
        blank: the classifier as a `.keras` file; what weights its head has does not matter.
        optimizer, momentum, learning_rate: those of the recipe.
        epochs: how many are planned.
        units: of each layer of the head; the last has one for each class.
    """

    blank: str
    optimizer: str
    momentum: float
    learning_rate: float = 0.0
    epochs: int = 0
    units: Sequence[int] = ()


class Bridge:
    """Callbacks and the model that they look at.

    Args:
        callbacks: Keras callbacks.
        fault: what is raised where one of them fails.
    """

    def __init__(self, start: Start, callbacks: Sequence[Any], fault: type[InputError] = InputError) -> None:
        import keras

        self._fault, self._epochs = fault, start.epochs
        self.callbacks = [*callbacks, keras.callbacks.History()]
        self.model = _watched(start)
        self._head = [self.model.get_layer(name) for name in _names(start)]
        self._logs: dict[str, float] = {}

    def begin(self, layers: Sequence[Layer] | None) -> None:
        """Training begins, with these weights; None where no callback looks at them."""
        self._put(layers)
        for callback in self.callbacks:
            callback.set_params({"verbose": 0, "epochs": self._epochs, "steps": None})
        self._tell("set_model", self.model)
        self.model.stop_training = False
        self._tell("on_train_begin", {})

    def epoch_begin(self, epoch: int, rate: float) -> float:
        """The learning rate after the callbacks have seen it."""
        self._set_rate(rate)
        self._tell("on_epoch_begin", epoch, {})
        return self._steered(rate)

    def epoch_end(
        self, epoch: int, logs: Mapping[str, float], *, layers: Sequence[Layer] | None, rate: float
    ) -> tuple[bool, float]:
        """Whether to stop, and the learning rate."""
        import keras

        self._put(layers)
        self._set_rate(rate)
        self._logs = {name: float(value) for name, value in logs.items()}
        for callback in self.callbacks:
            if type(callback) is keras.callbacks.TerminateOnNaN:  # it looks at batches, and here are none
                self._tell_one(callback, "on_batch_end", f"(the last of epoch {epoch + 1})", self._logs)
        self._tell("on_epoch_end", epoch, self._logs)
        return bool(self.model.stop_training), self._steered(rate)

    def end(self, layers: Sequence[Layer] | None, looks: bool) -> Sequence[Layer] | None:
        """The weights that a callback put into the head as the training ended, else None.

        Args:
            layers: weights that other callbacks have put back, where there are.
            looks: whether a callback may look at weights, or put others in their place.
        """
        self._put(layers)
        before = self._arrays() if looks else []
        self._tell("on_train_end", self._logs)
        after = self._arrays() if looks else []
        if all(np.array_equal(old, new, equal_nan=True) for old, new in zip(before, after, strict=True)):
            return None
        pairs = zip(after[::2], after[1::2], strict=True)
        return [Layer(kernel, bias) for kernel, bias in pairs]

    def _tell(self, hook: str, *values: Any) -> None:
        for callback in self.callbacks:
            self._tell_one(callback, hook, *values)

    def _tell_one(self, callback: Any, hook: str, *values: Any) -> None:
        try:
            getattr(callback, hook)(*values)
        except HeadstartError:
            raise
        except Exception as error:
            said = str(error).strip().splitlines() or ["no message"]
            kind = EngineError if self._fault is RecipeError and not isinstance(error, _USUAL) else self._fault
            raise kind(
                f"the callback {type(callback).__name__} failed in {hook}: {type(error).__name__}: {said[0]}"
            ) from error

    def _put(self, layers: Sequence[Layer] | None) -> None:
        for layer, given in zip(self._head, layers or (), strict=layers is not None):
            layer.set_weights([given.kernel, given.bias])

    def _arrays(self) -> list[np.ndarray]:
        return [array for layer in self._head for array in layer.get_weights()]

    def _rate(self) -> float:
        import keras

        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def _set_rate(self, rate: float) -> None:
        if np.float32(rate) != np.float32(self._rate()):
            self.model.optimizer.learning_rate = rate

    def _steered(self, rate: float) -> float:
        """The rate as it was handed in, unless a callback changed it: Keras rounds it to float32."""
        now = self._rate()
        return rate if np.float32(now) == np.float32(rate) else now


def _names(start: Start) -> list[str]:
    """What `blanks.make_blank` calls the dense layers of a head."""
    return [*(f"head_dense_{number}" for number in range(1, len(start.units))), "predictions"]


def _watched(start: Start) -> Any:
    """The model of a blank, frozen but for the head, compiled, and such that it is saved uncompiled."""
    import keras

    model = keras.models.load_model(start.blank, compile=False, safe_mode=True)
    head = set(_names(start))
    for layer in model.layers:
        layer.trainable = layer.name in head
    optimizer = Optimizer(start.optimizer, start.learning_rate, start.momentum).as_keras()
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    classes = start.units[-1]
    # A metric is made when it first sees values; callbacks find out from it whether more is better.
    model.compute_metrics(None, np.zeros(1, np.int32), np.full((1, classes), 1 / classes, np.float32))
    model.reset_metrics()
    # The optimizer here has never made a step. Saved as if it had, it would be refused when the model is opened.
    model.get_compile_config = lambda: None
    optimizer.save_own_variables = optimizer.load_own_variables = lambda _store: None
    return model


# ---- in a worker --------------------------------------------------------------------------------------------------

_running: dict[str, Bridge] = {}


def begin(start: dict[str, Any], callbacks: list[dict[str, Any]], weights: str | None, book: str | None = None) -> None:
    """Make the callbacks that a recipe names and tell them that training begins.

    Args:
        start: the fields of a `Start`.
        callbacks: as the recipe has them.
        weights: a file of the head's arrays, or None where no callback looks at them.
        book: of the loggers that are told too, after them.
    """
    made = [_made(name, given) for each in callbacks for name, given in each.items()]
    if book is not None:
        made.append(journal.watcher(journal.Journal(book, "head"), int(start["epochs"])))
    _running["bridge"] = Bridge(Start(**start), made, RecipeError)
    _running["bridge"].begin(read_layers(weights))


def epoch_begin(epoch: int, rate: float) -> float:
    """The learning rate after the callbacks have seen it."""
    return _running["bridge"].epoch_begin(epoch, rate)


def epoch_end(epoch: int, logs: dict[str, float], *, weights: str | None, rate: float) -> list[Any]:
    """Whether to stop, and the learning rate."""
    return list(_running["bridge"].epoch_end(epoch, logs, layers=read_layers(weights), rate=rate))


def end(looks: bool, restored: str) -> bool:
    """Whether a callback put weights back, which are in the file `restored` then."""
    layers = _running.pop("bridge").end(None, looks)
    if layers is None:
        return False
    write_layers(restored, layers)
    return True


def _made(name: str, given: Mapping[str, Any]) -> Any:
    import keras

    if name == "LearningRateScheduler":
        given = {"schedule": schedule(given), "verbose": given.get("verbose", 0)}
    try:
        return getattr(keras.callbacks, name)(**given)
    except _USUAL as error:
        raise RecipeError(f"Keras refuses {name}: {error}") from error


def write_layers(path: str | Path, layers: Sequence[Layer]) -> None:
    """Kernels and biases as one `.npz` file, for the other process."""
    np.savez(path, *(array for layer in layers for array in (layer.kernel, layer.bias)))


def read_layers(path: str | Path | None) -> list[Layer] | None:
    """The arrays that `write_layers` wrote; None for None."""
    if path is None:
        return None
    with np.load(path, allow_pickle=False) as stored:
        arrays = [stored[f"arr_{number}"] for number in range(len(stored.files))]
    return [Layer(kernel, bias) for kernel, bias in zip(arrays[::2], arrays[1::2], strict=True)]
