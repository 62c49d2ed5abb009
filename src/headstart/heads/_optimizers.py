"""Keras 3's optimizers on plain arrays: SGD with momentum, RMSprop, Adam, with Keras's own constants.

A head's training needs nothing else of a framework, and starting one takes longer than training most heads. The
formulae are those of `keras.optimizers`; `tests/test_dense.py` holds them against Keras step by step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

NAMES = ("adam", "rmsprop", "sgd")
_BLOCK = 2**18  # numbers that are updated at a time, so that the temporaries stay in the processor's cache
RHO, RMSPROP_EPSILON = 0.9, 1e-7
BETA_1, BETA_2, ADAM_EPSILON = 0.9, 0.999, 1e-7


@dataclass
class Optimizer:
    """One optimizer and what it remembers of each array.

    Attributes:
        name: `adam`, `rmsprop` or `sgd`.
        learning_rate: may be changed between steps.
        momentum: of SGD, 0 to 1.
        steps: how many there have been.
    """

    name: str
    learning_rate: float
    momentum: float = 0.0
    steps: int = 0
    _moments: dict[int, list[np.ndarray]] = field(default_factory=dict, repr=False)

    def begin_step(self) -> None:
        self.steps += 1

    @property
    def rates(self) -> np.ndarray:
        """Learning rate with Adam's bias correction, decay of the first and the second moment, epsilon, and what the
        decays leave of 1, which float32 would not get right afterwards."""
        if self.name == "adam":
            corrected = self.learning_rate * np.sqrt(1 - BETA_2**self.steps) / (1 - BETA_1 ** max(self.steps, 1))
            return np.array([corrected, BETA_1, BETA_2, ADAM_EPSILON, 1 - BETA_1, 1 - BETA_2], np.float32)
        return np.array(
            [self.learning_rate, self.momentum, RHO, RMSPROP_EPSILON, 1 - self.momentum, 1 - RHO], np.float32
        )

    def moments(self, array: np.ndarray) -> list[np.ndarray]:
        """The first and the second moment of an array; an empty one where this optimizer has none."""
        if id(array) not in self._moments:
            empty = np.zeros((0,) * array.ndim, np.float32)
            first = np.zeros_like(array) if self.name != "rmsprop" else empty
            second = np.zeros_like(array) if self.name != "sgd" else empty
            self._moments[id(array)] = [first, second]
        return self._moments[id(array)]

    def update(self, array: np.ndarray, gradient: np.ndarray) -> None:
        """Change `array` in place by one step."""
        first, second = (moment.reshape(-1) for moment in self.moments(array))
        values, slopes = array.reshape(-1), gradient.reshape(-1)
        rate, beta, rho, epsilon, rest, fresh = self.rates
        for start in range(0, values.size, _BLOCK):
            part = slice(start, start + _BLOCK)
            value, g, m, v = values[part], slopes[part], first[part], second[part]
            if self.name == "sgd":
                m *= beta
                m -= rate * g
                value += m
            elif self.name == "rmsprop":
                v *= rho
                v += fresh * g * g
                value -= rate * g / np.sqrt(v + epsilon)
            else:
                m += (g - m) * rest
                v += (g * g - v) * fresh
                value -= rate * m / (np.sqrt(v) + epsilon)

    def as_keras(self) -> Any:
        """The same optimizer as Keras has it, for callbacks that look at `model.optimizer`."""
        import keras

        if self.name == "sgd":
            return keras.optimizers.SGD(self.learning_rate, momentum=self.momentum)
        return {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}[self.name](self.learning_rate)
