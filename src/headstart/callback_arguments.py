"""The Keras callbacks that a recipe can name: their arguments, and what is known of each without importing Keras.

    callbacks:
    - EarlyStopping: {monitor: val_loss, patience: 3, restore_best_weights: true}
    - ModelCheckpoint: {filepath: "best-{epoch:02d}.keras", save_best_only: true}
    - LearningRateScheduler: {schedule: {0: 1.0e-3, 5: 1.0e-4}}
    - TensorBoard: {log_dir: logs}

A name and its arguments are Keras's own, with one exception: a recipe is data and holds no functions, so the schedule
of a LearningRateScheduler is a table of rates, each from its epoch (counted from 0) on, or a `factor` for each epoch.
What Keras counts in batches (`save_freq`, `update_freq`) is offered by epochs alone, since callbacks are not told of
batches. `verbose` is taken, and what Keras says then is not shown.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.errors import MissingExtraError, RecipeError, near
from headstart.files import why_not_writable

METRICS = ("accuracy", "loss", "val_accuracy", "val_loss")
_LOGS_THE_RATE = ("LearningRateScheduler", "ReduceLROnPlateau")
MOST_RATE = 10.0


@dataclass(frozen=True)
class _Kind:
    """Which values an argument takes: in words, as a test, and, where they are words, which."""

    said: str
    fits: Callable[[Any], bool]
    words: tuple[str, ...] = ()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _one_of(*words: str) -> _Kind:
    return _Kind(" or ".join(words), lambda value: value in words, words)


_ANYTHING = _Kind("a table", lambda _value: True)  # `_check_schedule` looks closer
_TEXT = _Kind("text", lambda value: isinstance(value, str) and bool(value))
_CHARACTER = _Kind("one character", lambda value: isinstance(value, str) and len(value) == 1)
_SWITCH = _Kind("true or false", lambda value: isinstance(value, bool))
_COUNT = _Kind("a whole number, 0 or more", _is_count)
_NUMBER = _Kind("a number", _is_number)
_NUMBER_OR_NULL = _Kind("a number or null", lambda value: value is None or _is_number(value))
_RATE_OR_0 = _Kind("a number, 0 or more", lambda value: _is_number(value) and value >= 0)
_FACTOR = _Kind("a number between 0 and 1", lambda value: _is_number(value) and 0 < value < 1)
_SCHEDULE_FACTOR = _Kind("a number above 0, up to 10", lambda value: _is_number(value) and 0 < value <= 10)
_VERBOSE = _Kind("0 or 1", lambda value: isinstance(value, int) and value in (0, 1))
_MONITOR, _MODE, _BY_EPOCH = _one_of(*METRICS), _one_of("auto", "min", "max"), _one_of("epoch")

ARGUMENTS: Mapping[str, Mapping[str, _Kind]] = {
    "CSVLogger": {"filename": _TEXT, "separator": _CHARACTER, "append": _SWITCH},
    "EarlyStopping": {
        "monitor": _MONITOR, "min_delta": _NUMBER, "patience": _COUNT, "verbose": _VERBOSE, "mode": _MODE,
        "baseline": _NUMBER_OR_NULL, "restore_best_weights": _SWITCH, "start_from_epoch": _COUNT,
    },
    "LearningRateScheduler": {
        "schedule": _ANYTHING, "factor": _SCHEDULE_FACTOR, "verbose": _VERBOSE,
    },
    "ModelCheckpoint": {
        "filepath": _TEXT, "monitor": _MONITOR, "verbose": _VERBOSE, "save_best_only": _SWITCH,
        "save_weights_only": _SWITCH, "mode": _MODE, "save_freq": _BY_EPOCH, "initial_value_threshold": _NUMBER_OR_NULL,
    },
    "ReduceLROnPlateau": {
        "monitor": _MONITOR, "factor": _FACTOR, "patience": _COUNT, "verbose": _VERBOSE, "mode": _MODE,
        "min_delta": _NUMBER, "cooldown": _COUNT, "min_lr": _RATE_OR_0,
    },
    "TensorBoard": {
        "log_dir": _TEXT, "histogram_freq": _COUNT, "write_graph": _SWITCH, "write_images": _SWITCH,
        "update_freq": _BY_EPOCH,
    },
    "TerminateOnNaN": {"raise_error": _SWITCH},
}  # fmt: skip
_REQUIRED = {"CSVLogger": "filename", "ModelCheckpoint": "filepath"}


# ---- what is known of a callback ------------------------------------------------------------------------------------


def choose(callbacks: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any of them steers by what the watched pictures show, so that these cannot be reported on.

    >>> choose([{"TensorBoard": {}}, {"EarlyStopping": {"monitor": "loss"}}])
    False
    >>> choose([{"EarlyStopping": {}}])
    True
    """
    return any(
        str(given.get("monitor", "val_loss")).startswith("val_")
        and (name in ("EarlyStopping", "ReduceLROnPlateau") or (name == "ModelCheckpoint" and _best_only(given)))
        for each in callbacks
        for name, given in each.items()
    )


