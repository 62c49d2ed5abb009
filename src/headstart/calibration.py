"""Probabilities that mean what they say: one temperature for all logits, fitted on answers to held-out pictures.

Temperature scaling (Guo et al. 2017, arXiv 1706.04599) divides the logits by T: no answer changes, only how sure it
is. T minimises the cross-entropy of probabilities that were given to pictures which the fit behind them had not seen.
Its interval is that of a maximum-likelihood estimate whose model need not be right (Huber 1967; the "sandwich"). A
temperature whose interval holds 1, or that hangs on fewer than `LEAST_WRONG` wrong answers, is not applied.

A temperature that is applied is folded into the last layer, so whoever opens the classifier with plain Keras gets
calibrated probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headstart import tempering
from headstart.evaluate import Evaluation
from headstart.heads import Head, Layer, log_loss, softmax
from headstart.intervals import wilson
from headstart.tempering import BOUNDS

LEAST_WRONG = 10
"""Wrong answers that a temperature is fitted on, at least: it is they that say how sure is too sure."""
_Z = 1.959964
_TINY = 1e-30

OUT_OF_FOLD, HELD_OUT = "training pictures, out of fold", "pictures held out of the training"


@dataclass(frozen=True)
class Calibration:
    """What was found out about the probabilities, and done to them.

    Attributes:
        temperature: what the logits of the classifier are divided by; 1 where they are left as they are.
        found: the temperature of least loss, with its 95 % interval `low` to `high`; nan where none was fitted.
        n, wrong: how many held-out answers it was fitted on, and how many of them were wrong.
        on: which pictures these are.
        loss_before, loss_after: cross-entropy of these answers at temperature 1 and at `found`, in nats.
        why: why it was applied or not, as half a sentence.
        before, after: the figures on the final pictures, which decided nothing, without and with it.
    """

    temperature: float = 1.0
    found: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    n: int = 0
    wrong: int = 0
    on: str = ""
    loss_before: float = float("nan")
    loss_after: float = float("nan")
    why: str = ""
    before: Evaluation | None = None
    after: Evaluation | None = None

    @property
    def applied(self) -> bool:
        return self.temperature != 1.0

    def measured(self, before: Evaluation, after: Evaluation) -> Calibration:
        """The same with the figures on the final pictures."""
        return replace(self, before=before, after=after)

    def words(self) -> str:
        """What a reader should know, in one or two sentences."""
        if self.applied:
            done = (
                f"Temperature {self.temperature:.2f}{self._span()}, fitted on {self.n:,}"
                f" {self.on}, is inside the model."
            )
        else:
            done = f"Probabilities are as they were trained: {self.why}."
        if self.before is None or self.after is None:
            return done
        rate = self.after.accuracy
        where = f"on the {rate.n:,} {rate.split} pictures, which decided nothing"
        if not self.applied:
            return f"{done} Calibration error {_error(self.after)} {where}."
        return f"{done} Calibration error {_error(self.before)} before, {_error(self.after)} after, {where}."

    def _span(self) -> str:
        return "" if np.isnan(self.low) else f" ({self.low:.2f} to {self.high:.2f})"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `headstart train --json` and `headstart.json` have them."""
        return {
            "method": "temperature scaling",
            "applied": self.applied,
            "temperature": self.temperature,
            "fitted": {"value": _number(self.found), "low": _number(self.low), "high": _number(self.high)},
            "n": self.n,
            "wrong": self.wrong,
            "on": self.on or None,
            "loss_before": _number(self.loss_before),
            "loss_after": _number(self.loss_after),
            "error_before": _error_as_dict(self.before),
            "error_after": _error_as_dict(self.after),
            "inside_the_model": True,
            "words": self.words(),
        }


