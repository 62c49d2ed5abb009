"""What a classifier says of one picture: a class, labels or a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from headstart.previews import figure

SHOWN = 10
"""Classes whose probability a notebook shows."""


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one picture.

    Attributes:
        file: the picture, as it was given.
        label: the most probable class; None where the picture cannot be read.
        probability: of that class, 0 to 1.
        probabilities: of every class, by name.
        known: whether the picture looks like any that the model was trained on; None where it has no rule for that.
        error: why the picture cannot be read, else None.
    """

    file: str
    label: str | None = None
    probability: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    known: bool | None = None
    error: str | None = None

    COLUMNS: ClassVar[tuple[str, ...]] = ("label", "probability")
    """What a table has of it besides file, known and error."""

    def as_dict(self) -> dict[str, Any]:
        if self.error is not None:
            return {"file": self.file, "error": self.error}
        return {"file": self.file, "label": self.label, "probability": self.probability,
                "probabilities": dict(self.probabilities), "known": self.known}  # fmt: skip

    @property
    def cells(self) -> tuple[str | float | None, ...]:
        """The entries of `COLUMNS`."""
        return self.label, self.probability

    @property
    def words(self) -> str:
        """One line for people, without the file."""
        return f"{self.probability:6.1%}  {self.label}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """What a summary of many counts it under."""
        return (str(self.label),)

    def _repr_html_(self) -> str:
        """For a notebook: the picture, and the probability of each class, the greatest first."""
        rest = "<div><b>it looks like none of these</b></div>" if self.known is False else ""
        return _html(self, _shares(self.probabilities, "class", "classes") + rest)


@dataclass(frozen=True)
class LabelsPrediction:
    """Which labels a classifier says of one picture.

    Attributes:
        file: the picture, as it was given.
        labels: those whose probability reaches their threshold, in the order of the model's; may be empty.
        probabilities: of every label, by name.
        known: whether the picture looks like any that the model was trained on; None where it has no rule for that.
        error: why the picture cannot be read, else None; then the rest is empty.
    """

    file: str
    labels: tuple[str, ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict)
    known: bool | None = None
    error: str | None = None

    COLUMNS: ClassVar[tuple[str, ...]] = ("labels",)

    @property
    def label(self) -> str | None:
        """The most probable label, said or not: what is explained where no other is asked for."""
        return max(self.probabilities, key=lambda name: self.probabilities[name], default=None)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `headstart predict --json` prints them."""
        if self.error is not None:
            return {"file": self.file, "error": self.error}
        return {"file": self.file, "labels": list(self.labels), "probabilities": dict(self.probabilities),
                "known": self.known}  # fmt: skip

    @property
    def cells(self) -> tuple[str | float | None, ...]:
        """The entries of `COLUMNS`."""
        return (None if self.error is not None else "|".join(self.labels),)

    @property
    def words(self) -> str:
        """One line for people, without the file."""
        return ", ".join(f"{name} {self.probabilities[name]:.0%}" for name in self.labels) or "no label"

    @property
    def kinds(self) -> tuple[str, ...]:
        """What a summary of many counts it under."""
        return self.labels or ("no label",)

    def _repr_html_(self) -> str:
        """For a notebook: the picture, what is said of it, and the probability of each label, the greatest first."""
        from html import escape

        said = f"<div><b>{escape(', '.join(self.labels) or 'no label')}</b></div>"
        rest = "<div><b>it looks like none of the training pictures</b></div>" if self.known is False else ""
        return _html(self, said + _shares(self.probabilities, "label", "labels") + rest)


@dataclass(frozen=True)
class NumberPrediction:
    """The number that a model says of one picture.

    Attributes:
        file: the picture, as it was given.
        value: the number; None where the picture cannot be read.
        low, high: where the true one should lie in nine of ten pictures; None where the model has no interval.
        known: whether the picture looks like any that the model was trained on; None where it has no rule for that.
        error: why the picture cannot be read, else None.
    """

    file: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    known: bool | None = None
    error: str | None = None

    COLUMNS: ClassVar[tuple[str, ...]] = ("value", "low", "high")
    probabilities: ClassVar[Mapping[str, float]] = {}

    @property
    def label(self) -> str | None:
        """The name of the number: what is explained."""
        return None if self.error is not None else "value"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `headstart predict --json` prints them."""
        if self.error is not None:
            return {"file": self.file, "error": self.error}
        return {"file": self.file, "value": self.value, "low": self.low, "high": self.high, "known": self.known}

    @property
    def cells(self) -> tuple[str | float | None, ...]:
        """The entries of `COLUMNS`."""
        return self.value, self.low, self.high

    @property
    def words(self) -> str:
        """One line for people, without the file."""
        span = f"  ({self.low:.4g} to {self.high:.4g})" if self.low is not None and self.high is not None else ""
        return f"{self.value:.4g}{span}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """What a summary of many counts it under."""
        return ("with a value",)

    def _repr_html_(self) -> str:
        """For a notebook: the picture and its number."""
        return _html(self, f"<div><b>{self.words}</b></div>" if self.error is None else "")


Answer = Prediction | LabelsPrediction | NumberPrediction


def _shares(probabilities: Mapping[str, float], one: str, several: str) -> str:
    from html import escape

    order = sorted(probabilities.items(), key=lambda item: -item[1])
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{share:.3f}</td></tr>" for name, share in order[:SHOWN])
    rest = f"<div>and {len(order) - SHOWN:,} {several} more</div>" if len(order) > SHOWN else ""
    return f"<table><thead><tr><th>{one}</th><th>probability</th></tr></thead><tbody>{rows}</tbody></table>{rest}"


def _html(prediction: Answer, about: str) -> str:
    from html import escape

    if prediction.error is not None:
        return f"<div><b>{escape(prediction.file)}</b>: {escape(prediction.error)}</div>"
    style = "display:flex;gap:16px;align-items:flex-start"
    picture = figure(Path(prediction.file), Path(prediction.file).name)
    return f'<div style="{style}">{picture}<div>{about}</div></div>'
