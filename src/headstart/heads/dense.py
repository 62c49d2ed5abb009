"""Dense layers and dropout on features, trained by epochs as Keras trains them; no frozen layer is run again.

What Keras does with such a head (initial weights, batches, optimizers, dropout, loss) is done here on numpy, and the
first layer of a large one by a compiled kernel (`_kernels.py`): on flattened features it has tens of millions of
weights, and a framework's step takes several times as long. So no framework is started at all.

Where nothing is said otherwise, one fold of the training pictures is held out for early stopping, and the weights of
the epoch with the least loss there are kept. Recipes that copy a document say `patience: null`: then the last epoch's
weights are kept, and the curves are drawn on pictures that decide nothing.

Labels have a sigmoid each, and their loss is the mean of their cross-entropies. A number has one linear output, whose
loss is the squared error as a share of the training pictures' variance; its scaling is folded into the last layer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from headstart.errors import RecipeError, near
from headstart.few import merged
from headstart.heads import Head, HeadData, Layer, Watcher, apply, check_options, moments
from headstart.heads._network import Dense, Network, from_saved, initial, measured, saved_form
from headstart.heads._optimizers import NAMES, Optimizer
from headstart.splits import assign

NAME = "dense"
SUMMARY = "dense layers with dropout, trained by epochs, with learning curves"
BY_EPOCHS = True
OUTPUTS = ("softmax", "sigmoid", "linear")

DEFAULTS: Mapping[str, Any] = {
    "layers": ({"dense": 256, "activation": "relu"}, {"dropout": 0.3}), "output": "auto", "optimizer": "adam",
    "learning_rate": 1e-3, "momentum": 0.0, "batch_size": 32, "steps_per_epoch": None, "epochs": 40, "patience": 6,
    "standardize": True,
}  # fmt: skip
_RANGES = {
    "learning_rate": (1e-8, 10.0), "momentum": (0.0, 0.999), "batch_size": (1, 65_536), "epochs": (1, 10_000),
    "steps_per_epoch": (1, 1_000_000), "patience": (0, 10_000),
}  # fmt: skip
_WORDS = {"output": ("auto", "sigmoid", "softmax"), "optimizer": NAMES}
_OPTIONAL = ("steps_per_epoch", "patience")
_ACTIVATIONS = ("relu", "linear")
_MOST_UNITS = 65_536


def shape(classes: int, options: Mapping[str, Any], *, activation: str = "softmax") -> list[dict[str, Any]]:
    """The layers of the saved model: those asked for, and one with a unit for each class, label or number."""
    layers = _layers(settings_of(options), classes, activation)
    return [*layers[:-1], {**layers[-1], "units": classes}]


def chooses(options: Mapping[str, Any]) -> bool:
    """Whether the pictures that are watched decide anything, so that they cannot be reported on."""
    return settings_of(options)["patience"] is not None


def untrained(
    dimensions: int, classes: int, *, options: Mapping[str, Any], seed: int, activation: str = "softmax"
) -> tuple[Layer, ...]:
    """The head as its training begins."""
    return saved_form(initial(dimensions, _layers(settings_of(options), classes, activation), seed))


def notes(classes: int, options: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader should know of how the output was made."""
    if classes == 2 and _sigmoid(settings_of(options), classes):
        return ("One sigmoid was trained; it is saved as its equal, a softmax of two units, one a class.",)
    if classes > 2 and settings_of(options)["output"] == "auto":
        return (f"There are {classes} classes, so the output is a softmax of {classes} units in place of one sigmoid.",)
    return ()


def fit(
    data: HeadData, *, options: Mapping[str, Any] | None = None,
    progress: Callable[[dict[str, Any]], None] | None = None, watcher: Watcher | None = None,
) -> Head:  # fmt: skip
    """Train the head; `options` override `DEFAULTS`.

    Args:
        data: with `watch`, curves are drawn on those pictures; without, on a fold of the training pictures.
        progress: called after each epoch with `epoch`, `epochs` and the epoch's figures.
        watcher: told of each epoch; may change the learning rate, stop the training and put weights back.

    Returns:
        A head with `history`; its accuracy and loss are of the watched pictures, at the weights that are kept.

    Raises:
        RecipeError: an option is unknown or out of range, or there are too few pictures to hold any out.
    """
    settings = settings_of(options)
    layers = initial(data.features.shape[1], _layers(settings, data.classes, data.activation), data.seed)
    with np.errstate(over="ignore", invalid="ignore"):  # a training that runs away is told of in words
        return _Training(data, settings, layers).run(progress, watcher)


