"""A small network of dense layers and dropout on features, on numpy: forwards, backwards, one step at a time."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from headstart.halves import widened
from headstart.heads import Layer, softmax
from headstart.heads._optimizers import Optimizer

FUSED_FROM = 2**20
"""Weights of a first layer from which on one pass over it, compiled, beats separate operations of numpy."""
_ROWS = 256  # rows of features that are widened to float32 at a time


@dataclass
class Dense:
    """One dense layer while it is trained: `activation(dropout(x) @ kernel + bias)`; its arrays change in place."""

    kernel: np.ndarray
    bias: np.ndarray
    activation: str
    dropout: float


def initial(dimensions: int, layers: Sequence[Mapping[str, Any]], seed: int) -> list[Dense]:
    """Layers as Keras would begin them: Glorot-uniform kernels, biases of zero.

    Args:
        layers: `units`, `activation` and `dropout` (before it) of each.
    """
    random = np.random.default_rng([seed, 0])
    made = []
    for layer in layers:
        units = int(layer["units"])
        limit = np.float32(np.sqrt(6.0 / (dimensions + units)))
        kernel = random.random((dimensions, units), np.float32)
        kernel *= 2 * limit
        kernel -= limit
        made.append(Dense(kernel, np.zeros(units, np.float32), layer["activation"], float(layer["dropout"])))
        dimensions = units
    return made


def saved_form(layers: Sequence[Dense]) -> tuple[Layer, ...]:
    """The layers of a classifier: the output gives a probability for each class or label, or a number.

    Of two classes one sigmoid of z is, exactly, a softmax of (0, z).
    """
    *inner, last = layers
    kernel, bias = last.kernel, last.bias
    if kernel.shape[1] == 1 and last.activation == "softmax":
        kernel = np.concatenate([np.zeros_like(kernel), kernel], axis=1)
        bias = np.concatenate([np.zeros_like(bias), bias])
    return (
        *(Layer(layer.kernel, layer.bias, layer.activation, layer.dropout) for layer in inner),
        Layer(kernel, bias, last.activation, last.dropout),
    )


def from_saved(layers: Sequence[Layer], into: Sequence[Dense]) -> None:
    """Put the numbers of a saved form back into the layers it was made from."""
    for source, target in zip(layers, into, strict=True):
        if target.kernel.shape == source.kernel.shape:
            target.kernel[...], target.bias[...] = source.kernel, source.bias
        else:
            target.kernel[:, 0] = source.kernel[:, 1] - source.kernel[:, 0]
            target.bias[0] = source.bias[1] - source.bias[0]


class Network:
    """Layers and their optimizer; `step` trains on one batch and reads the next one's first layer on the way."""

    def __init__(self, layers: Sequence[Dense], optimizer: Optimizer, seed: int) -> None:
        self.layers, self.optimizer = list(layers), optimizer
        self._random = np.random.default_rng([seed, 2])
        large = self.layers[0].kernel.size >= FUSED_FROM and _kernels() is not None
        self._first: _Fused | _Plain = (_Fused if large else _Plain)(self.layers[0].kernel, optimizer)

    def dropped(self, values: np.ndarray, rate: float) -> np.ndarray:
        """Each number zero with probability `rate`, the others scaled up; the array is changed."""
        if rate:
            values *= (self._random.random(values.shape, np.float32) >= rate) * np.float32(1 / (1 - rate))
        return values

    def widened(self, values: np.ndarray) -> np.ndarray:
        """Features as a new float32 array."""
        return self._first.widened(values)

    def begin(self, x: np.ndarray) -> np.ndarray:
        """What the first layer says of the first batch, before its bias."""
        return self._first.product(x)

    def step(
        self, x: np.ndarray, z: np.ndarray, targets: np.ndarray, following: np.ndarray | None
    ) -> tuple[np.ndarray | None, float, float]:
        """Train on a batch.

        Args:
            x: float32 (batch, features), with dropout applied; `z` is what the first layer said of it.
            targets: float32 (batch, outputs): 0 or 1, or a number.
            following: the next batch, or None.

        Returns:
            z of the next batch, the summed loss of this one, and how many of it were right; of labels a share of each
            picture, and nan of numbers.
        """
        inputs, logits = self._forward(x, z)
        delta, loss, right = _output(logits, targets, self.layers[-1].activation)
        delta /= len(x)
        self.optimizer.begin_step()
        for index in range(len(self.layers) - 1, 0, -1):
            layer = self.layers[index]
            values, mask = inputs[index]
            back = delta @ layer.kernel.T
            if mask is not None:
                back *= mask
            self.optimizer.update(layer.kernel, values.T @ delta)
            self.optimizer.update(layer.bias, delta.sum(axis=0))
            delta = back
        self.optimizer.update(self.layers[0].bias, delta.sum(axis=0))
        return self._first.step(x, delta, following), loss, right

    def _forward(self, x: np.ndarray, z: np.ndarray) -> tuple[list[tuple[np.ndarray, Any]], np.ndarray]:
        """What each layer was given, the factor that leads back through it, and the logits."""
        inputs: list[tuple[np.ndarray, Any]] = [(x, None)]
        z = z + self.layers[0].bias
        for before, layer in zip(self.layers, self.layers[1:], strict=False):
            mask = (z > 0).astype(np.float32) if before.activation == "relu" else np.ones_like(z)
            mask = self.dropped(mask, layer.dropout)
            values = z * mask
            inputs.append((values, mask))
            z = values @ layer.kernel + layer.bias
        return inputs, z

    def logits(self, features: np.ndarray, scaled: Any) -> np.ndarray:
        """What the network says, without dropout, of features of any float type; `scaled` prepares a block of them."""
        parts = []
        for start in range(0, len(features), _ROWS):
            z = self._first.product(scaled(features[start : start + _ROWS])) + self.layers[0].bias
            for before, layer in zip(self.layers, self.layers[1:], strict=False):
                z = (np.maximum(z, 0) if before.activation == "relu" else z) @ layer.kernel + layer.bias
            parts.append(z)
        return np.concatenate(parts)


