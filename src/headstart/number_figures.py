"""Predicted numbers × true numbers → how far off they are, against always saying the same, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headstart.evaluate import Rate, Seen, about
from headstart.intervals import wilson
from headstart.ledger import Opening
from headstart.resampling import intervals


@dataclass(frozen=True)
class Guess:
    """What always saying the same is worth: the training pictures' median for the mean error, their mean for RMSE."""

    median: float
    mean: float


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % bootstrap interval; (nan, nan) for fewer than five pictures."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float | None]:
        """Plain JSON values."""
        values = {"value": self.value, "low": self.low, "high": self.high}
        return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}

    def __str__(self) -> str:
        ends = f" ({self.low:.4g} to {self.high:.4g})" if np.isfinite(self.low) else ""
        return f"{self.value:.4g}{ends}"


@dataclass(frozen=True, eq=False)
class NumberOutcomes:
    """What came of each picture, in the order of evaluation.

    Attributes:
        rows: its row in the data set, or its position.
        truth, predicted: float64 of shape (pictures,).
        trained: whether the model was trained on it; None where that is not known.
    """

    rows: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    trained: np.ndarray | None = None

    @property
    def was_trained_on(self) -> np.ndarray:
        """`trained`, where what is not known counts as not."""
        return np.zeros(len(self.rows), bool) if self.trained is None else self.trained


@dataclass(frozen=True)
class NumbersEvaluation:
    """What a model of a number is worth on some pictures.

    Attributes:
        split, n: where the pictures come from, and how many they are.
        mae: mean absolute error, in the unit of the number; `rmse`: root of the mean squared error; `r2`: the share
            of the pictures' variance that is told (1 less squared error over variance; below 0 where their own mean
            would be better).
        guess_mae, guess_rmse: the same where always the training pictures' median, or mean, is said.
        gain: by how much the mean absolute error is less than that of the median, picture by picture.
        coverage: the share of pictures whose number lay within the interval that was said with it; None without one.
        promised: the share that was promised.
        outcomes: what came of each picture.
        opened, seen, unseen, rejected, left_out, notes: as `Evaluation` has them.
    """

    split: str
    n: int
    mae: Figure
    rmse: Figure
    r2: Figure
    guess: Guess
    guess_mae: Figure
    guess_rmse: Figure
    gain: Figure
    outcomes: NumberOutcomes = field(repr=False, compare=False)
    coverage: Rate | None = None
    promised: float = float("nan")
    opened: Opening | None = None
    seen: Seen | None = None
    unseen: NumbersEvaluation | None = field(default=None, repr=False)
    rejected: Rate | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> Rate:
        """Of how many pictures it is; a number has no share that is right."""
        return Rate(self.split, float("nan"), float("nan"), float("nan"), self.n)

    @property
    def loss(self) -> float:
        """Mean squared error."""
        return self.rmse.value**2

    @property
    def mistakes(self) -> tuple[tuple[int, int, float], ...]:
        """(row, 0, predicted) of every picture, the one that is furthest off first."""
        order = np.argsort(-np.abs(self.outcomes.predicted - self.outcomes.truth), kind="stable")
        return tuple((int(self.outcomes.rows[at]), 0, float(self.outcomes.predicted[at])) for at in order)

    def lines(self) -> list[tuple[str, str]]:
        """Names and texts of the figures, for people."""
        told = [
            ("mean error", f"{self.mae}, n = {self.n:,}, {self.split}; always saying {self.guess.median:.4g}:"
             f" {self.guess_mae.value:.4g}"),
            ("RMSE", f"{self.rmse}; always saying {self.guess.mean:.4g}: {self.guess_rmse.value:.4g}"),
            ("R²", str(self.r2)),
        ]  # fmt: skip
        if self.coverage is not None:
            share = f"{self.coverage.value:.1%} ({self.coverage.low:.1%} to {self.coverage.high:.1%})"
            told.append(("intervals", f"hold the true value of {share} of the pictures; {self.promised:.0%} promised"))
        return told

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `headstart evaluate --json` prints them."""
        told: dict[str, Any] = {
            "task": "numbers", "accuracy": None, "split": self.split, "n": self.n,
            "metrics": {
                "mae": self.mae.as_dict(), "rmse": self.rmse.as_dict(), "r2": self.r2.as_dict(),
                "guessing": {
                    "median": self.guess.median, "mae": self.guess_mae.as_dict(), "mean": self.guess.mean,
                    "rmse": self.guess_rmse.as_dict(), "gain": self.gain.as_dict(),
                },
                "coverage": None if self.coverage is None else {**self.coverage.as_dict(), "promised": self.promised},
            },
            "loss": self.loss,
        }  # fmt: skip
        return told | about(self)

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in self.lines())
        notes = "".join(f"<div>{escape(note)}</div>" for note in self.notes)
        return f"<table>{rows}</table>{notes}"


def score(
    predicted: np.ndarray, truth: np.ndarray, *, guess: Guess, split: str, half_width: float | None = None,
    promised: float = float("nan"), rows: Sequence[int] | np.ndarray | None = None,
) -> NumbersEvaluation:  # fmt: skip
    """Evaluate predicted numbers against true ones, both of shape (pictures,).

    Args:
        guess: what the training pictures alone would have said of every picture.
        split: where the pictures come from, as the figure will say.
        half_width: how far the interval that is said with a number reaches to each side.
        promised: the share of pictures that should lie within it.
        rows: what to call the pictures; their positions where nothing is given.

    Example:
        >>> found = score(np.arange(8.0) + 0.5, np.arange(8.0), guess=Guess(3.5, 3.5), split="test")
        >>> found.mae.value, found.guess_mae.value, round(found.r2.value, 3)
        (0.5, 2.0, 0.952)
    """
    predicted, truth = np.asarray(predicted, np.float64).ravel(), np.asarray(truth, np.float64).ravel()
    names = np.arange(len(truth)) if rows is None else np.asarray(rows)
    off, lazy, blind = np.abs(predicted - truth), np.abs(guess.median - truth), np.abs(guess.mean - truth)
    centre = float(truth.mean()) if len(truth) else 0.0
    y = truth - centre  # so that squares of numbers far from 0 lose nothing

    def figures(drawn: np.ndarray) -> np.ndarray:
        drawn = drawn.astype(np.float64)
        total = drawn.sum(axis=1)
        mean_off, mean_lazy, squares, blind_squares, first, second = (
            drawn @ values / total for values in (off, lazy, off**2, blind**2, y, y**2)
        )
        variance = second - first**2
        differ = variance > 1e-12 * max(float((y**2).max(initial=0)), 1e-300)
        with np.errstate(invalid="ignore", divide="ignore"):
            told = np.where(differ, 1 - squares / variance, np.nan)
        return np.stack([mean_off, squares**0.5, told, mean_lazy, blind_squares**0.5, mean_lazy - mean_off], axis=1)

    values = figures(np.ones((1, len(truth))))[0] if len(truth) else np.full(6, np.nan)
    spans = intervals(figures, len(truth), 6)
    found = [Figure(float(value), *span) for value, span in zip(values, spans, strict=True)]
    covered = None
    if half_width is not None and len(truth):
        inside = int((off <= half_width).sum())
        covered = Rate(split, inside / len(truth), *wilson(inside, len(truth)), len(truth))
    mae, rmse, r2, guess_mae, guess_rmse, gain = found
    return NumbersEvaluation(
        split, len(truth), mae, rmse, r2, guess, guess_mae, guess_rmse, gain, NumberOutcomes(names, truth, predicted),
        covered, promised,
    )  # fmt: skip