def _best_only(given: Mapping[str, Any]) -> bool:
    return bool(given.get("save_best_only", False))


def looks(name: str, given: Mapping[str, Any]) -> bool:
    """Whether a callback of Keras's own looks at the weights of the model, which have to be handed to it then.

    >>> looks("EarlyStopping", {"patience": 3}), looks("EarlyStopping", {"restore_best_weights": True})
    (False, True)
    """
    if name in ("EarlyStopping", "TensorBoard"):
        return bool(given.get("restore_best_weights") or given.get("histogram_freq"))
    return name not in ("CSVLogger", "History", "LearningRateScheduler", "ReduceLROnPlateau", "TerminateOnNaN")


def schedule(given: Mapping[str, Any]) -> Callable[[int, float], float]:
    """The function that a LearningRateScheduler's table or factor stands for: (epoch, rate) -> rate.

    >>> rate = schedule({"schedule": {1: 1e-3, 5: 1e-4}})
    >>> [rate(epoch, 0.01) for epoch in (0, 1, 4, 5)]
    [0.01, 0.001, 0.001, 0.0001]
    >>> schedule({"factor": 0.5})(3, 0.01)
    0.005
    """
    if "factor" in given:
        factor = float(given["factor"])
        return lambda epoch, rate: rate * factor if epoch else rate
    table = {int(epoch): float(rate) for epoch, rate in given["schedule"].items()}

    def rate_of(epoch: int, rate: float) -> float:
        begun = [start for start in table if start <= epoch]
        return table[max(begun)] if begun else rate

    return rate_of


# ---- what is refused before long work begins ------------------------------------------------------------------------