def fit(probabilities: np.ndarray, labels: np.ndarray, *, on: str = OUT_OF_FOLD, smoothed: bool = False) -> Calibration:
    """The temperature of least cross-entropy, applied where it is better than 1 by more than noise.

    Args:
        probabilities: shape (pictures, classes), from fits that had not seen the pictures.
        labels: 0 .. classes − 1, shape (pictures,).
        on: which pictures these are, for people.
        smoothed: whether the network was trained on smoothed labels, which make it shy.

    Example:
        >>> random = np.random.default_rng(0)
        >>> logits = random.normal(size=(2000, 3)) * 2
        >>> labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)     # as the logits promise
        >>> fit(softmax(logits), labels).applied
        False
        >>> found = fit(softmax(2 * logits), labels)
        >>> found.applied, found.low < 2 < found.high
        (True, True)
    """
    wrong = int((probabilities.argmax(axis=1) != labels).sum()) if len(labels) else 0
    asked = Calibration(n=len(labels), wrong=wrong, on=on)
    if wrong < LEAST_WRONG:
        why = f"{wrong} of {len(labels):,} held-out answers were wrong, too few to say how sure is too sure"
        asked = replace(asked, why=why)
        return _surer(asked, probabilities, labels) if smoothed else asked
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), _TINY))
    scale, error = tempering.fitted(logits, labels)
    found = 1 / scale
    spread = np.exp(_Z * error / scale)
    low, high = float(found / spread), float(found * spread)
    done = replace(
        asked, found=found, low=low, high=high, loss_before=log_loss(softmax(logits), labels),
        loss_after=log_loss(softmax(logits * scale), labels),
    )  # fmt: skip
    if low <= 1 <= high:
        why = (
            f"the best temperature, {found:.2f} ({low:.2f} to {high:.2f}) on {len(labels):,} {on},"
            " is not better than 1 by more than noise"
        )
        return replace(done, why=why)
    return replace(done, temperature=found, why="it is better than 1 by more than noise")


def _surer(asked: Calibration, probabilities: np.ndarray, labels: np.ndarray) -> Calibration:
    """Few answers are wrong, so nothing can be said against being sure; but answers can be too shy all the same.

    That is so where their mean probability lies below Wilson's interval of what was right, as label smoothing has it.
    Then the temperature takes the mean to the lower end of that interval, and no further.
    """
    if not len(labels):
        return asked
    least, _ = wilson(len(labels) - asked.wrong, len(labels))
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), _TINY))
    if softmax(logits).max(axis=1).mean() >= least:
        return asked
    low, high = 1.0, 1 / BOUNDS[0]
    for _ in range(60):
        scale = (low * high) ** 0.5
        low, high = (scale, high) if softmax(logits * scale).max(axis=1).mean() < least else (low, scale)
    return replace(
        asked, temperature=1 / low, found=1 / low, loss_before=log_loss(softmax(logits), labels),
        loss_after=log_loss(softmax(logits * low), labels),
        why="the answers were shyer than they were wrong, by more than noise",
    )  # fmt: skip


def calibrate(
    head: Head, labels: np.ndarray, *, watched: tuple[np.ndarray, np.ndarray] | None = None,
    smoothed: bool = False,
) -> tuple[Head, Calibration]:  # fmt: skip
    """Fit a temperature on answers that a head gave to pictures it was not fitted on, and fold it in.

    Args:
        head: a fitted head.
        labels: of the pictures that it was given to fit, shape (pictures,).
        watched: probabilities and labels of pictures that were watched while it was trained and are not reported on.
        smoothed: whether the network was trained on smoothed labels.

    Returns:
        The head with the temperature inside, and what was found; the head as it came where there are no such answers.
    """
    if watched is not None:
        found = fit(*watched, on=HELD_OUT, smoothed=smoothed)
    elif head.held_out is not None:
        rows, probabilities = head.held_out
        clean = rows < len(labels)  # further rows are augmented views of the same pictures
        where = HELD_OUT if smoothed or head.history is not None else OUT_OF_FOLD
        found = fit(probabilities[clean], labels[rows[clean]], on=where, smoothed=smoothed)
    else:
        found = Calibration(why="every picture was trained on or is reported on, so none is left to fit a temperature")
    return replace(head, layers=folded(head.layers, found.temperature)), found


def folded(layers: Sequence[Layer], temperature: float) -> tuple[Layer, ...]:
    """The same layers with their logits divided by `temperature`.

    Raises:
        ValueError: the last layer is no softmax.
    """
    *inner, last = layers
    if temperature == 1.0:
        return tuple(layers)
    if last.activation != "softmax":
        raise ValueError(f"a temperature divides the logits of a softmax. Received: activation={last.activation!r}")
    kernel, bias = last.kernel / np.float32(temperature), last.bias / np.float32(temperature)
    return (*inner, Layer(kernel, bias, last.activation, last.dropout))


def _error(evaluation: Evaluation) -> str:
    low, high = evaluation.calibration_interval
    interval = "" if np.isnan(low) else f" ({low:.3f} to {high:.3f})"
    return f"{evaluation.calibration_error:.3f}{interval}"


def _error_as_dict(evaluation: Evaluation | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    low, high = evaluation.calibration_interval
    return {"value": _number(evaluation.calibration_error), "low": _number(low), "high": _number(high),
            "n": evaluation.accuracy.n, "split": evaluation.accuracy.split}  # fmt: skip


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
