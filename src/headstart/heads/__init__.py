"""What is trained on features: one file a head, found by listing this folder.

Each module has

    NAME, SUMMARY                          as `--head NAME` and in its help
    BY_EPOCHS                              whether it is trained by epochs, each of which may see views of its own
    OUTPUTS                                the activations that its last layer can have, of `ACTIVATIONS`
    shape(classes, options, *, activation) -> list     `units`, `activation`, `dropout` of each layer, before fitting
    chooses(options) -> bool               whether what `HeadData.watch` holds would decide anything
    notes(classes, options) -> tuple       sentences for people on how the head is made
    untrained(dimensions, classes, *, options, seed, activation) -> layers     the head as training begins
    fit(data, *, options, progress, watcher) -> Head

and, where a softmax layer is fitted in closed form or to convergence, so that heads can compete out of fold before any
is fitted on everything,

    validate(data, options) -> Validated               cross-validate: settings, and probabilities out of fold
    finish(data, validated) -> layers                  fit on everything with these settings
    work(data) -> float                                floating-point operations that both take, roughly

A head ends as plain layers (`Dense` alone so far), so that a classifier is one plain Keras model; the same layers run
here on numpy, in float32, without any framework.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from headstart.errors import RecipeError, near
from headstart.halves import widened
from headstart.tempering import softmax as softmax

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
        targets: float32 of shape (pictures, classes), where a picture has several labels or a number; None where
            `labels` say it all.
        activation: of the last layer: `softmax` for classes, `sigmoid` for labels, `linear` for numbers.
        parts: how many numbers each output has, where several stand side by side; empty for one output.
        validated: a head that was cross-validated on these very rows before, by whoever chose the features.
    """

    features: np.ndarray
    labels: np.ndarray
    classes: int
    folds: np.ndarray
    seed: int = 0
    epoch_features: Callable[[int], np.ndarray] | None = None
    watch: tuple[np.ndarray, np.ndarray] | None = None
    clean: int | None = None
    targets: np.ndarray | None = None
    activation: str = "softmax"
    parts: tuple[int, ...] = ()
    validated: Validated | None = None

    @property
    def matrix(self) -> np.ndarray:
        """What the outputs are trained towards, float32 of shape (pictures, classes)."""
        if self.targets is not None:
            return self.targets
        hot: np.ndarray = np.eye(self.classes, dtype=np.float32)[self.labels]
        return hot


@dataclass(frozen=True)
class Validated:
    """A head that was cross-validated and not yet fitted on everything.

    Attributes:
        head: which kind it is.
        settings: what `finish` of its module is to fit it with.
        rows: int of shape (n_rows,), ascending: the rows that it was cross-validated on.
        count: how many rows there were; `finish` goes on from it where it is given no more.
        out_of_fold: float32 probabilities of these rows from fits that did not see them, shape (n_rows, n_classes).
        table: rows of `strength`, `accuracy`, `loss` that the penalty was chosen from.
        members: what a blend is made of; `settings` has their weights.
        parts: places, in `HeadData.parts`, of the outputs that it is given; empty for all.
        state: whatever spares `finish` to begin anew; `without_state` lets go of it.
    """

    head: str
    settings: Mapping[str, Any]
    rows: np.ndarray = field(repr=False)
    out_of_fold: np.ndarray = field(repr=False)
    table: tuple[Mapping[str, float], ...] = ()
    members: tuple[Validated, ...] = ()
    parts: tuple[int, ...] = ()
    state: Any = field(default=None, repr=False, compare=False)
    count: int = 0

    def weighted(self) -> list[tuple[Validated, float]]:
        """List the members with their weights; of what is no blend that itself."""
        if not self.members:
            return [(self, 1.0)]
        weights = [float(each["weight"]) for each in self.settings["members"]]
        members = [replace(each, parts=self._places(each.parts)) for each in self.members]
        return [(member, weight / sum(weights)) for member, weight in zip(members, weights, strict=True)]

    def _places(self, parts: tuple[int, ...]) -> tuple[int, ...]:
        """Translate a member's parts, which are counted among those of the blend."""
        if not self.parts:
            return parts
        return tuple(self.parts[part] for part in parts) or self.parts

    @property
    def options(self) -> dict[str, Any]:
        """What its kind of head has to be told to be fitted in the same way on other rows."""
        if self.members:
            return {"members": [dict(each) for each in self.settings["members"]]}
        return {name: self.settings[name] for name in ("scaling", "strength", "shrinkage") if name in self.settings}

    def without_state(self) -> Validated:
        """Let go of what `finish` could begin with, which may be as large as the features."""
        return replace(self, state=None, members=tuple(member.without_state() for member in self.members))

    def losses(self, labels: np.ndarray) -> np.ndarray:
        """Cross-entropy of each validated row in nats; `labels` are those of all rows."""
        chosen = self.out_of_fold[np.arange(len(self.rows)), labels[self.rows]]
        found: np.ndarray = -np.log(np.clip(chosen, 1e-7, 1.0))
        return found


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
        layers: what it computes, features in, probabilities (or a number) out.
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

    @property
    def options(self) -> dict[str, Any]:
        """What its kind of head has to be told to be fitted in the same way, its strength apart: for a recipe."""
        if "members" in self.settings:
            members = self.settings["members"]
            return {"members": [{name: each[name] for name in each if name != "strength"} for each in members]}
        scaling = self.settings.get("scaling", "features")
        return {} if scaling == "features" else {"scaling": scaling}

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
        if layer.activation not in ACTIVATIONS:
            raise RecipeError(
                f"a head with activation {layer.activation!r}; expected relu, softmax or linear, or sigmoid for labels"
            )
        values = ACTIVATIONS[layer.activation](values)
    result: np.ndarray = values
    return result


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−x)) without overflow, in the precision of the logits.

    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    result: np.ndarray = 0.5 * (1 + np.tanh(0.5 * logits))
    return result


def _positive(values: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.maximum(values, 0)
    return result


def _same(values: np.ndarray) -> np.ndarray:
    return values


ACTIVATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": _positive, "softmax": softmax, "sigmoid": sigmoid, "linear": _same,
}  # fmt: skip
"""What a layer may do to its sums, by Keras's names."""


def label_losses(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Binary cross-entropy of each picture in nats, the mean over its labels, clipped as `log_loss` is."""
    if not targets.shape[1]:
        return np.zeros(len(targets))
    right = np.where(targets > 0.5, probabilities, 1 - probabilities)
    losses: np.ndarray = -np.log(np.clip(right, 1e-7, 1.0)).mean(axis=1, dtype=np.float64)
    return losses


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


def shape(module: ModuleType, outputs: int, options: Mapping[str, Any], *, activation: str) -> list[dict[str, Any]]:
    """The layers of a head with outputs of this activation: see `shape` of its module.

    Raises:
        RecipeError: the head has no such outputs, or its options are not sound.
    """
    if activation not in module.OUTPUTS:
        able = [name for name in names() if activation in find(name).OUTPUTS]
        raise RecipeError(
            f"the {module.NAME} head tells classes apart, one a picture; these pictures have"
            f" {'labels' if activation == 'sigmoid' else 'numbers'}.\nUse another head: {' or '.join(able)}."
        )
    found: list[dict[str, Any]] = module.shape(outputs, options, activation=activation)
    return found
