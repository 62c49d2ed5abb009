"""What is trained on features: one file a head, found by listing this folder.

Each module has

    NAME, SUMMARY                          as `--head NAME` and in its help
    BY_EPOCHS                              whether it is trained by epochs, each of which may see views of its own
    shape(classes, options) -> list        `units`, `activation`, `dropout` of each layer, known before fitting
    chooses(options) -> bool               whether what `HeadData.watch` holds would decide anything
    notes(classes, options) -> tuple       sentences for people on how the head is made
    untrained(dimensions, classes, *, options, seed) -> layers     the head as training begins
    fit(data, *, options, progress, watcher) -> Head

A head ends as plain layers (`Dense` alone so far), so that a classifier is one plain Keras model; the same layers run
here on numpy, in float32, without any framework.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from headstart.errors import RecipeError, near
from headstart.halves import widened

_CHUNK = 2048


@dataclass(frozen=True)
class HeadData:
    """What a head is fitted on.

    Attributes:
        features: float16 or float32, shape (pictures, dimensions).
        labels: int, shape (pictures,), each in 0 .. classes − 1.
        classes: how many classes there are.
        folds: int, shape (pictures,): which cross-validation fold a picture is held out in.
        seed: decides all that is random.
        epoch_features: the features of the same pictures as epoch e (from 0) sees them, for heads that are trained by
            epochs on augmented views; None where every epoch sees `features`.
        watch: features and labels that curves are drawn on; None holds out a fold of the training pictures for it.
        clean: how many rows, the first ones, are the pictures as they are, the rest being views of the same pictures;
            None for all.
    """

    features: np.ndarray
    labels: np.ndarray
    classes: int
    folds: np.ndarray
    seed: int = 0
    epoch_features: Callable[[int], np.ndarray] | None = None
    watch: tuple[np.ndarray, np.ndarray] | None = None
    clean: int | None = None


@dataclass(frozen=True)
class Layer:
    """One dense layer of a head: `activation(x @ kernel + bias)`, with dropout before it while it was trained."""

    kernel: np.ndarray
    bias: np.ndarray
    activation: str = "linear"
    dropout: float = 0.0


@dataclass(frozen=True)
class Head:
    """A fitted head.

    Attributes:
        name: which kind it is.
        layers: what it computes, features in, probabilities out.
        accuracy, loss: measured out of fold on the training pictures; nan where that was not done.
        out_of_fold: probabilities of each training picture from a fit that did not see it, or None.
        history: Keras's `History.history`, for heads trained by epochs.
        strengths: rows of `strength`, `accuracy`, `loss` that the penalty was chosen from.
        settings: what it was fitted with.
        epoch_seconds: how long each epoch took, for heads trained by epochs.
        held_out: rows of the data that a fit had not seen, and the probabilities that it gave them: what a temperature
            is fitted on (`calibration`); None where there are none.
    """

    name: str
    layers: tuple[Layer, ...]
    accuracy: float = float("nan")
    loss: float = float("nan")
    out_of_fold: np.ndarray | None = None
    history: Mapping[str, Sequence[float]] | None = None
    strengths: Sequence[Mapping[str, float]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    epoch_seconds: Sequence[float] = ()
    held_out: tuple[np.ndarray, np.ndarray] | None = None

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Probabilities, float32 of shape (pictures, classes), in the order of the classes."""
        return apply(self.layers, features)

    @property
    def parameters(self) -> int:
        return sum(layer.kernel.size + layer.bias.size for layer in self.layers)


def check_options(head: str, options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse an option that a head does not have.

    Raises:
        RecipeError: there is one; near matches are named.
    """
    names = list(known)
    for name in options:
        if name not in names:
            raise RecipeError(f"the {head} head has no option {name!r}; it has {', '.join(names)}.{near(name, names)}")


class Watcher(Protocol):
    """Who is told of a training by epochs, and may steer it; `layers` are those of the saved classifier."""

    def begin(self, epochs: int, layers: Sequence[Layer], learning_rate: float) -> None: ...

    def epoch_begin(self, epoch: int) -> float | None:
        """A new learning rate, or None."""

    def epoch_end(self, epoch: int, logs: Mapping[str, float], layers: Callable[[], Sequence[Layer]]) -> bool:
        """Whether to stop."""

    def end(self) -> Sequence[Layer] | None:
        """Weights to put back, or None for those of the last epoch."""


def apply(layers: Sequence[Layer], features: np.ndarray) -> np.ndarray:
    """Run dense layers on features in float32, a block of rows at a time."""
    blocks = [_apply(layers, features[start : start + 1024]) for start in range(0, len(features), 1024)]
    return np.concatenate(blocks) if blocks else np.zeros((0, layers[-1].bias.size), np.float32)


def _apply(layers: Sequence[Layer], block: np.ndarray) -> np.ndarray:
    values = widened(block)
    for layer in layers:
        values = values @ layer.kernel + layer.bias
        if layer.activation == "relu":
            values = np.maximum(values, 0)
        elif layer.activation == "softmax":
            values = softmax(values)
        elif layer.activation != "linear":
            raise RecipeError(f"a head with activation {layer.activation!r}; expected relu, softmax or linear")
    return values


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows that sum to one.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy in nats; a probability of 0 counts as 1e-7, as in Keras."""
    if len(labels) == 0:
        return float("nan")
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(chosen, 1e-7, 1.0)).mean())


def moments(features: np.ndarray, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature over all rows or some; a constant feature gets deviation 1."""
    chosen = np.arange(len(features)) if rows is None else rows
    total, squares = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for start in range(0, len(chosen), _CHUNK):
        part = features[start : start + _CHUNK] if rows is None else features[chosen[start : start + _CHUNK]]
        block = widened(part)
        total += block.sum(axis=0, dtype=np.float64)
        squares += np.einsum("ij,ij->j", block, block, dtype=np.float64)
    mean = total / len(chosen)
    deviation = np.sqrt(np.maximum(squares / len(chosen) - mean**2, 0))
    deviation[deviation < 1e-6 * (np.abs(mean) + 1e-6)] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)


def names() -> tuple[str, ...]:
    """The heads that there are."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def find(name: str) -> ModuleType:
    """The module of a head.

    Raises:
        RecipeError: there is none of that name.
    """
    if name not in names():
        raise RecipeError(f"unknown head {name!r}; expected {' or '.join(names())}.{near(name, names())}")
    return importlib.import_module(f"headstart.heads.{name}")
