"""What fine-tuning did, and whether that made the network better by more than noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headstart.comparison import Comparison
from headstart.evaluate import Evaluation
from headstart.trials import Trial
from headstart.tuning_rules import FULL, OFF, Settings

_ERRORS = 1.96


@dataclass(frozen=True)
class Tuning:
    """What fine-tuning did, and what it was worth.

    Attributes:
        how: as it was asked for: `auto`, `full`, `blocks=N`, or a layer.
        tried: whether anything was trained; `why` says why not.
        boundary: the layer below which nothing was tuned; None where everything was.
        blocks: how many blocks were tuned.
        settings: how.
        judged, judged_on: how many pictures decided, and which these are: neither side was fitted on them.
        frozen, tuned: both on these pictures, and `compared` the paired test between them, the tuned one first; None
            where pictures have labels or a number.
        losses: mean loss of both on these pictures, as `losses` of the task has it (`tasks/`).
        gain: of loss that the tuned one has less, with its 95 % interval.
        kept: whether the tuned one was taken.
        history: of the tuned part, as Keras has it; `val_` is on the judging pictures.
        seconds: of each epoch.
        trials: what `auto` chose from.
        rates: of the rate finder: `rates`, `losses`, `found`.
        resumed: steps that an earlier, broken-off run had done.
        passed_over: states on disk that were damaged.
        on_all: training pictures, those that judged among them, that what is kept was trained on once more in the same
            way; 0 where it was not, and `alone` says why not.
        took: seconds in all.
    """

    how: str
    tried: bool
    why: str
    boundary: str | None = None
    blocks: int = 0
    settings: Settings | None = None
    frozen: Evaluation | None = field(default=None, repr=False)
    tuned: Evaluation | None = field(default=None, repr=False)
    compared: Comparison | None = field(default=None, repr=False)
    gain: tuple[float, float, float] | None = None
    losses: tuple[float, float] | None = None
    judged: int = 0
    judged_on: str = ""
    kept: bool = False
    history: dict[str, list[float]] = field(default_factory=dict, repr=False)
    seconds: tuple[float, ...] = field(default=(), repr=False)
    trials: tuple[Trial, ...] = ()
    rates: dict[str, Any] | None = field(default=None, repr=False)
    resumed: int = 0
    passed_over: tuple[str, ...] = ()
    on_all: int = 0
    alone: str = ""
    took: float = 0.0

    @property
    def what(self) -> str:
        """What was tuned, as a sentence."""
        if self.boundary is None:
            return "The whole network was tuned."
        if self.blocks == 1:
            return f"What lies above {self.boundary} was tuned."
        return f"The {self.blocks} blocks above {self.boundary} were tuned."

    @property
    def decided(self) -> dict[str, Any]:
        """Fields of the recipe, as they were decided."""
        if not self.kept or self.settings is None:
            return {"fine_tune": OFF, "fine_tune_options": {}}
        options = {
            name: value for name, value in self.settings.as_dict().items() if name not in ("budget", "find_rate")
        }
        return {"fine_tune": self.boundary or FULL, "fine_tune_options": {**options, "refit": self.on_all > 0}}

    @property
    def words(self) -> str:
        """What came of it, in some sentences."""
        if not self.tried or self.gain is None:
            return f"The network stays frozen: {self.why}."
        taken = "It is kept" if self.kept else "The frozen one is kept"
        if self.compared is not None:
            said = self.compared.words("the tuned network", "the frozen one")
        else:
            before, after = self.losses or (math.nan, math.nan)
            loss = f"a loss of {before:.3f}, tuned {after:.3f}"
            said = f"On {self.judged:,} pictures that judge, the frozen network has {loss}."
        again = ""
        if self.on_all:
            again = f" It was then trained once more in the same way, with these among its own, {self.on_all:,} in all."
        elif self.alone:
            again = f" It was not trained once more on all training pictures: {self.alone}."
        return f"{self.what} {said} {taken}: {self.why}.{again}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "how": self.how, "tried": self.tried, "kept": self.kept, "words": self.words,
            "boundary": self.boundary, "blocks": self.blocks,
            "settings": self.settings.as_dict() if self.settings else None,
            "frozen": self.frozen.accuracy.as_dict() if self.frozen else None,
            "tuned": self.tuned.accuracy.as_dict() if self.tuned else None,
            "compared": self.compared.as_dict() if self.compared else None,
            "losses": dict(zip(("frozen", "tuned"), self.losses, strict=True)) if self.losses else None,
            "refit": {"pictures": self.on_all, "why_not": self.alone} if self.kept else None,
            "judged": {"n": self.judged, "on": self.judged_on} if self.judged else None,
            "loss_gain": dict(zip(("value", "low", "high"), self.gain, strict=True)) if self.gain else None,
            "history": self.history, "epoch_seconds": [round(value, 3) for value in self.seconds],
            "trials": [trial.as_dict() for trial in self.trials], "rates": self.rates, "resumed": self.resumed,
            "passed_over": list(self.passed_over), "seconds": round(self.took, 3),
        }  # fmt: skip


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    mean, error = float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences)))
    return mean, mean - _ERRORS * error, mean + _ERRORS * error


def verdict(found: Comparison | None, differences: np.ndarray) -> tuple[bool, str]:
    """Whether the tuned network is better by more than noise: in accuracy, or in loss and not worse in accuracy."""
    mean, low, high = interval(differences)
    loss = f"the loss falls by {mean:.3f} ({low:.3f} to {high:.3f})"
    if found is None:
        return low > 0, f"{loss}, which is more than noise" if low > 0 else f"{loss}, which may be noise"
    if found.separated and found.difference > 0:
        return True, f"the pictures tell the two apart by accuracy, and {loss}"
    if low > 0 and found.difference >= 0:
        return True, f"accuracy alone does not tell the two apart, but {loss}, which is more than noise"
    if found.difference < 0:
        return False, "it names fewer pictures right"
    return False, f"{loss}, which may be noise"