def check(callbacks: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what could not run.

    Raises:
        RecipeError: a callback or an argument is unknown (near matches are named), a value is of the wrong kind, a file
            cannot be written; MissingExtraError: TensorBoard is named and is not installed.
    """
    logged = dict.fromkeys(METRICS, 0.5)
    for each in callbacks:
        for name, given in each.items():
            if name not in ARGUMENTS:
                raise RecipeError(
                    f"unknown callback {name!r}; a recipe can name {', '.join(ARGUMENTS)}."
                    f"{near(str(name), ARGUMENTS)}\n"
                    "Any other Keras callback is given as an object in Python: headstart.train(..., callbacks=[...])"
                )
            _check_arguments(name, given)
            if name == "LearningRateScheduler":
                _check_schedule(given)
            elif name == "TensorBoard":
                check_tensorboard()
            _check_place(name, given, logged)
            if name in _LOGS_THE_RATE:
                logged["learning_rate"] = 0.001


def _check_arguments(name: str, given: Mapping[str, Any]) -> None:
    known = ARGUMENTS[name]
    for argument, value in given.items():
        if argument not in known:
            raise RecipeError(
                f"{name} has no argument {argument!r} here; it has {', '.join(known)}.{near(str(argument), known)}"
            )
        kind = known[argument]
        if not kind.fits(value):
            hint = near(str(value), kind.words)
            if kind is _BY_EPOCH:
                hint = " Callbacks are told of epochs, not of batches."
            raise RecipeError(f"{argument} of {name} is {kind.said}; got {value!r}.{hint}")
    if name in _REQUIRED and _REQUIRED[name] not in given:
        raise RecipeError(f"{name} needs a {_REQUIRED[name]}, such as {{{name}: {{{_example(name)}}}}}")


def _example(name: str) -> str:
    return "filename: epochs.csv" if name == "CSVLogger" else "filepath: 'best-{epoch:02d}.keras'"


def _check_schedule(given: Mapping[str, Any]) -> None:
    if ("schedule" in given) == ("factor" in given):
        raise RecipeError(
            "LearningRateScheduler takes a schedule, such as {0: 1.0e-3, 5: 1.0e-4} (from that epoch on), or a factor"
            f" for each epoch, such as 0.9, one of the two; got {dict(given)!r}"
        )
    if "factor" in given:
        return
    table = given["schedule"]
    if not isinstance(table, Mapping) or not table:
        raise RecipeError(
            "schedule of LearningRateScheduler is a table such as {0: 1.0e-3, 5: 1.0e-4}, from that epoch on, since a"
            f" recipe is data and holds no functions; got {table!r}.\n"
            "A factor for each epoch is written factor: 0.9, in place of the schedule."
            " A function is given in Python: headstart.train(..., callbacks=[keras.callbacks.LearningRateScheduler(f)])"
        )
    for epoch, rate in table.items():
        if not _is_count(int(epoch) if isinstance(epoch, str) and epoch.isdecimal() else epoch):  # JSON's keys are text
            raise RecipeError(f"schedule of LearningRateScheduler counts epochs from 0; got epoch {epoch!r}")
        if not _is_number(rate) or not 0 < rate <= MOST_RATE:
            raise RecipeError(
                f"schedule of LearningRateScheduler gives rates above 0, up to {MOST_RATE:g};"
                f" got {rate!r} for epoch {epoch}"
            )


def check_tensorboard() -> None:
    """Refuse TensorBoard where its packages are missing: TensorFlow writes its files by the package `tensorboard`."""
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingExtraError("the TensorBoard callback", "cpu,tensorboard")
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingExtraError("the TensorBoard callback", "tensorboard")


def _check_place(name: str, given: Mapping[str, Any], logged: Mapping[str, float]) -> None:
    """Refuse a file that could not be written, while nothing has been done."""
    if name == "ModelCheckpoint":
        place = _checkpoint(given, logged)
    elif name == "TensorBoard":
        place = Path(given.get("log_dir", "logs")) / "train" / "events"
    elif name == "CSVLogger":
        place = Path(given["filename"])
        if not place.absolute().parent.is_dir():
            raise RecipeError(f"filename of CSVLogger: there is no folder {place.absolute().parent}; make it first")
    else:
        return
    if why := why_not_writable(place):
        raise RecipeError(f"{name}: {why}")


def _checkpoint(given: Mapping[str, Any], logged: Mapping[str, float]) -> Path:
    """The file of the first epoch."""
    name, weights = given["filepath"], given.get("save_weights_only", False)
    if not name.endswith(".weights.h5" if weights else ".keras"):
        raise RecipeError(
            "filepath of ModelCheckpoint must end in .keras, or, with save_weights_only: true, in .weights.h5: Keras"
            f" knows the format by it; got {name!r}"
        )
    try:
        return Path(name.format(epoch=1, **logged))
    except KeyError as error:
        wanted, known = str(error.args[0]), ["epoch", *logged]
        raise RecipeError(
            f"filepath of ModelCheckpoint names {{{wanted}}}, and an epoch has {', '.join(known)}; got {name!r}."
            f"{near(wanted, known)}"
        ) from error
    except (ValueError, IndexError, AttributeError, TypeError) as error:
        raise RecipeError(
            f"filepath of ModelCheckpoint cannot be filled in: {error}; expected such as 'best-{{epoch:02d}}.keras',"
            f" got {name!r}"
        ) from error