@cache
def _kernels() -> ModuleType | None:
    """The compiled kernels; None where numba is missing, does not fit this numpy, or has nowhere to keep what it
    compiles."""
    try:
        return importlib.import_module("headstart.heads._kernels")
    except Exception:  # whatever numba raises then
        return None


_ONE_AT_A_TIME = threading.Lock()  # where numba has neither OpenMP nor TBB, two threads in it end the process


class _Plain:
    """A first layer by numpy's own products."""

    def __init__(self, kernel: np.ndarray, optimizer: Optimizer) -> None:
        self._kernel, self._optimizer = kernel, optimizer
        self.widened = widened

    def product(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = x @ self._kernel
        return result

    def step(self, x: np.ndarray, delta: np.ndarray, following: np.ndarray | None) -> np.ndarray | None:
        self._optimizer.update(self._kernel, x.T @ delta)
        return None if following is None else self.product(following)


class _Fused:
    """The same in one pass over the kernel (`_kernels.py`)."""

    def __init__(self, kernel: np.ndarray, optimizer: Optimizer) -> None:
        kernels = _kernels()
        if kernels is None:
            raise ImportError("the compiled kernels cannot be used here")
        self._kernel, self._optimizer, self._kernels = kernel, optimizer, kernels
        self._kind = {"sgd": kernels.SGD, "rmsprop": kernels.RMSPROP, "adam": kernels.ADAM}[optimizer.name]
        self._threads = kernels.threads()
        self._last = np.zeros(len(kernel), np.int64)
        self._nothing = np.zeros((0, kernel.shape[0]), np.float32)

    def widened(self, values: np.ndarray) -> np.ndarray:
        with _ONE_AT_A_TIME:
            result: np.ndarray = self._kernels.widened(values)
        return result

    def product(self, x: np.ndarray) -> np.ndarray:
        return self._pass(self._nothing, np.zeros((0, self._kernel.shape[1]), np.float32), x)

    def step(self, x: np.ndarray, delta: np.ndarray, following: np.ndarray | None) -> np.ndarray | None:
        said = self._pass(x, np.ascontiguousarray(delta), self._nothing if following is None else following)
        return None if following is None else said

    def _pass(self, x: np.ndarray, delta: np.ndarray, following: np.ndarray) -> np.ndarray:
        out = np.empty((self._threads, len(following), self._kernel.shape[1]), np.float32)
        first, second = self._optimizer.moments(self._kernel)
        with _ONE_AT_A_TIME:
            self._kernels.step(
                self._kind, self._kernel, first, second, self._last, self._optimizer.steps, x, delta, following, out,
                self._optimizer.rates,
            )  # fmt: skip
        result: np.ndarray = out.sum(axis=0)
        return result


def _output(logits: np.ndarray, targets: np.ndarray, activation: str = "softmax") -> tuple[np.ndarray, float, float]:
    """Gradient of the loss by the logits, the summed loss, and how many are right."""
    return _OUTPUTS[activation](logits, targets)


def _of_classes(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Cross-entropy; one column is the sigmoid of two classes."""
    if logits.shape[1] == 1:
        loss = np.logaddexp(0, logits) - targets * logits
        return _sigmoid(logits) - targets, float(loss.sum()), int(((logits > 0) == (targets > 0.5)).sum())
    shifted = logits - logits.max(axis=1, keepdims=True)
    loss = np.log(np.exp(shifted).sum(axis=1)) - (shifted * targets).sum(axis=1)
    right = logits.argmax(axis=1) == targets.argmax(axis=1)
    return softmax(logits) - targets, float(loss.sum()), int(right.sum())


def _of_labels(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Binary cross-entropy, the mean over labels, as Keras has it."""
    count = logits.shape[1]
    loss = np.logaddexp(0, logits) - targets * logits
    right = ((logits > 0) == (targets > 0.5)).mean(axis=1)
    return (_sigmoid(logits) - targets) / np.float32(count), float(loss.mean(axis=1).sum()), float(right.sum())


def _of_numbers(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Squared error, the mean over outputs, as Keras has it."""
    off = logits - targets
    slope = off * np.float32(2 / logits.shape[1])
    return slope, float((off.astype(np.float64) ** 2).mean(axis=1).sum()), float("nan")


_OUTPUTS = {"softmax": _of_classes, "sigmoid": _of_labels, "linear": _of_numbers}


def measured(logits: np.ndarray, targets: np.ndarray, activation: str = "softmax") -> tuple[float, float]:
    """Accuracy and mean loss: cross-entropy in nats, or squared error; the accuracy of numbers is nan."""
    _, loss, right = _output(logits, targets, activation)
    return right / len(targets), loss / len(targets)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    result: np.ndarray = (0.5 * (1 + np.tanh(0.5 * logits))).astype(np.float32)
    return result