class _Training:
    """One run: batches in a seeded order, epochs, what is watched."""

    def __init__(self, data: HeadData, settings: dict[str, Any], layers: list[Dense]) -> None:
        self.data, self.settings = data, settings
        optimizer = Optimizer(settings["optimizer"], settings["learning_rate"], settings["momentum"])
        self.network = Network(layers, optimizer, data.seed)
        held_out = _held_out(data) if data.watch is None else np.zeros(len(data.labels), bool)
        self.rows, self.held_out = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        self.truth = data.labels if data.targets is None else data.targets
        self.activation = data.activation
        self.centre, self.spread = self._scale()
        watched = data.watch if data.watch is not None else (data.features[held_out], self.truth[held_out])
        self.watched: np.ndarray = watched[0]
        self.watched_targets = self._targets(watched[1])
        self.mean: np.ndarray | None = None
        self.deviation: np.ndarray | None = None
        if settings["standardize"]:
            self.mean, self.deviation = moments(data.features, self.rows)
        self.batches = self._stream(np.random.default_rng([data.seed, 1]))

    def _scale(self) -> tuple[np.ndarray, np.ndarray]:
        """What numbers are brought to mean 0 and deviation 1 by; nothing for classes and labels."""
        if self.activation != "linear":
            return np.zeros(1, np.float32), np.ones(1, np.float32)
        known = self.truth[self.rows].astype(np.float64)
        spread = known.std(axis=0)
        return known.mean(axis=0).astype(np.float32), np.where(spread > 0, spread, 1).astype(np.float32)

    def _measured(self) -> dict[str, float]:
        """Figures of the watched pictures; a number has no accuracy."""
        accuracy, loss = measured(self._watched_logits(), self.watched_targets, self.activation)
        return {"val_loss": loss} if self.activation == "linear" else {"val_accuracy": accuracy, "val_loss": loss}

    def run(self, progress: Callable[[dict[str, Any]], None] | None, watcher: Watcher | None) -> Head:
        history: dict[str, list[float]] = {}
        seconds: list[float] = []
        best, least, since = self._kept(), np.inf, 0
        epochs, patience = int(self.settings["epochs"]), self.settings["patience"]
        if watcher is not None:
            watcher.begin(epochs, self._saved(), self.network.optimizer.learning_rate)
        for epoch in range(epochs):
            start = time.perf_counter()
            rate = watcher.epoch_begin(epoch) if watcher is not None else None
            if rate is not None:
                self.network.optimizer.learning_rate = rate
            logs = self._epoch(epoch)
            logs |= self._measured()
            seconds.append(time.perf_counter() - start)
            for name, value in logs.items():
                history.setdefault(name, []).append(value)
            if progress is not None:
                progress({"epoch": epoch + 1, "epochs": epochs, **logs})
            if not np.isfinite([logs["loss"], logs["val_loss"]]).all() and not np.isfinite(least):
                raise RecipeError(
                    f"the training ran away: its loss became no number in epoch {epoch + 1}.\n"
                    f"Lower learning_rate, which is {self.settings['learning_rate']:g}, such as to"
                    f" {self.settings['learning_rate'] / 10:g}; features that are large ask for a small one, or for"
                    " standardize: true."
                )
            if watcher is not None and watcher.epoch_end(epoch, logs, self._saved):
                break
            if patience is not None:
                since += 1
                if logs["val_loss"] < least:
                    best, least, since = self._kept(), logs["val_loss"], 0
                if since >= max(int(patience), 1) or not np.isfinite(logs["loss"]):
                    break
        self._finish(best if patience is not None else None, watcher.end() if watcher is not None else None)
        accuracy, loss = measured(self._watched_logits(), self.watched_targets, self.activation)
        layers = self._saved()
        held_out = (self.held_out, apply(layers, self.watched)) if len(self.held_out) else None
        return Head(
            NAME, layers, accuracy, loss, None, history, (), plain(self.settings), epoch_seconds=tuple(seconds),
            held_out=held_out,
        )  # fmt: skip

    def _finish(self, best: list[tuple[np.ndarray, np.ndarray]] | None, restored: Sequence[Layer] | None) -> None:
        """Put back the weights that are to be kept, where they are not the last epoch's."""
        if best is not None:
            for layer, (kernel, bias) in zip(self.network.layers, best, strict=True):
                layer.kernel[...], layer.bias[...] = kernel, bias
        if restored is not None:
            from_saved(self._on_scaled(restored), self.network.layers)

    def _epoch(self, epoch: int) -> dict[str, float]:
        features = self.data.epoch_features(epoch) if self.data.epoch_features is not None else self.data.features
        steps = self.settings["steps_per_epoch"] or -(-len(self.rows) // int(self.settings["batch_size"]))
        loss, right, count = 0.0, 0.0, 0
        batch = next(self.batches)
        x = self._inputs(features, batch)
        z: np.ndarray | None = self.network.begin(x)
        for step in range(int(steps)):
            following = next(self.batches) if step + 1 < steps else None
            ahead = self._inputs(features, following) if following is not None else None
            if z is None:
                raise ValueError("a step gave no first layer for the batch that follows. Received: z=None")
            z, some_loss, some_right = self.network.step(x, z, self._targets(self.truth[batch]), ahead)
            loss, right, count = loss + some_loss, right + some_right, count + len(batch)
            if following is not None and ahead is not None:
                batch, x = following, ahead
        return (
            {"loss": loss / count} if self.activation == "linear" else {"accuracy": right / count, "loss": loss / count}
        )

    def _stream(self, random: np.random.Generator) -> Iterator[np.ndarray]:
        """Batches of rows, order after order; the last of each may be smaller, as a Keras generator gives them."""
        size = int(self.settings["batch_size"])
        while True:
            order = random.permutation(self.rows)
            for start in range(0, len(order), size):
                yield order[start : start + size]

    def _inputs(self, features: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return self.network.dropped(self._scaled(features[rows]), self.network.layers[0].dropout)

    def _scaled(self, block: np.ndarray) -> np.ndarray:
        values = self.network.widened(block)
        if self.mean is not None and self.deviation is not None:
            values -= self.mean
            values /= self.deviation
        return values

    def _targets(self, labels: np.ndarray) -> np.ndarray:
        if labels.ndim == 2:
            return np.asarray((labels - self.centre) / self.spread, np.float32)
        if self.network.layers[-1].bias.size == 1:
            return np.asarray(labels[:, None], np.float32)
        targets: np.ndarray = np.eye(self.data.classes, dtype=np.float32)[labels]
        return targets

    def _watched_logits(self) -> np.ndarray:
        return self.network.logits(self.watched, self._scaled)

    def _kept(self) -> list[tuple[np.ndarray, np.ndarray]]:
        if self.settings["patience"] is None:
            return []
        return [(layer.kernel.copy(), layer.bias.copy()) for layer in self.network.layers]

    def _saved(self) -> tuple[Layer, ...]:
        """The layers of the classifier on raw features: scalings folded into the first and, of numbers, the last."""
        first, *rest = self._in_units(saved_form(self.network.layers))
        if self.mean is None or self.deviation is None:
            return first, *rest
        kernel = first.kernel / self.deviation[:, None]
        return Layer(kernel, first.bias - self.mean @ kernel, first.activation, first.dropout), *rest

    def _in_units(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        if self.activation != "linear":
            return layers
        *inner, last = layers
        return (*inner, Layer(last.kernel * self.spread, last.bias * self.spread + self.centre, "linear", last.dropout))

    def _on_scaled(self, layers: Sequence[Layer]) -> Sequence[Layer]:
        """The reverse of `_saved`'s folding."""
        if self.mean is None or self.deviation is None:
            return layers
        first, *rest = layers
        kernel, bias = first.kernel * self.deviation[:, None], first.bias + self.mean @ first.kernel
        return [Layer(kernel, bias, first.activation, first.dropout), *rest]


def _held_out(data: HeadData) -> np.ndarray:
    """Which pictures are watched: a fold, or where one fold has them all, a share of each class that has several."""
    folds = merged(data.folds)
    if len(np.unique(folds)) > 1:
        return np.asarray(folds == folds.min())
    held = assign(data.labels, seed=data.seed) if len(folds) else np.zeros(0, bool)
    if not held.any():
        raise RecipeError(
            "the dense head watches its training on pictures that it holds out, and needs a class of two or more for"
            f" that; it was given {len(folds)}, no two of one class"
        )
    return held


# ---- what the options say ------------------------------------------------------------------------------------------


def settings_of(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The defaults with `options` over them, checked.

    Raises:
        RecipeError: an option is unknown (near matches are named), of the wrong kind or out of range.
    """
    check_options(NAME, options or {}, DEFAULTS)
    for name, value in (options or {}).items():
        if name in _WORDS and value not in _WORDS[name]:
            raise RecipeError(
                f"{name} of the dense head is {' or '.join(_WORDS[name])}; got {value!r}."
                f"{near(str(value), _WORDS[name])}"
            )
        if name == "standardize" and not isinstance(value, bool):
            raise RecipeError(f"standardize of the dense head is true or false; got {value!r}")
        if name in _RANGES and not (value is None and name in _OPTIONAL):
            _number(name, value, *_RANGES[name])
    settings = {**DEFAULTS, **(options or {})}
    _check_layers(settings["layers"])
    return settings


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them."""
    return {**settings, "layers": [dict(layer) for layer in settings["layers"]]}


def _number(name: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise RecipeError(f"{name} of the dense head must lie between {low} and {high}; got {value!r}")
    if isinstance(low, int) and not float(value).is_integer():
        raise RecipeError(f"{name} of the dense head must be a whole number; got {value!r}")


def _check_layers(layers: Any) -> None:
    if isinstance(layers, (str, Mapping)) or not isinstance(layers, Sequence):
        raise RecipeError(
            f"layers of the dense head is a list of {{dense: UNITS}} and {{dropout: RATE}}; got {layers!r}"
        )
    for layer in layers:
        if not isinstance(layer, Mapping) or ("dense" in layer) == ("dropout" in layer):
            hint = near(str(next(iter(layer), "")), ("dense", "dropout")) if isinstance(layer, Mapping) else ""
            raise RecipeError(
                f"a layer of the dense head is {{dense: UNITS}} or {{dropout: RATE}}; got {layer!r}.{hint}"
            )
        known = ("dense", "activation") if "dense" in layer else ("dropout",)
        for name in layer:
            if name not in known:
                raise RecipeError(
                    f"a {known[0]} layer has no {name!r}; it has {' and '.join(known)}.{near(str(name), known)}"
                )
        if "dropout" in layer:
            _number("dropout", layer["dropout"], 0.0, 0.95)
        else:
            _number("dense", layer["dense"], 1, _MOST_UNITS)
            activation = layer.get("activation", "relu")
            if activation not in _ACTIVATIONS:
                raise RecipeError(
                    f"activation of a dense layer is {' or '.join(_ACTIVATIONS)}; got {activation!r}."
                    f"{near(str(activation), _ACTIVATIONS)}"
                )


def _sigmoid(settings: Mapping[str, Any], classes: int) -> bool:
    if settings["output"] == "sigmoid" and classes != 2:
        raise RecipeError(
            f"one sigmoid tells two classes apart, and there are {classes}.\nWrite output: auto in head_options (or"
            f" leave it out), and the output becomes a softmax of {classes} units."
        )
    return classes == 2 and settings["output"] != "softmax"


def _layers(settings: Mapping[str, Any], classes: int, activation: str = "softmax") -> list[dict[str, Any]]:
    """`units`, `activation` and the `dropout` before it of each dense layer, the output included."""
    made: list[dict[str, Any]] = []
    keep = 1.0
    for layer in settings["layers"]:
        if "dropout" in layer:
            keep *= 1 - float(layer["dropout"])  # two in a row are one
            continue
        made.append(
            {"units": int(layer["dense"]), "activation": layer.get("activation", "relu"), "dropout": _rate(keep)}
        )
        keep = 1.0
    if activation != "softmax" and settings["output"] != "auto":
        raise RecipeError(
            f"output: {settings['output']} of the dense head is for one class a picture; these pictures have"
            f" {'labels' if activation == 'sigmoid' else 'numbers'}.\nWrite output: auto in head_options, or leave it"
            " out."
        )
    units = 1 if activation == "softmax" and _sigmoid(settings, classes) else classes
    return [*made, {"units": units, "activation": activation, "dropout": _rate(keep)}]


def _rate(keep: float) -> float:
    return round(1 - keep, 9)
