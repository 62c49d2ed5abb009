"""An interval for a predicted number: so wide that a stated share of new pictures should lie within it.

Its half width is a quantile of how far off answers to training pictures were, each by a fit that had not seen it
(conformal prediction: Vovk, Gammerman and Shafer 2005; by cross-validation: Vovk 2015, Annals of Mathematics and
Artificial Intelligence 74:9-28). It is the same for every picture. What share it came to on pictures that decided
nothing is measured beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.errors import ModelFileError
from headstart.number_figures import Guess

PROMISED = 0.9
"""The share of new pictures whose number should lie within the interval."""


@dataclass(frozen=True)
class Band:
    """How far a number may be off, and what would be said without looking.

    Attributes:
        half_width: to each side, in the unit of the number; None where there were too few pictures to say.
        promised: the share of new pictures that should lie within.
        n: how many answers it was found on; `on`: of which pictures.
        guess: the median and the mean of the training pictures.
    """

    half_width: float | None
    promised: float
    n: int
    guess: Guess
    on: str = "training pictures, out of fold"

    def words(self) -> str:
        """What a reader should know, in a sentence."""
        if self.half_width is None:
            return f"No interval is said with a number: {self.n:,} pictures are too few to promise {self.promised:.0%}."
        return (
            f"With each number goes an interval of ± {self.half_width:.4g} that should hold the true one in"
            f" {self.promised:.0%} of pictures, from {self.n:,} {self.on}."
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "half_width": self.half_width, "promised": self.promised, "n": self.n, "on": self.on,
            "method": "conformal, absolute residuals", "guess": dict(vars(self.guess)), "words": self.words(),
        }  # fmt: skip


def fit(
    predicted: np.ndarray, truth: np.ndarray, *, guess: Guess, on: str = Band.on, promised: float = PROMISED
) -> Band:
    """The interval, from answers to pictures that the fits behind them had not seen.

    Args:
        predicted, truth: shape (pictures,).
        guess: what the training pictures alone would have said.
        on: which pictures these are, for people.
        promised: the share that should lie within, above 0 and below 1.

    Example:
        >>> fit(np.zeros(99), np.arange(99.0), guess=Guess(0.0, 0.0)).half_width
        89.0
    """
    off = np.sort(np.abs(np.asarray(predicted, np.float64) - np.asarray(truth, np.float64)))
    place = math.ceil((len(off) + 1) * promised)
    half = float(off[place - 1]) if 0 < place <= len(off) else None
    return Band(half, promised, len(off), guess, on)


def of_facts(found: Any) -> Band:
    """The interval of a classifier file, taken for hostile.

    Raises:
        ModelFileError: it has numbers that headstart cannot have written.
    """
    told = found if isinstance(found, Mapping) else {}
    guess, half, promised = told.get("guess"), told.get("half_width"), told.get("promised")
    numbers = [guess.get(name) for name in ("median", "mean")] if isinstance(guess, Mapping) else [None]
    sound = [float(value) for value in (*numbers, promised) if _finite(value)]
    if len(sound) != 3 or not 0 < sound[2] < 1 or not (half is None or (_finite(half) and half >= 0)):
        raise ModelFileError("`interval` is no half width with a share that it promises; the file is damaged")
    count = told.get("n")
    return Band(
        None if half is None else float(half), sound[2], count if isinstance(count, int) else 0,
        Guess(sound[0], sound[1]), str(told.get("on"))[:80],
    )  # fmt: skip


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
